// Goal: what people type becomes what they meant, or exit code 2 with a reason; help and
// completion know every command. Method: parse vectors of arguments and look at the values.
#include "client/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "client/commands.h"

namespace inferd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::StartsWith;

class CommandLine : public ::testing::Test {
 protected:
  std::variant<Invocation, ExitCode> Parse(std::vector<std::string> arguments) {
    return ParseCommandLine(std::move(arguments), terminal_);
  }
  template <typename T>
  T Get(std::vector<std::string> arguments) {
    auto parsed = Parse(std::move(arguments));
    EXPECT_TRUE(std::holds_alternative<Invocation>(parsed)) << err_.str();
    if (!std::holds_alternative<Invocation>(parsed)) {
      return {};
    }
    invocation_ = std::get<Invocation>(parsed);
    EXPECT_TRUE(std::holds_alternative<T>(invocation_.command));
    return std::get<T>(invocation_.command);
  }
  void ExpectUsage(std::vector<std::string> arguments, const std::string& message) {
    err_.str("");
    const auto parsed = Parse(std::move(arguments));
    ASSERT_TRUE(std::holds_alternative<ExitCode>(parsed));
    EXPECT_EQ(std::get<ExitCode>(parsed), ExitCode::kUsage);
    EXPECT_THAT(err_.str(), HasSubstr(message));
    EXPECT_EQ(out_.str(), "");
  }

  std::istringstream in_;
  std::ostringstream out_, err_;
  Terminal terminal_{.in = in_, .out = out_, .err = err_};
  Invocation invocation_;
};

TEST_F(CommandLine, UnsetFlagsStayUnset) {
  const auto command = Get<GenerateCommand>({"generate", "hello"});
  EXPECT_EQ(command.prompt, "hello");
  const GenerationOptions& options = command.flags.options;
  EXPECT_FALSE(options.temperature || options.top_p || options.min_p || options.top_k ||
               options.repetition_penalty || options.presence_penalty ||
               options.frequency_penalty || options.seed || options.n || options.logprobs ||
               options.max_tokens || options.min_tokens);
  EXPECT_TRUE(command.flags.stream);
  EXPECT_FALSE(command.flags.stats);
  EXPECT_EQ(invocation_.common.connection.endpoint, kDefaultEndpoint);
  EXPECT_EQ(invocation_.common.timeout, std::nullopt);
}

TEST_F(CommandLine, EveryGenerationFlag) {
  const auto command = Get<ChatCommand>({"chat",
                                         "--temperature=0",
                                         "--top-k",
                                         "40",
                                         "--top-p",
                                         "0.9",
                                         "--min-p",
                                         "0.05",
                                         "--repetition-penalty",
                                         "1.1",
                                         "--presence-penalty",
                                         "-0.5",
                                         "--frequency-penalty",
                                         "0.25",
                                         "--logit-bias",
                                         "5=-1.5",
                                         "--logit-bias",
                                         "7=2",
                                         "--seed",
                                         "18446744073709551615",
                                         "-n",
                                         "2",
                                         "--logprobs",
                                         "3",
                                         "--max-tokens",
                                         "64",
                                         "--min-tokens",
                                         "4",
                                         "--stop",
                                         "END",
                                         "--stop",
                                         "a, b",
                                         "--stop-token-id",
                                         "9",
                                         "--ignore-eos",
                                         "--include-stop",
                                         "--request-id",
                                         "r1",
                                         "--expected-digest",
                                         "sha256:00",
                                         "--no-stream",
                                         "--stats",
                                         "-m",
                                         "tiny",
                                         "--system",
                                         "Be brief.",
                                         "Hi",
                                         "-o",
                                         "json",
                                         "--timeout",
                                         "2m",
                                         "--endpoint",
                                         "unix:/run/x",
                                         "--no-headers"});
  const GenerationOptions& options = command.flags.options;
  EXPECT_EQ(options.temperature, 0.0f);
  EXPECT_EQ(options.top_k, 40);
  EXPECT_EQ(options.top_p, 0.9f);
  EXPECT_EQ(options.min_p, 0.05f);
  EXPECT_EQ(options.repetition_penalty, 1.1f);
  EXPECT_EQ(options.presence_penalty, -0.5f);
  EXPECT_EQ(options.frequency_penalty, 0.25f);
  EXPECT_THAT(options.logit_bias, ElementsAre(Pair(5, -1.5f), Pair(7, 2.0f)));
  EXPECT_EQ(options.seed, 18446744073709551615u);
  EXPECT_EQ(options.n, 2);
  EXPECT_EQ(options.logprobs, 3);
  EXPECT_EQ(options.max_tokens, 64);
  EXPECT_EQ(options.min_tokens, 4);
  EXPECT_THAT(options.stop, ElementsAre("END", "a, b"));
  EXPECT_THAT(options.stop_token_ids, ElementsAre(9));
  EXPECT_TRUE(options.ignore_eos && options.include_stop);
  EXPECT_EQ(command.flags.request_id, "r1");
  EXPECT_EQ(command.flags.expected_digest, "sha256:00");
  EXPECT_FALSE(command.flags.stream);
  EXPECT_TRUE(command.flags.stats);
  EXPECT_EQ(command.flags.model, "tiny");
  EXPECT_EQ(command.system, "Be brief.");
  EXPECT_EQ(command.message, "Hi");
  EXPECT_EQ(invocation_.common.output, OutputFormat::kJson);
  EXPECT_EQ(invocation_.common.timeout, std::chrono::minutes(2));
  EXPECT_EQ(invocation_.common.connection.endpoint, "unix:/run/x");
  EXPECT_FALSE(invocation_.common.headers);
}

