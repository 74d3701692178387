#include "daemon/identity_state.h"

#include <sys/stat.h>

#include <algorithm>
#include <iterator>

#include "base/file.h"
#include "base/log.h"
#include "daemon/config_schema.h"
#include "daemon/identity_diff.h"

namespace inferd {
namespace {

constexpr uint64_t kRevocationBytesMax = 16 << 20;

StatusOr<Revocations> ReadRevocations(const Config& config) {
  Revocations revocations;
  if (const std::string& path = config.identity.revocations; !path.empty()) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kRevocationBytesMax));
    RETURN_IF_ERROR(Annotate(revocations.AddList(text), path));
  }
  if (const std::string& path = config.identity.crl; !path.empty()) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kRevocationBytesMax));
    RETURN_IF_ERROR(Annotate(revocations.AddCrl(text), path));
  }
  return revocations;
}

// A change of any of them means a new content. The size too: a file that is written in place may
// have been read empty within the tick of its time.
RevocationStamps LookAtRevocations(const Config& config) {
  RevocationStamps stamps{};
  size_t next = 0;
  for (const std::string& path : {config.identity.revocations, config.identity.crl}) {
    struct stat info = {};
    if (!path.empty() && stat(path.c_str(), &info) == 0) {
      stamps[next] = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec;
      stamps[next + 1] = static_cast<int64_t>(info.st_ino);
      stamps[next + 2] = info.st_size;
    }
    next += 3;
  }
  return stamps;
}

// The memory plan of the models that are loaded rests on these.
Status CheckGuarantees(const Config& before, const Config& after) {
  const auto total = [](const Config& config) {
    int64_t blocks = 0;
    for (const TenantEntry& entry : config.scheduler.tenants) {
      blocks += entry.cached_blocks_guaranteed;
    }
    return blocks;
  };
  if (total(after) > total(before)) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "cached_blocks_guaranteed of all tenants rises from %d to %d: that needs a "
                  "restart",
                  total(before),
                  total(after));
  }
  return OkStatus();
}

Status CheckClass(const Config& config, const TenantFile& file) {
  const std::string& name = file.scheduling.service_class;
  const auto& classes = config.scheduler.classes;
  const bool known =
      name.empty() ||
      std::any_of(classes.begin(), classes.end(), [&](const auto& c) { return c.name == name; });
  return known ? OkStatus()
               : ErrorF(StatusCode::kInvalidArgument,
                        "%s: error: class: \"%s\" is not the name of one of scheduler.classes",
                        file.path,
                        name);
}

Status CheckEffective(const Config& config) {
  for (const auto& faults :
       {CheckScheduling(config), CheckAudit(config), CheckQuotas(config.quotas)}) {
    if (!faults.empty()) {
      return ErrorF(StatusCode::kInvalidArgument,
                    "configuration and tenant files together: %s: %s",
                    faults[0].key,
                    faults[0].what);
    }
  }
  if (config.quotas.size() > kQuotasInForceMax) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "configuration and tenant files together: %d quotas; at most %d are taken",
                  config.quotas.size(),
                  kQuotasInForceMax);
  }
  return OkStatus();
}

}  // namespace

StatusOr<IdentityState::Loaded> IdentityState::Load(const Config& config) {
  Loaded loaded{.identities = std::make_shared<Identities>(), .effective = config, .digest = {}};
  Identities& known = *loaded.identities;
  known.local_tenant = TenantId(config.identity.local_tenant);
  known.single_tenant = config.identity.tenants_directory.empty();
  for (const AdministratorEntry& entry : config.identity.administrators) {
    Administrator administrator{.name = entry.name, .roles = {}};
    for (const std::string& role : entry.roles) {
      if (const auto parsed = ParseRole(role)) {
        administrator.roles.push_back(*parsed);
      }
    }
    known.administrators.push_back(std::move(administrator));
  }
  ASSIGN_OR_RETURN(known.revocations, ReadRevocations(config));
  if (known.single_tenant) {
    return loaded;
  }
  ASSIGN_OR_RETURN(TenantFiles files, ReadTenantFiles(config.identity.tenants_directory));
  loaded.digest = files.digest;
  std::vector<TenantRecord> records;
  for (TenantFile& file : files.files) {
    RETURN_IF_ERROR(CheckClass(config, file));
    records.push_back(std::move(file.record));
    loaded.effective.scheduler.tenants.push_back(std::move(file.scheduling));
    if (file.audit.has_value()) {
      loaded.effective.audit.tenants.push_back(*std::move(file.audit));
    }
    std::move(file.quotas.begin(), file.quotas.end(), std::back_inserter(loaded.effective.quotas));
  }
  ASSIGN_OR_RETURN(known.tenants, TenantDirectory::Build(std::move(records)));
  RETURN_IF_ERROR(CheckEffective(loaded.effective));
  return loaded;
}

