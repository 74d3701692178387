#include "daemon/daemon.h"

#include <grpcpp/impl/service_type.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "base/file_system.h"
#include "base/log.h"
#include "base/sha256.h"
#include "daemon/admin_server.h"
#include "daemon/admin_service.h"
#include "daemon/audit_state.h"
#include "daemon/egress_thread.h"
#include "daemon/error_map.h"
#include "daemon/generation_service.h"
#include "daemon/grpc_server.h"
#include "daemon/identity_service.h"
#include "daemon/identity_state.h"
#include "daemon/model_directory.h"
#include "daemon/model_loader.h"
#include "daemon/model_resolver.h"
#include "daemon/model_service.h"
#include "daemon/queue_service.h"
#include "daemon/registry_service.h"
#include "daemon/registry_state.h"
#include "daemon/replay_service.h"
#include "daemon/request_governor.h"
#include "daemon/scheduling.h"
#include "daemon/stream_registry.h"
#include "daemon/tenant_queue_service.h"
#include "daemon/tls_credentials.h"
#include "daemon/usage_service.h"
#include "daemon/worker_pool.h"
#include "governance/keys/secret_files.h"

namespace inferd {
namespace {

constexpr char kGenerationHealth[] = "inferd.v1.GenerationService";
// What calls get to notice that they were ended, once the drain's time is over.
constexpr Duration kAbortGrace = std::chrono::seconds(2);
// What the last messages get to reach their readers. Connections that stay open do not hold up the
// end.
constexpr Duration kCloseGrace = std::chrono::milliseconds(500);
constexpr Duration kDrainPoll = std::chrono::milliseconds(10);

Egress::Options ToEgressOptions(const Config& config) {
  return {.undelivered_tokens_max = config.egress.undelivered_tokens_max,
          .stall_max = config.egress.stall_max,
          .slow_reader_timeout = config.egress.slow_reader_timeout,
          .record_wait = config.audit.wait_max};
}

std::string AdminPath(const Config& config) {
  constexpr std::string_view kScheme = "unix:";
  return config.admin_address.empty() ? config.state_directory + "/admin.sock"
                                      : config.admin_address.substr(kScheme.size());
}

// For whoever reads the log of a start.
std::string WhatToDo(const UnansweredAlias& alias) {
  const std::string back = absl::StrFormat("`inferctl model rollback %s#%s` %s",
                                           alias.model,
                                           alias.alias,
                                           alias.on_its_way ? "ends its rollout" : "goes back");
  return alias.revoked ? back
                       : absl::StrFormat(
                             "`inferctl model load %s:%s PATH` serves it now, and {name: %s, "
                             "version: \"%s\", path: PATH} under models: after every start; %s",
                             alias.model,
                             alias.version,
                             alias.model,
                             alias.version,
                             back);
}

// Of the effective values, so that a leaf tells two configurations apart without showing them.
Digest ConfigDigest(const Config& config) {
  ConfigResult result;
  result.config = config;
  return Sha256Of(PrintConfig(result));
}

// API keys need their pepper; a daemon without it has none.
StatusOr<std::unique_ptr<ApiKeyStore>> OpenKeys(const Config& config) {
  auto pepper = ReadKeyFile(SecretFilePath(KeysFolder(config), kApiPepperFile));
  if (pepper.status().code() == StatusCode::kNotFound) {
    return std::unique_ptr<ApiKeyStore>();
  }
  RETURN_IF_ERROR(Annotate(pepper.status(), "API keys"));
  auto store = ApiKeyStore::Open(SystemFiles(), config.state_directory, *std::move(pepper));
  RETURN_IF_ERROR(Annotate(store.status(), "API keys"));
  return store;
}

// A leaf has room for the beginning of a long list.
std::map<std::string, LeafDetail> DetailOf(const IdentityChange& change) {
  constexpr size_t kLinesMax = 48;
  constexpr size_t kLineBytesMax = 200;
  std::vector<std::string> lines;
  for (const std::string& line : change.diff) {
    if (lines.size() < kLinesMax) {
      lines.push_back(line.substr(0, kLineBytesMax));
    }
  }
  std::map<std::string, LeafDetail> detail = {{"num_changes", uint64_t{change.diff.size()}},
                                              {"num_tenants", uint64_t{change.num_tenants}},
                                              {"files", change.digest}};
  if (!lines.empty()) {
    detail["changes"] = std::move(lines);
  }
  return detail;
}

GrpcServer::Options ToServerOptions(const Config& config,
                                    const ListenAddress& address,
                                    std::shared_ptr<TlsCredentials> tls) {
  return {.address = address,
          .credentials = std::move(tls),
          .reflection = config.data.reflection,
          .message_bytes_max = config.data.message_bytes_max,
          .connection_streams_max = config.data.connection_streams_max};
}

}  // namespace

// Members are destroyed from the last to the first: the server before what its services use, the
// engine (which publishes to egress until it ends) before egress.
struct Daemon::Parts {
  Parts(const Config& the_config,
        std::unique_ptr<Device> the_device,
        std::unique_ptr<RequestGovernor> the_governor,
        std::unique_ptr<AuditState> the_audit,
        std::unique_ptr<RegistryState> the_model_registry,
        std::unique_ptr<ApiKeyStore> the_keys,
        std::unique_ptr<IdentityState> the_identity)
      : config(the_config),
        device(std::move(the_device)),
        governor(std::move(the_governor)),
        audit(std::move(the_audit)),
        model_registry(std::move(the_model_registry)),
        keys(std::move(the_keys)),
        identity(std::move(the_identity)),
        registry(static_cast<size_t>(config.requests.in_flight_max)),
        egress(registry,
               audit == nullptr ? nullptr : &audit->join(),
               SystemClock(),
               ToEgressOptions(config)),
        engine(*device, SystemClock(), egress, ToEngineOptions(config)),
        backend(engine),
        replays({.registry = registry,
                 .backend = backend,
                 .egress = egress,
                 .clock = SystemClock(),
                 .service_class = LastClass(config),
                 .duration_max = config.requests.duration_max}),
        loader(config, *device, engine, models, *model_registry, audit.get()),
        classes(config),
        workers(static_cast<size_t>(config.requests.workers),
                static_cast<size_t>(config.requests.queue_max)) {}

