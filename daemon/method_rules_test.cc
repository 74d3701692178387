// Goal: who may call which method is what docs/identity.md tells operators, and nothing else opens
// anything. Method: the page's table is the judge; each role alone, every method.
#include "daemon/method_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace inferd {
namespace {

using Grants = std::set<std::pair<std::string, std::string>>;  // a method, a role

std::vector<std::string> Parts(const std::string& text, const char* separator) {
  std::vector<std::string> parts;
  for (const auto& part : absl::StrSplit(text, separator)) {
    parts.emplace_back(absl::StripAsciiWhitespace(part));
  }
  return parts;
}

// Rows of "| may | Service: Method, Method; Service: Method | role, role |".
Grants GrantsOfThePage() {
  Grants grants;
  std::ifstream page(INFERD_SOURCE_DIR "/docs/identity.md");
  for (std::string line; std::getline(page, line);) {
    const std::vector<std::string> cells = Parts(line, "|");
    if (cells.size() != 5 || cells[2].find(": ") == std::string::npos) {
      continue;
    }
    for (const std::string& service : Parts(cells[2], ";")) {
      const std::vector<std::string> named = Parts(service, ":");
      EXPECT_EQ(named.size(), 2u) << service;
      for (const std::string& method : Parts(named.back(), ",")) {
        for (const std::string& role : Parts(cells[3], ",")) {
          EXPECT_TRUE(grants.emplace(named[0] + "/" + method, role).second) << line;
        }
      }
    }
  }
  return grants;
}

TEST(MethodRules, EachRoleMayWhatThePageSaysAndNothingElse) {
  Grants grants;
  for (const MethodRule& rule : MethodRules()) {
    for (const Role role : kRoles) {
      Caller caller;
      caller.roles = {role};
      if (MayCall(caller, rule.method).ok()) {
        grants.emplace(rule.method, Name(role));
      }
    }
    EXPECT_FALSE(MayCall(Caller(), rule.method).ok()) << rule.method;
  }
  EXPECT_THAT(grants, ::testing::ContainerEq(GrantsOfThePage()));
}

TEST(MethodRules, AMethodThatIsNotInTheListIsForNobody) {
  Caller caller;
  caller.roles = {kRoles.begin(), kRoles.end()};
  EXPECT_EQ(MayCall(caller, "KeyService/Nothing").code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(MayCall(caller, "KeyService").code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(MayCall(caller, "").code(), StatusCode::kPermissionDenied);
}

TEST(MethodRules, AKeyOpensWhatItsScopesSayAndNoAdministration) {
  Caller caller;
  caller.roles = {kRoles.begin(), kRoles.end()};
  for (const std::string_view scope : KnownScopes()) {
    caller.scopes = {{std::string(scope)}};
    for (const MethodRule& rule : MethodRules()) {
      EXPECT_EQ(MayCall(caller, rule.method).ok(), rule.scope == scope) << scope << rule.method;
    }
  }
  caller.scopes.emplace();
  for (const MethodRule& rule : MethodRules()) {
    EXPECT_FALSE(MayCall(caller, rule.method).ok()) << rule.method;
  }
}

}  // namespace
}  // namespace inferd
