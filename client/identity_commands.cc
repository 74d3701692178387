#include "client/identity_commands.h"

#include <google/protobuf/util/time_util.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "absl/strings/str_join.h"
#include "client/admin_call.h"
#include "client/commands.h"
#include "client/table.h"
#include "client/wire_text.h"
#include "inferd/v1/identity.grpc.pb.h"

namespace inferd {
namespace {

constexpr Duration kAdminTimeout = std::chrono::seconds(30);

google::protobuf::Duration ToWire(double seconds) {
  google::protobuf::Duration duration;
  duration.set_seconds(static_cast<int64_t>(seconds));
  return duration;
}

template <typename Names>
std::string Joined(const Names& names) {
  return names.empty() ? "" : OneLine(absl::StrJoin(names, " "), 60);
}

// The calls of one command.
class Runner {
 public:
  Runner(const CommonOptions& common, const IdentityCommand& command, Terminal& terminal)
      : common_(common),
        command_(command),
        terminal_(terminal),
        json_(command.json || common.output == OutputFormat::kJson) {
    const auto channel = AdminChannel(command.admin);
    tenants_ = v1::TenantService::NewStub(channel);
    keys_ = v1::KeyService::NewStub(channel);
    context_.set_deadline(SystemClock().WallNow() + common.timeout.value_or(kAdminTimeout));
  }

  ExitCode Run() {
    if (command_.verb == "tenant list") {
      v1::ListTenantsResponse response;
      return Show(tenants_->ListTenants(&context_, {}, &response), response, [&] {
        PrintTenants(response);
      });
    }
    if (command_.verb == "tenant show") {
      v1::GetTenantRequest request;
      request.set_name(command_.name);
      v1::GetTenantResponse response;
      return Show(tenants_->GetTenant(&context_, request, &response), response, [&] {
        PrintTenant(response.tenant());
      });
    }
    if (command_.verb == "tenant reload") {
      v1::ReloadTenantsResponse response;
      return Show(tenants_->ReloadTenants(&context_, {}, &response), response, [&] {
        for (const std::string& change : response.changes()) {
          terminal_.out << change << '\n';
        }
        terminal_.out << response.num_tenants() << " tenants, " << response.changes_size()
                      << " changes\n";
      });
    }
    return RunKey();
  }

 private:
  ExitCode RunKey() {
    if (command_.verb == "key list") {
      v1::ListKeysRequest request;
      request.set_tenant(command_.name);
      v1::ListKeysResponse response;
      return Show(
          keys_->ListKeys(&context_, request, &response), response, [&] { PrintKeys(response); });
    }
    if (command_.verb == "key revoke") {
      v1::RevokeKeyRequest request;
      request.set_id(command_.id);
      v1::RevokeKeyResponse response;
      return Show(keys_->RevokeKey(&context_, request, &response), response, [&] {
        terminal_.out << response.key().id() << " is refused from now on\n";
      });
    }
    constexpr double kSecondsPerDay = 86'400;
    if (command_.verb == "key rotate") {
      v1::RotateKeyRequest request;
      request.set_id(command_.id);
      *request.mutable_lifetime() = ToWire(command_.lifetime_days * kSecondsPerDay);
      *request.mutable_overlap() = ToWire(command_.overlap_minutes * 60);
      v1::RotateKeyResponse response;
      return Show(keys_->RotateKey(&context_, request, &response), response, [&] {
        ShowSecret(response.secret(), response.key());
      });
    }
    v1::IssueKeyRequest request;
    request.set_tenant(command_.name);
    request.set_project(command_.project);
    request.set_environment(command_.environment);
    request.mutable_scopes()->Add(command_.scopes.begin(), command_.scopes.end());
    request.mutable_sources()->Add(command_.sources.begin(), command_.sources.end());
    *request.mutable_lifetime() = ToWire(command_.lifetime_days * kSecondsPerDay);
    v1::IssueKeyResponse response;
    return Show(keys_->IssueKey(&context_, request, &response), response, [&] {
      ShowSecret(response.secret(), response.key());
    });
  }

  template <typename Print>
  ExitCode Show(const grpc::Status& status,
                const google::protobuf::Message& response,
                const Print& print) {
    if (!status.ok()) {
      CommonOptions at_admin = common_;
      at_admin.connection.endpoint = command_.admin;  // for errors: the endpoint that was asked
      return FailCall(StatusFromWire(status), at_admin, terminal_);
    }
    if (json_) {
      terminal_.out << JsonOf(response);
    } else {
      print();
    }
    return ExitCode::kOk;
  }

  // The secret alone goes to standard output, so that it can be redirected into a file.
  void ShowSecret(const std::string& secret, const v1::ApiKeyInfo& key) {
    terminal_.out << secret << '\n';
    terminal_.err << "key " << key.id() << " of tenant " << key.tenant() << ", good until "
                  << MinuteOf(key.expires()) << "; nobody can show it again\n";
  }

  void PrintTenants(const v1::ListTenantsResponse& response) {
    Table table({{"TENANT"},
                 {"ORGANISATION"},
                 {"WEIGHT", Table::Align::kRight},
                 {"CLASS"},
                 {"PRINCIPALS", Table::Align::kRight}});
    for (const v1::Tenant& tenant : response.tenants()) {
      table.AddRow({tenant.name(),
                    tenant.organisation(),
                    std::to_string(tenant.weight()),
                    OneLine(tenant.service_class(), 40),
                    std::to_string(tenant.principals_size())});
    }
    table.Print(terminal_.out, common_.headers);
  }

