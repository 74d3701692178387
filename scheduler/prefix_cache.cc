#include "scheduler/prefix_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace inferd {

namespace {

size_t HashOf(const Digest& key) {
  size_t hash = 0;  // a digest is uniform already
  std::memcpy(&hash, key.bytes.data(), sizeof(hash));
  return hash;
}

}  // namespace

PrefixCache::PrefixCache(const ModelGeometry& geometry, std::vector<KvBlockPool>& pools)
    : geometry_(geometry), pools_(pools), orders_(pools.size()), all_(pools.size()) {
  size_t num_units = 0;  // an entry has one of them at least
  for (const KvBlockPool& pool : pools) {
    by_unit_.emplace_back(static_cast<size_t>(pool.capacity()), kNone);
    num_units += static_cast<size_t>(pool.capacity());
  }
  buckets_.assign(std::bit_ceil(num_units + 1), kNone);
}

PrefixCache::EntryIndex& PrefixCache::BucketOf(const Digest& key) {
  return buckets_[HashOf(key) & (buckets_.size() - 1)];
}

PrefixCache::EntryIndex PrefixCache::FindKey(const Digest& key) const {
  EntryIndex index = buckets_[HashOf(key) & (buckets_.size() - 1)];
  while (index != kNone && entries_[index].key != key) {
    index = entries_[index].next_of_bucket;
  }
  return index;
}

void PrefixCache::ForgetKey(EntryIndex index) {
  EntryIndex* link = &BucketOf(entries_[index].key);
  while (*link != index) {
    CHECK(*link != kNone);
    link = &entries_[*link].next_of_bucket;
  }
  *link = entries_[index].next_of_bucket;
}

DomainIndex PrefixCache::EnterDomain(const Digest& root, int64_t guaranteed) {
  const auto [it, is_new] = domains_by_root_.try_emplace(root, kNoDomain);
  if (is_new) {
    if (free_domains_.empty()) {
      free_domains_.push_back(static_cast<DomainIndex>(domains_.size()));
      domains_.emplace_back();
      for (std::vector<Order>& orders : orders_) {
        orders.emplace_back();
      }
    }
    it->second = free_domains_.back();
    free_domains_.pop_back();
    domains_[it->second] = {.root = root};
  }
  Domain& domain = domains_[it->second];
  ++domain.sequences;
  guarantees_ += (guaranteed > 0 ? 1 : 0) - (domain.guaranteed > 0 ? 1 : 0);
  domain.guaranteed = guaranteed;
  return it->second;
}

void PrefixCache::LeaveDomain(DomainIndex index) {
  --domains_[index].sequences;
  DropDomainIfEmpty(index);
}

void PrefixCache::DropDomainIfEmpty(DomainIndex index) {
  Domain& domain = domains_[index];
  if (domain.sequences > 0 || domain.entries > 0) {
    return;
  }
  guarantees_ -= domain.guaranteed > 0 ? 1 : 0;
  domains_by_root_.erase(domain.root);
  domain = {};
  free_domains_.push_back(index);
}

PrefixCache::EntryIndex PrefixCache::Lookup(const Digest& key, const BlockTokens& tokens) const {
  const EntryIndex index = FindKey(key);
  return index == kNone || entries_[index].tokens != tokens ? kNone : index;
}

// The most blocks, from the start, for which every group has what a sequence that goes on there
// reads: the blocks that it sees, or the checkpoint at just that position. A full group's units are
// there for every entry (DropUnit).
int64_t PrefixCache::UsableBlocks(const std::vector<EntryIndex>& entries) const {
  const auto holds = [this, &entries](size_t group, int64_t last) {
    const StateGroup& state = geometry_.groups[group];
    const int64_t first =
        state.kind == StateKind::kSlot ? last - 1 : state.FirstLiveBlock(last * kBlockTokens);
    for (int64_t i = last - 1; i >= first; --i) {
      if (unit(entries[static_cast<size_t>(i)], group) == kNoBlock) {
        return false;
      }
    }
    return true;
  };
  int64_t blocks = static_cast<int64_t>(entries.size());
  for (; blocks > 0; --blocks) {
    bool usable = true;
    for (size_t g = 0; g < pools_.size() && usable; ++g) {
      const bool full =
          geometry_.groups[g].kind == StateKind::kBlocks && geometry_.groups[g].window == 0;
      usable = full || holds(g, blocks);
    }
    if (usable) {
      break;
    }
  }
  return blocks;
}

