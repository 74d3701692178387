// PrefixRoot: under which root a request's prompt is cached: who may find it, and what its state
// depends on besides the tokens.
#pragma once

#include <memory>
#include <string_view>

#include "base/digest.h"
#include "engine/engine.h"
#include "scheduler/prompt_prefix.h"

namespace inferd::engine_internal {

// SHA-256 over tagged, length-prefixed fields: domain, model digest, numerics id. The domain is the
// authenticated tenant, and within it `scope` (a user, a session), if the daemon narrows it.
Digest PrefixRoot(std::string_view tenant, std::string_view scope, const ResidentModel& model);

// What the scheduler is told of a request's prompt; nullptr if it is not to be cached. Hashes the
// prompt (some 5 ns a token): on the thread that submits.
std::shared_ptr<const PromptPrefix> MakePrefix(const GenerationRequest& request,
                                               const ResidentModel& model);

}  // namespace inferd::engine_internal
