// PrefixCache: state of prompts that were computed, found again by what was computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/digest.h"
#include "base/model_geometry.h"
#include "base/status.h"
#include "scheduler/kv_block_pool.h"
#include "scheduler/prompt_prefix.h"

namespace inferd {

using DomainIndex = uint32_t;
inline constexpr DomainIndex kNoDomain = ~DomainIndex{0};

struct PrefixCacheStats {
  uint64_t lookup_tokens = 0;  // tokens of prompts that were looked up, whole blocks
  uint64_t hit_tokens = 0;     // of them, found and used
  uint64_t lost_tokens = 0;    // found in the full groups, but useless for want of another group
  uint64_t evictions = 0;      // units
  int64_t units = 0;           // held
};

// The cache of one model. It holds one reference on each unit that it keeps; a unit that nobody
// else holds may be evicted. StateStore owns it and tells it of every reference that comes or goes.
//
// An entry is one block of one chain: its key, its token ids (compared on every hit, so that a
// collision of keys leaks nothing) and, for each state group, the unit that holds it: for a slot
// group a checkpoint at the block's end. A match must hold in every group at once.
//
// Trust domains: an entry belongs to the domain whose sequence made it, and is found by that
// domain's keys alone. Each domain has its own order of eviction, and a number of units of each
// group that only the domain itself takes from. Beyond these, the unit that was used longest ago
// goes first. Entries of the PUBLIC domain stay.
class PrefixCache {
 public:
  using EntryIndex = uint32_t;

  // The pools outlive the cache.
  PrefixCache(const ModelGeometry& geometry, std::vector<KvBlockPool>& pools);

  // A sequence of the domain with this root comes, and goes again. `guaranteed`: see above.
  DomainIndex EnterDomain(const Digest& root, int64_t guaranteed);
  void LeaveDomain(DomainIndex domain);

  struct Match {
    int64_t num_blocks = 0;       // usable in every group
    int64_t num_full_blocks = 0;  // found in the full groups: beyond it recurrent state is missing
    std::vector<EntryIndex> entries;  // [num_full_blocks]
  };
  // The longest run of blocks from the start, at most max_blocks. key_of(i), public_key_of(i)
  // (nullptr: none) and tokens_of(i, BlockTokens&) name block i.
  template <typename KeyOf, typename PublicKeyOf, typename TokensOf>
  Match Find(int64_t max_blocks,
             const KeyOf& key_of,
             const PublicKeyOf& public_key_of,
             const TokensOf& tokens_of) const;
  BlockIndex unit(EntryIndex entry, size_t group) const { return At(entry, group).index; }

  // Keeps units[g] (kNoBlock: none) as the block of `key`. What the entry has already stays; units
  // that it lacks are added. The caller's references are its own.
  void Insert(DomainIndex domain,
              const Digest& key,
              const BlockTokens& tokens,
              std::span<const BlockIndex> units,
              bool pinned);

  // A table took a reference on a unit, or gave one back and the unit is still used.
  void OnTaken(size_t group, BlockIndex unit);
  void OnGivenBack(size_t group, BlockIndex unit);

  // Units of the group that nobody but the cache holds, pinned ones not counted.
  int64_t idle(size_t group) const { return all_[group].evictable; }
  // Units of the group that could be evicted on behalf of `domain`.
  int64_t evictable(size_t group, DomainIndex domain) const;
  // Evicts one unit of the group; there is one.
  void EvictOne(size_t group, DomainIndex domain);

  struct LookupTokens {
    int64_t looked_up = 0;
    int64_t hit = 0;
    int64_t in_full_groups = 0;
  };
  void CountLookup(const LookupTokens& tokens);
  const PrefixCacheStats& stats() const { return stats_; }
  // Adds one for each reference that the cache holds: references[g][unit].
  void CountReferences(std::vector<std::vector<uint32_t>>& references) const;
  Status CheckIntegrity() const;

