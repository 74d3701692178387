#include "tests/support/random_policy.h"

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/random.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kSchema = R"(namespace Inferd {
  entity Tenant in [Tenant] { tier: Long, region: String };
  entity Role in [Role];
  entity Workload, Person in [Tenant, Role] {
    level: Long, name: String, home: ipaddr, nickname?: String
  };
  entity ModelGroup in [ModelGroup];
  entity Model in [ModelGroup] {
    name: String, classes: Set<String>, price: decimal, owner: Person, size: Long
  };
  action use;
  action generate, embed in [use] appliesTo {
    principal: [Workload, Person], resource: Model, context: Circumstances
  };
  action administer appliesTo { principal: Person, resource: Model, context: Circumstances };
  type Circumstances = {
    purpose?: String, data_class?: String, source?: ipaddr, cost?: decimal,
    max_tokens: Long, urgent: Bool, time: datetime
  };
}
)";

constexpr int kTenants = 6;
constexpr int kRoles = 5;
constexpr int kPrincipals = 10;
constexpr int kGroups = 4;
constexpr int kModels = 6;
constexpr int64_t kLarge = 9'000'000'000'000'000'000;

constexpr std::array<const char*, 6> kWords = {
    "chat", "batch", "evaluation", "cha*t", "public \\ \"q\"", "größe"};
constexpr std::array<const char*, 4> kClasses = {"public", "internal", "secret", "health"};
constexpr std::array<const char*, 6> kPatterns = {
    "*", "ch*", "*a*", "cha\\*t", "*\\\"*", "evaluatio"};
constexpr std::array<const char*, 5> kAddresses = {
    "10.1.2.3", "10.200.0.1", "192.168.7.7", "127.0.0.1", "2001:db8::17"};
constexpr std::array<const char*, 5> kRanges = {
    "10.0.0.0/8", "192.168.0.0/16", "0.0.0.0/0", "2001:db8::/32", "10.1.2.3"};
constexpr std::array<const char*, 5> kDecimals = {"0.0", "1.5", "-3.25", "12.0001", "99.9999"};
constexpr std::array<const char*, 4> kTimes = {
    "2026-01-31", "2026-06-15T08:30:00Z", "2026-06-15T23:59:59.999Z", "2027-12-31T00:00:00+0100"};
constexpr std::array<const char*, 3> kActions = {"generate", "embed", "administer"};

std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
    }
    quoted += c;
  }
  return quoted + '"';
}

std::string Numbered(std::string_view letter, uint64_t number) {
  return std::string(letter) + std::to_string(number);
}

std::string Uid(std::string_view type, std::string_view id) {
  return "Inferd::" + std::string(type) + "::" + Quoted(id);
}

class Generator {
 public:
  explicit Generator(const RandomPolicyOptions& options)
      : options_(options), random_(options.seed) {}

  RandomPolicyCase Make() {
    RandomPolicyCase result;
    result.schema = kSchema;
    for (size_t i = 0; i < options_.num_policies; ++i) {
      result.policies += Policy(i);
    }
    result.entities_json = Entities().dump();
    while (result.requests.size() < options_.num_requests) {
      result.requests.push_back(result.requests.empty() || Chance(60) ? Request()
                                                                      : Neighbour(result.requests));
    }
    return result;
  }

 private:
  bool Chance(uint64_t percent) { return random_.Below(100) < percent; }
  uint64_t Below(uint64_t bound) { return random_.Below(bound); }
  template <size_t N>
  std::string Pick(const std::array<const char*, N>& from) {
    return from[Below(N)];
  }

  // ---- Entities ----

  std::string PrincipalType(uint64_t number) const {
    return number % 3 == 0 ? "Person" : "Workload";
  }

  static Json Name(std::string_view type, std::string_view id) {
    return {{"type", "Inferd::" + std::string(type)}, {"id", id}};
  }
  static Json Extension(std::string_view function, std::string_view argument) {
    return {{"__extn", {{"fn", function}, {"arg", argument}}}};
  }
  static Json Entity(Json uid, Json attributes, Json parents) {
    return {
        {"uid", std::move(uid)}, {"attrs", std::move(attributes)}, {"parents", std::move(parents)}};
  }

