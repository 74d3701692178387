// MethodRules: which callers may use which method. The one list of every method that there is: one
// that is not in it is refused to all.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "daemon/caller.h"

namespace inferd {

struct MethodRule {
  std::string_view method;  // "GenerationService/Generate", without the package
  std::vector<Role> roles;  // any one of these
  std::string_view scope;   // that an API key needs; "": none will do
};

// In the order of the services. For the process's life.
std::span<const MethodRule> MethodRules();

// kPermissionDenied, naming what is missing.
Status MayCall(const Caller& caller, std::string_view method);

// What API keys can be issued for, the scopes of the rules: "generate", "models", "queue", "text",
// "usage".
std::vector<std::string_view> KnownScopes();

}  // namespace inferd
