#include "daemon/scheduling.h"

#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/file.h"
#include "base/log.h"
#include "daemon/prompt.h"
#include "inferd/v1/generation.pb.h"

namespace inferd {
namespace {

constexpr int64_t kPrefixFileBytesMax = int64_t{16} << 20;

// Zero is how the config writes "no bound" and "none".
int64_t Bound(int64_t value) { return value == 0 ? kUnlimited : value; }
std::optional<Duration> Maybe(Duration value) {
  return value == Duration::zero() ? std::nullopt : std::optional(value);
}

TenantSpec ToTenantSpec(const TenantEntry& entry) {
  return {.weight = entry.weight,
          .running_max = Bound(entry.running_max),
          .running_tokens_max = Bound(entry.running_tokens_max),
          .waiting_max = Bound(entry.waiting_max),
          .waiting_prompt_tokens_max = Bound(entry.waiting_prompt_tokens_max),
          .cached_blocks_guaranteed = entry.cached_blocks_guaranteed,
          .reserves_all_output = entry.reserves_all_output};
}

// What every chat with this system message begins with: what two of them have in common.
StatusOr<std::vector<TokenId>> SystemPrefix(const ResidentModel& model, const std::string& text) {
  std::vector<std::vector<TokenId>> chats;
  for (const char* first : {"a", "7"}) {
    v1::ChatPrompt chat;
    v1::ChatMessage* message = chat.add_messages();
    message->set_role("system");
    message->set_content(text);
    message = chat.add_messages();
    message->set_role("user");
    message->set_content(first);
    ASSIGN_OR_RETURN(ChatEncoding encoded, EncodeChat(model, chat));
    chats.push_back(std::move(encoded.tokens));
  }
  const auto [end, other] =
      std::mismatch(chats[0].begin(), chats[0].end(), chats[1].begin(), chats[1].end());
  chats[0].erase(end, chats[0].end());
  return std::move(chats[0]);
}

Status RegisterOne(const PublicPrefixEntry& entry, const ResidentModel& model, Engine& engine) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(entry.path, kPrefixFileBytesMax));
  if (model.tokenizer == nullptr) {
    return ErrorF(StatusCode::kInvalidArgument, "the model has no vocabulary, thus no text");
  }
  ASSIGN_OR_RETURN(const std::vector<TokenId> tokens,
                   entry.kind == "text"
                       ? EncodeText(model, text, SpecialTokens::kAsText, model.add_bos)
                       : SystemPrefix(model, text));
  RETURN_IF_ERROR(engine.RegisterPublicPrefix(model.slot, tokens));
  Log(LogLevel::kInfo,
      "public prefix kept",
      {{"model", model.name},
       {"path", entry.path},
       {"tokens", std::to_string(tokens.size() / kBlockTokens * kBlockTokens)}});
  return OkStatus();
}

// What the host has; 0 if it does not say.
int64_t HostMemoryBytes() {
  const int64_t pages = sysconf(_SC_PHYS_PAGES);
  const int64_t page_bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && page_bytes > 0 ? pages * page_bytes : 0;
}

}  // namespace

EngineOptions ToEngineOptions(const Config& config) {
  const Config::SchedulerLimits& scheduler = config.scheduler;
  EngineOptions options;
  options.step_tokens_max = static_cast<int32_t>(scheduler.step_tokens_max);
  options.running_max = static_cast<int32_t>(scheduler.running_max);
  options.waiting_max = static_cast<int32_t>(scheduler.waiting_max);
  options.kv_bytes = config.kv_cache_bytes_max;
  options.swap_bytes = config.kv_swap_bytes_max;
  options.speculation.draft_tokens_max = static_cast<int32_t>(scheduler.draft_tokens_max);
  options.memory_bytes =
      config.device.memory_bytes_max > 0 ? config.device.memory_bytes_max : HostMemoryBytes();
  options.fairness_window_units = scheduler.fairness_window_units;
  options.prefix_cache = config.prefix_cache;
  options.waiting_prompt_tokens_max = Bound(scheduler.waiting_prompt_tokens_max);
  if (config.egress.paused_kv_max > Duration::zero()) {
    options.paused_state_max = config.egress.paused_kv_max;
  }
  options.refuses_late = scheduler.refuses_late;
  options.model_steps_max = static_cast<int32_t>(scheduler.model_steps_max);
  if (!scheduler.classes.empty()) {
    options.classes.clear();
  }
  for (const ClassEntry& entry : scheduler.classes) {
    options.classes.push_back({.order = static_cast<int32_t>(entry.order),
                               .first_token = Maybe(entry.first_token),
                               .token_interval = Maybe(entry.token_interval),
                               .queue_max = Maybe(entry.queue_max)});
  }
  return options;
}

