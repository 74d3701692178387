// Goal: the page says what it was given, needs nothing from elsewhere, and no text in it can become
// markup. Method: pages as text, one against a golden file (UPDATE_GOLDEN=1 rewrites it: look at it
// in a browser then, on paper and in the dark, too); audit_cli_test.py looks at a real one.
#include "client/audit_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

namespace inferd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

AuditReport Full() {
  AuditReport report;
  report.tenant = "acme";
  report.from = "2026-10-01";
  report.to = "2026-11-01";
  report.made_at = "2026-11-02T08:00:00Z";
  report.uses.push_back({.model = "m",
                         .digest = "sha256:01",
                         .requests = 11,
                         .completed = 9,
                         .failed = 2,
                         .input_tokens = 1234,
                         .output_tokens = 567});
  report.refusals.push_back({.reason = "QUEUE_FULL", .status = "UNAVAILABLE", .count = 17});
  report.acts.push_back({.time = "2026-10-03T00:00:00.000000Z",
                         .type = "hold.set",
                         .tenant = "acme",
                         .actor = "uid:1000",
                         .subject = "01JD0000000000000000000000"});
  report.sound = true;
  report.num_leaves = 4321;
  report.open_requests = 3;
  report.checkpoint = "example.org/log\n4321\nroot\n\n\xe2\x80\x94 example.org/log sig\n";
  report.verifier_key = "example.org/log+00+AA";
  return report;
}

TEST(AuditReport, SaysWhatItWasGiven) {
  const std::string page = RenderAuditReport(Full());
  for (const char* text :
       {"Tenant: acme",
        "From 2026-10-01 to 2026-11-01",
        "Made 2026-11-02T08:00:00Z",
        "The log verifies.",
        "4,321 records",
        "3 requests were still open",
        "<td class=\"t\">m</td><td class=\"t\">sha256:01</td><td class=\"n\">11</td>",
        "<td class=\"n\">9</td><td class=\"n\">2</td>",
        "<td class=\"n\">1,234</td><td class=\"n\">567</td>",
        "<td class=\"w\">QUEUE_FULL</td><td class=\"w\">UNAVAILABLE</td><td class=\"n\">17</td>",
        "<td class=\"w\">hold.set</td><td class=\"t\">acme</td><td class=\"t\">uid:1000</td>",
        "example.org/log\n4321\nroot",
        "example.org/log+00+AA"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
}

// Names as long as they come: what may be broken into lines, and what may not.
AuditReport Wide() {
  AuditReport report = Full();
  report.tenant = std::string("acme-") + std::string(59, 'x');
  report.uses[0].model = "example-org/a-model-of-many-experts-8x22b-instruct-v0.1-gguf-q4_k_m";
  report.uses[0].digest = "sha256:" + std::string(64, 'f');
  report.uses[0].input_tokens = 123'456'789'012;
  report.acts[0].type = "review.payload_viewed";
  report.acts[0].actor = "spiffe://example.org/ns/prod/sa/compliance-officer";
  report.warnings = {"the log was silent for 100 s before leaf 12"};
  return report;
}

TEST(AuditReport, GoldenPage) {
  constexpr char kPath[] = INFERD_SOURCE_DIR "/client/golden/audit_report.html";
  const std::string page = RenderAuditReport(Wide());
  if (std::getenv("UPDATE_GOLDEN") != nullptr) {
    std::ofstream(kPath) << page;
  }
  std::ifstream file(kPath);
  EXPECT_EQ(page, std::string(std::istreambuf_iterator<char>(file), {}));
}

TEST(AuditReport, SaysWhatIsMissing) {
  const std::string page = RenderAuditReport(AuditReport());
  for (const char* text : {"Tenant: all",
                           "From the beginning to the time of this report",
                           "The log does not verify.",
                           "No request was admitted",
                           "No request was refused",
                           "None in this time."}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  AuditReport report = Full();
  report.sound = false;
  report.problems = {"2026q4.0, leaf 7: the chain forks"};
  report.warnings = {"silent for 100 s"};
  const std::string broken = RenderAuditReport(report);
  EXPECT_THAT(broken, HasSubstr("What does not hold</h2>\n<ul>\n<li>2026q4.0, leaf 7"));
  EXPECT_THAT(broken, HasSubstr("For a person to look at</h2>\n<ul>\n<li>silent"));
  EXPECT_THAT(broken, Not(HasSubstr("The log verifies.")));
}

TEST(AuditReport, NoTextBecomesMarkup) {
  constexpr char kEvil[] = "<script src=\"x\">&</script>";
  AuditReport report = Full();
  for (std::string* text : {&report.tenant,
                            &report.from,
                            &report.to,
                            &report.made_at,
                            &report.uses[0].model,
                            &report.uses[0].digest,
                            &report.refusals[0].reason,
                            &report.refusals[0].status,
                            &report.acts[0].time,
                            &report.acts[0].type,
                            &report.acts[0].tenant,
                            &report.acts[0].actor,
                            &report.acts[0].subject,
                            &report.checkpoint,
                            &report.verifier_key}) {
    *text = kEvil;
  }
  report.problems = report.warnings = {kEvil};
  const std::string page = RenderAuditReport(report);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  size_t count = 0;
  constexpr char kEscaped[] = "&lt;script src=&quot;x&quot;&gt;&amp;&lt;/script&gt;";
  for (size_t at = page.find(kEscaped); at != std::string::npos; at = page.find(kEscaped, at + 1)) {
    ++count;
  }
  EXPECT_EQ(count, 17u);
}

TEST(AuditReport, NeedsNothingFromElsewhere) {
  const std::string page = RenderAuditReport(Full());
  for (const char* door : {"href=", " src=", "url(", "@import", "http://", "https://"}) {
    EXPECT_THAT(page, Not(HasSubstr(door)));
  }
}

}  // namespace
}  // namespace inferd