  // Of the data plane, or of the admin socket's peer of this uid.
  CallGate Gate(std::optional<uint32_t> uid = std::nullopt) {
    return {
        identity->authenticator(), SystemClock(), audit == nullptr ? nullptr : &audit->join(), uid};
  }

  Status StartIdentity() {
    if (keys != nullptr) {
      identity->UseKeysOf(*keys);
    }
    IdentityState::Hooks hooks;
    hooks.tls = tls.get();
    if (audit != nullptr) {
      hooks.record = [this](const ActorFacts& actor, const IdentityChange& change) {
        return audit->RecordAct(LeafType::kTenantChanged, actor, DetailOf(change));
      };
    }
    hooks.apply = [this](const Config& before, const Config& after) {
      return ApplyTenants(before, after);
    };
    identity->set_hooks(std::move(hooks));
    return identity->RecordStart();
  }

  Status ApplyTenants(const Config& before, const Config& after) {
    Status status = ChangeTenants(before, after, engine);
    if (status.ok()) {
      status = governor->Reconfigure(after);
    }
    if (!status.ok()) {
      // What was known before is known still, so this does not fail.
      ChangeTenants(after, before, engine).IgnoreError();
      return status;
    }
    classes.Replace(after);
    if (audit != nullptr) {
      audit->join().set_tenants(AuditRulesOf(after));
    }
    return OkStatus();
  }

  // What the tenant's file says now.
  TenantModels ModelsOf(const TenantId& tenant) const {
    const auto known = identity->authenticator().identities();
    const TenantRecord* const record = known->tenants.FindTenant(tenant);
    return record == nullptr ? TenantModels()
                             : TenantModels{.references = record->models,
                                            .signed_only = record->signed_models_only};
  }

  UsageServiceParts UsageParts(const CallGate& gate) {
    return {.governor = *governor, .history = usage, .clock = SystemClock(), .gate = gate};
  }

