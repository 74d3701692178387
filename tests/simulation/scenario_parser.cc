#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/random.h"
#include "scheduler/sequence.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/scenario_line.h"
#include "tests/simulation/scenario_words.h"

namespace inferd::sim {
namespace {

using Word = ScenarioLine::Word;

constexpr NumberRange kAnyCount{0, 1'000'000'000};
constexpr NumberRange kPositive{1, 1'000'000'000};
constexpr size_t kTenantsMax = 1024;
constexpr size_t kModelsMax = 16;
constexpr size_t kTextMax = 16 << 20;

// FNV-1a: contents that are given by name.
uint64_t HashName(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char letter : name) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3u;
  }
  return hash;
}

// `c` and 16 hexadecimal digits say the content itself.
std::optional<uint64_t> LiteralContent(std::string_view name) {
  if (name.size() != 17 || name[0] != 'c') {
    return std::nullopt;
  }
  uint64_t value = 0;
  for (const char digit : name.substr(1)) {
    const size_t place = std::string_view("0123456789abcdef").find(digit);
    if (place == std::string_view::npos) {
      return std::nullopt;
    }
    value = value * 16 + place;
  }
  return value;
}

// What the options of `submits` say, before lengths are drawn.
struct Template {
  uint32_t model = 0;
  NumberRange prompt;
  NumberRange output;
  int64_t output_max = 0;  // 0: as long as the output
  std::vector<Segment> shared;
  std::optional<Duration> deadline;
  int32_t service_class = 0;
  bool deterministic = false;
};

class Parser {
 public:
  explicit Parser(std::string_view file) : file_(file) {}

  StatusOr<Scenario> Parse(std::string_view text) {
    if (text.size() > kTextMax) {
      return ErrorF(StatusCode::kInvalidArgument, "%s: more than 16 MiB", file_);
    }
    int number = 0;
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      ++number;
      RETURN_IF_ERROR(ParseLine(number, text.substr(0, end)));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    if (workload().models.empty() || workload().tenants.empty()) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "%s:%d:1: a scenario needs a model and a tenant",
                    file_,
                    std::max(number, 1));
    }
    SortByTime(workload());
    return std::move(scenario_);
  }

 private:
  Workload& workload() { return scenario_.workload; }

  Status ParseLine(int number, std::string_view text) {
    if (text.starts_with("#")) {
      ParseHead(text.substr(1));
      return OkStatus();
    }
    ScenarioLine line(file_, number, text);
    if (line.done()) {
      return OkStatus();
    }
    ASSIGN_OR_RETURN(const Word verb, line.Take("a statement"));
    if (verb.text == "seed") {
      return ParseSeed(line);
    }
    if (verb.text == "device") {
      return ParseDevice(line);
    }
    if (verb.text == "policy") {
      return ParsePolicy(line);
    }
    if (verb.text == "model") {
      return ParseModel(line);
    }
    if (verb.text == "tenant") {
      return ParseTenant(line);
    }
    if (verb.text == "at") {
      return ParseAt(line);
    }
    if (verb.text == "from") {
      return ParseFrom(line);
    }
    if (verb.text == "expect") {
      return ParseExpect(line);
    }
    return line.Error(verb,
                      "a line begins with seed, device, policy, model, tenant, at, from or expect");
  }

  // "# name: value" comments say what the scenario is.
  void ParseHead(std::string_view text) {
    for (const auto& [key, field] : {std::pair{" name: ", &Scenario::name},
                                     std::pair{" group: ", &Scenario::group},
                                     std::pair{" description: ", &Scenario::description}}) {
      const std::string_view prefix = key;
      if (text.starts_with(prefix)) {
        std::string_view value = text.substr(prefix.size());
        while (!value.empty() && (value.back() == '\r' || value.back() == ' ')) {
          value.remove_suffix(1);
        }
        scenario_.*field = value;
      }
    }
  }

  Status ParseSeed(ScenarioLine& line) {
    ASSIGN_OR_RETURN(const Word word, line.Take("the seed"));
    const auto seed = ParseNumber(word.text);
    if (!seed) {
      return line.Error(word, "the seed should be a number");
    }
    workload().seed = static_cast<uint64_t>(*seed);
    random_ = SplitMix64(workload().seed);
    return line.FinishOptions();
  }