  // In some of those before it, so that there is no circle.
  Json Parents(std::string_view type, std::string_view letter, uint64_t below) {
    Json parents = Json::array();
    for (uint64_t i = 0; i < below; ++i) {
      if (Chance(30)) {
        parents.push_back(Name(type, Numbered(letter, i)));
      }
    }
    return parents;
  }

  Json Entities() {
    Json list = Json::array();
    for (uint64_t i = 0; i < kTenants; ++i) {
      list.push_back(Entity(Name("Tenant", Numbered("t", i)),
                            {{"tier", Below(5)}, {"region", Pick(kWords)}},
                            Parents("Tenant", "t", i)));
    }
    for (uint64_t i = 0; i < kRoles; ++i) {
      list.push_back(
          Entity(Name("Role", Numbered("r", i)), Json::object(), Parents("Role", "r", i)));
    }
    for (uint64_t i = 0; i < kPrincipals; ++i) {
      Json parents = Parents("Role", "r", kRoles);
      parents.push_back(Name("Tenant", Numbered("t", Below(kTenants))));
      Json attributes = {{"level", Chance(10) ? kLarge : static_cast<int64_t>(Below(8))},
                         {"name", Pick(kWords)},
                         {"home", Extension("ip", Pick(kAddresses))}};
      if (Chance(50)) {
        attributes["nickname"] = Pick(kWords);
      }
      list.push_back(Entity(Name(PrincipalType(i), Numbered("p", i)), attributes, parents));
    }
    for (uint64_t i = 0; i < kGroups; ++i) {
      list.push_back(Entity(
          Name("ModelGroup", Numbered("g", i)), Json::object(), Parents("ModelGroup", "g", i)));
    }
    for (uint64_t i = 0; i < kModels; ++i) {
      Json classes = Json::array();
      for (const char* name : kClasses) {
        if (Chance(40)) {
          classes.push_back(name);
        }
      }
      // Persons are p0, p3, p6, p9: of p12 nothing is known.
      const std::string owner = Numbered("p", Chance(70) ? Below(4) * 3 : 12);
      list.push_back(Entity(Name("Model", Numbered("m", i)),
                            {{"name", Pick(kWords)},
                             {"classes", classes},
                             {"price", Extension("decimal", Pick(kDecimals))},
                             {"owner", {{"__entity", Name("Person", owner)}}},
                             {"size", Chance(20) ? kLarge : static_cast<int64_t>(Below(100))}},
                            Parents("ModelGroup", "g", kGroups)));
    }
    if (!options_.valid) {  // which no schema adds then
      list.push_back(Entity(Name("Action", "use"), Json::object(), Json::array()));
      for (const char* action : kActions) {
        Json parents = Json::array();
        if (std::string_view(action) != "administer") {
          parents.push_back(Name("Action", "use"));
        }
        list.push_back(Entity(Name("Action", action), Json::object(), parents));
      }
    }
    return list;
  }

  // ---- Policies ----

  std::string APrincipal() {
    const uint64_t number = Below(kPrincipals);
    return Uid(PrincipalType(number), Numbered("p", number));
  }
  // One more than there are: nothing is in it.
  std::string ATenant() { return Uid("Tenant", Numbered("t", Below(kTenants + 1))); }
  std::string ARole() { return Uid("Role", Numbered("r", Below(kRoles + 1))); }
  std::string AParent() { return Chance(50) ? ATenant() : ARole(); }
  std::string AModel() { return Uid("Model", Numbered("m", Below(kModels))); }
  std::string AGroup() { return Uid("ModelGroup", Numbered("g", Below(kGroups))); }

