#include "daemon/wire.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <string>

namespace inferd {

Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message) {
  grpc::ByteBuffer copy = bytes;  // of the reference; the reader takes it apart
  if (copy.Length() == 0) {
    return OkStatus();  // a message of defaults; the reader refuses an empty buffer
  }
  grpc::ProtoBufferReader reader(&copy);
  if (!reader.status().ok() || !message.ParseFromZeroCopyStream(&reader)) {
    return MakeError(Reason::kInvalidField,
                     "the message does not parse: it is malformed, or a string is not valid UTF-8");
  }
  return OkStatus();
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message) {
  const std::string bytes = message.SerializeAsString();
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

grpc::Status EndStatus(const Status& status, grpc::CallbackServerContext& context) {
  if (const auto retry = RetryAfter(status)) {
    const int64_t millis = std::chrono::duration_cast<std::chrono::milliseconds>(*retry).count();
    context.AddTrailingMetadata("grpc-retry-pushback-ms", std::to_string(millis));
    context.AddTrailingMetadata("retry-after", std::to_string((millis + 999) / 1000));
  }
  return ToGrpc(status);
}

void AddRecordTrailers(const AuditReceipt* record, grpc::CallbackServerContext& context) {
  if (record != nullptr) {
    context.AddTrailingMetadata("audit-origin", record->origin);
    context.AddTrailingMetadata("audit-index", std::to_string(record->index));
    context.AddTrailingMetadata("audit-leaf", "sha256:" + record->leaf_hash.Hex());
  }
}

void AddFields(const RateLimitFields& fields, bool answered, grpc::CallbackServerContext& context) {
  for (const auto& [name, value] : fields) {
    if (answered) {
      context.AddInitialMetadata(name, value);
    } else {
      context.AddTrailingMetadata(name, value);
    }
  }
}

}  // namespace inferd
