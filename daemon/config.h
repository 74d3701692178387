// Config: what the operator decides, and how it is read. One YAML file plus `--set a.b=c`.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace inferd {

inline constexpr int64_t kConfigBytesMax = 1 << 20;
inline constexpr int64_t kModelsMax = 16;
inline constexpr int64_t kTrustedKeysMax = 64;
inline constexpr int64_t kAuditTenantsMax = 10'000;
inline constexpr int64_t kScheduledTenantsMax = 10'000;
inline constexpr int64_t kAdministratorsMax = 256;
inline constexpr int64_t kServiceClassesMax = 16;
inline constexpr int64_t kPublicPrefixesMax = 64;
inline constexpr int64_t kQuotasMax = 10'000;
inline constexpr int64_t kTenantQuotasMax = 1'000;    // of one tenant's file
inline constexpr size_t kQuotasInForceMax = 100'000;  // of the configuration and all files

// A model to serve.
struct ModelEntry {
  std::string name = "";
  std::string version = "1";  // of the name: these bytes, for good
  std::string path = "";
  std::string signature = "";  // a bundle over the files; "": none
  int64_t context_tokens_max = 0;
};

// How much of a tenant's requests is recorded; what is not set is as for everyone.
struct TenantAudit {
  std::string name;
  std::string mode = "strict";
  std::string level = "metadata";
  friend bool operator==(const TenantAudit&, const TenantAudit&) = default;
};

// A class of service. It orders work within a tenant and inside the fairness window; it never
// changes a tenant's share. Times of zero: none.
struct ClassEntry {
  std::string name = "";
  int64_t order = 0;
  Duration first_token{};
  Duration token_interval{};
  Duration queue_max{};
};

// What a tenant may have of the device. Limits of zero: none.
struct TenantEntry {
  std::string name = "";
  int64_t weight = 1;
  std::string service_class = "";  // "": the first
  int64_t running_max = 0;
  int64_t running_tokens_max = 0;
  int64_t waiting_max = 0;
  int64_t waiting_prompt_tokens_max = 0;
  int64_t cached_blocks_guaranteed = 0;
  bool reserves_all_output = false;
  friend bool operator==(const TenantEntry&, const TenantEntry&) = default;
};

// A person who may use the admin socket.
struct AdministratorEntry {
  std::string name = "";  // "uid:1000"
  std::vector<std::string> roles{};
};

// The beginning of prompts that every tenant may use: computed at the start, kept for good.
struct PublicPrefixEntry {
  std::string model = "";
  std::string kind = "system";
  std::string path = "";
};

// A quota; fields as in QuotaLimit. Empty names: all of that level.
struct QuotaEntry {
  std::string id, org, tenant, project, key, model;
  std::string metric = "otpm";
  int64_t limit = 0;
  int64_t burst = 0;
  std::string mode = "enforce";
  bool cached_free = false;
  friend bool operator==(const QuotaEntry&, const QuotaEntry&) = default;
};