  Status ParseDevice(ScenarioLine& line) {
    DeviceSetup& device = workload().device;
    ASSIGN_OR_RETURN(device.step_tokens_max,
                     line.NumberOption("step_tokens", device.step_tokens_max, {1, 1 << 20}));
    ASSIGN_OR_RETURN(device.running_max,
                     line.NumberOption("running", device.running_max, {1, 1 << 16}));
    ASSIGN_OR_RETURN(device.waiting_max,
                     line.NumberOption("queue", device.waiting_max, {1, 1 << 20}));
    ASSIGN_OR_RETURN(device.in_flight_max,
                     line.NumberOption("in_flight", device.in_flight_max, {1, 2}));
    ASSIGN_OR_RETURN(device.cut_at_blocks, line.FlagOption("canonical_chunks"));
    ASSIGN_OR_RETURN(const bool no_cache, line.FlagOption("no_prefix_cache"));
    device.prefix_cache = !no_cache;
    ASSIGN_OR_RETURN(device.noise_per_mille,
                     line.NumberOption("noise_per_mille", device.noise_per_mille, {0, 10'000}));
    StepTimeModel& time = device.time;
    for (const auto& [key, nanoseconds] : {std::pair{"step", &time.base_ns},
                                           std::pair{"prefill_token", &time.prefill_token_ns},
                                           std::pair{"decode_row", &time.decode_row_ns},
                                           std::pair{"context_1024", &time.context_kilotoken_ns}}) {
      ASSIGN_OR_RETURN(const Duration read, line.TimeOption(key, Duration(*nanoseconds)));
      if (read > std::chrono::seconds(10)) {
        return line.ErrorAtEnd(absl::StrFormat("`%s` is more than 10 s", key));
      }
      *nanoseconds = read.count();
    }
    ASSIGN_OR_RETURN(device.lease_tokens, line.NumberOption("lease", 0, kAnyCount));
    ASSIGN_OR_RETURN(device.lease_reply, line.TimeOption("lease_reply", Duration::zero()));
    ASSIGN_OR_RETURN(device.queue_timeout, line.TimeOption("queue_timeout", Duration::zero()));
    ASSIGN_OR_RETURN(device.host_percent, line.NumberOption("host_percent", 0, {0, 10'000}));
    ASSIGN_OR_RETURN(device.copy_unit, line.TimeOption("copy_unit", device.copy_unit));
    ASSIGN_OR_RETURN(device.paused_state_max, line.TimeOption("paused_state", Duration::zero()));
    ASSIGN_OR_RETURN(device.paused_max, line.TimeOption("paused", Duration::zero()));
    ASSIGN_OR_RETURN(device.draft_tokens,
                     line.NumberOption("draft_tokens", 0, {0, kDraftTokensMax}));
    ASSIGN_OR_RETURN(device.refuses_late, line.FlagOption("refuses_late"));
    return line.FinishOptions();
  }

  Status ParsePolicy(ScenarioLine& line) {
    ASSIGN_OR_RETURN(const Word word, line.Take("the policy"));
    const auto kind = PolicyFromName(word.text);
    if (!kind) {
      return line.Error(word, "the policy is fair, fcfs, priority, drr or vtc");
    }
    workload().policy.kind = *kind;
    ASSIGN_OR_RETURN(workload().policy.theta,
                     line.NumberOption("theta", workload().policy.theta, kPositive));
    return line.FinishOptions();
  }

  Status ParseModel(ScenarioLine& line) {
    ModelSetup model;
    ASSIGN_OR_RETURN(model.name, line.TakeName("the model's name"));
    ASSIGN_OR_RETURN(model.context_tokens_max,
                     line.NumberOption("context", model.context_tokens_max, {1, 1 << 24}));
    constexpr NumberRange kUnits{1, 1 << 24};
    ASSIGN_OR_RETURN(const int64_t blocks, line.NumberOption("blocks", 0, kUnits));
    ASSIGN_OR_RETURN(const int64_t window, line.NumberOption("window", 0, {1, 1 << 20}));
    ASSIGN_OR_RETURN(const int64_t window_blocks, line.NumberOption("window_blocks", 0, kUnits));
    ASSIGN_OR_RETURN(const int64_t slots, line.NumberOption("slots", 0, kUnits));
    ASSIGN_OR_RETURN(model.loading, line.FlagOption("loading"));
    RETURN_IF_ERROR(line.FinishOptions());
    if (blocks > 0) {
      model.groups.push_back({.units = blocks});
    }
    if ((window > 0) != (window_blocks > 0)) {
      return line.ErrorAtEnd("`window` and `window_blocks` go together");
    }
    if (window > 0) {
      model.groups.push_back({.window = static_cast<int32_t>(window), .units = window_blocks});
    }
    if (slots > 0) {
      model.groups.push_back({.kind = StateKind::kSlot, .units = slots});
    }
    if (model.groups.empty()) {
      return line.ErrorAtEnd("a model needs `blocks=`, `window_blocks=` or `slots=`");
    }
    if (workload().models.size() == kModelsMax || FindModel(model.name)) {
      return line.ErrorAtEnd("this model is there already, or there are more than 16");
    }
    workload().models.push_back(std::move(model));
    return OkStatus();
  }

  Status ParseTenant(ScenarioLine& line) {
    TenantSetup tenant;
    ASSIGN_OR_RETURN(tenant.name, line.TakeName("the tenant's name"));
    ASSIGN_OR_RETURN(tenant.weight, line.NumberOption("weight", 1, {1, 1000}));
    ASSIGN_OR_RETURN(tenant.waiting_max,
                     line.NumberOption("queue", tenant.waiting_max, {1, 1 << 20}));
    ASSIGN_OR_RETURN(tenant.running_max,
                     line.NumberOption("running", tenant.running_max, {1, 1 << 20}));
    ASSIGN_OR_RETURN(
        tenant.running_tokens_max,
        line.NumberOption("running_tokens", tenant.running_tokens_max, {1, int64_t{1} << 40}));
    ASSIGN_OR_RETURN(tenant.guaranteed_blocks, line.NumberOption("guaranteed", 0, kAnyCount));
    ASSIGN_OR_RETURN(tenant.budget_tokens,
                     line.NumberOption("budget", tenant.budget_tokens, kAnyCount));
    ASSIGN_OR_RETURN(tenant.strict, line.FlagOption("strict"));
    ASSIGN_OR_RETURN(tenant.shared_cache, line.FlagOption("shared_cache"));
    RETURN_IF_ERROR(line.FinishOptions());
    if (tenants_.contains(tenant.name) || tenants_.size() == kTenantsMax ||
        IsSubject(tenant.name)) {
      return line.ErrorAtEnd("this name is taken, or there are more than 1024 tenants");
    }
    tenants_[tenant.name] = static_cast<uint32_t>(workload().tenants.size());
    workload().tenants.push_back(std::move(tenant));
    return OkStatus();
  }

  // at TIME TENANT submits ..., at TIME TENANT|REQUEST cancels, ... stops reading for TIME,
  // at TIME drain, at TIME fault, at TIME loads MODEL, at TIME unloads MODEL
  Status ParseAt(ScenarioLine& line) {
    ASSIGN_OR_RETURN(const Duration at, line.TakeTime("when"));
    if (line.TakeIf("drain")) {
      workload().disturbances.push_back({.kind = Disturbance::Kind::kDrain, .at = at});
      return line.FinishOptions();
    }
    if (line.TakeIf("fault")) {
      workload().disturbances.push_back({.kind = Disturbance::Kind::kFault, .at = at});
      return line.FinishOptions();
    }
    const bool loads = line.TakeIf("loads");
    if (loads || line.TakeIf("unloads")) {
      ASSIGN_OR_RETURN(const Word name, line.Take("a model"));
      const auto model = FindModel(name.text);
      if (!model) {
        return line.Error(name, "no such model; it must stand on an earlier line");
      }
      workload().disturbances.push_back(
          {.kind = loads ? Disturbance::Kind::kLoad : Disturbance::Kind::kUnload,
           .at = at,
           .model = *model});
      return line.FinishOptions();
    }
    ASSIGN_OR_RETURN(const Word who, line.Take("a tenant or a request"));
    const auto tenant = tenants_.find(who.text);
    if (tenant != tenants_.end() && line.TakeIf("submits")) {
      return ParseSubmits(line, at, tenant->second);
    }
    Disturbance disturbance{.at = at};
    if (line.TakeIf("stops")) {
      RETURN_IF_ERROR(line.Expect("reading"));
      RETURN_IF_ERROR(line.Expect("for"));
      disturbance.kind = Disturbance::Kind::kStall;
      ASSIGN_OR_RETURN(disturbance.lasting, line.TakeTime("how long"));
    } else if (!line.TakeIf("cancels")) {
      return line.Error(who,
                        "expected: a tenant that submits, or a tenant or request that "
                        "cancels or stops reading; both must stand on an earlier line");
    }
    RETURN_IF_ERROR(line.FinishOptions());
    const size_t before = workload().disturbances.size();
    for (uint32_t i = 0; i < workload().submissions.size(); ++i) {
      const Submission& submission = workload().submissions[i];
      const bool meant = tenant != tenants_.end()
                             ? submission.tenant == tenant->second && submission.at <= at
                             : submission.name == who.text;
      if (meant) {
        disturbance.submission = i;
        disturbance.at = std::max(at, submission.at);
        workload().disturbances.push_back(disturbance);
      }
    }
    if (workload().disturbances.size() == before ||
        workload().disturbances.size() > kSubmissionsMax) {
      return line.Error(who, "no request is meant by this (or far too many are)");
    }
    return OkStatus();
  }

  Status ParseSubmits(ScenarioLine& line, Duration at, uint32_t tenant) {
    ASSIGN_OR_RETURN(const Word what, line.Take("a name or a number of requests"));
    if (const auto count = ParseNumber(what.text); count) {
      if (!line.TakeIf("requests")) {
        RETURN_IF_ERROR(line.Expect("request"));
      }
      ASSIGN_OR_RETURN(const Template form, ParseTemplate(line));
      if (*count > static_cast<int64_t>(kSubmissionsMax)) {
        return line.Error(what, "more requests than a scenario may have");
      }
      for (int64_t i = 0; i < *count; ++i) {
        RETURN_IF_ERROR(Add(line, form, at, tenant, ""));
      }
      return OkStatus();
    }
    ASSIGN_OR_RETURN(const Template form, ParseTemplate(line));
    return Add(line, form, at, tenant, std::string(what.text));
  }

  // from TIME to TIME TENANT submits [about] every TIME ...
  Status ParseFrom(ScenarioLine& line) {
    ASSIGN_OR_RETURN(const Duration from, line.TakeTime("the start"));
    RETURN_IF_ERROR(line.Expect("to"));
    ASSIGN_OR_RETURN(const Duration to, line.TakeTime("the end"));
    ASSIGN_OR_RETURN(const Word who, line.Take("a tenant"));
    const auto tenant = tenants_.find(who.text);
    if (tenant == tenants_.end()) {
      return line.Error(who, "no such tenant; it must stand on an earlier line");
    }
    RETURN_IF_ERROR(line.Expect("submits"));
    const bool about = line.TakeIf("about");
    RETURN_IF_ERROR(line.Expect("every"));
    ASSIGN_OR_RETURN(const Duration every, line.TakeTime("how often"));
    if (every <= Duration::zero()) {
      return line.Error(who, "requests need time between them");
    }
    ASSIGN_OR_RETURN(const Template form, ParseTemplate(line));
    for (Duration at = from; at < to; at += Gap(every, about)) {
      RETURN_IF_ERROR(Add(line, form, at, tenant->second, ""));
    }
    return OkStatus();
  }

  // Exponential gaps make a Poisson process of `about every`.
  Duration Gap(Duration every, bool about) {
    if (!about) {
      return every;
    }
    const double gap = -std::log1p(-random_.Unit()) * static_cast<double>(every.count());
    return Duration(std::max<int64_t>(1, std::llround(gap)));
  }

  StatusOr<Template> ParseTemplate(ScenarioLine& line) {
    Template form;
    constexpr NumberRange kTokens{1, kPromptTokensMax};
    ASSIGN_OR_RETURN(form.prompt, line.RangeOption("prompt", {}, kTokens));
    ASSIGN_OR_RETURN(form.output, line.RangeOption("output", {}, kTokens));
    ASSIGN_OR_RETURN(form.output_max, line.NumberOption("max", 0, kTokens));
    ASSIGN_OR_RETURN(const auto model, line.Option("model"));
    ASSIGN_OR_RETURN(const auto shares, line.Option("shares"));
    ASSIGN_OR_RETURN(const auto service_class, line.Option("class"));
    ASSIGN_OR_RETURN(const Duration deadline, line.TimeOption("deadline", Duration::zero()));
    ASSIGN_OR_RETURN(form.deterministic, line.FlagOption("deterministic"));
    RETURN_IF_ERROR(line.FinishOptions());
    if (form.prompt.low == 0 || form.output.low == 0) {
      return line.ErrorAtEnd("`prompt=` and `output=` are needed");
    }
    if (form.output_max != 0 && form.output_max < form.output.high) {
      return line.ErrorAtEnd("`max` is less than `output`");
    }
    if (deadline > Duration::zero()) {
      form.deadline = deadline;
    }
    if (model) {
      const auto found = FindModel(After(model->text, '='));
      if (!found) {
        return line.Error(*model, "no such model; it must stand on an earlier line");
      }
      form.model = *found;
    } else if (workload().models.empty()) {
      return line.ErrorAtEnd("a model must stand on an earlier line");
    }
    if (service_class) {
      const auto found = ServiceClassFromName(After(service_class->text, '='));
      if (!found) {
        return line.Error(*service_class, "the class is interactive, standard or batch");
      }
      form.service_class = *found;
    }
    if (shares) {
      RETURN_IF_ERROR(ParseShares(line, *shares, form.shared));
    }
    return form;
  }

  static std::string_view After(std::string_view text, char mark) {
    const size_t place = text.find(mark);
    return place == std::string_view::npos ? std::string_view() : text.substr(place + 1);
  }

  // shares=NAME:TOKENS+NAME:TOKENS
  Status ParseShares(const ScenarioLine& line, const Word& word, std::vector<Segment>& shared) {
    std::string_view rest = After(word.text, '=');
    do {
      const size_t end = std::min(rest.find('+'), rest.size());
      const std::string_view part = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      const std::string_view name = part.substr(0, part.find(':'));
      const auto tokens = ParseNumber(After(part, ':'));
      if (name.empty() || !tokens || *tokens < 1 || *tokens > kPromptTokensMax) {
        return line.Error(word, "`shares` should be NAME:TOKENS, several joined by `+`");
      }
      shared.push_back({.content = LiteralContent(name).value_or(HashName(name)),
                        .tokens = static_cast<int32_t>(*tokens)});
    } while (!rest.empty());
    return OkStatus();
  }

  Status Add(const ScenarioLine& line,
             const Template& form,
             Duration at,
             uint32_t tenant,
             std::string name) {
    std::vector<Submission>& submissions = workload().submissions;
    if (name.empty()) {
      name = workload().tenants[tenant].name + "." + std::to_string(++numbers_[tenant]);
    }
    if (submissions.size() == kSubmissionsMax) {
      return line.ErrorAtEnd("more requests than a scenario may have");
    }
    const auto first = static_cast<uint32_t>(submissions.size());
    if (tenants_.contains(name) || IsSubject(name) || !names_.try_emplace(name, first).second) {
      return line.ErrorAtEnd(absl::StrFormat("the name `%s` is taken", name));
    }
    Submission submission{.name = std::move(name),
                          .at = at,
                          .tenant = tenant,
                          .model = form.model,
                          .shared = form.shared,
                          .prompt_tokens = Draw(form.prompt),
                          .output_tokens = Draw(form.output),
                          .deadline = form.deadline,
                          .service_class = form.service_class,
                          .deterministic = form.deterministic};
    submission.output_max =
        form.output_max != 0 ? static_cast<int32_t>(form.output_max) : submission.output_tokens;
    submissions.push_back(std::move(submission));
    return OkStatus();
  }

  int32_t Draw(NumberRange range) {
    const auto width = static_cast<uint64_t>(range.high - range.low + 1);
    return static_cast<int32_t>(range.low + static_cast<int64_t>(random_.Below(width)));
  }

  std::optional<uint32_t> FindModel(std::string_view name) const {
    for (uint32_t i = 0; i < scenario_.workload.models.size(); ++i) {
      if (scenario_.workload.models[i].name == name) {
        return i;
      }
    }
    return std::nullopt;
  }

  static bool IsSubject(std::string_view name) {
    return name == "everyone" || name == "device" || name == "gap" || name == "drain" ||
           name == "fault" || name == "loads" || name == "unloads";
  }

  Status CheckSubject(const ScenarioLine& line, const Word& word) const {
    if (tenants_.contains(word.text) || names_.contains(word.text)) {
      return OkStatus();
    }
    return line.Error(word, "no such tenant or request on an earlier line");
  }

  // expect A ends before B
  // expect gap A B <= N
  // expect SUBJECT METRIC <= VALUE
  Status ParseExpect(ScenarioLine& line) {
    Expectation expectation;
    expectation.line = line.number();
    ASSIGN_OR_RETURN(const Word subject, line.Take("who or what is expected to do something"));
    if (subject.text == "gap") {
      ASSIGN_OR_RETURN(const Word one, line.Take("a tenant"));
      ASSIGN_OR_RETURN(const Word two, line.Take("another tenant"));
      RETURN_IF_ERROR(CheckSubject(line, one));
      RETURN_IF_ERROR(CheckSubject(line, two));
      expectation.subject = one.text;
      expectation.other = two.text;
      expectation.metric = "gap";
      return ParseComparison(line, std::move(expectation));
    }
    if (!IsSubject(subject.text)) {
      RETURN_IF_ERROR(CheckSubject(line, subject));
    }
    expectation.subject = subject.text;
    ASSIGN_OR_RETURN(const Word metric, line.Take("what is expected"));
    if (metric.text == "ends") {
      RETURN_IF_ERROR(line.Expect("before"));
      ASSIGN_OR_RETURN(const Word other, line.Take("another request"));
      RETURN_IF_ERROR(CheckSubject(line, other));
      expectation.other = other.text;
      expectation.metric = "ends";
      scenario_.expectations.push_back(std::move(expectation));
      return line.FinishOptions();
    }
    if (!IsMetric(metric.text)) {
      return line.Error(metric, "unknown metric; there is: " + MetricNames());
    }
    expectation.metric = metric.text;
    return ParseComparison(line, std::move(expectation));
  }

  Status ParseComparison(ScenarioLine& line, Expectation expectation) {
    ASSIGN_OR_RETURN(const Word comparison, line.Take("<=, >= or ="));
    if (comparison.text == "<=") {
      expectation.comparison = Expectation::Comparison::kAtMost;
    } else if (comparison.text == ">=") {
      expectation.comparison = Expectation::Comparison::kAtLeast;
    } else if (comparison.text != "=") {
      return line.Error(comparison, "<=, >= or = should stand here");
    }
    ASSIGN_OR_RETURN(const Word word, line.Take("a value"));
    std::string_view number = word.text;
    if (number.ends_with('%')) {
      number.remove_suffix(1);
    }
    if (const auto time = ParseTime(word.text); time) {
      expectation.value = std::chrono::duration<double>(*time).count();
    } else if (const auto count = ParseNumber(number); count) {
      expectation.value = static_cast<double>(*count);
    } else {
      return line.Error(word, "a number, a share such as 2% or a time should stand here");
    }
    scenario_.expectations.push_back(std::move(expectation));
    return line.FinishOptions();
  }

  const std::string_view file_;
  Scenario scenario_;
  SplitMix64 random_{0};
  std::map<std::string, uint32_t, std::less<>> tenants_;
  std::map<std::string, uint32_t, std::less<>> names_;
  std::map<uint32_t, int64_t> numbers_;
};

}  // namespace

StatusOr<Scenario> ParseScenario(std::string_view text, std::string_view name) {
  return Parser(name).Parse(text);
}

}  // namespace inferd::sim
