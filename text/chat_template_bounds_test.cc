// Goal: a hostile template ends in an error, soon and without harm to the process. Method: one test
// for each way to ask for too much.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/chat_template.h"

namespace inferd {
namespace {

struct Hostile {
  const char* name;
  const char* source;
  StatusCode code;
};

class HostileTemplate : public testing::TestWithParam<Hostile> {};

TEST_P(HostileTemplate, EndsInAnError) {
  ChatTemplateInput input;
  input.messages = {{"user", "SECRET"}};
  const auto chat_template = ChatTemplate::Create(GetParam().source);
  const Status status =
      chat_template.ok() ? (*chat_template)->RenderPieces(input).status() : chat_template.status();
  // On a busy machine the bound on time may come first.
  EXPECT_THAT(status.code(), testing::AnyOf(GetParam().code, StatusCode::kResourceExhausted))
      << status;
  EXPECT_EQ(Message(status).find("SECRET"), std::string_view::npos) << status;
  EXPECT_LT(Message(status).size(), 500u);
}

constexpr StatusCode kBad = StatusCode::kInvalidArgument;
constexpr StatusCode kTooMuch = StatusCode::kResourceExhausted;

INSTANTIATE_TEST_SUITE_P(
    All,
    HostileTemplate,
    testing::Values(
        Hostile{"Loops",
                "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                kTooMuch},
        Hostile{"Output", "{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}", kTooMuch},
        Hostile{"UnknownFilter", "{{ messages | no_such_filter }}", kBad},
        Hostile{"UnknownFunction", "{{ no_such_function() }}", kBad},
        Hostile{"UnknownTag", "{% no_such_tag %}", kBad},
        Hostile{"Include", "{% include '/etc/passwd' %}", kBad},
        Hostile{"Recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", kBad},
        Hostile{
            "RecursiveLoop", "{% for a in [[[1]]] recursive %}{{ loop([a]) }}{% endfor %}", kBad},
        Hostile{"SelfExtend", "{% extends 'chat_template' %}", kBad},
        Hostile{"HugeString", "{{ ('x' * 9999999 * 9999999) | length }}", kBad},
        Hostile{"BigString", "{% set x = 'x' * 99999999 %}{{ x | length }}", kTooMuch},
        Hostile{"BigStringLater",
                "{% set n = 99999999 %}{% set x = 'x' * n %}{{ x | length }}",
                kTooMuch},
        Hostile{"HugeRange", "{{ range(999999999999) | list | length }}", kBad},
        Hostile{"HugeIndent", "{{ [1] | tojson(indent=999999999) }}", kBad},
        Hostile{
            "Doubling",
            "{% set ns = namespace(x='x') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}"
            "{% endfor %}{{ ns.x | length }}",
            kTooMuch},
        Hostile{"Replace",
                "{% set ns = namespace(x='xx') %}{% for a in range(99) %}"
                "{% set ns.x = ns.x | replace('x', ns.x) %}{% endfor %}{{ ns.x | length }}",
                kTooMuch},
        Hostile{"ManyStrings",
                "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}"
                "{% set ns.x = ns.x + ['x' * (9999 + a)] %}{% endfor %}",
                kTooMuch},
        Hostile{"DeepRepr",
                "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}"
                "{% endfor %}{{ ns.x }}",
                kBad},
        Hostile{
            "DeepJson",
            "{% set ns = namespace(x={}) %}{% for a in range(99999) %}{% set ns.x = {'x': ns.x} %}"
            "{% endfor %}{{ ns.x | tojson }}",
            kBad},
        Hostile{"DeepConcatenation",
                "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}"
                "{% endfor %}{{ ('' ~ ns.x) | length // 0 }}",
                kBad},
        Hostile{
            "DeepCompare",
            "{% set ns = namespace(x=[], y=[]) %}{% for a in range(60000) %}{% set ns.x = [ns.x] %}"
            "{% set ns.y = [ns.y] %}{% endfor %}{{ (ns.x == ns.y) // 0 }}",
            kBad},
        Hostile{
            "DeepNesting",
            "{{ "
            "((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((("
            "(((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((("
            "(1"
            ")))) }}",
            kBad},
        Hostile{"Raises", "{{ raise_exception('no') }}", kBad},
        Hostile{"Divides", "{{ 1 // 0 }}", kBad}),
    [](const testing::TestParamInfo<Hostile>& hostile) { return std::string(hostile.param.name); });

TEST(TemplateBounds, DeepValuesThatAreNotPrintedAreDropped) {
  const auto chat_template = ChatTemplate::Create(
      "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor "
      "%}ok");
  ASSERT_TRUE(chat_template.ok());
  EXPECT_EQ((*chat_template)->Render({}).value(), "ok");
}

TEST(TemplateBounds, ATemplateThatIsStoppedTooOftenIsRefused) {
  const auto chat_template = ChatTemplate::Create("{% set n = 99999999 %}{{ ('x' * n) | length }}");
  ASSERT_TRUE(chat_template.ok());
  for (int i = 0; i < 6; ++i) {
    const Status status = (*chat_template)->Render({}).status();
    EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(Message(status).find("too often") != std::string_view::npos, i >= 4) << status;
  }
}

TEST(TemplateBounds, ALongChatIsNoHostileTemplate) {
  ChatTemplateInput input;
  for (int i = 0; i < 2000; ++i) {
    input.messages.push_back({i % 2 == 0 ? "user" : "assistant", std::string(100, 'x')});
  }
  const auto chat_template = ChatTemplate::Create(
      "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content | trim + '<|end|>' }}{% endfor "
      "%}");
  ASSERT_TRUE(chat_template.ok());
  EXPECT_TRUE((*chat_template)->RenderPieces(input).ok());
}

}  // namespace
}  // namespace inferd
