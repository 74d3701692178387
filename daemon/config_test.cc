// Goal: a config that is accepted means what it says; one that is not is refused with the place,
// the key and the reason of every fault.
#include "daemon/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "daemon/config_values.h"

namespace inferd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kSmall[] =
    "schema_version: 1\n"
    "models:\n"
    "  - name: tiny\n"
    "    path: tiny.gguf\n";

std::vector<std::string> Errors(const std::string& text,
                                const std::vector<std::string>& overrides = {}) {
  return ParseConfig(text, "c.yaml", overrides).errors;
}

TEST(Config, TheSmallestOneHasTheDefaults) {
  const ConfigResult result = ParseConfig(kSmall, "c.yaml", {});
  ASSERT_TRUE(result.config.has_value()) << result.errors.front();
  EXPECT_EQ(result.config->data.address, "127.0.0.1:8750");
  EXPECT_EQ(result.config->models.at(0).path, "tiny.gguf");
  EXPECT_EQ(result.config->kv_cache_bytes_max, int64_t{1} << 30);
}

TEST(Config, ReadsEveryKindOfValue) {
  const ConfigResult result = ParseConfig(std::string(kSmall) +
                                              "listeners: {data: {address: \"[::1]:0\", "
                                              "reflection: false, message_bytes_max: 2MiB}}\n"
                                              "drain: {delay: 1500ms, timeout: 2min}\n"
                                              "kv_cache: {bytes_max: 65536}\n"
                                              "scheduler:\n  step_tokens_max: 64\n",
                                          "c.yaml",
                                          {});
  ASSERT_TRUE(result.config.has_value()) << result.errors.front();
  EXPECT_FALSE(result.config->data.reflection);
  EXPECT_EQ(result.config->data.message_bytes_max, 2 << 20);
  EXPECT_EQ(result.config->drain.delay, std::chrono::milliseconds(1500));
  EXPECT_EQ(result.config->drain.timeout, std::chrono::minutes(2));
  EXPECT_EQ(result.config->kv_cache_bytes_max, 65536);
  EXPECT_EQ(result.config->scheduler.step_tokens_max, 64);
}

TEST(Config, NamesPlaceAndKeyOfUnknownAndDuplicateKeys) {
  EXPECT_THAT(
      Errors("schema_version: 1\n"
             "models:\n"
             "  - name: tiny\n"
             "    path: a\n"
             "    contxt_tokens_max: 5\n"
             "sheduler: {}\n"
             "drain: {delay: 0, delay: 0}\n"),
      ElementsAre("c.yaml:5:5: error: models[0].contxt_tokens_max: unknown key (did you "
                  "mean \"context_tokens_max\"?)",
                  "c.yaml:7:19: error: drain.delay: stands twice",
                  "c.yaml:6:1: error: sheduler: unknown key (did you mean \"scheduler\"?)"));
}

TEST(Config, NamesPlaceAndKeyOfBadValues) {
  EXPECT_THAT(
      Errors("schema_version: 010\n"
             "listeners:\n"
             "  data:\n"
             "    address: here:80\n"
             "    reflection: yes\n"
             "    message_bytes_max: 3 MiB\n"
             "device: {kind: cpuu}\n"
             "models: []\n"
             "scheduler: {running_max: 0}\n"
             "drain: {delay: 5}\n"),
      ElementsAre(
          "c.yaml:1:17: error: schema_version: \"010\" is not an integer",
          "c.yaml:4:14: error: listeners.data.address: \"here:80\" is not an address; write "
          "127.0.0.1:PORT, [::1]:PORT, another address of this host with a port, or unix:PATH",
          "c.yaml:5:17: error: listeners.data.reflection: \"yes\" is neither true nor false",
          "c.yaml:6:24: error: listeners.data.message_bytes_max: \"3 MiB\" is not a size "
          "such as 16MiB (B, KiB, MiB, GiB, TiB)",
          "c.yaml:7:16: error: device.kind: unknown value \"cpuu\" (did you mean \"cpu\"?)",
          "c.yaml:8:9: error: models: must be a list of 1 to 16 items",
          "c.yaml:9:26: error: scheduler.running_max: 0 is not in [1, 65536]",
          "c.yaml:10:16: error: drain.delay: \"5\" is not a time such as 30s (ms, s, min, "
          "h)"));
}