  // The admin plane: the default socket lies in the state folder, which is the audit log's.
  Status StartAdmin() {
    if (audit == nullptr && config.admin_address.empty()) {
      return OkStatus();
    }
    const auto make_services = [this](uint32_t uid) {
      const CallGate gate = Gate(uid);
      std::vector<std::unique_ptr<grpc::Service>> services;
      if (audit != nullptr) {
        services.push_back(MakeAuditService(*audit, gate));
        services.push_back(MakeReplayService(
            {.audit = *audit, .models = models, .runner = replays, .gate = gate}));
      }
      services.push_back(MakeQueueService({.engine = engine,
                                           .models = models,
                                           .registry = registry,
                                           .clock = SystemClock(),
                                           .gate = gate}));
      services.push_back(MakeModelAdminService(loader, gate));
      services.push_back(MakeRegistryService(
          {.registry = *model_registry, .models = models, .loader = loader, .gate = gate}));
      services.push_back(MakeQuotaAdminService(UsageParts(gate)));
      services.push_back(MakePolicyAdminService(UsageParts(gate)));
      const IdentityServiceParts parts = {.identity = *identity,
                                          .keys = keys.get(),
                                          .audit = audit.get(),
                                          .clock = SystemClock(),
                                          .gate = gate};
      services.push_back(MakeTenantService(parts));
      services.push_back(MakeKeyService(parts));
      return services;
    };
    ASSIGN_OR_RETURN(admin, AdminServer::Start(AdminPath(config), make_services));
    return OkStatus();
  }

  const Config config;  // with the tenants of the files, as of the start
  const std::unique_ptr<Device> device;
  // Before the audit log, whose last callbacks hold calls and so their reservations.
  const std::unique_ptr<RequestGovernor> governor;
  const std::unique_ptr<AuditState> audit;  // nullptr: no audit log
  const std::unique_ptr<RegistryState> model_registry;
  UsageHistory usage{audit.get()};
  const std::unique_ptr<ApiKeyStore> keys;  // nullptr: no secret for them
  const std::unique_ptr<IdentityState> identity;
  ModelDirectory models;
  const ModelResolver resolver{model_registry->registry(),
                               model_registry->sessions(),
                               models,
                               [this](const TenantId& tenant) { return ModelsOf(tenant); }};
  StreamRegistry registry;
  EgressThread egress;
  Engine engine;
  EngineBackend backend;
  ReplayRunner replays;
  ModelLoader loader;
  TenantClasses classes;
  WorkerPool workers;
  std::shared_ptr<TlsCredentials> tls;  // nullptr: no TLS
  std::unique_ptr<GrpcServer> server;
  std::unique_ptr<AdminServer> admin;  // nullptr: no audit log, and no address was given
  std::atomic<bool> draining{false};
  std::atomic<bool> aborted{false};
  bool ended = false;                        // FinishDrain ran
  bool healthy = false;                      // as last reported; the thread that calls Tick
  std::set<std::string> models_with_health;  // the same thread
};

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Daemon::~Daemon() {
  BeginDrain();
  Abort();
  FinishDrain();
}

StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const Config& given,
                                                std::unique_ptr<Device> device) {
  auto identity = IdentityState::Open(given);
  RETURN_IF_ERROR(Annotate(identity.status(), "identity"));
  const Config config = (*identity)->effective();
  ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(config.data.address));
  std::unique_ptr<AuditState> audit;
  if (config.audit.mode != "off") {
    auto opened = AuditState::Open(config, device->capabilities().name, SystemClock());
    if (opened.status().code() == StatusCode::kNotFound) {
      return ErrorF(StatusCode::kNotFound,
                    "audit log: %s (`inferctl keys init` makes its secrets)",
                    Message(opened.status()));
    }
    RETURN_IF_ERROR(Annotate(opened.status(), "audit log"));
    audit = *std::move(opened);
    std::map<std::string, LeafDetail> detail = {{"config", ConfigDigest(config)}};
    if (!config.audit.best_effort_approved_by.empty()) {
      detail["best_effort_approved_by"] = config.audit.best_effort_approved_by;
    }
    RETURN_IF_ERROR(audit->RecordOwn(LeafType::kConfigChanged, std::move(detail)));
  }
  ASSIGN_OR_RETURN(auto governor, RequestGovernor::Open(config, audit.get(), SystemClock()));
  auto model_registry = RegistryState::Open(config, audit.get(), SystemClock());
  RETURN_IF_ERROR(Annotate(model_registry.status(), "model registry"));
  ASSIGN_OR_RETURN(std::unique_ptr<ApiKeyStore> keys, OpenKeys(config));
  auto parts = std::make_unique<Parts>(config,
                                       std::move(device),
                                       std::move(governor),
                                       std::move(audit),
                                       *std::move(model_registry),
                                       std::move(keys),
                                       *std::move(identity));
  if (!config.data.tls.certificate.empty()) {
    const Config::DataListener::Tls& tls = config.data.tls;
    ASSIGN_OR_RETURN(parts->tls,
                     TlsCredentials::Start({tls.certificate, tls.key, tls.client_ca},
                                           SystemClock(),
                                           tls.require_client_certificate));
  }
  RETURN_IF_ERROR(parts->StartIdentity());
  if (parts->audit != nullptr) {
    parts->audit->join().set_deliver(
        [&egress = parts->egress](CallPtr call, AuditStage stage, StatusOr<AuditReceipt> result) {
          egress.Audited(std::move(call), stage, std::move(result));
        });
  }
  for (const ModelEntry& entry : config.models) {
    parts->models.Announce(entry.name, entry.version);
  }
  std::vector<std::unique_ptr<grpc::Service>> services;
  services.push_back(
      MakeGenerationService({.models = parts->resolver,
                             .backend = parts->backend,
                             .registry = parts->registry,
                             .egress = parts->egress,
                             .workers = parts->workers,
                             .clock = SystemClock(),
                             .gate = parts->Gate(),
                             .classes = parts->classes,
                             .delivery = {.message_tokens_max = config.egress.message_tokens_max,
                                          .message_delay_max = config.egress.message_delay_max},
                             .duration_max = config.requests.duration_max,
                             .audit = parts->audit == nullptr ? nullptr : &parts->audit->join(),
                             .governor = *parts->governor}));
  services.push_back(MakeModelService({.models = parts->resolver,
                                       .governor = *parts->governor,
                                       .workers = parts->workers,
                                       .gate = parts->Gate()}));
  services.push_back(MakeUsageService(parts->UsageParts(parts->Gate()), parts->workers));
  services.push_back(MakeTenantQueueService({.engine = parts->engine,
                                             .registry = parts->registry,
                                             .workers = parts->workers,
                                             .gate = parts->Gate()}));
  ASSIGN_OR_RETURN(
      parts->server,
      GrpcServer::Start(ToServerOptions(config, address, parts->tls), std::move(services)));
  parts->server->SetHealth(kGenerationHealth, false);
  for (const ModelEntry& entry : config.models) {
    parts->server->SetHealth("model:" + entry.name, false);
  }
  RETURN_IF_ERROR(parts->StartAdmin());
  RETURN_IF_ERROR(SetTenants(config, parts->engine));
  parts->engine.Start();
  return std::unique_ptr<Daemon>(new Daemon(std::move(parts)));
}

