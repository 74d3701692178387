#include "governance/quota/usage_fold.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/check.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

Json Parse(std::string_view text) { return Json::parse(text, nullptr, /*allow_exceptions=*/false); }

std::string Text(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() && found->is_string()
             ? found->get<std::string>()
             : std::string();
}

uint64_t Number(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() && found->is_number_unsigned()
             ? found->get<uint64_t>()
             : 0;
}

// Stands for an empty name; no name is written so.
constexpr char kNoName[] = "*";

std::string RowText(const QuotaAccount& account, const Usage& usage) {
  std::string text;
  for (const std::string* name :
       {&account.org, &account.tenant, &account.project, &account.key, &account.model}) {
    text += (name->empty() ? kNoName : *name) + ' ';
  }
  return text + absl::StrFormat("%s %d %d %d %d %d %d",
                                UtcDayText(usage.day),
                                usage.of_day.tokens,
                                usage.of_day.micro,
                                usage.of_month.tokens,
                                usage.of_month.micro,
                                usage.num_admitted,
                                usage.num_ended);
}

// Takes the words of a row one by one.
class Words {
 public:
  explicit Words(std::string_view text) : rest_(text) {}
  std::string_view Next() {
    const size_t end = std::min(rest_.find(' '), rest_.size());
    const std::string_view word = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    return word;
  }
  std::string Name() {
    const std::string_view word = Next();
    if (word == kNoName) {
      return "";
    }
    ok_ = ok_ && IsQuotaName(word);
    return std::string(word);
  }
  uint64_t Number() {
    const std::string_view word = Next();
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    ok_ = ok_ && error == std::errc() && end == word.data() + word.size();
    return value;
  }
  bool ok() const { return ok_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

Status ParseRow(std::string_view text, UsageByAccount& usage) {
  Words words(text);
  QuotaAccount account;
  for (std::string* name :
       {&account.org, &account.tenant, &account.project, &account.key, &account.model}) {
    *name = words.Name();
  }
  inferd::Usage row;
  const auto day = ParseUtcDay(words.Next());
  row.day = day.value_or(0);
  row.month = MonthOf(row.day);
  for (uint64_t* number : {&row.of_day.tokens,
                           &row.of_day.micro,
                           &row.of_month.tokens,
                           &row.of_month.micro,
                           &row.num_admitted,
                           &row.num_ended}) {
    *number = words.Number();
  }
  if (!words.ok() || !day.ok() || account.tenant.empty()) {
    return ErrorF(StatusCode::kDataLoss, "a row of the quota snapshot is not one");
  }
  if (!usage.emplace(account, row).second) {
    return ErrorF(StatusCode::kDataLoss, "the quota snapshot has %s twice", account.Text());
  }
  return OkStatus();
}

// The parts of snapshots that were seen on the way back. One that a crash cut short never gets
// whole.
class SnapshotParts {
 public:
  using Parts = std::map<uint64_t, UsageSnapshotPart>;  // by number

  // All parts of one snapshot, once they are there.
  const Parts* Add(UsageSnapshotPart part) {
    Parts& parts = parts_[part.at];
    const uint64_t num_parts = part.num_parts;
    parts.emplace(part.part, std::move(part));
    return parts.size() == num_parts ? &parts : nullptr;
  }

 private:
  std::map<LogPlace, Parts> parts_;
};

// The last whole snapshot of a shard. Parts may stand in front of others of the same snapshot.
StatusOr<std::optional<SnapshotParts::Parts>> FindSnapshot(EntryReader& shard,
                                                           SnapshotParts& parts) {
  ASSIGN_OR_RETURN(uint64_t end, shard.Size());
  while (end > 0) {
    const uint64_t start = end - std::min(end, kSnapshotSearchLeaves);
    std::vector<UsageSnapshotPart> found;
    RETURN_IF_ERROR(shard.Visit(start, end, [&](uint64_t index, std::string_view leaf) -> Status {
      // No other leaf has this: what is data in a leaf has its quotes escaped.
      if (leaf.find("\"t\":\"quota.snapshot\"") == std::string_view::npos) {
        return OkStatus();
      }
      auto view = ParseLeaf(leaf);
      auto part = view.ok() ? ParseSnapshotPart(view->detail) : view.status();
      if (!part.ok()) {
        return Annotate(part.status(), absl::StrFormat("%s, leaf %d", shard.origin(), index));
      }
      found.push_back(*std::move(part));
      return OkStatus();
    }));
    for (auto part = found.rbegin(); part != found.rend(); ++part) {
      if (const auto* whole = parts.Add(std::move(*part))) {
        return std::optional(*whole);
      }
    }
    end = start;
  }
  return std::optional<SnapshotParts::Parts>();
}

size_t ShardAt(const std::vector<EntryReader*>& shards, const std::string& origin) {
  const auto found = std::find_if(
      shards.begin(), shards.end(), [&](EntryReader* shard) { return shard->origin() == origin; });
  return static_cast<size_t>(found - shards.begin());
}

}  // namespace

StatusOr<UsageSnapshotPart> ParseSnapshotPart(std::string_view detail) {
  const Json json = Parse(detail);
  UsageSnapshotPart part{.at = {Text(json, "at_origin"), Number(json, "at")},
                         .open_from = {Text(json, "open_origin"), Number(json, "open")},
                         .part = Number(json, "part"),
                         .num_parts = Number(json, "parts")};
  const auto rows = json.is_object() ? json.find("rows") : json.end();
  bool good = json.is_object() && !part.at.origin.empty() && !part.open_from.origin.empty() &&
              part.part < part.num_parts;
  if (good && rows != json.end()) {
    good = rows->is_array() && rows->size() <= kSnapshotRowsMax;
    for (size_t i = 0; good && i < rows->size(); ++i) {
      good = (*rows)[i].is_string();
      if (good) {
        part.rows.push_back((*rows)[i].get<std::string>());
      }
    }
  }
  return good ? StatusOr<UsageSnapshotPart>(std::move(part))
              : ErrorF(StatusCode::kDataLoss, "no quota snapshot");
}

Status UsageFold::Add(const std::string& origin, uint64_t index, std::string_view leaf) {
  const auto added = [&]() -> Status {
    ASSIGN_OR_RETURN(const LeafView view, ParseLeaf(leaf));
    if (view.type == LeafType::kInferenceAdmitted) {
      return Admit(view, {origin, index});
    }
    const bool ends =
        view.type == LeafType::kInferenceCompleted || view.type == LeafType::kInferenceAborted;
    return ends ? End(view, origin) : OkStatus();
  }();
  place_ = {origin, index + 1};
  return Annotate(added, absl::StrFormat("%s, leaf %d", origin, index));
}

StatusOr<std::optional<QuotaIntent>> IntentOf(const LeafView& admitted) {
  if (admitted.account.empty()) {
    return std::optional<QuotaIntent>();
  }
  const Json account = Parse(admitted.account);
  const Json window = Parse(admitted.window);
  const auto day = ParseUtcDay(window.is_string() ? window.get<std::string>() : "");
  if (!day.ok()) {
    return ErrorF(StatusCode::kDataLoss, "quota.win: %s", Message(day.status()));
  }
  return std::optional(QuotaIntent{.account = {.org = Text(account, "org"),
                                               .tenant = std::string(admitted.tenant),
                                               .project = Text(account, "project"),
                                               .key = Text(account, "key"),
                                               .model = Text(account, "model")},
                                   .day = *day,
                                   .upper_bound = AmountsOf(admitted.reserved)});
}

QuotaAmounts AmountsOf(std::string_view text) {
  if (text.empty()) {
    return {};
  }
  const Json json = Parse(text);
  return {.in = Number(json, "in"),
          .out = Number(json, "out"),
          .conc = Number(json, "conc"),
          .kv = Number(json, "kv"),
          .micro = Number(json, "micro")};
}

QuotaAmounts SettledOf(const LeafView& ended) { return AmountsOf(ended.settled); }

Status UsageFold::Admit(const LeafView& leaf, LogPlace place) {
  ASSIGN_OR_RETURN(const auto intent, IntentOf(leaf));
  if (!intent.has_value()) {
    return OkStatus();
  }
  Open open{.account = intent->account,
            .day = intent->day,
            .upper_bound = intent->upper_bound,
            .order = next_order_++};
  if (sums_) {
    usage_[open.account].Admit(open.day, open.upper_bound);
  }
  open_.emplace(std::move(place), std::move(open));
  return OkStatus();
}

Status UsageFold::End(const LeafView& leaf, const std::string& origin) {
  if (!leaf.adm) {
    return OkStatus();
  }
  const auto found =
      open_.find({leaf.adm_origin.empty() ? origin : std::string(leaf.adm_origin), *leaf.adm});
  if (found == open_.end()) {
    return OkStatus();  // exempt
  }
  const Open& open = found->second;
  const QuotaAmounts settled = SettledOf(leaf);
  if (settled.in > open.upper_bound.in || settled.out > open.upper_bound.out ||
      settled.micro > open.upper_bound.micro) {
    return ErrorF(StatusCode::kDataLoss, "settles more than its admitted leaf reserved");
  }
  if (sums_) {
    usage_[open.account].End(open.day, open.upper_bound, settled);
  }
  open_.erase(found);
  return OkStatus();
}

StatusOr<uint64_t> UsageFold::CatchUp(EntryReader& reader) {
  ASSIGN_OR_RETURN(const uint64_t size, reader.Size());
  const uint64_t first = place_.origin == reader.origin() ? place_.index : 0;
  if (first >= size) {
    return 0;
  }
  RETURN_IF_ERROR(reader.Visit(first, size, [&](uint64_t index, std::string_view leaf) {
    return Add(reader.origin(), index, leaf);
  }));
  return size - first;
}

std::vector<UsageSnapshotPart> UsageFold::Snapshot() const {
  const auto first = std::min_element(open_.begin(), open_.end(), [](const auto& a, const auto& b) {
    return a.second.order < b.second.order;
  });
  const LogPlace& open_from = first == open_.end() ? place_ : first->first;
  std::vector<UsageSnapshotPart> parts;
  size_t bytes = 0;
  const auto begin = [&] {
    parts.push_back({.at = place_, .open_from = open_from, .part = parts.size()});
    bytes = 0;
  };
  begin();
  for (const auto& [account, usage] : usage_) {
    std::string row = RowText(account, usage);
    if (parts.back().rows.size() == kSnapshotRowsMax || bytes + row.size() > kSnapshotBytesMax) {
      begin();
    }
    bytes += row.size();
    parts.back().rows.push_back(std::move(row));
  }
  for (UsageSnapshotPart& part : parts) {
    part.num_parts = parts.size();
  }
  return parts;
}

StatusOr<UsageFold> UsageFold::Restore(const std::vector<EntryReader*>& shards) {
  SnapshotParts parts;
  std::optional<SnapshotParts::Parts> snapshot;
  for (auto shard = shards.rbegin(); shard != shards.rend() && !snapshot; ++shard) {
    ASSIGN_OR_RETURN(snapshot, FindSnapshot(**shard, parts));
  }
  UsageFold fold;
  size_t first = 0;
  if (snapshot) {
    const UsageSnapshotPart& part = snapshot->begin()->second;
    first = ShardAt(shards, part.open_from.origin);
    const size_t at = ShardAt(shards, part.at.origin);
    if (at >= shards.size() || first > at) {
      return ErrorF(StatusCode::kDataLoss,
                    "the quota snapshot at %s, leaf %d needs a shard that is not there",
                    part.at.origin,
                    part.at.index);
    }
    fold.sums_ = false;
    fold.place_ = part.open_from;
    for (; first < at; ++first) {
      RETURN_IF_ERROR(fold.CatchUp(*shards[first]));
    }
    const uint64_t start = fold.place_.origin == part.at.origin ? fold.place_.index : 0;
    RETURN_IF_ERROR(
        shards[at]->Visit(start, part.at.index, [&](uint64_t index, std::string_view leaf) {
          return fold.Add(part.at.origin, index, leaf);
        }));
    for (const auto& [number, each] : *snapshot) {
      for (const std::string& row : each.rows) {
        RETURN_IF_ERROR(ParseRow(row, fold.usage_));
      }
    }
    fold.sums_ = true;
    fold.place_ = part.at;
  }
  for (; first < shards.size(); ++first) {
    RETURN_IF_ERROR(fold.CatchUp(*shards[first]));
  }
  return fold;
}

}  // namespace inferd