TEST(Config, NamesWhatIsMissing) {
  EXPECT_THAT(Errors("models: [{name: tiny}]\n"),
              ElementsAre("c.yaml:1:1: error: schema_version: is missing",
                          "c.yaml:1:10: error: models[0].path: is missing"));
  EXPECT_THAT(Errors(""),
              ElementsAre("c.yaml:1:1: error: schema_version: is missing",
                          "c.yaml:1:1: error: models: is missing"));
}

TEST(Config, RefusesOtherShapes) {
  EXPECT_THAT(Errors("just text\n"),
              ElementsAre(HasSubstr("must be a map of keys and values"),
                          HasSubstr("schema_version: is missing"),
                          HasSubstr("models: is missing")));
  EXPECT_THAT(Errors("a: [1\n"), ElementsAre(HasSubstr("c.yaml:2:1: error: ")));
  EXPECT_THAT(Errors("\xff"), ElementsAre("c.yaml:1:1: error: not valid UTF-8"));
  EXPECT_THAT(Errors(std::string(kSmall) + "drain: 5\n"),
              ElementsAre("c.yaml:5:8: error: drain: must be a map of keys and values"));
  EXPECT_THAT(Errors(std::string(kSmall) + "drain: {delay: [1]}\n"),
              ElementsAre("c.yaml:5:16: error: drain.delay: must be a single value"));
}

TEST(Config, RefusesAModelNameTwiceAndOddNames) {
  EXPECT_THAT(Errors(std::string(kSmall) + "  - {name: tiny, path: b}\n"),
              ElementsAre("c.yaml:5:5: error: models[1].name: \"tiny\" stands twice"));
  EXPECT_THAT(Errors("schema_version: 1\nmodels: [{name: a@b, path: c}]\n"),
              ElementsAre("c.yaml:2:17: error: models[0].name: \"a@b\" is not a name: 1 to 128 of "
                          "a-z A-Z 0-9 . _ -"));
}

TEST(Config, OtherHostsNeedTls) {
  const std::string tls = "tls: {certificate: a, key: b, client_ca: c}";
  const auto errors = [](const std::string& data) {
    return Errors(std::string(kSmall) + "listeners: {data: {" + data + "}}\n");
  };
  EXPECT_THAT(errors("address: \"0.0.0.0:80\""),
              ElementsAre(HasSubstr("listeners.data.address: other hosts reach \"0.0.0.0:80\": tls "
                                    "is needed")));
  EXPECT_THAT(errors("address: \"0.0.0.0:80\", insecure: true"), testing::IsEmpty());
  EXPECT_THAT(errors("address: \"0.0.0.0:80\", " + tls), testing::IsEmpty());
  EXPECT_THAT(errors(tls), testing::IsEmpty());
  EXPECT_THAT(
      errors("tls: {certificate: a, key: b}"),
      ElementsAre(HasSubstr("listeners.data.tls: certificate, key and client_ca are needed")));
  EXPECT_THAT(errors("address: unix:/run/x, " + tls),
              ElementsAre(HasSubstr("listeners.data.tls: a Unix socket has none")));
  EXPECT_THAT(Errors(kSmall, {"listeners.data.address=10.0.0.1:80"}),
              ElementsAre(HasSubstr("--set listeners.data.address=10.0.0.1:80: error: ")));
}

