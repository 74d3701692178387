#include "governance/registry/model_reference.h"

#include <gtest/gtest.h>

namespace inferd {
namespace {

using Kind = ModelReference::Kind;

TEST(ModelReferenceTest, EachFormSaysWhatItIs) {
  const std::string hex(64, 'a');
  const struct {
    std::string text;
    Kind kind;
    std::string label;
  } kForms[] = {{"llama-3.1-8b", Kind::kName, ""},
                {"llama@sha256:" + hex, Kind::kDigest, ""},
                {"llama:v1.2", Kind::kVersion, "v1.2"},
                {"llama#production", Kind::kAlias, "production"}};
  for (const auto& form : kForms) {
    const auto reference = ParseModelReference(form.text);
    ASSERT_TRUE(reference.ok()) << form.text;
    EXPECT_EQ(reference->kind, form.kind) << form.text;
    EXPECT_EQ(reference->label, form.label);
    EXPECT_EQ(reference->Text(), form.text);
    EXPECT_EQ(reference->name, form.text.substr(0, form.text.find_first_of("@:#")));
  }
  EXPECT_EQ(ParseModelReference("llama@sha256:" + hex)->digest.Hex(), hex);
}

TEST(ModelReferenceTest, ADigestIsWrittenInLowerCase) {
  const auto reference = ParseModelReference("m@sha256:" + std::string(64, 'A'));
  ASSERT_TRUE(reference.ok());
  EXPECT_EQ(reference->Text(), "m@sha256:" + std::string(64, 'a'));
}

TEST(ModelReferenceTest, AnythingElseIsRefusedWithoutRepeatingIt) {
  const std::string hex(64, '0');
  for (const std::string& text : {std::string(),
                                  std::string("@sha256:") + hex,
                                  std::string("m@"),
                                  "m@" + hex,
                                  "m@sha512:" + hex,
                                  "m@sha256:" + hex + "0",
                                  std::string("m:"),
                                  std::string("m#"),
                                  std::string("m:1#a"),
                                  std::string("m#a:1"),
                                  std::string("m:1:2"),
                                  std::string("_canary"),
                                  std::string("canary/model"),
                                  std::string("-canary"),
                                  std::string("m: canary"),
                                  std::string("m\0canary", 8),
                                  std::string(129, 'c')}) {
    const auto reference = ParseModelReference(text);
    ASSERT_EQ(reference.status().code(), StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(Message(reference.status()).find("canary"), std::string_view::npos);
  }
}

}  // namespace
}  // namespace inferd