  std::string PrincipalScope() {
    switch (Below(10)) {
      case 0:
      case 1:
        return "principal";
      case 2:
        return "principal == " + APrincipal();
      case 3:
        return "principal is Inferd::Workload";
      case 4:
        return "principal is Inferd::Person in " + AParent();
      case 5:
        return "principal in " + APrincipal();
      default:
        return "principal in " + AParent();
    }
  }

  std::string ActionScope() {
    switch (Below(6)) {
      case 0:
        return "action";
      case 1:
        return "action in Inferd::Action::\"use\"";
      case 2:
        return "action in [Inferd::Action::\"embed\", Inferd::Action::\"generate\"]";
      case 3:
        return "action == Inferd::Action::\"embed\"";
      default:
        return "action == Inferd::Action::\"generate\"";
    }
  }

  std::string ResourceScope() {
    switch (Below(6)) {
      case 0:
        return "resource == " + AModel();
      case 1:
        return "resource in " + AGroup();
      case 2:
        return "resource is Inferd::Model in " + AGroup();
      case 3:
        return "resource is Inferd::Model";
      default:
        return "resource";
    }
  }

  std::string Policy(size_t number) {
    std::string text = Chance(30) ? "@id(" + Quoted("rule-" + std::to_string(number)) + ")\n" : "";
    const bool permit = Chance(65);
    if (permit && Chance(20)) {
      text += "@obligations(\"max_tokens=" + std::to_string(1 + Below(99)) + ", redact\")\n";
    }
    text += permit ? "permit(" : "forbid(";
    text += PrincipalScope() + ", " + ActionScope() + ", " + ResourceScope() + ")";
    // A forbid without conditions would end most requests.
    for (uint64_t clauses = permit ? Below(3) : 1 + Below(2); clauses > 0; --clauses) {
      text += Chance(75) ? "\n  when { " : "\n  unless { ";
      text += Condition(permit ? 2 : 3) + " }";
    }
    return text + ";\n";
  }

  std::string Condition(int depth) {
    if (depth == 0 || Chance(35)) {
      return Atom();
    }
    switch (Below(6)) {
      case 0:
        return "!(" + Condition(depth - 1) + ")";
      case 1:
        return "(if " + Condition(depth - 1) + " then " + Condition(depth - 1) + " else " +
               Condition(depth - 1) + ")";
      case 2:
      case 3:
        return "(" + Condition(depth - 1) + " || " + Condition(depth - 1) + ")";
      default:
        return "(" + Condition(depth - 1) + " && " + Condition(depth - 1) + ")";
    }
  }

  std::string Atom() {
    if (!options_.valid && Chance(15)) {
      return Wild();
    }
    return Chance(50) ? ContextAtom() : EntityAtom();
  }

  // Fails for some requests or all.
  std::string Wild() {
    switch (Below(8)) {
      case 0:
        return "context.purpose == " + Quoted(Pick(kWords));
      case 1:
        return "principal.nickname like \"c*\"";
      case 2:
        return "resource.colour == \"red\"";
      case 3:
        return "context.max_tokens < " + Quoted(Pick(kWords));
      case 4:
        return "context.purpose";
      case 5:
        return "context.source.isInRange(ip(\"10.0.0.0/33\"))";
      case 6:
        return "principal in resource.name";
      default:
        return "context has cost.whole || context == {purpose: \"chat\"}";
    }
  }

  std::string ContextAtom() {
    switch (Below(12)) {
      case 0:
        return "(context has purpose && context.purpose == " + Quoted(Pick(kWords)) + ")";
      case 1:
        return "(context has purpose && context.purpose like \"" + Pick(kPatterns) + "\")";
      case 2:
        return "(context has data_class && resource.classes.contains(context.data_class))";
      case 3:
        return "(context has data_class && [\"secret\", \"health\"].contains(context.data_class))";
      case 4:
        return "(context has source && context.source.isInRange(ip(\"" + Pick(kRanges) + "\")))";
      case 5:
        return "(context has source && (context.source.isIpv4() || context.source == "
               "principal.home))";
      case 6:
        return "(context has cost && context.cost.lessThan(decimal(\"" + Pick(kDecimals) + "\")))";
      case 7:
        return "context.time >= datetime(\"" + Pick(kTimes) + "\")";
      case 8:
        return "context.time.toTime() < duration(\"" + std::to_string(Below(24)) + "h\")";
      case 9:
        return "context.max_tokens * " + std::to_string(1 + Below(3)) +
               " <= " + std::to_string(Below(5000));
      case 10:
        return "context.max_tokens + principal.level - 1 > resource.size";
      default:
        return "context.urgent";
    }
  }

