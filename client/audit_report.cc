#include "client/audit_report.h"

#include <initializer_list>
#include <string_view>

namespace inferd {
namespace {

constexpr std::string_view kStyle = R"(
body{font:15px/1.45 system-ui,sans-serif;color:#1b1f24;background:#fff;max-width:60rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
p.lead{margin:.2rem 0;color:#444c56}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #d0d7de}
th,td{vertical-align:top;overflow-wrap:anywhere}
th{background:#f3f5f7;font-weight:600;overflow-wrap:normal}td.n,th.n{text-align:right}
.verdict{border-left:.4rem solid;padding:.6rem 1rem;margin:1rem 0}
.sound{border-color:#1a7f37;background:#eefaf0}.broken{border-color:#b42318;background:#fdefee}
pre{background:#f6f8fa;padding:.8rem;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem}
code{font-size:.85rem}@media print{body{margin:0;max-width:none}}
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
  std::string text;
  bool is_number = false;
};
Cell Number(uint64_t value) { return {.text = std::to_string(value), .is_number = true}; }
Cell Text(const std::string& text) { return {.text = text}; }

void AddRow(std::string& html, const char* tag, std::initializer_list<Cell> cells) {
  html += "<tr>";
  for (const Cell& cell : cells) {
    html += std::string("<") + tag + (cell.is_number ? " class=\"n\"" : "") +
            (std::string_view(tag) == "th" ? " scope=\"col\">" : ">") + Escaped(cell.text) + "</" +
            tag + ">";
  }
  html += "</tr>\n";
}

Cell NumberTitle(const char* text) { return {.text = text, .is_number = true}; }

void AddUses(std::string& html, const AuditReport& report) {
  html += "<h2>Use by model version</h2>\n";
  if (report.uses.empty()) {
    html += "<p>No request was admitted in this time.</p>\n";
    return;
  }
  html += "<table><thead>";
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
  html += "</tbody></table>\n";
}

void AddRefusals(std::string& html, const AuditReport& report) {
  html += "<h2>Refusals</h2>\n";
  if (report.refusals.empty()) {
    html += "<p>No request was refused in this time.</p>\n";
    return;
  }
  html += "<table><thead>";
  AddRow(html, "th", {Text("Reason"), Text("Status"), NumberTitle("Records")});
  html += "</thead><tbody>\n";
  for (const AuditReport::Refusal& refusal : report.refusals) {
    AddRow(html, "td", {Text(refusal.reason), Text(refusal.status), Number(refusal.count)});
  }
  html +=
      "</tbody></table>\n<p>More than 100 refusals of a reason in a minute are recorded as sums "
      "(denied.summary), which are not counted here.</p>\n";
}

void AddActs(std::string& html, const AuditReport& report) {
  html += "<h2>Acts of administrators and of the daemon</h2>\n";
  if (report.acts.empty()) {
    html += "<p>None in this time.</p>\n";
    return;
  }
  html += "<table><thead>";
  AddRow(
      html, "th", {Text("Time (UTC)"), Text("Act"), Text("Tenant"), Text("Actor"), Text("About")});
  html += "</thead><tbody>\n";
  for (const AuditReport::Act& act : report.acts) {
    AddRow(html,
           "td",
           {Text(act.time), Text(act.type), Text(act.tenant), Text(act.actor), Text(act.subject)});
  }
  html += "</tbody></table>\n";
}

void AddVerdict(std::string& html, const AuditReport& report) {
  html += report.sound ? "<div class=\"verdict sound\"><strong>The log verifies.</strong> "
                       : "<div class=\"verdict broken\"><strong>The log does not verify.</strong> ";
  html += std::to_string(report.num_leaves) +
          " records were checked against the signed checkpoint below; " +
          std::to_string(report.open_requests) + " requests were still open.</div>\n";
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