TEST(Config, ReadsClassesTenantsAndPublicPrefixes) {
  const ConfigResult result = ParseConfig(
      std::string(kSmall) +
          "scheduler:\n"
          "  fairness_window_units: 4096\n"
          "  classes:\n"
          "    - {name: chat, order: 0, first_token: 2s, token_interval: 200ms, queue_max: 1min}\n"
          "    - {name: batch, order: 1}\n"
          "  tenants:\n"
          "    - {name: acme, weight: 3, running_max: 8, cached_blocks_guaranteed: 32}\n"
          "    - {name: night, class: batch, reserves_all_output: true}\n"
          "kv_cache: {public_tokens_max: 512}\n"
          "public_prefixes: [{model: tiny, path: system.txt}]\n",
      "c.yaml",
      {});
  ASSERT_TRUE(result.config.has_value()) << result.errors.front();
  const Config::SchedulerLimits& scheduler = result.config->scheduler;
  EXPECT_EQ(scheduler.fairness_window_units, 4096);
  ASSERT_EQ(scheduler.classes.size(), 2u);
  EXPECT_EQ(scheduler.classes[0].token_interval, std::chrono::milliseconds(200));
  ASSERT_EQ(scheduler.tenants.size(), 2u);
  EXPECT_EQ(scheduler.tenants[0].weight, 3);
  EXPECT_EQ(scheduler.tenants[0].cached_blocks_guaranteed, 32);
  EXPECT_EQ(scheduler.tenants[1].service_class, "batch");
  EXPECT_TRUE(scheduler.tenants[1].reserves_all_output);
  EXPECT_EQ(result.config->public_prefixes.at(0).kind, "system");
}

TEST(Config, NamesFaultsOfClassesTenantsAndPublicPrefixes) {
  EXPECT_THAT(
      Errors(std::string(kSmall) + "    context_tokens_max: 9000\n"
                                   "scheduler:\n"
                                   "  fairness_window_units: 4096\n"
                                   "  classes: [{name: chat}, {name: chat}]\n"
                                   "  tenants:\n"
                                   "    - {name: _log}\n"
                                   "    - {name: acme, weight: 0}\n"
                                   "    - {name: acme, class: night}\n"
                                   "public_prefixes: [{model: other, path: a}]\n"),
      ElementsAre("c.yaml:10:14: error: scheduler.tenants[0].name: names that begin with _ "
                  "are reserved",
                  "c.yaml:11:28: error: scheduler.tenants[1].weight: 0 is not in [1, "
                  "1000000]",
                  "c.yaml:8:34: error: scheduler.classes[1].name: \"chat\" stands twice",
                  "c.yaml:12:14: error: scheduler.tenants[2].name: \"acme\" stands twice",
                  "c.yaml:12:27: error: scheduler.tenants[2].class: \"night\" is not the "
                  "name of one of scheduler.classes",
                  "c.yaml:7:26: error: scheduler.fairness_window_units: 4096 is below the "
                  "context of model tiny, 9000 tokens: one long request would put its "
                  "tenant out of the window",
                  "c.yaml:13:27: error: public_prefixes[0].model: \"other\" is not the name "
                  "of one of models"));
}

TEST(Config, OverridesWinAndAreNamedInErrors) {
  const ConfigResult result = ParseConfig(
      kSmall, "c.yaml", {"models.0.path=other.gguf", "listeners.data.address=127.0.0.1:0"});
  ASSERT_TRUE(result.config.has_value()) << result.errors.front();
  EXPECT_EQ(result.config->models.at(0).path, "other.gguf");
  EXPECT_EQ(result.config->data.address, "127.0.0.1:0");
  EXPECT_THAT(
      Errors(kSmall, {"device.threads=-1"}),
      ElementsAre("--set device.threads=-1: error: device.threads: -1 is not in [0, 1024]"));
  EXPECT_THAT(Errors(kSmall, {"device.thread=1"}),
              ElementsAre("--set device.thread=1: error: device.thread: unknown key (did you mean "
                          "\"threads\"?)"));
  EXPECT_THAT(Errors(kSmall, {"models.3.path=x"}),
              ElementsAre("--set models.3.path=x: error: \"3\" is not an item of a list of 1"));
  EXPECT_THAT(Errors(kSmall, {"nonsense"}),
              ElementsAre("--set nonsense: error: write it as KEY.KEY=VALUE"));
}

TEST(Config, PrintsWhatItReadsBackWithOrigins) {
  const ConfigResult first =
      ParseConfig(std::string(kSmall) + "drain: {delay: 250ms}\n", "c.yaml", {"device.threads=3"});
  const std::string printed = PrintConfig(first);
  EXPECT_THAT(printed, HasSubstr("- name: \"tiny\"  # c.yaml:3\n"));
  EXPECT_THAT(printed, HasSubstr("  delay: 250ms  # c.yaml:5\n"));
  EXPECT_THAT(printed, HasSubstr("  threads: 3  # --set device.threads=3\n"));
  EXPECT_THAT(printed, HasSubstr("  timeout: 30s  # default\n"));
  const ConfigResult second = ParseConfig(printed, "again.yaml", {});
  ASSERT_TRUE(second.config.has_value()) << second.errors.front();
  EXPECT_EQ(second.config->drain.delay, std::chrono::milliseconds(250));
  EXPECT_EQ(second.config->device.threads, 3);
}

