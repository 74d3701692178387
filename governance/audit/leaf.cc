#include "governance/audit/leaf.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/sha256.h"
#include "base/ulid.h"
#include "base/utf8.h"
#include "governance/audit/canonical_json.h"
#include "governance/audit/spilled_leaf.h"

namespace inferd {
namespace {

constexpr std::string_view kSchema =
    "inferd-leaf-v1\n"
    "actor{authn,cred,id,kind} adm adm_origin alev boot class cost{ccy,micro,price_id} d{} det\n"
    "egr{approval,b,c,dlp,peer_spki,provider_req,redactions{}} engine err finish fp hw\n"
    "in{b,c,ids,lbl_c,n,parts{},rag[],rid_c} lat_us{q,tot,ttft} lora[] lvl\n"
    "model{digest,quant,ref,ver} mono n node num on_behalf_of out{b,c,ids,n}\n"
    "policy{dec,obl[],rules[],set} purpose\n"
    "quota{acct{key,model,org,project},dec,hit[{id,limit,metric,remaining,reset_ms}],"
    "res{conc,in,kv,micro,out},win}\n"
    "replay replay_c rid route{dest{model,provider,region},kind,why} safety{filter,labels[]}\n"
    "samp{cache,freq,grammar,logit_bias_c,max,min_p,n,pres,rep,rng,seed,spec,stop_c,temp,top_k,"
    "top_p}\n"
    "settle{conc,in,kv,micro,out} src status subj sv t tenant tmpl tok tprev trace ts tseq\n"
    "use{cached,in,out,reason} v vault\n";

// Adds members to an object and remembers the first that may not be there.
class Members {
 public:
  Members& Text(std::string_view key, std::string_view text) {
    if (text.size() > kLeafTextBytesMax) {
      return Refuse(key, "is longer than a leaf's text may be");
    }
    if (!IsValidUtf8(text)) {
      return Refuse(key, "is not UTF-8");
    }
    object_.AddIfSet(key, text);
    return *this;
  }
  Members& Number(std::string_view key, uint64_t number) {
    if (number > kJsonIntegerMax) {
      return Refuse(key, "is above 2^53-1");
    }
    object_.Add(key, number);
    return *this;
  }
  Members& NumberIfSet(std::string_view key, uint64_t number) {
    return number == 0 ? *this : Number(key, number);
  }
  Members& Decimal(std::string_view key, float number) {
    if (!std::isfinite(number)) {
      return Refuse(key, "is not a finite number");
    }
    object_.Add(key, ShortestDecimal(number));
    return *this;
  }
  Members& Hash(std::string_view key, const std::optional<Digest>& digest) {
    if (digest) {
      object_.Add(key, *digest);
    }
    return *this;
  }
  Members& Commit(std::string_view key, const std::optional<Commitment>& commitment) {
    if (commitment) {
      object_.Add(key, commitment->Text());
    }
    return *this;
  }
  Members& Texts(std::string_view key, const std::vector<std::string>& texts) {
    if (texts.size() > kLeafListMax) {
      return Refuse(key, "has more items than a leaf's list may");
    }
    for (const std::string& text : texts) {
      Members item;
      Absorb(key, item.Text("item", text).status());
    }
    if (status_.ok()) {
      object_.AddIfSet(key, texts);
    }
    return *this;
  }
  Members& Counts(std::string_view key, const std::map<std::string, uint64_t>& counts) {
    if (counts.size() > kLeafListMax) {
      return Refuse(key, "has more members than a leaf's list may");
    }
    Members members;
    for (const auto& [name, count] : counts) {
      members.Key(name).Number(name, count);
    }
    return Group(key, members);
  }
  // A key that is data: printable ASCII, not empty.
  Members& Key(std::string_view key) {
    const bool printable =
        std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 0x7f; });
    return !key.empty() && key.size() <= kLeafTextBytesMax && printable
               ? *this
               : Refuse("a member", "has a name that is not printable ASCII");
  }
  Members& Group(std::string_view key, const Members& group) {
    Absorb(key, group.status());
    if (status_.ok() && !group.object_.empty()) {
      object_.Add(key, group.object_);
    }
    return *this;
  }
  Members& Groups(std::string_view key, const std::vector<Members>& groups) {
    if (groups.size() > kLeafListMax) {
      return Refuse(key, "has more items than a leaf's list may");
    }
    std::vector<std::string> encoded;
    for (const Members& group : groups) {
      Absorb(key, group.status());
      encoded.push_back(group.object_.Encode());
    }
    if (!encoded.empty()) {
      object_.AddRaw(key, JsonArray(encoded));
    }
    return *this;
  }

