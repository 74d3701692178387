#include "governance/policy/recorded_request.h"

#include <nlohmann/json.hpp>

namespace inferd {
namespace {

using Json = nlohmann::json;

Status Bad(std::string_view what) { return ErrorF(StatusCode::kInvalidArgument, "%s", what); }

StatusOr<std::string> Text(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) {
    return ErrorF(StatusCode::kInvalidArgument, "'%s' must be there, a string", key);
  }
  return found->get<std::string>();
}

StatusOr<PolicyEntityName> EntityOf(const Json& request, const char* key) {
  const auto found = request.find(key);
  if (found == request.end() || !found->is_object()) {
    return ErrorF(StatusCode::kInvalidArgument, "'%s' must be {\"type\": ..., \"id\": ...}", key);
  }
  PolicyEntityName name;
  ASSIGN_OR_RETURN(name.type, Text(*found, "type"));
  ASSIGN_OR_RETURN(name.id, Text(*found, "id"));
  return name;
}

StatusOr<RecordedValue> ValueOf(const Json& json) {
  if (json.is_boolean()) {
    return RecordedValue(json.get<bool>());
  }
  if (json.is_number_integer() &&
      (!json.is_number_unsigned() || json.get<uint64_t>() <= INT64_MAX)) {
    return RecordedValue(json.get<int64_t>());
  }
  if (json.is_string()) {
    return RecordedValue(json.get<std::string>());
  }
  const auto extension = json.is_object() ? json.find("__extn") : json.end();
  if (!json.is_object() || extension == json.end() || !extension->is_object()) {
    return Bad("a value of context must be a Boolean, an integer of 64 bits, a string or __extn");
  }
  RecordedExtension value;
  ASSIGN_OR_RETURN(value.function, Text(*extension, "fn"));
  ASSIGN_OR_RETURN(value.argument, Text(*extension, "arg"));
  if (value.function != "ip" && value.function != "decimal" && value.function != "datetime") {
    return Bad("__extn's fn must be ip, decimal or datetime");
  }
  return RecordedValue(std::move(value));
}

Status ReadExpectation(const Json& json, RecordedRequest& request) {
  if (json.contains("expect")) {
    if (json.at("expect") != "allow" && json.at("expect") != "deny") {
      return Bad("'expect' must be \"allow\" or \"deny\"");
    }
    request.allowed = json.at("expect") == "allow";
  }
  if (json.contains("rules")) {
    if (!json.at("rules").is_array()) {
      return Bad("'rules' must be a list of ids");
    }
    request.rules.emplace();
    for (const Json& rule : json.at("rules")) {
      if (!rule.is_string()) {
        return Bad("'rules' must be a list of ids");
      }
      request.rules->push_back(rule);
    }
  }
  return OkStatus();
}

Json ValueJson(const RecordedValue& value) {
  if (const auto* extension = std::get_if<RecordedExtension>(&value)) {
    return {{"__extn", {{"fn", extension->function}, {"arg", extension->argument}}}};
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    return *text;
  }
  if (const auto* number = std::get_if<int64_t>(&value)) {
    return *number;
  }
  return std::get<bool>(value);
}

PolicyAttribute AttributeOf(const std::string& name, const RecordedValue& value) {
  PolicyAttribute attribute{.name = name};
  if (const auto* extension = std::get_if<RecordedExtension>(&value)) {
    if (extension->function == "ip") {
      attribute.value = PolicyIp{extension->argument};
    } else if (extension->function == "decimal") {
      attribute.value = PolicyDecimal{extension->argument};
    } else {
      attribute.value = PolicyDatetime{extension->argument};
    }
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    attribute.value = std::string_view(*text);
  } else if (const auto* number = std::get_if<int64_t>(&value)) {
    attribute.value = *number;
  } else {
    attribute.value = std::get<bool>(value);
  }
  return attribute;
}

StatusOr<PolicyEntityIndex> Find(const PolicyEntities& entities,
                                 const PolicyEntityName& name,
                                 std::string_view what) {
  const auto found = entities.Find(name.type, name.id);
  if (!found) {
    return ErrorF(
        StatusCode::kNotFound, "%s %s::\"%s\" is not among the entities", what, name.type, name.id);
  }
  return *found;
}

}  // namespace

StatusOr<RecordedRequest> ParseRecordedRequest(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return Bad("not a JSON object");
  }
  for (const auto& [key, value] : json.items()) {
    if (key != "principal" && key != "action" && key != "resource" && key != "context" &&
        key != "expect" && key != "rules") {
      return ErrorF(StatusCode::kInvalidArgument, "'%s' is not a member of a request", key);
    }
  }
  RecordedRequest request;
  ASSIGN_OR_RETURN(request.principal, EntityOf(json, "principal"));
  ASSIGN_OR_RETURN(request.action, EntityOf(json, "action"));
  ASSIGN_OR_RETURN(request.resource, EntityOf(json, "resource"));
  if (json.contains("context")) {
    if (!json.at("context").is_object()) {
      return Bad("'context' must be an object");
    }
    for (const auto& [key, value] : json.at("context").items()) {
      auto parsed = ValueOf(value);
      if (!parsed.ok()) {
        return Annotate(parsed.status(), "context." + key);
      }
      request.context.emplace_back(key, *std::move(parsed));
    }
  }
  RETURN_IF_ERROR(ReadExpectation(json, request));
  return request;
}

std::string ToJson(const RecordedRequest& request) {
  const auto name = [](const PolicyEntityName& entity) {
    return Json{{"type", entity.type}, {"id", entity.id}};
  };
  Json context = Json::object();
  for (const auto& [key, value] : request.context) {
    context[key] = ValueJson(value);
  }
  Json json = {{"principal", name(request.principal)},
               {"action", name(request.action)},
               {"resource", name(request.resource)},
               {"context", std::move(context)}};
  if (request.allowed) {
    json["expect"] = *request.allowed ? "allow" : "deny";
  }
  if (request.rules) {
    json["rules"] = *request.rules;
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

StatusOr<std::vector<RecordedLine>> ParseRecordedRequests(std::string_view text) {
  std::vector<RecordedLine> lines;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos || line.front() == '#') {
      continue;
    }
    auto request = ParseRecordedRequest(line);
    if (!request.ok()) {
      return Annotate(request.status(), absl::StrFormat("line %d", number));
    }
    lines.push_back({.line = number, .request = *std::move(request)});
  }
  return lines;
}

StatusOr<BoundRequest> BoundRequest::Bind(const RecordedRequest& recorded,
                                          const PolicyEntities& entities) {
  BoundRequest bound;
  ASSIGN_OR_RETURN(bound.principal_, Find(entities, recorded.principal, "principal"));
  ASSIGN_OR_RETURN(bound.action_, Find(entities, recorded.action, "action"));
  ASSIGN_OR_RETURN(bound.resource_, Find(entities, recorded.resource, "resource"));
  for (const auto& [name, value] : recorded.context) {
    bound.context_.push_back(AttributeOf(name, value));
  }
  return bound;
}

}  // namespace inferd