IdentityState::IdentityState(const Config& config, Loaded loaded)
    : config_(config), authenticator_(loaded.identities), current_(std::move(loaded)) {
  MutexLock lock(mutex_);
  stamps_ = LookAtRevocations(config_);
}

StatusOr<std::unique_ptr<IdentityState>> IdentityState::Open(const Config& config) {
  ASSIGN_OR_RETURN(Loaded loaded, Load(config));
  return std::unique_ptr<IdentityState>(new IdentityState(config, std::move(loaded)));
}

Config IdentityState::effective() const {
  MutexLock lock(mutex_);
  return current_.effective;
}

void IdentityState::set_hooks(Hooks hooks) { hooks_ = std::move(hooks); }

Status IdentityState::RecordStart() {
  MutexLock lock(mutex_);
  const TenantDirectory& tenants = current_.identities->tenants;
  if (!hooks_.record || current_.identities->single_tenant) {
    return OkStatus();
  }
  return hooks_.record(
      {.kind = "service", .id = "inferd", .authn = "none"},
      {.diff = DiffIdentity({config_, TenantDirectory()}, {current_.effective, tenants}),
       .num_tenants = tenants.tenants().size(),
       .digest = current_.digest});
}

IdentityChange IdentityState::ChangeBetween(const Loaded& old, const Loaded& loaded) {
  const Identities& before = *old.identities;
  const Identities& after = *loaded.identities;
  IdentityChange change{
      .diff = DiffIdentity({old.effective, before.tenants}, {loaded.effective, after.tenants}),
      .num_tenants = after.tenants.tenants().size(),
      .digest = loaded.digest};
  if (before.revocations != after.revocations) {
    change.diff.push_back(absl::StrFormat(
        "~ revocations: %d -> %d", before.revocations.size(), after.revocations.size()));
  }
  return change;
}

StatusOr<IdentityChange> IdentityState::Reload(const ActorFacts& actor) {
  MutexLock reloading(reload_mutex_);
  const auto [before, stamps_before] = Current();
  const RevocationStamps stamps = LookAtRevocations(config_);
  ASSIGN_OR_RETURN(Loaded loaded, Load(config_));
  RETURN_IF_ERROR(CheckGuarantees(before.effective, loaded.effective));
  IdentityChange change = ChangeBetween(before, loaded);
  std::optional<TlsCredentials::Next> tls;
  if (hooks_.tls != nullptr) {
    ASSIGN_OR_RETURN(tls, hooks_.tls->ReadNext());
    change.diff.insert(change.diff.end(), tls->diff.begin(), tls->diff.end());
  }
  if (hooks_.record) {
    RETURN_IF_ERROR(Annotate(hooks_.record(actor, change), "the change could not be recorded"));
  }
  if (hooks_.apply) {
    RETURN_IF_ERROR(hooks_.apply(before.effective, loaded.effective));
  }
  if (tls.has_value()) {
    hooks_.tls->Use(*std::move(tls));
  }
  for (const std::string& line : change.diff) {
    Log(LogLevel::kInfo, "tenants changed", {{"actor", actor.id}, {"change", line}});
  }
  MutexLock lock(mutex_);
  // What was issued and revoked while the leaf was on its way.
  loaded.identities->keys = current_.identities->keys;
  if (stamps_ == stamps_before) {
    stamps_ = stamps;
  } else {
    loaded.identities->revocations = current_.identities->revocations;
  }
  current_ = std::move(loaded);
  authenticator_.Replace(current_.identities);
  return change;
}

std::pair<IdentityState::Loaded, RevocationStamps> IdentityState::Current() const {
  MutexLock lock(mutex_);
  return {current_, stamps_};
}

StatusOr<bool> IdentityState::ReloadRevocationsIfChanged() {
  const auto stamps = LookAtRevocations(config_);
  MutexLock lock(mutex_);
  if (stamps == stamps_) {
    return false;
  }
  stamps_ = stamps;  // said once of what is of no use
  ASSIGN_OR_RETURN(Revocations revocations, ReadRevocations(config_));
  auto identities = std::make_shared<Identities>(*current_.identities);
  identities->revocations = std::move(revocations);
  current_.identities = std::move(identities);
  authenticator_.Replace(current_.identities);
  return true;
}

void IdentityState::UseKeysOf(const ApiKeyStore& store) {
  // Under the lock: of two changes at a time the later look sees both.
  MutexLock lock(mutex_);
  auto identities = std::make_shared<Identities>(*current_.identities);
  identities->keys = store.ring();
  current_.identities = std::move(identities);
  authenticator_.Replace(current_.identities);
}

}  // namespace inferd
