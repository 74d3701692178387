#include "daemon/grpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>

#include <mutex>

namespace inferd {
namespace {

constexpr int kSecond = 1000;  // milliseconds

void SetChannelArguments(const GrpcServer::Options& options, grpc::ServerBuilder& builder) {
  // gRPC's default lets a second daemon bind the same port and take half of the connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Gateways ping during long prefills, when nothing is written; that is no abuse.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10 * kSecond);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Finds clients that vanished without a word, so that their KV is freed.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60 * kSecond);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20 * kSecond);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 30 * 60 * kSecond);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             static_cast<int>(options.connection_streams_max));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10 * kSecond);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes_max));
  // Token messages are tiny, and their compressed lengths would tell of their content.
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
}

// Both are switches of the process, for every server that is built afterwards.
void EnablePlugins(bool reflection) {
  grpc::EnableDefaultHealthCheckService(true);
  static std::once_flag reflection_once;
  if (reflection) {
    std::call_once(reflection_once, grpc::reflection::InitProtoReflectionServerBuilderPlugin);
  }
}

}  // namespace

GrpcServer::GrpcServer() = default;
GrpcServer::~GrpcServer() { Shutdown(Duration(0)); }

StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const Options& options, std::vector<std::unique_ptr<grpc::Service>> services) {
  RETURN_IF_ERROR(CheckFree(options.address));
  EnablePlugins(options.reflection);
  grpc::ServerBuilder builder;
  SetChannelArguments(options, builder);
  int port = 0;
  std::unique_ptr<GrpcServer> result(new GrpcServer());
  result->credentials_ =
      options.credentials != nullptr ? options.credentials : grpc::InsecureServerCredentials();
  builder.AddListeningPort(options.address.ForGrpc(), result->credentials_, &port);
  for (const auto& service : services) {
    builder.RegisterService(service.get());
  }
  result->services_ = std::move(services);
  result->server_ = builder.BuildAndStart();
  if (result->server_ == nullptr) {
    return ErrorF(StatusCode::kUnavailable,
                  "cannot listen on %s: gRPC refused it",
                  options.address.ForGrpc());
  }
  ListenAddress bound = options.address;
  if (bound.is_unix) {
    // The umask would decide otherwise.
    if (chmod(bound.path.c_str(), S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP) != 0) {
      return ErrorF(StatusCode::kUnavailable, "cannot set the permissions of %s", bound.path);
    }
  } else {
    bound.port = port;
  }
  result->address_ = bound.ForGrpc();
  result->SetHealth("", false);
  return result;
}

void GrpcServer::SetHealth(const std::string& name, bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(name, serving);
}

void GrpcServer::Shutdown(Duration timeout) {
  if (server_ == nullptr) {
    return;
  }
  server_->Shutdown(SystemClock().WallNow() + timeout);
  server_->Wait();
}

}  // namespace inferd