void PrefixCache::Insert(DomainIndex domain,
                         const Digest& key,
                         const BlockTokens& tokens,
                         std::span<const BlockIndex> units,
                         bool pinned) {
  EntryIndex index = FindKey(key);
  if (index == kNone) {
    for (size_t g = 0; g < pools_.size(); ++g) {
      const StateGroup& group = geometry_.groups[g];
      if (group.kind == StateKind::kBlocks && group.window == 0 && units[g] == kNoBlock) {
        return;  // of no use without
      }
    }
    index = NewEntry(domain, key, tokens);
  } else if (entries_[index].tokens != tokens) {
    return;  // a collision of SHA-256: the first one stays
  }
  Entry& entry = entries_[index];
  entry.pinned = entry.pinned || pinned;
  for (size_t g = 0; g < pools_.size(); ++g) {
    // A unit serves one entry: equal blocks of two domains are never shared.
    Unit& unit = At(index, g);
    if (units[g] == kNoBlock || unit.index != kNoBlock || by_unit_[g][units[g]] != kNone) {
      continue;
    }
    unit.index = units[g];
    by_unit_[g][units[g]] = index;
    pools_[g].AddReference(units[g]);
    ++orders_[g][entry.domain].held;
    ++stats_.units;
  }
}

PrefixCache::EntryIndex PrefixCache::NewEntry(DomainIndex domain,
                                              const Digest& key,
                                              const BlockTokens& tokens) {
  if (free_entries_.empty()) {
    free_entries_.push_back(static_cast<EntryIndex>(entries_.size()));
    entries_.emplace_back();
    units_.resize(units_.size() + pools_.size());
  }
  const EntryIndex index = free_entries_.back();
  free_entries_.pop_back();
  Entry& entry = entries_[index];
  entry.key = key;
  entry.tokens = tokens;
  entry.domain = domain;
  entry.pinned = false;
  entry.used = true;
  EntryIndex& bucket = BucketOf(key);
  entry.next_of_bucket = std::exchange(bucket, index);
  ++domains_[domain].entries;
  return index;
}

void PrefixCache::OnTaken(size_t group, BlockIndex unit) {
  const EntryIndex entry = by_unit_[group][unit];
  if (entry != kNone && At(entry, group).idle_since != 0) {
    Unlink(group, entry);
  }
}

void PrefixCache::OnGivenBack(size_t group, BlockIndex unit) {
  const EntryIndex entry = by_unit_[group][unit];
  if (entry != kNone && pools_[group].references(unit) == 1 && !entries_[entry].pinned) {
    Append(group, entry);
  }
}

void PrefixCache::Append(size_t group, EntryIndex index) {
  Order& order = orders_[group][entries_[index].domain];
  Unit& unit = At(index, group);
  unit.idle_since = ++tick_;
  unit.older = order.newest;
  unit.newer = kNone;
  (order.newest == kNone ? order.oldest : At(order.newest, group).newer) = index;
  order.newest = index;
  order.oldest_since = std::min(order.oldest_since, unit.idle_since);
  ++order.evictable;
  AllDomains& all = all_[group];
  unit.older_of_all = all.newest;
  unit.newer_of_all = kNone;
  (all.newest == kNone ? all.oldest : At(all.newest, group).newer_of_all) = index;
  all.newest = index;
  ++all.evictable;
}

void PrefixCache::Unlink(size_t group, EntryIndex index) {
  Order& order = orders_[group][entries_[index].domain];
  Unit& unit = At(index, group);
  (unit.older == kNone ? order.oldest : At(unit.older, group).newer) = unit.newer;
  (unit.newer == kNone ? order.newest : At(unit.newer, group).older) = unit.older;
  unit.older = unit.newer = kNone;
  unit.idle_since = 0;
  order.oldest_since = order.oldest == kNone ? ~uint64_t{0} : At(order.oldest, group).idle_since;
  --order.evictable;
  AllDomains& all = all_[group];
  (unit.older_of_all == kNone ? all.oldest : At(unit.older_of_all, group).newer_of_all) =
      unit.newer_of_all;
  (unit.newer_of_all == kNone ? all.newest : At(unit.newer_of_all, group).older_of_all) =
      unit.older_of_all;
  unit.older_of_all = unit.newer_of_all = kNone;
  --all.evictable;
}

int64_t PrefixCache::EvictableOf(DomainIndex index, size_t group, bool own) const {
  const Order& order = orders_[group][index];
  return own ? order.evictable
             : std::clamp<int64_t>(order.held - domains_[index].guaranteed, 0, order.evictable);
}

int64_t PrefixCache::evictable(size_t group, DomainIndex domain) const {
  if (guarantees_ == 0) {
    return all_[group].evictable;
  }
  int64_t units = 0;
  for (DomainIndex i = 0; i < domains_.size(); ++i) {
    units += EvictableOf(i, group, i == domain);
  }
  return units;
}

