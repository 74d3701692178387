#include "daemon/identity_service.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "daemon/admin_call.h"
#include "daemon/method_rules.h"
#include "inferd/v1/identity.grpc.pb.h"

namespace inferd {
namespace {

using std::chrono::hours;

constexpr Duration kLifetime = hours(24 * 90);
constexpr Duration kLifetimeMax = hours(24 * 366);
constexpr Duration kOverlap = hours(1);
constexpr char kEnvironment[] = "live";

void Fill(WallTime time, google::protobuf::Timestamp* out) {
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  out->set_seconds(micros / 1'000'000);
  out->set_nanos(static_cast<int32_t>(micros % 1'000'000 * 1'000));
}

void Fill(const ApiKey& key, v1::ApiKeyInfo* out) {
  out->set_id(key.id);
  out->set_environment(key.environment);
  out->set_tenant(key.tenant.value());
  out->set_project(key.project);
  out->mutable_scopes()->Add(key.scopes.begin(), key.scopes.end());
  for (const Network& network : key.sources) {
    out->add_sources(network.text());
  }
  Fill(key.created, out->mutable_created());
  Fill(key.expires, out->mutable_expires());
  out->set_revoked(key.revoked);
  if (const auto last = key.use->last()) {
    Fill(*last, out->mutable_last_used());
  }
}

void Fill(const TenantRecord& tenant, const Config& config, v1::Tenant* out) {
  out->set_name(tenant.id.value());
  out->set_organisation(tenant.organisation);
  out->set_weight(1);
  for (const TenantEntry& entry : config.scheduler.tenants) {
    if (entry.name == tenant.id.value()) {
      out->set_weight(entry.weight);
      out->set_service_class(entry.service_class);
    }
  }
  for (const Principal& principal : tenant.principals) {
    v1::TenantPrincipal* to = out->add_principals();
    to->set_name(principal.name);
    to->set_project(principal.project);
    for (const Role role : principal.roles) {
      to->add_roles(std::string(Name(role)));
    }
  }
}

// `given`, or `otherwise` if it is unset; kInvalidArgument outside of [0, max].
StatusOr<Duration> Bounded(bool is_set,
                           const google::protobuf::Duration& given,
                           Duration otherwise,
                           Duration max,
                           std::string_view field) {
  if (!is_set) {
    return otherwise;
  }
  const int64_t seconds = std::clamp<int64_t>(given.seconds(), -1, max / std::chrono::seconds(1));
  if (seconds != given.seconds() || seconds < 0 || given.nanos() < 0) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%s: is not in [0 s, %d s]",
                  field,
                  max.count() / 1'000'000'000);
  }
  return std::chrono::seconds(seconds) + Duration(given.nanos() % 1'000'000'000);
}

class TenantService final : public v1::TenantService::Service {
 public:
  explicit TenantService(const IdentityServiceParts& parts) : parts_(parts) {}

  grpc::Status ListTenants(grpc::ServerContext* context,
                           const v1::ListTenantsRequest*,
                           v1::ListTenantsResponse* response) override {
    return AdminCall(parts_.gate, "TenantService/ListTenants", *context, [&](const Caller&) {
      const auto known = parts_.identity.authenticator().identities();
      const Config config = parts_.identity.effective();
      for (const TenantRecord& tenant : known->tenants.tenants()) {
        Fill(tenant, config, response->add_tenants());
      }
      return OkStatus();
    });
  }

  grpc::Status GetTenant(grpc::ServerContext* context,
                         const v1::GetTenantRequest* request,
                         v1::GetTenantResponse* response) override {
    return AdminCall(parts_.gate, "TenantService/GetTenant", *context, [&](const Caller&) {
      const auto known = parts_.identity.authenticator().identities();
      const TenantRecord* const tenant = known->tenants.FindTenant(TenantId(request->name()));
      if (tenant == nullptr) {
        return ErrorF(StatusCode::kNotFound, "there is no file of a tenant of that name");
      }
      Fill(*tenant, parts_.identity.effective(), response->mutable_tenant());
      return OkStatus();
    });
  }

  grpc::Status ReloadTenants(grpc::ServerContext* context,
                             const v1::ReloadTenantsRequest*,
                             v1::ReloadTenantsResponse* response) override {
    return AdminCall(
        parts_.gate, "TenantService/ReloadTenants", *context, [&](const Caller& caller) -> Status {
          ASSIGN_OR_RETURN(const IdentityChange change, parts_.identity.Reload(caller.actor));
          response->mutable_changes()->Add(change.diff.begin(), change.diff.end());
          response->set_num_tenants(static_cast<int64_t>(change.num_tenants));
          response->set_digest("sha256:" + change.digest.Hex());
          return OkStatus();
        });
  }

 private:
  const IdentityServiceParts parts_;
};

class KeyService final : public v1::KeyService::Service {
 public:
  explicit KeyService(const IdentityServiceParts& parts) : parts_(parts) {}

  grpc::Status IssueKey(grpc::ServerContext* context,
                        const v1::IssueKeyRequest* request,
                        v1::IssueKeyResponse* response) override {
    return AdminCall(
        parts_.gate, "KeyService/IssueKey", *context, [&](const Caller& caller) -> Status {
          ASSIGN_OR_RETURN(ApiKey wanted, ToKey(*request));
          ASSIGN_OR_RETURN(ApiKeyStore * keys, Keys());
          ASSIGN_OR_RETURN(const ApiKeyStore::Made made, keys->Make(std::move(wanted)));
          // A key that nobody has yet may stand in the log; one that is in use must.
          RETURN_IF_ERROR(Record(LeafType::kKeyIssued, caller.actor, made.key));
          RETURN_IF_ERROR(keys->Add(made.key));
          parts_.identity.UseKeysOf(*keys);
          Fill(made.key, response->mutable_key());
          response->set_secret(made.text);
          return OkStatus();
        });
  }

  grpc::Status RotateKey(grpc::ServerContext* context,
                         const v1::RotateKeyRequest* request,
                         v1::RotateKeyResponse* response) override {
    return AdminCall(
        parts_.gate, "KeyService/RotateKey", *context, [&](const Caller& caller) -> Status {
          ASSIGN_OR_RETURN(const Duration lifetime,
                           Bounded(request->has_lifetime(),
                                   request->lifetime(),
                                   kLifetime,
                                   kLifetimeMax,
                                   "lifetime"));
          ASSIGN_OR_RETURN(
              const Duration overlap,
              Bounded(
                  request->has_overlap(), request->overlap(), kOverlap, kLifetimeMax, "overlap"));
          ASSIGN_OR_RETURN(ApiKeyStore * keys, Keys());
          const WallTime now = parts_.clock.WallNow();
          ASSIGN_OR_RETURN(const ApiKeyStore::Made made,
                           keys->MakeSuccessor(request->id(), now, now + lifetime));
          RETURN_IF_ERROR(Record(LeafType::kKeyRotated, caller.actor, made.key, request->id()));
          RETURN_IF_ERROR(keys->Add(made.key));
          const Status expired = keys->Expire(request->id(), now + overlap).status();
          parts_.identity.UseKeysOf(*keys);
          RETURN_IF_ERROR(expired);
          Fill(made.key, response->mutable_key());
          response->set_secret(made.text);
          return OkStatus();
        });
  }

  grpc::Status RevokeKey(grpc::ServerContext* context,
                         const v1::RevokeKeyRequest* request,
                         v1::RevokeKeyResponse* response) override {
    return AdminCall(
        parts_.gate, "KeyService/RevokeKey", *context, [&](const Caller& caller) -> Status {
          ASSIGN_OR_RETURN(ApiKeyStore * keys, Keys());
          // What takes rights away does not wait for the log.
          const StatusOr<ApiKey> revoked = keys->Revoke(request->id());
          parts_.identity.UseKeysOf(*keys);
          RETURN_IF_ERROR(revoked);
          RETURN_IF_ERROR(Annotate(Record(LeafType::kKeyRevoked, caller.actor, *revoked),
                                   "the key is revoked, but that could not be recorded"));
          Fill(*revoked, response->mutable_key());
          return OkStatus();
        });
  }

  grpc::Status ListKeys(grpc::ServerContext* context,
                        const v1::ListKeysRequest* request,
                        v1::ListKeysResponse* response) override {
    return AdminCall(parts_.gate, "KeyService/ListKeys", *context, [&](const Caller&) -> Status {
      ASSIGN_OR_RETURN(const ApiKeyStore* const keys, Keys());
      const auto ring = keys->ring();
      for (const ApiKey& key : ring->keys()) {
        if (request->tenant().empty() || key.tenant.value() == request->tenant()) {
          Fill(key, response->add_keys());
        }
      }
      return OkStatus();
    });
  }

 private:
  StatusOr<ApiKeyStore*> Keys() const {
    if (parts_.keys == nullptr) {
      return ErrorF(StatusCode::kFailedPrecondition,
                    "API keys need the secret pepper.api: `inferctl keys init` makes it");
    }
    return parts_.keys;
  }

  StatusOr<ApiKey> ToKey(const v1::IssueKeyRequest& request) const {
    ApiKey key;
    key.environment = request.environment().empty() ? kEnvironment : request.environment();
    key.tenant = TenantId(request.tenant());
    key.project = request.project();
    const auto known = parts_.identity.authenticator().identities();
    if (known->tenants.FindTenant(key.tenant) == nullptr &&
        (key.tenant.value().empty() || key.tenant != known->local_tenant)) {
      return ErrorF(StatusCode::kNotFound, "tenant: there is none of that name");
    }
    const auto scopes = KnownScopes();
    key.scopes.assign(request.scopes().begin(), request.scopes().end());
    if (key.scopes.empty()) {
      key.scopes.assign(scopes.begin(), scopes.end());
    }
    for (const std::string& scope : key.scopes) {
      if (std::find(scopes.begin(), scopes.end(), scope) == scopes.end()) {
        return ErrorF(StatusCode::kInvalidArgument,
                      "scopes: known are %s",
                      absl::StrJoin(std::vector<std::string>(scopes.begin(), scopes.end()), ", "));
      }
    }
    for (const std::string& source : request.sources()) {
      ASSIGN_OR_RETURN(Network network, Network::Parse(source));
      key.sources.push_back(std::move(network));
    }
    ASSIGN_OR_RETURN(
        const Duration lifetime,
        Bounded(request.has_lifetime(), request.lifetime(), kLifetime, kLifetimeMax, "lifetime"));
    key.created = parts_.clock.WallNow();
    key.expires = key.created + lifetime;
    return key;
  }

  Status Record(LeafType type,
                const ActorFacts& actor,
                const ApiKey& key,
                const std::string& replaces = "") {
    if (parts_.audit == nullptr) {
      return OkStatus();
    }
    std::map<std::string, LeafDetail> detail = {
        {"key", key.id}, {"of_tenant", key.tenant.value()}, {"scopes", key.scopes}};
    if (!key.project.empty()) {
      detail["project"] = key.project;
    }
    if (!replaces.empty()) {
      detail["replaces"] = replaces;
    }
    return parts_.audit->RecordAct(type, actor, std::move(detail));
  }

  const IdentityServiceParts parts_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeTenantService(const IdentityServiceParts& parts) {
  return std::make_unique<TenantService>(parts);
}

std::unique_ptr<grpc::Service> MakeKeyService(const IdentityServiceParts& parts) {
  return std::make_unique<KeyService>(parts);
}

}  // namespace inferd
