#include "daemon/config_schema.h"

#include "daemon/listen_address.h"
#include "governance/registry/model_reference.h"

namespace inferd {
namespace {

using std::chrono::hours;

Status CheckAddress(std::string_view text) { return ParseListenAddress(text).status(); }

// Its peers are known by their uid, which a Unix socket alone tells.
Status CheckAdminAddress(std::string_view text) {
  if (text.empty()) {
    return OkStatus();
  }
  const auto address = ParseListenAddress(text);
  RETURN_IF_ERROR(address);
  return address->is_unix ? OkStatus() : Status(StatusCode::kInvalidArgument, "must be unix:PATH");
}

void VisitListeners(FieldVisitor& v, Config& c) {
  v.Enter("listeners", "Where the daemon listens.");
  v.Enter("data", "The data plane: generation, models, health.");
  v.String(
      "address",
      c.data.address,
      {.choices = {}, .check = CheckAddress, .required = false},
      "127.0.0.1:PORT, [::1]:PORT (port 0: the system picks one), unix:PATH, or an address that "
      "other hosts reach, which needs tls.");
  v.Bool("reflection", c.data.reflection, "Serve grpc.reflection, so that tools find the API.");
  v.Bytes("message_bytes_max",
          c.data.message_bytes_max,
          {.min = 1 << 10, .max = int64_t{256} << 20, .required = false},
          "Largest message that is received.");
  v.Integer("connection_streams_max",
            c.data.connection_streams_max,
            {.min = 1, .max = 65536, .required = false},
            "Calls in flight on one connection.");
  v.Enter("tls", "Mutual TLS; all three files or none. Files that change are read again.");
  v.String("certificate",
           c.data.tls.certificate,
           {},
           "PEM; our own certificate first, then those between it and its authority.");
  v.String("key", c.data.tls.key, {}, "PEM without a passphrase, of mode 0600.");
  v.String("client_ca",
           c.data.tls.client_ca,
           {},
           "PEM; the authorities that callers' certificates come from.");
  v.Bool("require_client_certificate",
         c.data.tls.require_client_certificate,
         "false: callers with an API key need no certificate.");
  v.Leave();
  v.Bool("insecure",
         c.data.insecure,
         "Serve other hosts without TLS: whoever is in between reads and writes everything.");
  v.Leave();
  v.Enter("admin", "The admin plane: audit, erasure, holds.");
  v.String("address",
           c.admin_address,
           {.choices = {}, .check = CheckAdminAddress, .required = false},
           "unix:PATH; empty: admin.sock in state_directory.");
  v.Leave();
  v.Leave();
}

void VisitDevice(FieldVisitor& v, Config& c) {
  v.Enter("device", "What computes.");
  v.String("kind",
           c.device.kind,
           {.choices = {"cpu", "cuda"}, .check = {}, .required = false},
           "A cuda that is missing is an error, never a fall back to the cpu.");
  v.String("cpu_isa",
           c.device.cpu_isa,
           {.choices = {"auto", "scalar", "avx2", "avx512"}, .check = {}, .required = false},
           "Instruction set of the cpu's kernels; all give the same bits.");
  v.Integer("threads",
            c.device.threads,
            {.min = 0, .max = 1024, .required = false},
            "Compute threads of the cpu device; 0: one for each core that the process may use.");
  v.Bytes("memory_bytes_max",
          c.device.memory_bytes_max,
          {.min = 0, .max = int64_t{1} << 46, .required = false},
          "Memory for weights and KV of all models; a model that does not fit is refused; 0: as "
          "much as the host has.");
  v.Leave();
}

void VisitModels(FieldVisitor& v, Config& c) {
  const size_t size = v.BeginList("models",
                                  c.models.size(),
                                  {.min = 1, .max = kModelsMax, .required = true},
                                  "The models to serve, at least one.");
  c.models.resize(size);
  for (size_t i = 0; i < size; ++i) {
    v.EnterItem(i);
    v.String("name",
             c.models[i].name,
             {.choices = {}, .check = CheckModelName, .required = true},
             "The name that requests use.");
    v.String("version",
             c.models[i].version,
             {.choices = {}, .check = CheckModelName, .required = false},
             "Which version of the name these files are; the first one of a name needs no other "
             "approval.");
    v.String("path",
             c.models[i].path,
             {.choices = {}, .check = CheckNotEmpty, .required = true},
             "The GGUF file, or a folder of safetensors; relative to the working directory.");
    v.String("signature",
             c.models[i].signature,
             {},
             "A signature over the files, checked when the version is first met; empty: none.");
    v.Integer("context_tokens_max",
              c.models[i].context_tokens_max,
              {.min = 0, .max = int64_t{1} << 24, .required = false},
              "Positions to serve; 0: what the file declares.");
    v.Leave();
  }
  v.EndList();
}

void VisitRegistry(FieldVisitor& v, Config& c) {
  v.Enter("registry", "Which models may answer; docs/models.md.");
  v.Bool("two_persons",
         c.registry.two_persons,
         "Versions are approved by two persons who did not add them, and aliases moved by two; "
         "false: one person is enough.");
  v.String("signatures",
           c.registry.signatures,
           {.choices = {"optional", "required"}, .check = {}, .required = false},
           "Whether every version needs a signature that verifies.");
  v.Strings("public_keys",
            c.registry.public_keys,
            {.choices = {}, .check = CheckNotEmpty, .required = false},
            kTrustedKeysMax,
            "Whose signatures count: PEM files of P-256, P-384 or P-521 keys.");
  v.String("authorities",
           c.registry.authorities,
           {},
           "Certificates that signers' certificates must chain to, PEM; empty: none.");
  v.Leave();
}

void VisitRequests(FieldVisitor& v, Config& c) {
  v.Enter("requests", "Calls, before they reach the engine.");
  v.Integer("in_flight_max",
            c.requests.in_flight_max,
            {.min = 1, .max = 1 << 20, .required = false},
            "Generations in flight over all connections; beyond it: QUEUE_FULL.");
  v.Time("duration_max",
         c.requests.duration_max,
         hours(24 * 7),
         "A generation that takes longer ends with DEADLINE_EXCEEDED.");
  v.Integer("workers",
            c.requests.workers,
            {.min = 1, .max = 256, .required = false},
            "Threads that tokenise and apply chat templates.");
  v.Integer("queue_max",
            c.requests.queue_max,
            {.min = 1, .max = 1 << 20, .required = false},
            "Calls that wait for a worker; beyond it: QUEUE_FULL.");
  v.Leave();
}

void VisitEgress(FieldVisitor& v, Config& c) {
  v.Enter("egress", "How tokens are sent.");
  v.Integer("message_tokens_max",
            c.egress.message_tokens_max,
            {.min = 1, .max = 1024, .required = false},
            "A message waits for this many tokens (the first token never waits); 1: none waits.");
  v.Time("message_delay_max",
         c.egress.message_delay_max,
         std::chrono::seconds(10),
         "Or until its first token has waited this long.");
  v.Integer("undelivered_tokens_max",
            c.egress.undelivered_tokens_max,
            {.min = 1, .max = 1 << 20, .required = false},
            "Tokens that a reader may be behind before its request is paused.");
  v.Time("stall_max",
         c.egress.stall_max,
         hours(24),
         "A message that takes longer to be taken pauses the request.");
  v.Time("slow_reader_timeout",
         c.egress.slow_reader_timeout,
         hours(24),
         "A request that is paused this long ends with ABORTED, reason SLOW_CONSUMER.");
  v.Time("paused_kv_max",
         c.egress.paused_kv_max,
         hours(24),
         "A request that is paused this long gives its KV to others and computes it again when its "
         "reader goes on; 0: only when others need it.");
  v.Leave();
}

}  // namespace

StringField AuditModeField() {
  return {.choices = {"strict", "guarded", "best_effort", "off"}, .check = {}, .required = false};
}
StringField AuditLevelField() {
  return {.choices = {"none", "metadata", "full"}, .check = {}, .required = false};
}

namespace {

void VisitAudit(FieldVisitor& v, Config& c) {
  v.String("state_directory",
           c.state_directory,
           {.choices = {}, .check = CheckNotEmpty, .required = false},
           "Audit log, payloads, keys, index; relative to the working directory.");
  v.String("keys_directory",
           c.keys_directory,
           {.choices = {}, .check = {}, .required = false},
           "Secrets that no credential gives (inferctl keys init); empty: state_directory/keys.");
  v.Enter("audit", "The record of what is answered and done.");
  v.String(
      "mode",
      c.audit.mode,
      AuditModeField(),
      "When the log takes no record. strict: refuse. guarded: spill to spill_directory, at most "
      "10000 records or 5 s, then refuse. best_effort: serve, if two persons approved it. off: "
      "there is no log.");
  v.String("level",
           c.audit.level,
           AuditLevelField(),
           "none: counts. metadata: commitments too. full: prompts and answers, encrypted, too.");
  v.Bytes("reserve_bytes",
          c.audit.reserve_bytes,
          {.min = 0, .max = int64_t{1} << 40, .required = false},
          "Disk space that is held back for the log's own and administrators' records.");
  v.Time("wait_max",
         c.audit.wait_max,
         std::chrono::minutes(1),
         "A call whose record takes longer ends with reason AUDIT_UNAVAILABLE.");
  v.String("witness_policy",
           c.audit.witness_policy,
           {.choices = {}, .check = {}, .required = false},
           "A tlog-policy file: its witnesses that have a url are asked to cosign; empty: none.");
  v.String("witness_ca",
           c.audit.witness_ca,
           {.choices = {}, .check = {}, .required = false},
           "PEM file of the authorities believed at witnesses' https urls; empty: the machine's.");
  v.Integer("retention_days",
            c.audit.retention_days,
            {.min = 0, .max = 36500, .required = false},
            "Payloads older than this are purged each day, held ones not; 183 at least; 0: never.");
  v.Time("key_backup_interval",
         c.audit.key_backup_interval,
         hours(24 * 30),
         "A copy of the key store is made this often, and goes after 30 days; 0s: none is made.");
  v.String("key_backup_directory",
           c.audit.key_backup_directory,
           {.choices = {}, .check = {}, .required = false},
           "Where the copies go: another disk, for choice; empty: state_directory/backups.");
  v.String(
      "spill_directory",
      c.audit.spill_directory,
      {.choices = {}, .check = {}, .required = false},
      "Where guarded records go meanwhile, on another device; needed if any tenant is guarded.");
  const size_t approvals = v.BeginList("best_effort_approved_by",
                                       c.audit.best_effort_approved_by.size(),
                                       {.min = 0, .max = 16, .required = false},
                                       "The persons who approved best_effort, at least two; "
                                       "recorded with each change of the configuration.");
  c.audit.best_effort_approved_by.resize(approvals);
  for (size_t i = 0; i < approvals; ++i) {
    v.EnterItem(i);
    v.String("person",
             c.audit.best_effort_approved_by[i],
             {.choices = {}, .check = CheckNotEmpty, .required = true},
             "As leaves name them: uid:1000.");
    v.Leave();
  }
  v.EndList();
  const size_t size = v.BeginList("tenants",
                                  c.audit.tenants.size(),
                                  {.min = 0, .max = kAuditTenantsMax, .required = false},
                                  "Tenants whose record is kept differently.");
  c.audit.tenants.resize(size);
  for (size_t i = 0; i < size; ++i) {
    v.EnterItem(i);
    v.String("name",
             c.audit.tenants[i].name,
             {.choices = {}, .check = CheckNotEmpty, .required = true},
             "The tenant.");
    v.String("mode", c.audit.tenants[i].mode, AuditModeField(), "As audit.mode; not off.");
    v.String("level", c.audit.tenants[i].level, AuditLevelField(), "As audit.level.");
    v.Leave();
  }
  v.EndList();
  v.Leave();
}

void VisitProcess(FieldVisitor& v, Config& c) {
  v.Enter("health", "When the daemon calls itself healthy.");
  v.Time("stall_max",
         c.health_stall_max,
         hours(24),
         "With work queued and no step for this long, health is NOT_SERVING.");
  v.Leave();
  v.Enter("drain", "What SIGTERM does.");
  v.Time("delay",
         c.drain.delay,
         hours(1),
         "Health is NOT_SERVING and new generations are refused this long before the listener "
         "closes.");
  v.Time("timeout",
         c.drain.timeout,
         hours(24),
         "Generations that are still running after this end with UNAVAILABLE, reason DRAINING.");
  v.Leave();
  v.Enter("logging", "Log lines on stderr, JSON, never prompt text.");
  v.String("level",
           c.log_level,
           {.choices = {"debug", "info", "warning", "error"}, .check = {}, .required = false},
           "The least severe level that is written.");
  v.Leave();
}

}  // namespace

Status CheckModelName(std::string_view name) {
  if (!IsModelReferencePart(name)) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "\"%s\" is not a name: 1 to %d of a-z A-Z 0-9 . _ -",
                  name,
                  ModelReference::kPartBytesMax);
  }
  return OkStatus();
}

Status CheckNotEmpty(std::string_view text) {
  return text.empty() ? Status(StatusCode::kInvalidArgument, "must not be empty") : OkStatus();
}

void VisitConfig(FieldVisitor& visitor, Config& config) {
  visitor.Integer("schema_version",
                  config.schema_version,
                  {.min = 1, .max = 1, .required = true},
                  "Version of this file's format.");
  VisitListeners(visitor, config);
  VisitDevice(visitor, config);
  VisitModels(visitor, config);
  VisitRegistry(visitor, config);
  VisitScheduling(visitor, config);
  VisitGovernance(visitor, config);
  VisitRequests(visitor, config);
  VisitEgress(visitor, config);
  VisitIdentity(visitor, config);
  VisitAudit(visitor, config);
  VisitProcess(visitor, config);
}

}  // namespace inferd