  JsonObject& object() { return object_; }
  const Status& status() const { return status_; }

 private:
  Members& Refuse(std::string_view key, const char* why) {
    Absorb(key, ErrorF(StatusCode::kInvalidArgument, "%s", why));
    return *this;
  }
  void Absorb(std::string_view key, const Status& status) {
    if (status_.ok()) {
      status_ = Annotate(status, key);
    }
  }

  JsonObject object_;
  Status status_;
};

Members Amounts(const QuotaAmounts& amounts) {
  return Members()
      .NumberIfSet("in", amounts.in)
      .NumberIfSet("out", amounts.out)
      .NumberIfSet("conc", amounts.conc)
      .NumberIfSet("kv", amounts.kv)
      .NumberIfSet("micro", amounts.micro);
}

void AddActor(const ActorFacts& actor, Members& leaf) {
  leaf.Group("actor",
             Members()
                 .Text("kind", actor.kind)
                 .Text("id", actor.id)
                 .Text("authn", actor.authn)
                 .Text("cred", actor.cred));
}

void AddModel(const ModelFacts& model, Members& leaf) {
  leaf.Group("model",
             Members()
                 .Text("ref", model.ref)
                 .Hash("digest", model.digest)
                 .Text("ver", model.ver)
                 .Text("quant", model.quant))
      .Hash("tok", model.tok)
      .Hash("tmpl", model.tmpl)
      .Texts("lora", model.lora)
      .Text("engine", model.engine)
      .Text("hw", model.hw)
      .Text("det", model.det)
      .Text("num", model.num)
      .Text("fp", model.fp);
}

void AddPolicy(const PolicyFacts& policy, Members& leaf) {
  leaf.Group("policy",
             Members()
                 .Text("dec", policy.dec)
                 .Hash("set", policy.set)
                 .Texts("rules", policy.rules)
                 .Texts("obl", policy.obl))
      .Text("class", policy.data_class)
      .Text("purpose", policy.purpose);
}

void AddQuota(const QuotaFacts& quota, Members& leaf) {
  std::vector<Members> hits;
  for (const QuotaHit& hit : quota.hit) {
    hits.push_back(Members()
                       .Text("metric", hit.metric)
                       .Text("id", hit.id)
                       .Number("limit", hit.limit)
                       .Number("remaining", hit.remaining)
                       .Number("reset_ms", hit.reset_ms));
  }
  Members members;
  if (quota.acct) {
    members.Group("acct",
                  Members()
                      .Text("org", quota.acct->org)
                      .Text("project", quota.acct->project)
                      .Text("key", quota.acct->key)
                      .Text("model", quota.acct->model));
  }
  members.Text("dec", quota.dec)
      .Text("win", quota.win)
      .Group("res", Amounts(quota.res))
      .Groups("hit", hits);
  leaf.Group("quota", members);
}

void AddInput(const InputFacts& input, Members& leaf) {
  leaf.Group("in",
             Members()
                 .Commit("c", input.content)
                 .Number("b", input.size_bytes)
                 .Number("n", input.num_tokens)
                 .Commit("ids", input.token_ids)
                 .Counts("parts", input.parts)
                 .Texts("rag", input.rag)
                 .Commit("rid_c", input.request_id)
                 .Commit("lbl_c", input.labels));
}

