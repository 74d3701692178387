// Goal: the commands that need no daemon read files of strangers as they are, print exactly what
// was asked for, and say what is wrong with a file in one line. Method: the tokenizer vectors of
// the shared test data, templates with known output, broken files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/file.h"
#include "base/sha256.h"
#include "client/commands.h"
#include "tests/support/random_model.h"

namespace inferd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kVectors[] = INFERD_SOURCE_DIR "/../shared/data/tokenizers";

class OfflineCommands : public ::testing::Test {
 protected:
  ExitCode Run(const std::vector<std::string>& arguments, const std::string& input = "") {
    std::istringstream in(input);
    out_.str("");
    err_.str("");
    Terminal terminal{.in = in, .out = out_, .err = err_};
    return RunInferctl(arguments, terminal);
  }
  std::string out() const { return out_.str(); }
  std::string err() const { return err_.str(); }

  // A file of this test's own.
  std::string Write(const std::string& name, const std::string& text) {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    const std::string path = ::testing::TempDir() + test->name() + "_" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  std::ostringstream out_, err_;
};

std::vector<std::string> Split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  size_t at = 0;
  for (size_t next = text.find(separator); next != std::string::npos;
       next = text.find(separator, at)) {
    parts.push_back(text.substr(at, next - at));
    at = next + separator.size();
  }
  parts.push_back(text.substr(at));
  return parts;
}

// `text` without blanks at both ends.
std::string Trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \n");
  return first == std::string::npos ? ""
                                    : text.substr(first, text.find_last_not_of(" \n") - first + 1);
}

TEST_F(OfflineCommands, ABillOfMaterialsSaysWhatTheBytesAre) {
  GgufWriter writer = RandomModel(TinyModel("llama", 3, QuantFormat::kF32));
  writer.Set("general.license", "apache-2.0");
  writer.Set("general.base_model.0.name", "Somebody's model");
  const std::string path = Write("model.gguf", "");
  ASSERT_TRUE(writer.WriteFile(path).ok());
  ASSERT_EQ(Run({"model", "digest", path}), ExitCode::kOk) << err();
  const std::string digest = Trimmed(out());
  const auto bom = ModelBom(path, "llama", "2");
  ASSERT_TRUE(bom.ok()) << bom.status();
  const auto json = nlohmann::json::parse(*bom);
  EXPECT_EQ(json["bomFormat"], "CycloneDX");
  EXPECT_EQ(json["specVersion"], "1.6");
  const auto& model = json["metadata"]["component"];
  EXPECT_EQ(model["type"], "machine-learning-model");
  EXPECT_EQ(model["version"], "2");
  EXPECT_EQ(model["properties"][0]["value"], digest);
  EXPECT_EQ(model["licenses"][0]["license"]["name"], "apache-2.0");
  EXPECT_EQ(model["pedigree"]["ancestors"][0]["name"], "Somebody's model");
  ASSERT_EQ(json["components"].size(), 1u);
  EXPECT_EQ(json["components"][0]["hashes"][0]["content"],
            Sha256Of(*ReadFile(path, 1 << 24)).Hex());
}

TEST_F(OfflineCommands, TokenizeAgreesWithTheVectors) {
  if (!std::filesystem::exists(kVectors)) {
    GTEST_SKIP() << "no shared test data at " << kVectors;
  }
  // One of each kind: the text room runs all of them.
  for (const std::string name : {"gpt-2", "llama-spm", "bert-bge"}) {
    const std::string base = std::string(kVectors) + "/" + name + ".gguf";
    if (!std::filesystem::exists(base)) {
      ADD_FAILURE() << base << " is missing";
      continue;
    }
    const auto inputs = Split(*ReadFile(base + ".inp", 1 << 20), "\n__ggml_vocab_test__\n");
    const auto outputs = Split(*ReadFile(base + ".out", 1 << 20), "\n");
    ASSERT_GE(outputs.size(), inputs.size());
    // Every seventh: each run loads the whole vocabulary.
    for (size_t i = 0; i < inputs.size(); i += 7) {
      ASSERT_EQ(Run({"tokenize", "--model-file", base}, inputs[i]), ExitCode::kOk) << err();
      EXPECT_EQ(Trimmed(out()), Trimmed(outputs[i])) << name << ", text " << i;
    }
  }
}

