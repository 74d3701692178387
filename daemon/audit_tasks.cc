#include "daemon/audit_tasks.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "base/log.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

StatusOr<TrustPolicy> ReadWitnessPolicy(const std::string& path, const NoteVerifier& log) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kPolicyBytesMax));
  auto policy = TrustPolicy::Parse(text);
  if (!policy.ok()) {
    return Annotate(policy.status(), path);
  }
  const bool names_us = std::any_of(
      policy->logs().begin(), policy->logs().end(), [&log](const TrustPolicy::Party& party) {
        return party.key.VKey() == log.VKey();
      });
  if (!names_us) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%s: it does not name this log: add the line `log %s`",
                  path,
                  log.VKey());
  }
  return policy;
}

StatusOr<std::unique_ptr<WitnessClient>> MakeWitnessClient(const Config& config,
                                                           const AuditTasks::Parts& parts) {
  if (config.audit.witness_policy.empty()) {
    return nullptr;
  }
  ASSIGN_OR_RETURN(TrustPolicy policy,
                   ReadWitnessPolicy(config.audit.witness_policy, parts.verifier));
  return std::make_unique<WitnessClient>(WitnessClient::Options{
      .clock = &parts.clock,
      .log_folder = config.state_directory + "/log",
      .policy = std::move(policy),
      .post = [http = HttpOptions{.timeout = kWitnessTimeout, .ca_file = config.audit.witness_ca}](
                  const std::string& url,
                  const std::string& body) { return PostHttp(url, body, http); },
      .publish =
          [&log = parts.log](const std::string& note) {
            // Refused if the log has gone on meanwhile; `witnessed` has it nevertheless.
            (void)log.PublishCosigned(note);
          },
      .on_rollback = [&log = parts.log](const Status& why) { (void)log.Refuse(why); },
      .on_origin_known = [&log =
                              parts.log](const std::string& origin) { log.OriginKnown(origin); }});
}

}  // namespace

AuditTasks::AuditTasks(Upkeep upkeep, std::unique_ptr<WitnessClient> witnesses)
    : upkeep_(std::move(upkeep)), witnesses_(std::move(witnesses)) {}

StatusOr<std::unique_ptr<AuditTasks>> AuditTasks::Start(const Config& config, const Parts& parts) {
  const int64_t days = config.audit.retention_days;
  if (days != 0 && days < kRetentionDaysMin) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "audit.retention_days: %d, but payloads stay for %d days at least",
                  days,
                  kRetentionDaysMin);
  }
  const std::string folder = config.audit.key_backup_directory.empty()
                                 ? config.state_directory + "/backups"
                                 : config.audit.key_backup_directory;
  std::error_code error;
  if (fs::create_directories(folder, error)) {
    fs::permissions(folder, fs::perms::owner_all, error);
  }
  if (error) {
    return ErrorF(StatusCode::kUnavailable, "%s: cannot make: %s", folder, error.message());
  }
  ASSIGN_OR_RETURN(auto witnesses, MakeWitnessClient(config, parts));
  Upkeep upkeep(
      {.backup_folder = folder,
       .backup_interval = config.audit.key_backup_interval,
       .retention_days = static_cast<int>(days)},
      {.log = parts.log, .keys = parts.keys, .retention = parts.retention, .clock = parts.clock});
  std::unique_ptr<AuditTasks> tasks(new AuditTasks(std::move(upkeep), std::move(witnesses)));
  if (tasks->witnesses_ != nullptr) {
    tasks->witnesses_->Start();
  }
  tasks->thread_ = std::thread([tasks = tasks.get()] { tasks->Run(); });
  return tasks;
}

AuditTasks::~AuditTasks() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void AuditTasks::Run() {
  bool failed = false;
  for (;;) {
    const Status done = upkeep_.RunIfDue();
    if (!done.ok() && !failed) {
      Log(LogLevel::kError, "upkeep failed", {{"error", std::string(Message(done))}});
    }
    failed = !done.ok();
    MutexLock lock(mutex_);
    stop_.wait_for(
        lock.std_lock(), kUpkeepPeriod, [this]() NO_THREAD_SAFETY_ANALYSIS { return stopping_; });
    if (stopping_) {
      return;
    }
  }
}

void AuditTasks::Announce(const std::string& note) {
  if (witnesses_ != nullptr) {
    witnesses_->Announce(note);
  }
}

std::vector<WitnessClient::State> AuditTasks::witnesses() const {
  return witnesses_ == nullptr ? std::vector<WitnessClient::State>() : witnesses_->States();
}

}  // namespace inferd
