// Goal: a name belongs to one tenant or to none.
#include "governance/identity/tenant_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inferd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TenantRecord Tenant(const std::string& name, const std::vector<std::string>& principals) {
  TenantRecord tenant{.id = TenantId(name), .organisation = "example", .principals = {}};
  for (const std::string& principal : principals) {
    tenant.principals.push_back({.name = principal, .project = ""});
  }
  return tenant;
}

std::string TenantOf(const TenantDirectory& directory, std::string_view name) {
  const auto match = directory.Find(name);
  return match ? match->tenant->id.value() + " by " + match->principal->name : "";
}

TEST(TenantDirectory, TheNameItselfWinsThenTheLongestPrefix) {
  const TenantDirectory directory = *TenantDirectory::Build(
      {Tenant("search", {"spiffe://example.org/team/search/*"}),
       Tenant("platform", {"spiffe://example.org/team/*", "db7.example.org"}),
       Tenant("robot", {"spiffe://example.org/team/search/robot"})});
  EXPECT_EQ(TenantOf(directory, "spiffe://example.org/team/search/robot"),
            "robot by spiffe://example.org/team/search/robot");
  EXPECT_EQ(TenantOf(directory, "spiffe://example.org/team/search/a/b"),
            "search by spiffe://example.org/team/search/*");
  EXPECT_EQ(TenantOf(directory, "spiffe://example.org/team/search"),
            "platform by spiffe://example.org/team/*");
  EXPECT_EQ(TenantOf(directory, "db7.example.org"), "platform by db7.example.org");
  for (const char* nobody : {"spiffe://example.org/team",
                             "spiffe://example.org/teams/a",
                             "spiffe://example.com/team/a",
                             "db8.example.org",
                             "",
                             "spiffe://example.org/team/*/x"}) {
    // The last is below the prefix as text, but no certificate names it: '*' is in no SPIFFE id.
    EXPECT_EQ(TenantOf(directory, nobody).empty(), !std::string_view(nobody).ends_with("x"));
  }
}

TEST(TenantDirectory, NamesWhatIsWrong) {
  const auto why = [](std::vector<TenantRecord> tenants) {
    const auto directory = TenantDirectory::Build(std::move(tenants));
    EXPECT_EQ(directory.status().code(), StatusCode::kInvalidArgument);
    return std::string(Message(directory.status()));
  };
  EXPECT_THAT(why({Tenant("a", {}), Tenant("a", {})}), HasSubstr("\"a\": stands twice"));
  EXPECT_THAT(why({Tenant("a", {"x.org"}), Tenant("b", {"x.org"})}),
              HasSubstr("\"b\": principal \"x.org\" is one of tenant \"a\" already"));
  EXPECT_THAT(why({Tenant("A", {})}), HasSubstr("a-z"));
  for (const char* principal : {"*", "spiffe://*", "spiffe:///*", "X.org", "spiffe://o/a b", ""}) {
    EXPECT_THAT(why({Tenant("a", {principal})}), HasSubstr("no SPIFFE id")) << principal;
  }
}

TEST(TenantDirectory, ADiffIsWhatChanged) {
  const TenantDirectory before =
      *TenantDirectory::Build({Tenant("a", {"x.org"}), Tenant("b", {}), Tenant("c", {"c.org"})});
  std::vector<TenantRecord> records = {
      Tenant("a", {"y.org"}), Tenant("c", {"c.org"}), Tenant("d", {})};
  records[1].organisation = "other";
  const TenantDirectory after = *TenantDirectory::Build(records);
  EXPECT_THAT(after.DiffFrom(before),
              ElementsAre("- b",
                          "~ a: principal - x.org",
                          "~ a: principal + y.org",
                          "~ c: organisation example -> other",
                          "+ d"));
  EXPECT_THAT(after.DiffFrom(after), IsEmpty());
}

TEST(Role, NamesAreReadBack) {
  for (int i = 0; i < 10; ++i) {
    const Role role = static_cast<Role>(i);
    EXPECT_FALSE(Name(role).empty());
    EXPECT_EQ(ParseRole(Name(role)), role);
  }
  EXPECT_EQ(ParseRole("root"), std::nullopt);
}

}  // namespace
}  // namespace inferd