Status Daemon::LoadModels(const std::function<void(const std::string&)>& progress) {
  for (const ModelEntry& entry : parts_->config.models) {
    const Status status = parts_->loader.Load(entry, progress);
    if (status.code() == StatusCode::kPermissionDenied) {
      // Revoked since the file was written, which must not keep the others from being served.
      Log(LogLevel::kError, "model refused", {{"error", std::string(Message(status))}});
    } else if (!status.ok()) {
      return Annotate(status, absl::StrFormat("model %s", entry.name));
    }
  }
  for (const UnansweredAlias& alias : parts_->resolver.Unanswered()) {
    // Where nothing of the name is served, the model may have been taken out of the file.
    Log(parts_->models.Versions(alias.model).empty() ? LogLevel::kWarning : LogLevel::kError,
        "an alias names a version that does not answer: its callers are refused",
        {{"alias", alias.model + '#' + alias.alias},
         {"version", alias.version},
         {"digest", DigestText(alias.digest)},
         {"why", alias.revoked ? "it was revoked" : "it is not in memory"},
         {"do", WhatToDo(alias)}});
  }
  return OkStatus();
}

void Daemon::Tick() {
  UpdateHealth();
  ReloadTls();
  const StatusOr<bool> revocations = parts_->identity->ReloadRevocationsIfChanged();
  if (!revocations.ok()) {
    Log(LogLevel::kError,
        "revocations are of no use; those read before stay",
        {{"error", std::string(Message(revocations.status()))}});
  } else if (*revocations) {
    Log(LogLevel::kInfo, "revocations read again");
  }
}