void PrefixCache::EvictOne(size_t group, DomainIndex domain) {
  if (guarantees_ == 0) {
    CHECK(all_[group].oldest != kNone);
    ++stats_.evictions;
    DropUnit(group, all_[group].oldest);
    return;
  }
  const std::vector<Order>& orders = orders_[group];
  DomainIndex from = kNoDomain;
  uint64_t since = ~uint64_t{0};
  for (DomainIndex i = 0; i < orders.size(); ++i) {
    if (orders[i].oldest_since < since && EvictableOf(i, group, i == domain) > 0) {
      since = orders[i].oldest_since;
      from = i;
    }
  }
  CHECK(from != kNoDomain);
  ++stats_.evictions;
  DropUnit(group, orders[from].oldest);
}

// Without its unit of a full group an entry is of no use. Whoever holds a block of a sequence in
// one group holds its block in the full groups, so that nobody holds the others either.
void PrefixCache::DropUnit(size_t group, EntryIndex index) {
  const StateGroup& state = geometry_.groups[group];
  if (state.kind == StateKind::kBlocks && state.window == 0) {
    DropEntry(index);
    return;
  }
  TakeUnit(group, index);
  const Unit* const units = &At(index, 0);
  if (std::all_of(
          units, units + pools_.size(), [](const Unit& unit) { return unit.index == kNoBlock; })) {
    DropEntry(index);
  }
}

void PrefixCache::TakeUnit(size_t group, EntryIndex index) {
  Unit& unit = At(index, group);
  if (unit.idle_since != 0) {
    Unlink(group, index);
  }
  by_unit_[group][unit.index] = kNone;
  pools_[group].Release(unit.index);
  --orders_[group][entries_[index].domain].held;
  --stats_.units;
  unit = {};
}

void PrefixCache::DropEntry(EntryIndex index) {
  Entry& entry = entries_[index];
  for (size_t g = 0; g < pools_.size(); ++g) {
    if (At(index, g).index != kNoBlock) {
      TakeUnit(g, index);
    }
  }
  ForgetKey(index);
  entry.used = false;
  free_entries_.push_back(index);
  --domains_[entry.domain].entries;
  DropDomainIfEmpty(entry.domain);
}

void PrefixCache::CountLookup(const LookupTokens& tokens) {
  stats_.lookup_tokens += static_cast<uint64_t>(tokens.looked_up);
  stats_.hit_tokens += static_cast<uint64_t>(tokens.hit);
  stats_.lost_tokens += static_cast<uint64_t>(tokens.in_full_groups - tokens.hit);
}

void PrefixCache::CountReferences(std::vector<std::vector<uint32_t>>& references) const {
  for (EntryIndex index = 0; index < entries_.size(); ++index) {
    for (size_t g = 0; entries_[index].used && g < pools_.size(); ++g) {
      if (unit(index, g) != kNoBlock) {
        ++references[g][unit(index, g)];
      }
    }
  }
}

Status PrefixCache::CheckIntegrity() const {
  std::vector<int64_t> evictable(pools_.size(), 0);
  for (EntryIndex index = 0; index < entries_.size(); ++index) {
    const Entry& entry = entries_[index];
    if (!entry.used) {
      continue;
    }
    if (FindKey(entry.key) != index) {
      return ErrorF(StatusCode::kInternal, "cache entry %d is not found by its key", index);
    }
    for (size_t g = 0; g < pools_.size(); ++g) {
      const Unit& unit = At(index, g);
      const bool idle = unit.index != kNoBlock && pools_[g].references(unit.index) == 1;
      if (unit.index != kNoBlock && by_unit_[g][unit.index] != index) {
        return ErrorF(StatusCode::kInternal, "unit %d of group %d is another's", unit.index, g);
      }
      if ((unit.idle_since != 0) != (idle && !entry.pinned)) {
        return ErrorF(StatusCode::kInternal,
                      "unit %d of group %d: idle, but not to be evicted, or the reverse",
                      unit.index,
                      g);
      }
      evictable[g] += unit.idle_since != 0 ? 1 : 0;
    }
  }
  const bool counted =
      std::equal(evictable.begin(),
                 evictable.end(),
                 all_.begin(),
                 all_.end(),
                 [](int64_t units, const AllDomains& all) { return units == all.evictable; });
  if (!counted) {
    return ErrorF(StatusCode::kInternal, "the cache's counts of evictable units are off");
  }
  return OkStatus();
}

}  // namespace inferd