  std::string EntityAtom() {
    switch (Below(12)) {
      case 0:
        return "principal in " + AParent();
      case 1:
        return "principal in [" + ATenant() + ", " + ATenant() + "]";
      case 2:
        return "resource in " + AGroup();
      case 3:
        return "(principal has nickname && principal.nickname like \"" + Pick(kPatterns) + "\")";
      case 4:
        return "principal.level * 2 > " + std::to_string(Below(16));
      case 5:
        return "resource.owner.level >= principal.level";  // fails where the owner is not there
      case 6:
        return "resource.owner == principal";
      case 7:
        return "resource.classes.containsAny([" + Quoted(Pick(kClasses)) + ", " +
               Quoted(Pick(kClasses)) + "])";
      case 8:
        return "[\"public\", \"internal\"].containsAll(resource.classes)";
      case 9:
        return "resource.price.greaterThanOrEqual(decimal(\"" + Pick(kDecimals) + "\"))";
      case 10:
        return "resource.size + resource.size > " + std::to_string(Below(200));
      default:
        return "principal is Inferd::Person";
    }
  }

  // ---- Requests ----

  RecordedRequest Request() {
    RecordedRequest request;
    const uint64_t who = Below(kPrincipals);
    request.principal = {"Inferd::" + PrincipalType(who), Numbered("p", who)};
    const uint64_t actions = PrincipalType(who) == "Person" ? 3 : 2;
    request.action = {"Inferd::Action", kActions[Below(actions)]};
    request.resource = {"Inferd::Model", Numbered("m", Below(kModels))};
    for (int attribute = 0; attribute < kAttributes; ++attribute) {
      if (attribute >= kOptional || Chance(70)) {
        request.context.push_back(Attribute(attribute));
      }
    }
    return request;
  }

  // Another value of one attribute, or another resource.
  RecordedRequest Neighbour(const std::vector<RecordedRequest>& requests) {
    RecordedRequest request = requests[Below(requests.size())];
    if (Chance(20)) {
      request.resource.id = Numbered("m", Below(kModels));
      return request;
    }
    auto& changed = request.context[Below(request.context.size())];
    for (int attribute = 0; attribute < kAttributes; ++attribute) {
      if (auto other = Attribute(attribute); other.first == changed.first) {
        changed = std::move(other);
        break;
      }
    }
    return request;
  }

  static constexpr int kOptional = 4;
  static constexpr int kAttributes = 7;
  std::pair<std::string, RecordedValue> Attribute(int which) {
    switch (which) {
      case 0:
        return {"purpose", Pick(kWords)};
      case 1:
        return {"data_class", Pick(kClasses)};
      case 2:
        return {"source", RecordedExtension{"ip", Pick(kAddresses)}};
      case 3:
        return {"cost", RecordedExtension{"decimal", Pick(kDecimals)}};
      case 4:
        return {"max_tokens", Chance(10) ? kLarge : static_cast<int64_t>(Below(4096))};
      case 5:
        return {"urgent", Chance(50)};
      default:
        return {"time", RecordedExtension{"datetime", Pick(kTimes)}};
    }
  }

  const RandomPolicyOptions options_;
  SplitMix64 random_;
};

}  // namespace

RandomPolicyCase MakeRandomPolicyCase(const RandomPolicyOptions& options) {
  return Generator(options).Make();
}

}  // namespace inferd