Status SetTenants(const Config& config, Engine& engine) {
  for (const TenantEntry& entry : config.scheduler.tenants) {
    RETURN_IF_ERROR(engine.SetTenant(TenantId(entry.name), ToTenantSpec(entry)));
  }
  return OkStatus();
}

Status ChangeTenants(const Config& before, const Config& after, Engine& engine) {
  std::map<std::string, TenantEntry> known;
  for (const TenantEntry& entry : before.scheduler.tenants) {
    known.emplace(entry.name, entry);
  }
  for (const TenantEntry& entry : after.scheduler.tenants) {
    const auto old = known.extract(entry.name);
    if (old.empty() || old.mapped() != entry) {
      RETURN_IF_ERROR(engine.SetTenant(TenantId(entry.name), ToTenantSpec(entry)));
    }
  }
  for (const auto& [name, entry] : known) {
    RETURN_IF_ERROR(engine.SetTenant(TenantId(name), ToTenantSpec(TenantEntry())));
  }
  return OkStatus();
}

int64_t ReservedBlocks(const Config& config, const std::string& model) {
  int64_t blocks = 0;
  for (const TenantEntry& entry : config.scheduler.tenants) {
    blocks += entry.cached_blocks_guaranteed;
  }
  const auto of_model = [&model](const PublicPrefixEntry& entry) { return entry.model == model; };
  if (std::any_of(config.public_prefixes.begin(), config.public_prefixes.end(), of_model)) {
    blocks += (config.public_tokens_max + kBlockTokens - 1) / kBlockTokens;
  }
  return blocks;
}

Status RegisterPublicPrefixes(const Config& config, const ResidentModel& model, Engine& engine) {
  for (const PublicPrefixEntry& entry : config.public_prefixes) {
    if (entry.model == model.name) {
      RETURN_IF_ERROR(Annotate(RegisterOne(entry, model, engine),
                               absl::StrFormat("public prefix %s", entry.path)));
    }
  }
  return OkStatus();
}

void WarnOfWindow(const Config& config, const ResidentModel& model) {
  const int64_t longest = std::min(model.config.context_tokens_max, model.kv_tokens_max);
  if (longest > config.scheduler.fairness_window_units) {
    Log(LogLevel::kWarning,
        "scheduler.fairness_window_units is below the longest request: long requests of tenants "
        "that compete may be preempted again and again",
        {{"model", model.name},
         {"fairness_window_units", std::to_string(config.scheduler.fairness_window_units)},
         {"longest_request_tokens", std::to_string(longest)}});
  }
}

void TenantClasses::Replace(const Config& config) {
  std::map<TenantId, int32_t> classes;
  for (const TenantEntry& entry : config.scheduler.tenants) {
    for (size_t i = 0; i < config.scheduler.classes.size(); ++i) {
      if (config.scheduler.classes[i].name == entry.service_class) {
        classes.emplace(TenantId(entry.name), static_cast<int32_t>(i));
      }
    }
  }
  MutexLock lock(mutex_);
  classes_.swap(classes);
}

int32_t TenantClasses::ClassOf(const TenantId& tenant) const {
  MutexLock lock(mutex_);
  const auto it = classes_.find(tenant);
  return it == classes_.end() ? 0 : it->second;
}

}  // namespace inferd