TEST_F(OfflineCommands, TokenizeAddsBosOnlyWhenAsked) {
  const std::string file = std::string(kVectors) + "/llama-spm.gguf";
  if (!std::filesystem::exists(file)) {
    GTEST_SKIP() << "no shared test data at " << kVectors;
  }
  ASSERT_EQ(Run({"tokenize", "--model-file", file}, "Hello"), ExitCode::kOk);
  const std::string plain = out();
  ASSERT_EQ(Run({"tokenize", "--model-file", file, "--bos"}, "Hello"), ExitCode::kOk);
  EXPECT_EQ(out(), "1 " + plain);
  ASSERT_EQ(Run({"tokenize", "--model-file", file}, "</s>"), ExitCode::kOk);
  EXPECT_NE(out(), "2\n");
  ASSERT_EQ(Run({"tokenize", "--model-file", file, "--parse-special"}, "</s>"), ExitCode::kOk);
  EXPECT_EQ(out(), "2\n");
  ASSERT_EQ(Run({"tokenize", "--model-file", file}, ""), ExitCode::kOk);
  EXPECT_EQ(out(), "\n");
}

TEST_F(OfflineCommands, TokenizeRefusesWhatIsNotText) {
  const std::string file = std::string(kVectors) + "/gpt-2.gguf";
  if (!std::filesystem::exists(file)) {
    GTEST_SKIP() << "no shared test data at " << kVectors;
  }
  EXPECT_EQ(Run({"tokenize", "--model-file", file}, "\xff\xfe"), ExitCode::kFailure);
  EXPECT_THAT(err(), HasSubstr("UTF-8"));
  EXPECT_EQ(out(), "");
}

TEST_F(OfflineCommands, InspectVocabularyOnlyFiles) {
  const std::string file = std::string(kVectors) + "/llama-spm.gguf";
  if (!std::filesystem::exists(file)) {
    GTEST_SKIP() << "no shared test data at " << kVectors;
  }
  EXPECT_EQ(Run({"model", "inspect", file}), ExitCode::kOk);
  EXPECT_THAT(out(), AllOf(HasSubstr("tokenizer.ggml.tokens"), HasSubstr("llama")));
  ASSERT_EQ(Run({"model", "inspect", file, "-o", "json"}), ExitCode::kOk);
  const auto json = nlohmann::json::parse(out());
  EXPECT_EQ(json["gguf_version"], 3);
  EXPECT_EQ(json["tokenizer"], "llama");
  EXPECT_EQ(json["vocab_size"], 32000);
  EXPECT_EQ(json["tensors"], 0);
  EXPECT_EQ(json["supported"], false);
  EXPECT_FALSE(json["unsupported"].empty());
}

TEST_F(OfflineCommands, InspectModelsOfEveryFamily) {
  for (const std::string_view family : RandomModelFamilies()) {
    const std::string path = ::testing::TempDir() + "inspect_" + std::string(family) + ".gguf";
    ASSERT_TRUE(WriteRandomModel(TinyModel(family, 1, QuantFormat::kQ8_0), path).ok());
    ASSERT_EQ(Run({"model", "inspect", path, "-o", "json"}), ExitCode::kOk) << err();
    const auto json = nlohmann::json::parse(out());
    EXPECT_EQ(json["supported"], true) << family << json["unsupported"];
    EXPECT_EQ(json["has_chat_template"], true);
    EXPECT_THAT(json["formats"][0]["format"], "Q8_0");
    ASSERT_EQ(Run({"template", "--model-file", path}, R"([{"role":"user","content":"Hi"}])"),
              ExitCode::kOk)
        << err();
    EXPECT_THAT(out(), HasSubstr("Hi"));
    ASSERT_EQ(Run({"tokenize", "--model-file", path, "--bos"}, "Hi"), ExitCode::kOk) << err();
    std::filesystem::remove(path);
  }
}

TEST_F(OfflineCommands, BrokenAndMissingFiles) {
  const std::string not_gguf = Write("a.gguf", "this is not a model file at all, sorry");
  EXPECT_EQ(Run({"model", "inspect", not_gguf}), ExitCode::kFailure);
  EXPECT_THAT(err(), AllOf(StartsWith("error: "), HasSubstr(not_gguf)));
  EXPECT_EQ(out(), "");
  EXPECT_EQ(Run({"tokenize", "--model-file", not_gguf}, "x"), ExitCode::kFailure);
  EXPECT_EQ(Run({"model", "inspect", "/nonexistent.gguf"}), ExitCode::kNotFound);
  EXPECT_EQ(Run({"tokenize", "--model-file", "/nonexistent.gguf"}, "x"), ExitCode::kNotFound);
  EXPECT_EQ(Run({"template", "--template-file", "/nonexistent"}, "[]"), ExitCode::kNotFound);
  EXPECT_EQ(Run({"model", "inspect", ::testing::TempDir()}), ExitCode::kFailure);
}