// Every field's meaning, unit, default and bounds stand in config_schema.cc, which reads, prints
// and describes them; the defaults are those of this struct. A plain value.
struct Config {
  int64_t schema_version = 0;
  struct DataListener {
    std::string address = "127.0.0.1:8750";
    bool reflection = true;
    int64_t message_bytes_max = int64_t{16} << 20;
    int64_t connection_streams_max = 256;
    struct Tls {
      std::string certificate, key, client_ca;  // all, or none: no TLS
      bool require_client_certificate = true;
    } tls;
    bool insecure = false;
  } data;
  struct DeviceChoice {
    std::string kind = "cpu";
    std::string cpu_isa = "auto";
    int64_t threads = 0;
    int64_t memory_bytes_max = 0;
  } device;
  std::vector<ModelEntry> models;
  // Which models may answer.
  struct Registry {
    bool two_persons = true;
    std::string signatures = "optional";
    std::vector<std::string> public_keys;  // PEM files
    std::string authorities;               // PEM certificates; "": none
  } registry;
  struct SchedulerLimits {
    int64_t step_tokens_max = 512;
    int64_t running_max = 256;
    int64_t waiting_max = 1024;
    int64_t waiting_prompt_tokens_max = 0;
    int64_t fairness_window_units = 8192;
    int64_t model_steps_max = 8;
    int64_t draft_tokens_max = 0;
    bool refuses_late = false;
    std::vector<ClassEntry> classes;
    std::vector<TenantEntry> tenants;
  } scheduler;
  // Who may call.
  struct Identity {
    std::string tenants_directory;  // a file for each tenant; "": there is one tenant alone
    std::string local_tenant = "local";
    std::string revocations;  // a list of certificates
    std::string crl;          // an authority's
    std::vector<AdministratorEntry> administrators;
  } identity;
  int64_t kv_cache_bytes_max = int64_t{1} << 30;
  int64_t kv_swap_bytes_max = int64_t{1} << 30;
  bool prefix_cache = true;
  int64_t public_tokens_max = 4096;
  std::vector<PublicPrefixEntry> public_prefixes;
  struct RequestLimits {
    int64_t in_flight_max = 1024;
    Duration duration_max = std::chrono::hours(1);
    int64_t workers = 2;
    int64_t queue_max = 1024;
  } requests;
  struct EgressLimits {
    int64_t message_tokens_max = 4;
    Duration message_delay_max = std::chrono::milliseconds(20);
    int64_t undelivered_tokens_max = 1024;
    Duration stall_max = std::chrono::seconds(10);
    Duration slow_reader_timeout = std::chrono::seconds(30);
    Duration paused_kv_max{};
  } egress;
  struct Audit {
    std::string mode = "strict";
    std::string level = "metadata";
    int64_t reserve_bytes = int64_t{256} << 20;
    Duration wait_max = std::chrono::seconds(2);
    std::string spill_directory;  // "": there is none
    std::vector<std::string> best_effort_approved_by;
    std::vector<TenantAudit> tenants;
    std::string witness_policy;  // a tlog-policy file; "": no witness is asked
    std::string witness_ca;      // PEM: believed at https://; "": the machine's trust store
    int64_t retention_days = 0;
    Duration key_backup_interval = std::chrono::hours(24);
    std::string key_backup_directory;  // "": <state_directory>/backups
  } audit;
  // The first policy set, of files that only their owner may write; "": no policies.
  struct FirstPolicies {
    std::string schema, policies;
  } policy;
  std::vector<QuotaEntry> quotas;
  // Where the daemon keeps what outlives it: audit log, payloads, keys, index.
  std::string state_directory = "/var/lib/inferd";
  // Secrets that no credential gives; "": <state_directory>/keys.
  std::string keys_directory;
  std::string admin_address;  // "": unix:<state_directory>/admin.sock
  Duration health_stall_max = std::chrono::seconds(30);
  struct DrainTimes {
    Duration delay = std::chrono::seconds(5);
    Duration timeout = std::chrono::seconds(30);
  } drain;
  std::string log_level = "info";
};

// What reading gave: a config, or every error found.
struct ConfigResult {
  std::optional<Config> config;
  // "file:line:col: error: key: what is wrong", in the order of the file.
  std::vector<std::string> errors;
  // Key to where its value came from ("inferd.yaml:7", "--set a.b=c"); keys that are not here have
  // their default.
  std::map<std::string, std::string> origins;
};

// `overrides` are "a.b=c" (list items by number: models.0.path=...); the value is YAML.
ConfigResult ParseConfig(std::string_view text,
                         const std::string& file_name,
                         const std::vector<std::string>& overrides);
ConfigResult LoadConfigFile(const std::string& path, const std::vector<std::string>& overrides);

// The whole config as YAML, each value with its origin as a comment.
std::string PrintConfig(const ConfigResult& result);
// JSON Schema (2020-12) of the file, for editors.
std::string PrintConfigSchema();

}  // namespace inferd
