// PrefixRoot: under which root a request's prompt is cached: who may find it, and what its state
// depends on besides the tokens.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "engine/engine.h"
#include "scheduler/prompt_prefix.h"

namespace inferd::engine_internal {

// SHA-256 over tagged, length-prefixed fields: domain, model digest, numerics id. The domain is the
// authenticated tenant, and within it `scope` (a user, a session), if the daemon narrows it.
Digest PrefixRoot(std::string_view tenant, std::string_view scope, const ResidentModel& model);

// The root of the PUBLIC domain: what the operator registered for everyone.
Digest PublicRoot(const ResidentModel& model);

// What the scheduler is told of a request's prompt; nullptr if it is not to be cached. Hashes the
// prompt (some 5 ns a token; twice if the model has public prefixes): on the thread that submits.
std::shared_ptr<const PromptPrefix> MakePrefix(const GenerationRequest& request,
                                               const ResidentModel& model,
                                               bool has_public);
// The same for a prompt whose blocks become public.
std::shared_ptr<const PromptPrefix> MakePublicPrefix(const std::vector<TokenId>& prompt,
                                                     const ResidentModel& model);

}  // namespace inferd::engine_internal