 private:
  static constexpr EntryIndex kNone = ~EntryIndex{0};
  struct Unit {
    BlockIndex index = kNoBlock;
    EntryIndex older = kNone;  // in the domain's order of eviction, if it is in it
    EntryIndex newer = kNone;
    EntryIndex older_of_all = kNone;  // the same over all domains
    EntryIndex newer_of_all = kNone;
    uint64_t idle_since = 0;  // 0: someone holds it
  };
  struct Entry {
    Digest key;
    BlockTokens tokens{};
    DomainIndex domain = kNoDomain;
    EntryIndex next_of_bucket = kNone;
    bool pinned = false;
    bool used = false;  // false: on the free list
  };
  struct Order {  // of eviction, oldest first
    EntryIndex oldest = kNone;
    EntryIndex newest = kNone;
    uint64_t oldest_since = ~uint64_t{0};  // when the oldest came to be idle
    int64_t evictable = 0;
    int64_t held = 0;
  };
  struct Domain {
    Digest root;
    int64_t guaranteed = 0;
    int64_t sequences = 0;
    int64_t entries = 0;
  };
  Unit& At(EntryIndex entry, size_t group) { return units_[entry * pools_.size() + group]; }
  const Unit& At(EntryIndex entry, size_t group) const {
    return units_[entry * pools_.size() + group];
  }
  EntryIndex& BucketOf(const Digest& key);
  EntryIndex FindKey(const Digest& key) const;
  EntryIndex Lookup(const Digest& key, const BlockTokens& tokens) const;
  int64_t UsableBlocks(const std::vector<EntryIndex>& entries) const;
  EntryIndex NewEntry(DomainIndex domain, const Digest& key, const BlockTokens& tokens);
  void Append(size_t group, EntryIndex entry);
  void Unlink(size_t group, EntryIndex entry);
  void DropUnit(size_t group, EntryIndex entry);
  void TakeUnit(size_t group, EntryIndex entry);
  void DropEntry(EntryIndex entry);
  void ForgetKey(EntryIndex entry);
  void DropDomainIfEmpty(DomainIndex domain);
  int64_t EvictableOf(DomainIndex index, size_t group, bool own) const;

  const ModelGeometry& geometry_;
  std::vector<KvBlockPool>& pools_;
  // A full pool's entries are cold, and each part of one that is somewhere else is another miss: so
  // units lie in one piece, and the hash table's chains run through the entries.
  std::vector<Entry> entries_;
  std::vector<Unit> units_;  // [entries][groups]
  std::vector<EntryIndex> free_entries_;
  std::vector<EntryIndex> buckets_;               // by key; a power of two
  std::vector<std::vector<EntryIndex>> by_unit_;  // [groups][unit]
  std::map<Digest, DomainIndex> domains_by_root_;
  std::vector<Domain> domains_;
  std::vector<std::vector<Order>>
      orders_;  // [groups][domain]: with guarantees EvictOne scans one group's
  std::vector<DomainIndex> free_domains_;
  struct AllDomains {
    EntryIndex oldest = kNone;
    EntryIndex newest = kNone;
    int64_t evictable = 0;
  };
  std::vector<AllDomains> all_;  // [groups]
  int64_t guarantees_ = 0;       // domains that have one
  uint64_t tick_ = 0;
  PrefixCacheStats stats_;
};

template <typename KeyOf, typename PublicKeyOf, typename TokensOf>
PrefixCache::Match PrefixCache::Find(int64_t max_blocks,
                                     const KeyOf& key_of,
                                     const PublicKeyOf& public_key_of,
                                     const TokensOf& tokens_of) const {
  Match match;
  BlockTokens tokens;
  for (int64_t i = 0; i < max_blocks; ++i) {
    tokens_of(i, tokens);
    EntryIndex entry = Lookup(key_of(i), tokens);
    if (const Digest* key = public_key_of(i); entry == kNone && key != nullptr) {
      entry = Lookup(*key, tokens);
    }
    if (entry == kNone) {
      break;
    }
    match.entries.push_back(entry);
  }
  match.num_full_blocks = static_cast<int64_t>(match.entries.size());
  match.num_blocks = UsableBlocks(match.entries);
  return match;
}

}  // namespace inferd
