#include "client/audit_command_line.h"

#include <CLI/CLI.hpp>

namespace inferd {
namespace {

// What a command does, and how it is called: help shows examples first.
struct Help {
  std::string what;
  std::string example;
  std::string Text() const { return what + "\n\nExamples:\n  inferctl " + example + "\n"; }
};

CLI::App* Verb(CLI::App& noun, const std::string& name, const Help& help) {
  return noun.add_subcommand(name, help.Text());
}

CLI::App& Noun(CLI::App& app, const std::string& name, const Help& help, AuditCommand& c) {
  CLI::App* noun = app.add_subcommand(name, help.Text());
  noun->require_subcommand(0, 1);
  noun->add_option("--admin", c.admin, "inferd's admin plane: unix:PATH")
      ->envname("INFERCTL_ADMIN")
      ->capture_default_str();
  return *noun;
}

void AddTimes(CLI::App& verb, AuditCommand& c) {
  verb.add_option("--from", c.from, "from this time on: 2026-11-21 or 2026-11-21T13:35:22Z");
  verb.add_option("--to", c.to, "before this time");
}

void AddFilter(CLI::App& verb, AuditCommand& c) {
  verb.add_option("--tenant", c.tenant, "leaves of this tenant");
  verb.add_option("--type", c.type, "of this type, or \"inference.\" for all that begin so");
  verb.add_option("--rid", c.rid, "of this request or act");
  verb.add_option("--actor", c.actor, "by this actor, as uid:1000");
  verb.add_option("--model", c.model, "of this model: its name, or sha256:DIGEST");
  verb.add_option("--reason", c.reason, "refused or failed for this reason");
  verb.add_option("--end-user", c.end_user, "of this person, as callers name people");
  AddTimes(verb, c);
  verb.add_option("--limit", c.limit, "most leaves; 0: all")->capture_default_str();
}

void AddPlace(CLI::App& verb, AuditCommand& c) {
  verb.add_option("index", c.index, "the leaf's index")->required();
  verb.add_option("--origin", c.origin, "its shard's origin (the newest shard if not given)");
}

void AddAudit(CLI::App& app, AuditCommand& c) {
  CLI::App& audit =
      Noun(app, "audit", {"Searches, proves and verifies the audit log.", "audit verify"}, c);
  Verb(audit,
       "log",
       {"Shows where the log is, its key and its latest checkpoint.", "audit log -o json"});
  CLI::App* search = Verb(audit,
                          "search",
                          {"Finds leaves, newest first.",
                           "audit search --tenant acme --type inference. --from 2026-11-01"});
  AddFilter(*search, c);
  search->add_flag("--oldest-first", c.oldest_first, "in the order of the log");
  CLI::App* tail =
      Verb(audit, "tail", {"Shows the newest leaves; -f: and those that come.", "audit tail -f"});
  AddFilter(*tail, c);
  tail->add_flag("-f,--follow", c.follow, "go on until interrupted");
  AddPlace(*Verb(audit, "show", {"Prints a leaf as the log has it.", "audit show 1234"}), c);
  CLI::App* prove = Verb(audit,
                         "prove",
                         {"Prints a leaf's .tlog-proof, to be checked offline.",
                          "audit prove 1234 --out 1234.tlog-proof"});
  AddPlace(*prove, c);
  prove->add_option("--out", c.out, "write it to this file");
  CLI::App* verify = Verb(
      audit,
      "verify",
      {"Checks every leaf, tile and chain of the log against its checkpoint; with --log and --key "
       "without a daemon.",
       "audit verify --log /var/lib/inferd/log --key example.org/inferd-audit/db7+..."});
  verify->add_option("--log", c.log_folder, "the log's folder");
  verify->add_option(
      "--key", c.verifier_key, "the log's public key (inferctl keys init prints it)");
  verify->add_option("--policy", c.policy_file, "whom to trust instead: a tlog-policy file");
  verify->add_option("--bundle", c.bundle, "check this evidence bundle, without a daemon");
  verify->add_option("--exporter", c.exporter, "public key of whoever exported the bundle");
  CLI::App* exported =
      Verb(audit,
           "export",
           {"Writes a tenant's leaves, or some requests', with their proofs to one .tar that "
            "verifies offline; without a tenant: copies the log to a folder.",
            "audit export --tenant acme --from 2026-10-01 --to 2026-11-01 --sign-key alice.key "
            "--out october.tar\n  inferctl audit export --out /mnt/audit"});
  exported->add_option("--tenant", c.tenant, "all leaves of this tenant in the time");
  exported->add_option("--rid", c.rids, "leaves of this request alone; may be repeated");
  AddTimes(*exported, c);
  exported->add_option(
      "--sign-key", c.sign_key, "file with the key that signs it (inferctl keys signer)");
  exported->add_option("--policy", c.policy_file, "the policy that goes with it");
  exported->add_option(
      "--document",
      c.documents,
      "a file that leaves name by its SHA-256, such as a policy set; may be repeated");
  exported->add_option("--out", c.out, "the .tar, or the folder: made, and must be empty")
      ->required();
  Verb(audit, "witness", {"Shows who cosigned how much of the log.", "audit witness"});
  CLI::App* report =
      Verb(audit,
           "report",
           {"Writes one HTML page: use, refusals, acts, verification.",
            "audit report --tenant acme --from 2026-10-01 --to 2026-11-01 --out october.html"});
  report->add_option("--tenant", c.tenant, "of this tenant; everyone's if not given");
  AddTimes(*report, c);
  report->add_option("--out", c.out, "the file to write")->required();
}

void AddErase(CLI::App& app, AuditCommand& c) {
  CLI::App& erase = Noun(app,
                         "erase",
                         {"Erases a person's payloads: one asks, another approves.",
                          "erase request --tenant acme --end-user u-17 --basis case-7"},
                         c);
  CLI::App* request =
      Verb(erase,
           "request",
           {"Asks for an erasure.", "erase request --tenant acme --end-user u-17 --basis case-7"});
  request->add_option("--tenant", c.tenant, "whose person")->required();
  request->add_option("--end-user", c.end_user, "the person, as callers name people");
  request->add_option("--basis", c.basis, "the case's reference")->required();
  CLI::App* approve = Verb(erase,
                           "approve",
                           {"Approves it, as a second person; it is then done.",
                            "erase approve 01M7ZAPMPCC3JAFF6JTE7B03BG"});
  approve->add_option("id", c.id, "the erasure's id")->required();
  Verb(erase, "status", {"Lists erasures.", "erase status"});
}

void AddHold(CLI::App& app, AuditCommand& c) {
  CLI::App& hold =
      Noun(app, "hold", {"Legal holds: set by one person, released by two.", "hold list"}, c);
  CLI::App* set = Verb(hold,
                       "set",
                       {"Keeps payloads from erasure and purge.",
                        "hold set --tenant acme --end-user u-17 --basis court-1"});
  set->add_option("--tenant", c.tenant, "whose payloads")->required();
  set->add_option("--end-user", c.end_user, "of this person alone");
  set->add_option("--rid", c.rids, "of this request alone; may be repeated");
  AddTimes(*set, c);
  set->add_option("--basis", c.basis, "the case's reference")->required();
  CLI::App* release = Verb(hold,
                           "release",
                           {"Asks for the release; a second person releases.",
                            "hold release 01M7ZAPMPCC3JAFF6JTE7B03BG"});
  release->add_option("id", c.id, "the hold's id")->required();
  Verb(hold, "list", {"Lists holds.", "hold list -o json"});
}

void AddPayload(CLI::App& app, AuditCommand& c) {
  CLI::App& payload =
      Noun(app,
           "payload",
           {"Shows a prompt and its answer at level full: one asks, another approves, and the one "
            "who asked sees it for an hour.",
            "payload request --tenant acme --rid 01M7ZAPMPCC3JAFF6JTE7B03BG --basis case-7"},
           c);
  CLI::App* request =
      Verb(payload,
           "request",
           {"Asks to see a request's payload.",
            "payload request --tenant acme --rid 01M7ZAPMPCC3JAFF6JTE7B03BG --basis case-7"});
  request->add_option("--tenant", c.tenant, "whose request it was")->required();
  CLI::Option* rid = request->add_option("--rid", c.rid, "the request, as its leaves name it");
  CLI::Option* from = request->add_option(
      "--from", c.from, "or all that came from then on, for `inferctl replay` alone");
  CLI::Option* to = request->add_option("--to", c.to, "and before then");
  rid->excludes(from)->excludes(to);
  request->add_option("--basis", c.basis, "the case's reference")->required();
  CLI::App* approve =
      Verb(payload,
           "approve",
           {"Approves it, as a second person.", "payload approve 01M7ZAPMPCC3JAFF6JTE7B03BG"});
  approve->add_option("id", c.id, "the view's id")->required();
  CLI::App* open = Verb(payload,
                        "open",
                        {"Shows the payload to the one who asked; each view is recorded.",
                         "payload open 01M7ZAPMPCC3JAFF6JTE7B03BG"});
  open->add_option("id", c.id, "the view's id")->required();
  Verb(payload, "list", {"Lists who asked for what.", "payload list"});
}

}  // namespace

void AddAuditCommands(CLI::App& app, AuditCommand& command) {
  AddAudit(app, command);
  AddErase(app, command);
  AddHold(app, command);
  AddPayload(app, command);
}

Status NameAuditCommand(const CLI::App& noun, AuditCommand& command) {
  const auto chosen = noun.get_subcommands();
  if (chosen.empty()) {
    std::string names;
    for (const CLI::App* verb : noun.get_subcommands(nullptr)) {
      names += (names.empty() ? "" : ", ") + verb->get_name();
    }
    return ErrorF(
        StatusCode::kInvalidArgument, "%s: a command is missing: %s", noun.get_name(), names);
  }
  command.noun = noun.get_name();
  command.verb = chosen.front()->get_name();
  return OkStatus();
}

}  // namespace inferd