void AddSampling(const SamplingFacts& sampling, Members& leaf) {
  leaf.Group("samp",
             Members()
                 .Decimal("temp", sampling.temperature)
                 .Text("top_k", std::to_string(sampling.top_k))
                 .Decimal("top_p", sampling.top_p)
                 .Decimal("min_p", sampling.min_p)
                 .Decimal("rep", sampling.repetition)
                 .Decimal("pres", sampling.presence)
                 .Decimal("freq", sampling.frequency)
                 .Number("max", sampling.max_tokens)
                 .Number("n", sampling.num_choices)
                 .Commit("stop_c", sampling.stop)
                 .Commit("grammar", sampling.grammar)
                 .Commit("logit_bias_c", sampling.logit_bias)
                 .Text("seed", std::to_string(sampling.seed))
                 .Text("rng", sampling.rng)
                 .Text("spec", sampling.spec)
                 .NumberIfSet("cache", sampling.cached_tokens));
}

void AddRoute(const RouteFacts& route, Members& leaf) {
  leaf.Group("route",
             Members()
                 .Text("kind", route.kind)
                 .Text("why", route.why)
                 .Group("dest",
                        Members()
                            .Text("provider", route.provider)
                            .Text("model", route.model)
                            .Text("region", route.region)));
}

void AddEgress(const EgressFacts& egress, Members& leaf) {
  leaf.Group("egr",
             Members()
                 .Text("peer_spki", egress.peer_spki)
                 .Number("b", egress.size_bytes)
                 .Commit("c", egress.content)
                 .Counts("redactions", egress.redactions)
                 .Text("dlp", egress.dlp)
                 .Text("approval", egress.approval)
                 .Text("provider_req", egress.provider_req));
}

void AddOutcome(const OutcomeFacts& outcome, Members& leaf) {
  leaf.Group("out",
             Members()
                 .Commit("c", outcome.content)
                 .Number("b", outcome.size_bytes)
                 .Number("n", outcome.num_tokens)
                 .Commit("ids", outcome.token_ids))
      .Text("finish", outcome.finish)
      .Text("status", outcome.status)
      .Text("err", outcome.err)
      .Group("use",
             Members()
                 .Number("in", outcome.use.in)
                 .Number("cached", outcome.use.cached)
                 .Number("out", outcome.use.out)
                 .Number("reason", outcome.use.reason))
      .Group("settle", Amounts(outcome.settle))
      .Group("lat_us",
             Members()
                 .Number("q", outcome.queue_us)
                 .Number("ttft", outcome.ttft_us)
                 .Number("tot", outcome.total_us))
      .Group("safety",
             Members().Text("filter", outcome.safety_filter).Texts("labels", outcome.safety_labels))
      .Text("vault", outcome.vault)
      .Text("replay", outcome.replay)
      .Commit("replay_c", outcome.replay_c);
  if (outcome.cost_micro) {
    leaf.Group("cost",
               Members()
                   .Number("micro", *outcome.cost_micro)
                   .Text("ccy", outcome.ccy)
                   .Text("price_id", outcome.price_id));
  }
}

void AddDetail(const std::map<std::string, LeafDetail>& detail, Members& leaf) {
  Members group;
  for (const auto& [key, value] : detail) {
    group.Key(key);
    if (const auto* number = std::get_if<uint64_t>(&value)) {
      group.Number(key, *number);
    } else if (const auto* text = std::get_if<std::string>(&value)) {
      group.Text(key, *text);
    } else if (const auto* digest = std::get_if<Digest>(&value)) {
      group.Hash(key, *digest);
    } else {
      group.Texts(key, std::get<std::vector<std::string>>(value));
    }
  }
  leaf.Group("d", group);
}