// Modes that serve without a durable record need what makes up for it.
TEST(Config, GuardedNeedsASpillAndBestEffortTwoPersons) {
  const auto errors = [](const std::string& audit) {
    return ParseConfig(std::string(kSmall) + "audit: " + audit + "\n", "c.yaml", {}).errors;
  };
  EXPECT_THAT(errors("{mode: guarded}"), ElementsAre(HasSubstr("audit.spill_directory: ")));
  EXPECT_THAT(errors("{tenants: [{name: a, mode: guarded}]}"),
              ElementsAre(HasSubstr("audit.spill_directory: ")));
  EXPECT_THAT(errors("{mode: guarded, spill_directory: /mnt/b}"), IsEmpty());
  EXPECT_THAT(errors("{mode: best_effort}"),
              ElementsAre(HasSubstr("audit.best_effort_approved_by: ")));
  EXPECT_THAT(errors("{mode: best_effort, best_effort_approved_by: [{person: a}, {person: a}]}"),
              ElementsAre(HasSubstr("two persons")));
  EXPECT_THAT(errors("{mode: best_effort, best_effort_approved_by: [{person: a}, {person: b}]}"),
              IsEmpty());
}

// The schema has exactly the keys that are read: every leaf of it is a line of --print-config.
TEST(Config, TheSchemaAgreesWithTheReader) {
  const auto schema = nlohmann::json::parse(PrintConfigSchema());
  EXPECT_EQ(schema.at("properties").at("schema_version").at("minimum"), 1);
  EXPECT_THAT(schema.at("required"), ElementsAre("schema_version", "models"));
  size_t leaves = 0;
  const std::function<void(const nlohmann::json&)> visit = [&](const nlohmann::json& node) {
    EXPECT_TRUE(node.contains("description") || node.contains("properties")) << node;
    if (node.contains("items")) {
      visit(node.at("items"));
    } else if (node.contains("properties")) {
      EXPECT_EQ(node.at("additionalProperties"), false);
      for (const auto& [key, child] : node.at("properties").items()) {
        visit(child);
      }
    } else {
      ++leaves;
    }
  };
  visit(schema);
  const std::string one_of_each = std::string(kSmall) +
                                  "audit: {best_effort_approved_by: [{person: a}], "
                                  "tenants: [{name: acme}]}\n"
                                  "identity: {administrators: [{name: 'uid:1', "
                                  "roles: [operator]}]}\n"
                                  "scheduler: {classes: [{name: chat}], tenants: [{name: acme}]}\n"
                                  "public_prefixes: [{model: tiny, path: a.txt}]\n"
                                  "quotas: [{id: a, org: o, metric: rpm, limit: 1}]\n";
  const std::string printed = PrintConfig(ParseConfig(one_of_each, "c.yaml", {}));
  EXPECT_EQ(leaves, static_cast<size_t>(std::count(printed.begin(), printed.end(), '#')));
}

TEST(ConfigValues, SizesAndTimes) {
  EXPECT_EQ(*ParseBytes("0"), 0);
  EXPECT_EQ(*ParseBytes("7"), 7);
  EXPECT_EQ(*ParseBytes("1TiB"), int64_t{1} << 40);
  EXPECT_EQ(FormatBytes(3 << 20), "3MiB");
  EXPECT_EQ(*ParseDuration("90min"), std::chrono::minutes(90));
  EXPECT_EQ(FormatDuration(std::chrono::minutes(90)), "90min");
  for (const char* text : {"", "MiB", "-1MiB", "1mib", "1.5GiB", "99999999999TiB", "01"}) {
    EXPECT_FALSE(ParseBytes(text).ok()) << text;
  }
  for (const char* text : {"", "s", "5", "-5s", "1sec", "9999999999999h"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

}  // namespace
}  // namespace inferd