Status Daemon::Reload() {
  const auto change =
      parts_->identity->Reload({.kind = "service", .id = "inferd", .authn = "none"});
  if (!change.ok()) {
    Log(LogLevel::kError,
        "reload refused; everything stays as it was",
        {{"error", std::string(Message(change.status()))}});
    return change.status();
  }
  Log(LogLevel::kInfo,
      "reloaded",
      {{"changes", std::to_string(change->diff.size())},
       {"tenants", std::to_string(change->num_tenants)}});
  return OkStatus();
}

void Daemon::ReloadTls() {
  if (parts_->tls == nullptr) {
    return;
  }
  const StatusOr<bool> reloaded = parts_->tls->ReloadIfChanged();
  if (!reloaded.ok()) {
    Log(LogLevel::kError,
        "TLS files are of no use; those read before stay",
        {{"error", std::string(Message(reloaded.status()))}});
  } else if (*reloaded) {
    Log(LogLevel::kInfo, "TLS files read again");
  }
}

Status Daemon::audit_status() const {
  return parts_->audit == nullptr ? OkStatus() : parts_->audit->log().status();
}

void Daemon::UpdateHealth() {
  const EngineStats stats = parts_->engine.stats();
  // Paused sequences run no steps; that is their readers' doing.
  const bool has_work = stats.running + stats.waiting > parts_->egress.paused_sequences();
  const Duration quiet = SystemClock().Now() - stats.last_step;
  const bool wedged =
      parts_->egress.device_lost() || (has_work && quiet > parts_->config.health_stall_max);
  bool all_ready = true;
  for (const std::string& name : parts_->models_with_health) {
    if (parts_->models.Versions(name).empty()) {  // unloaded
      parts_->server->SetHealth("model:" + name, false);
    }
  }
  std::map<std::string, bool> ready;  // a version of it
  for (const ModelDirectory::Entry& entry : parts_->models.List()) {
    ready[entry.name] = ready[entry.name] || entry.ready();
    all_ready = all_ready && entry.ready();
  }
  for (const UnansweredAlias& alias : parts_->resolver.Unanswered()) {
    // Another version of the name does not answer for it.
    if (alias.alias == ModelRegistry::kDefaultAlias && !alias.on_its_way &&
        ready.contains(alias.model)) {
      ready[alias.model] = false;
    }
  }
  for (const auto& [name, is_ready] : ready) {
    parts_->models_with_health.insert(name);
    parts_->server->SetHealth("model:" + name, is_ready && !wedged && !parts_->draining);
  }
  const bool healthy = all_ready && !wedged && !parts_->draining;
  parts_->server->SetHealth("", healthy);
  parts_->server->SetHealth(kGenerationHealth, healthy);
  if (wedged && parts_->healthy) {
    Log(LogLevel::kError,
        "engine stalled: the device failed, or work is queued and no step was taken",
        {{"running", std::to_string(stats.running)}, {"waiting", std::to_string(stats.waiting)}});
  }
  parts_->healthy = healthy;
}

void Daemon::BeginDrain() {
  parts_->draining = true;
  parts_->registry.Drain();
  UpdateHealth();
}

void Daemon::FinishDrain() {
  const auto wait = [this](Duration at_most, bool until_aborted) {
    const TimePoint end = SystemClock().Now() + at_most;
    while (parts_->registry.size() > 0 && SystemClock().Now() < end &&
           !(until_aborted && parts_->aborted)) {
      std::this_thread::sleep_for(kDrainPoll);
    }
  };
  wait(parts_->config.drain.timeout, true);
  // gRPC would cut the rest off without a reason: end them ourselves first.
  parts_->egress.AbortAll(MakeError(Reason::kDraining, "the daemon is shutting down"));
  wait(kAbortGrace, false);
  parts_->server->Shutdown(kCloseGrace);
  if (parts_->audit != nullptr) {
    // Every call has ended: an answer that comes now finds nobody.
    parts_->audit->join().set_deliver({});
  }
  if (!std::exchange(parts_->ended, true)) {
    parts_->loader.RecordEnd();
  }
}

void Daemon::Abort() { parts_->aborted = true; }

const std::string& Daemon::address() const { return parts_->server->address(); }
EngineStats Daemon::stats() const { return parts_->engine.stats(); }
size_t Daemon::generations_in_flight() const { return parts_->registry.size(); }

}  // namespace inferd
