#include "client/audit_report.h"

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace inferd {
namespace {

// One set of colours for light and one for dark screens; paper is always light. What must not be
// broken into lines (numbers, times, types) says so, all else may be.
constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#444c56;--page:#fff;--band:#f3f5f7;
--line:#d0d7de;--good:#1a7f37;--good-band:#eefaf0;--bad:#b42318;--bad-band:#fdefee}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#a5b0bc;--page:#0f141a;
--band:#1b222b;--line:#38424d;--good:#3fb950;--good-band:#12261a;--bad:#ff7b72;--bad-band:#2d1617}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--page);
max-width:68rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
p.lead{margin:.2rem 0;color:var(--soft)}
.table{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.87rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
td.t{min-width:8rem}
th{background:var(--band);font-weight:600;overflow-wrap:normal}
td.n,th.n{text-align:right}td.n,td.w{white-space:nowrap;overflow-wrap:normal}
.verdict{border-left:.4rem solid;padding:.6rem 1rem;margin:1rem 0}
.sound{border-color:var(--good);background:var(--good-band)}
.broken{border-color:var(--bad);background:var(--bad-band)}
pre{background:var(--band);padding:.8rem;white-space:pre-wrap;font-size:.8rem}code{font-size:.8rem}
@page{size:A4;margin:16mm 14mm}
@media print{body{margin:0;padding:0;max-width:none;font-size:10pt}table{font-size:7.5pt}
th,td{padding:.25rem .35rem}td.t{min-width:3.5rem}.table{overflow:visible}
tr,.verdict,pre{break-inside:avoid}h2{break-after:avoid}
th,pre,.verdict{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)";

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

struct Cell {
  enum class Kind : uint8_t { kText, kWord, kNumber };  // a word is not broken into lines
  std::string text;
  Kind kind = Kind::kText;
};

// 1,234,567.
std::string Grouped(uint64_t value) {
  std::string digits = std::to_string(value);
  for (size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

Cell Number(uint64_t value) { return {.text = Grouped(value), .kind = Cell::Kind::kNumber}; }
Cell Text(const std::string& text) { return {.text = text}; }
Cell Word(const std::string& text) { return {.text = text, .kind = Cell::Kind::kWord}; }

void AddRow(std::string& html, std::string_view tag, std::initializer_list<Cell> cells) {
  constexpr std::string_view kClasses[] = {"t", "w", "n"};
  html += "<tr>";
  for (const Cell& cell : cells) {
    html.append("<").append(tag).append(" class=\"");
    html.append(kClasses[static_cast<size_t>(cell.kind)]);
    html.append(tag == "th" ? "\" scope=\"col\">" : "\">");
    html.append(Escaped(cell.text)).append("</").append(tag).append(">");
  }
  html += "</tr>\n";
}

Cell NumberTitle(const char* text) { return {.text = text, .kind = Cell::Kind::kNumber}; }

void AddUses(std::string& html, const AuditReport& report) {
  html += "<h2>Use by model version</h2>\n";
  if (report.uses.empty()) {
    html += "<p>No request was admitted in this time.</p>\n";
    return;
  }
  html += "<div class=\"table\"><table><thead>";
  AddRow(html,
         "th",
         {Text("Model"),
          Text("Digest"),
          NumberTitle("Requests"),
          NumberTitle("Completed"),
          NumberTitle("Cut short"),
          NumberTitle("Tokens read"),
          NumberTitle("Tokens written")});
  html += "</thead><tbody>\n";
  for (const AuditReport::Use& use : report.uses) {
    AddRow(html,
           "td",
           {Text(use.model),
            Text(use.digest),
            Number(use.requests),
            Number(use.completed),
            Number(use.failed),
            Number(use.input_tokens),
            Number(use.output_tokens)});
  }
  html += "</tbody></table></div>\n";
}

void AddRefusals(std::string& html, const AuditReport& report) {
  html += "<h2>Refusals</h2>\n";
  if (report.refusals.empty()) {
    html += "<p>No request was refused in this time.</p>\n";
    return;
  }
  html += "<div class=\"table\"><table><thead>";
  AddRow(html, "th", {Text("Reason"), Text("Status"), NumberTitle("Records")});
  html += "</thead><tbody>\n";
  for (const AuditReport::Refusal& refusal : report.refusals) {
    AddRow(html, "td", {Word(refusal.reason), Word(refusal.status), Number(refusal.count)});
  }
  html +=
      "</tbody></table></div>\n<p>More than 100 refusals of a reason in a minute are recorded as "
      "sums "
      "(denied.summary), which are not counted here.</p>\n";
}

void AddActs(std::string& html, const AuditReport& report) {
  html += "<h2>Acts of administrators and of the daemon</h2>\n";
  if (report.acts.empty()) {
    html += "<p>None in this time.</p>\n";
    return;
  }
  html += "<div class=\"table\"><table><thead>";
  AddRow(
      html, "th", {Text("Time (UTC)"), Text("Act"), Text("Tenant"), Text("Actor"), Text("About")});
  html += "</thead><tbody>\n";
  for (const AuditReport::Act& act : report.acts) {
    AddRow(html,
           "td",
           {Word(act.time), Word(act.type), Text(act.tenant), Text(act.actor), Text(act.subject)});
  }
  html += "</tbody></table></div>\n";
}

void AddVerdict(std::string& html, const AuditReport& report) {
  html += report.sound ? "<div class=\"verdict sound\"><strong>The log verifies.</strong> "
                       : "<div class=\"verdict broken\"><strong>The log does not verify.</strong> ";
  html += Grouped(report.num_leaves) +
          " records were checked against the signed checkpoint below; " +
          Grouped(report.open_requests) + " requests were still open.</div>\n";
  for (const auto* list : {&report.problems, &report.warnings}) {
    if (!list->empty()) {
      html += list == &report.problems ? "<h2>What does not hold</h2>\n<ul>\n"
                                       : "<h2>For a person to look at</h2>\n<ul>\n";
      for (const std::string& line : *list) {
        html += "<li>" + Escaped(line) + "</li>\n";
      }
      html += "</ul>\n";
    }
  }
}

}  // namespace

std::string RenderAuditReport(const AuditReport& report) {
  const auto or_else = [](const std::string& text, const char* instead) {
    return Escaped(text.empty() ? instead : text);
  };
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>Audit report</title>\n<style>";
  html += kStyle;
  html += "</style>\n</head>\n<body>\n<h1>Audit report</h1>\n";
  html += "<p class=\"lead\">Tenant: " + or_else(report.tenant, "all") + "</p>\n";
  html += "<p class=\"lead\">From " + or_else(report.from, "the beginning") + " to " +
          or_else(report.to, "the time of this report") + "</p>\n";
  html += "<p class=\"lead\">Made " + Escaped(report.made_at) + "</p>\n";
  AddVerdict(html, report);
  AddUses(html, report);
  AddRefusals(html, report);
  AddActs(html, report);
  html += "<h2>Checkpoint</h2>\n<pre>" + Escaped(report.checkpoint) +
          "</pre>\n<p>Public key: <code>" + Escaped(report.verifier_key) +
          "</code></p>\n<p>Sums come from the search index; the records themselves, and proofs of "
          "each, are in the log: <code>inferctl audit prove</code>, <code>inferctl audit "
          "verify</code>.</p>\n</body>\n</html>\n";
  return html;
}

}  // namespace inferd