constexpr char kChatMl[] =
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

TEST_F(OfflineCommands, TemplatePrintsThePromptAndNothingElse) {
  const std::string file = Write("t.jinja", kChatMl);
  const std::string messages =
      R"([{"role":"system","content":"Be é."},{"role":"user","content":"Hi\n"}])";
  ASSERT_EQ(Run({"template", "--template-file", file, "--bos", "<s>", "--eos", "</s>"}, messages),
            ExitCode::kOk)
      << err();
  EXPECT_EQ(out(), "<s><|system|>Be é.</s><|user|>Hi\n</s>");
  ASSERT_EQ(Run({"template", "--template-file", file, "--add-generation-prompt"}, messages),
            ExitCode::kOk);
  EXPECT_EQ(out(), "<|system|>Be é.<|user|>Hi\n<|assistant|>");
  EXPECT_EQ(err(), "");
}

TEST_F(OfflineCommands, TemplateTakesToolsAndVariables) {
  const std::string file =
      Write("t.jinja", "{{ mode }}{{ tools | length }}{{ messages | length }}");
  ASSERT_EQ(Run({"template", "--template-file", file},
                R"({"messages":[{"role":"user","content":""}],"tools":[{},{}],"mode":"m"})"),
            ExitCode::kOk)
      << err();
  EXPECT_EQ(out(), "m21");
}

TEST_F(OfflineCommands, TemplateRefusesWhatItWouldLeaveOut) {
  const std::string file = Write("t.jinja", kChatMl);
  for (const std::string input : {"",
                                  "not json",
                                  "7",
                                  "{}",
                                  "[7]",
                                  R"([{"role":"user"}])",
                                  R"([{"role":"user","content":7}])",
                                  R"([{"role":"user","content":"x","tool_calls":[]}])"}) {
    EXPECT_EQ(Run({"template", "--template-file", file}, input), ExitCode::kUsage) << input;
    EXPECT_EQ(out(), "");
    EXPECT_THAT(err(), StartsWith("error: "));
  }
}

TEST_F(OfflineCommands, BrokenTemplatesFail) {
  const std::string file = Write("t.jinja", "{% for %}");
  EXPECT_EQ(Run({"template", "--template-file", file}, "[]"), ExitCode::kFailure);
  EXPECT_THAT(err(), HasSubstr(file));
  const std::string endless =
      Write("e.jinja",
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}"
            "{% endfor %}");
  EXPECT_NE(Run({"template", "--template-file", endless}, "[]"), ExitCode::kOk);
}

TEST_F(OfflineCommands, KeysInitMakesFourSecretsOnce) {
  const std::string folder = Write("x", "") + ".keys";
  ASSERT_EQ(
      Run({"keys", "init", "--directory", folder, "--organisation", "example.org", "--node", "n1"}),
      ExitCode::kOk)
      << err();
  EXPECT_THAT(out(), StartsWith("example.org/inferd-audit/n1+"));
  std::string before;
  for (const char* name : {"note.key", "root.kek", "pepper.api", "pepper.subject"}) {
    const std::filesystem::path path = folder + "/" + name;
    EXPECT_EQ(std::filesystem::status(path).permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    const std::string secret = *ReadFile(path.string(), 4096);
    EXPECT_EQ((out() + err()).find(secret.substr(0, secret.size() - 1)), std::string::npos);
    before += secret;
  }
  EXPECT_NE(Run({"keys", "init", "--directory", folder}), ExitCode::kOk);
  std::string after;
  for (const char* name : {"note.key", "root.kek", "pepper.api", "pepper.subject"}) {
    after += *ReadFile(folder + "/" + name, 4096);
  }
  EXPECT_EQ(after, before);
  EXPECT_EQ(Run({"keys", "init", "--directory", folder + "2", "--node", "N 1"}),
            ExitCode::kFailure);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace inferd