TEST_F(CommandLine, PromptsMayLookLikeCommandsAndOptions) {
  EXPECT_EQ(Get<GenerateCommand>({"generate", "chat"}).prompt, "chat");
  EXPECT_EQ(Get<GenerateCommand>({"generate", "--", "--stats"}).prompt, "--stats");
  EXPECT_EQ(Get<GenerateCommand>({"generate", ""}).prompt, "");
  EXPECT_EQ(Get<GenerateCommand>({"generate"}).prompt, std::nullopt);
}

TEST_F(CommandLine, OtherCommands) {
  EXPECT_EQ(Get<InspectCommand>({"model", "inspect", "a.gguf"}).file, "a.gguf");
  EXPECT_EQ(Get<ModelGetCommand>({"model", "get", "m"}).model, "m");
  Get<ModelListCommand>({"model", "list", "-o", "json"});
  Get<StatusCommand>({"status"});
  Get<VersionCommand>({"version"});
  const auto tokenize = Get<TokenizeCommand>({"tokenize", "--model-file", "f", "--bos"});
  EXPECT_EQ(tokenize.model_file, "f");
  EXPECT_TRUE(tokenize.bos);
  EXPECT_FALSE(tokenize.parse_special);
  const auto render = Get<TemplateCommand>(
      {"template", "--template-file", "t", "--bos", "<s>", "--eos", "", "--add-generation-prompt"});
  EXPECT_EQ(render.template_file, "t");
  EXPECT_EQ(render.bos, "<s>");
  EXPECT_EQ(render.eos, "");
  EXPECT_TRUE(render.add_generation_prompt);
}

TEST_F(CommandLine, BenchLoops) {
  EXPECT_EQ(Get<BenchCommand>({"bench"}).concurrency, 1);
  const auto open = Get<BenchCommand>({"bench", "--rate", "2.5", "--duration", "500ms"});
  EXPECT_EQ(open.rate_per_s, 2.5);
  EXPECT_EQ(open.concurrency, 256);
  EXPECT_EQ(open.duration, std::chrono::milliseconds(500));
  EXPECT_EQ(Get<BenchCommand>({"bench", "--rate", "2.5", "--concurrency", "8"}).concurrency, 8);
}

TEST_F(CommandLine, WrongUsageSaysWhatIsWrong) {
  ExpectUsage({}, "a command is missing: generate, chat, model");
  ExpectUsage({"generte"}, "generte");
  ExpectUsage({"generate", "a", "b"}, "b");
  ExpectUsage({"generate", "--temperatur", "1"}, "--temperatur");
  ExpectUsage({"generate", "--max-tokens", "many"}, "--max-tokens");
  ExpectUsage({"generate", "--logit-bias", "5"}, "is not ID=BIAS");
  ExpectUsage({"generate", "--logit-bias", "5=x"}, "is not ID=BIAS");
  ExpectUsage({"status", "-o", "yaml"}, "yaml");
  ExpectUsage({"status", "--timeout", "soon"}, "not a duration");
  ExpectUsage({"template"}, "required");
  ExpectUsage({"template", "--model-file", "a", "--template-file", "b"}, "--template-file");
  ExpectUsage({"tokenize", "--model-file", "a", "--model", "b"}, "--model");
  ExpectUsage({"model"}, "a command is missing: inspect, list, get, load, unload");
  ExpectUsage({"model", "inspect"}, "file");
  ExpectUsage({"bench", "--concurrency", "0"}, "--concurrency");
  ExpectUsage({"completion", "csh"}, "csh");
}

TEST_F(CommandLine, HelpGoesToStdoutWithExamplesBeforeOptions) {
  for (const auto& [path, words] : CommandWords()) {
    out_.str("");
    std::vector<std::string> arguments;
    std::istringstream parts(path);
    for (std::string part; parts >> part;) {
      arguments.push_back(part);
    }
    arguments.emplace_back("--help");
    const auto parsed = Parse(arguments);
    ASSERT_TRUE(std::holds_alternative<ExitCode>(parsed));
    EXPECT_EQ(std::get<ExitCode>(parsed), ExitCode::kOk);
    const std::string help = out_.str();
    EXPECT_LT(help.find("Examples:\n  "), help.find("Options:")) << help;
  }
  EXPECT_EQ(err_.str(), "");
}

TEST_F(CommandLine, CompletionKnowsCommandsAndOptions) {
  const auto words = CommandWords();
  EXPECT_THAT(words.at(""), Contains("generate"));
  EXPECT_THAT(words.at(""), Contains("--endpoint"));
  EXPECT_THAT(words.at("model"), Contains("inspect"));
  EXPECT_THAT(words.at("generate"), Contains("--max-tokens"));
  EXPECT_THAT(words.at("template"), Contains("--template-file"));
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    out_.str("");
    EXPECT_EQ(RunInferctl({"completion", shell}, terminal_), ExitCode::kOk);
    EXPECT_THAT(out_.str(), HasSubstr("max-tokens")) << shell;
  }
}

TEST_F(CommandLine, VersionIsData) {
  EXPECT_EQ(RunInferctl({"version"}, terminal_), ExitCode::kOk);
  EXPECT_THAT(out_.str(), StartsWith("inferctl "));
}

TEST(ParseDuration, UnitsAndLimits) {
  EXPECT_EQ(*ParseDuration("30s"), std::chrono::seconds(30));
  EXPECT_EQ(*ParseDuration("1.5"), std::chrono::milliseconds(1500));
  EXPECT_EQ(*ParseDuration("250ms"), std::chrono::milliseconds(250));
  EXPECT_EQ(*ParseDuration("1h"), std::chrono::hours(1));
  for (const char* bad : {"", "s", "0", "-1s", "1d", "1e300s", "nan", "inf", "5 s", "9000h1"}) {
    EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace inferd
