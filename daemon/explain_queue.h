// ExplainRequests: why requests wait, for operators and for tenants.
#pragma once

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "daemon/stream_registry.h"
#include "engine/engine.h"
#include "inferd/v1/queue.pb.h"

namespace inferd {

void FillDuration(Duration duration, google::protobuf::Duration* out);

// The requests that were asked for, as far as the engine has them. `only`: those of this tenant,
// and of others how many are ahead and how much, no names and no memory; nullptr: everything, for
// operators. Waits for the step in work. INVALID_FIELD for a limit out of range.
Status ExplainRequests(Engine& engine,
                       const StreamRegistry& registry,
                       const TenantId* only,
                       const v1::ExplainQueueRequest& request,
                       v1::ExplainQueueResponse* response);

}  // namespace inferd
