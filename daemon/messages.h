// The messages of a generation's stream, made from what egress knows.
#pragma once

#include "daemon/generation_call.h"

namespace inferd {

v1::GenerateStreamResponse StartedMessage(const GenerationCall& call);
// Takes the pending output out of the choice.
v1::GenerateStreamResponse DeltaMessage(GenerationCall& call, int32_t index);
// Takes the rest of the output and the end out of the choice, which must have ended.
v1::GenerateStreamResponse FinishedMessage(GenerationCall& call, int32_t index);

// True if a message of this choice's pending output would say anything.
bool HasContent(const CallFacts& facts, const PendingOutput& output);

}  // namespace inferd