// All members but those of the chain.
Members DraftMembers(const LeafDraft& draft) {
  Members leaf;
  leaf.Text("t", Name(draft.type)).Text("tenant", draft.tenant.value());
  leaf.Text("lvl", Name(draft.mode)).Text("on_behalf_of", draft.on_behalf_of);
  leaf.Text("subj", draft.subj).Text("src", draft.src).Text("trace", draft.trace);
  if (draft.level) {
    leaf.Text("alev", Name(*draft.level));
  }
  const auto add = [&leaf](const auto& group, auto&& function) {
    if (group) {
      function(*group, leaf);
    }
  };
  add(draft.actor, AddActor);
  add(draft.model, AddModel);
  add(draft.policy, AddPolicy);
  add(draft.quota, AddQuota);
  add(draft.input, AddInput);
  add(draft.sampling, AddSampling);
  add(draft.route, AddRoute);
  add(draft.egress, AddEgress);
  add(draft.outcome, AddOutcome);
  AddDetail(draft.detail, leaf);
  return leaf;
}

void AddChain(const LeafDraft& draft, const LeafChain& chain, Members& leaf) {
  leaf.Number("v", 1)
      .Text("rid", draft.rid.value())
      .Text("n", Base64Url(chain.nonce))
      .Text("ts", Rfc3339Micros(chain.wall))
      .Text("mono", std::to_string(chain.since_boot.count()))
      .Text("boot", chain.boot)
      .Text("node", chain.node)
      .Hash("sv", LeafSchemaDigest())
      .Number("tseq", chain.tseq)
      .Hash("tprev", chain.tprev);
  if (draft.admitted) {
    leaf.Number("adm", draft.admitted->index);
    if (draft.admitted->origin != chain.origin) {
      leaf.Text("adm_origin", draft.admitted->origin);
    }
  }
}

}  // namespace

std::string_view Name(AuditMode mode) {
  switch (mode) {
    case AuditMode::kStrict:
      return "strict";
    case AuditMode::kGuarded:
      return "guarded";
    case AuditMode::kBestEffort:
      return "best_effort";
  }
  return "strict";
}

std::string_view Name(AuditLevel level) {
  switch (level) {
    case AuditLevel::kNone:
      return "none";
    case AuditLevel::kMetadata:
      return "metadata";
    case AuditLevel::kFull:
      return "full";
  }
  return "metadata";
}

const Digest& LeafSchemaDigest() {
  static const Digest digest = Sha256Of(kSchema);
  return digest;
}

Status Validate(const LeafDraft& draft) {
  // Chain fields of the largest size that they can have.
  const std::string longest(kLeafTextBytesMax, 'x');
  const LeafChain chain{.origin = "",
                        .node = longest,
                        .boot = longest,
                        .since_boot = Duration::max(),
                        .tseq = kJsonIntegerMax};
  return EncodeLeaf(draft, chain).status();
}

StatusOr<std::string> EncodeLeaf(const LeafDraft& draft, const LeafChain& chain) {
  if (draft.tenant.value().empty()) {
    return ErrorF(StatusCode::kInvalidArgument, "leaf %s: names no tenant", Name(draft.type));
  }
  if (!draft.rid.value().empty() && !IsUlid(draft.rid.value())) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "leaf %s of %s: its request id is not a ULID",
                  Name(draft.type),
                  draft.tenant.value());
  }
  if (chain.node.empty() || chain.boot.empty()) {
    return ErrorF(StatusCode::kInvalidArgument, "a leaf names its node and boot");
  }
  if (!draft.spilled.empty()) {
    return EncodeSpilled(draft, chain);
  }
  Members leaf = DraftMembers(draft);
  AddChain(draft, chain, leaf);
  RETURN_IF_ERROR(Annotate(
      leaf.status(), absl::StrFormat("leaf %s of %s", Name(draft.type), draft.tenant.value())));
  std::string bytes = leaf.object().Encode();
  if (bytes.size() > kLeafBytesMax) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "leaf %s of %s: %d bytes, at most %d",
                  Name(draft.type),
                  draft.tenant.value(),
                  bytes.size(),
                  kLeafBytesMax);
  }
  return bytes;
}

}  // namespace inferd