  void PrintTenant(const v1::Tenant& tenant) {
    terminal_.out << tenant.name() << " of " << tenant.organisation() << ", weight "
                  << tenant.weight() << '\n';
    Table table({{"PRINCIPAL"}, {"PROJECT"}, {"ROLES"}});
    for (const v1::TenantPrincipal& principal : tenant.principals()) {
      table.AddRow(
          {OneLine(principal.name(), 120), principal.project(), Joined(principal.roles())});
    }
    table.Print(terminal_.out, common_.headers);
  }

  void PrintKeys(const v1::ListKeysResponse& response) {
    Table table({{"KEY"},
                 {"TENANT"},
                 {"PROJECT"},
                 {"SCOPES"},
                 {"SOURCES"},
                 {"EXPIRES"},
                 {"LAST USED"},
                 {"STATE"}});
    using google::protobuf::util::TimeUtil;
    const auto now = TimeUtil::GetCurrentTime();
    for (const v1::ApiKeyInfo& key : response.keys()) {
      table.AddRow({key.id(),
                    key.tenant(),
                    key.project(),
                    Joined(key.scopes()),
                    Joined(key.sources()),
                    MinuteOf(key.expires()),
                    key.has_last_used() ? TimeUtil::ToString(key.last_used()) : "-",
                    key.revoked()          ? "revoked"
                    : key.expires() <= now ? "expired"
                                           : "good"});
    }
    table.Print(terminal_.out, common_.headers);
  }

  const CommonOptions& common_;
  const IdentityCommand& command_;
  Terminal& terminal_;
  const bool json_;
  std::unique_ptr<v1::TenantService::Stub> tenants_;
  std::unique_ptr<v1::KeyService::Stub> keys_;
  grpc::ClientContext context_;
};

CLI::App* Add(CLI::App* noun,
              const char* name,
              const char* verb,
              const char* description,
              IdentityCommand& command) {
  CLI::App* const app = noun->add_subcommand(name, description);
  app->add_option("--admin", command.admin, "inferd's admin plane: unix:PATH")
      ->envname("INFERCTL_ADMIN")
      ->capture_default_str();
  app->add_flag("--json", command.json, "the same as -o json");
  app->callback([&command, verb] { command.verb = verb; });
  return app;
}

void AddLifetime(CLI::App* app, IdentityCommand& command) {
  app->add_option("--days", command.lifetime_days, "how long the key is good for")
      ->check(CLI::Range(0.001, 366.0))
      ->capture_default_str();
}

}  // namespace

void AddIdentityCommands(CLI::App& app, IdentityCommand& command) {
  CLI::App* tenant = app.add_subcommand("tenant",
                                        "Looks at tenants, and has their files read again.\n\n"
                                        "Examples:\n  inferctl tenant list\n");
  tenant->require_subcommand(0, 1);
  Add(tenant,
      "list",
      "tenant list",
      "Lists the tenants.\n\nExamples:\n  inferctl tenant list\n",
      command);
  Add(tenant,
      "show",
      "tenant show",
      "Shows a tenant and its callers.\n\nExamples:\n  inferctl tenant show search\n",
      command)
      ->add_option("name", command.name, "the tenant")
      ->required();
  Add(tenant,
      "reload",
      "tenant reload",
      "Has tenant files and revocations read again: all of it takes effect, or nothing.\n\n"
      "Examples:\n  inferctl tenant reload\n",
      command);

  CLI::App* key = app.add_subcommand("key",
                                     "Issues API keys and takes them back.\n\n"
                                     "Examples:\n  inferctl key issue search > search.key\n");
  key->require_subcommand(0, 1);
  CLI::App* issue = Add(key,
                        "issue",
                        "key issue",
                        "Makes an API key and prints it, once.\n\nExamples:\n"
                        "  inferctl key issue search --project web --days 30 > search.key\n"
                        "  inferctl key issue search --scope models --source 10.0.0.0/8\n",
                        command);
  issue->add_option("tenant", command.name, "the tenant that its callers are of")->required();
  issue->add_option("--project", command.project, "their project");
  issue->add_option("--environment", command.environment, "stands in the key's text; unset: live");
  issue->add_option("--scope", command.scopes, "what it is for; none: all that a user may");
  issue->add_option("--source", command.sources, "a network it may be used from; none: any");
  AddLifetime(issue, command);
  CLI::App* rotate =
      Add(key,
          "rotate",
          "key rotate",
          "Makes another key of the same rights; the old one ends a little later."
          "\n\nExamples:\n  inferctl key rotate 7Qm2c9XbLw0T --overlap 30 > new.key\n",
          command);
  rotate->add_option("id", command.id, "the key's id")->required();
  rotate->add_option("--overlap", command.overlap_minutes, "minutes that the old key goes on")
      ->check(CLI::Range(0.0, 527'040.0))
      ->capture_default_str();
  AddLifetime(rotate, command);
  Add(key,
      "revoke",
      "key revoke",
      "Refuses a key from now on.\n\nExamples:\n  inferctl key revoke 7Qm2c9XbLw0T\n",
      command)
      ->add_option("id", command.id, "the key's id")
      ->required();
  Add(key,
      "list",
      "key list",
      "Lists API keys; never their secrets.\n\nExamples:\n  inferctl key list --tenant search\n",
      command)
      ->add_option("--tenant", command.name, "of this tenant alone");
}

ExitCode RunIdentity(const CommonOptions& common,
                     const IdentityCommand& command,
                     Terminal& terminal) {
  return Runner(common, command, terminal).Run();
}

}  // namespace inferd
