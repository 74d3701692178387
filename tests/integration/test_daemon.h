// A whole daemon inside the test: the real server on a port of its own, the real engine, a tiny
// random model, and the device of fingerprints, whose steps take as long as the test says.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/config.h"
#include "daemon/daemon.h"
#include "inferd/v1/generation.grpc.pb.h"
#include "inferd/v1/model.grpc.pb.h"
#include "tests/support/fake_device.h"
#include "tests/support/state_folder.h"
#include "tests/support/temp_folder.h"

namespace inferd {

inline constexpr char kTinyModel[] = "tiny";
inline constexpr int64_t kTinyContext = 1024;

// A random model in a file that is removed with the object. All have one name: a version's files
// keep theirs.
class TinyModelPath {
 public:
  explicit TinyModelPath(const std::string& family = "llama");
  const std::string& path() const { return path_; }

 private:
  const TempFolder folder_;
  const std::string path_ = folder_ / "tiny.gguf";
};

// Tests run with the audit log on; INFERD_TEST_AUDIT=off in the environment turns it off.
bool AuditInTests();

class TestDaemon {
 public:
  // `change` may alter the config before the start. CHECKs that all of it starts and loads.
  explicit TestDaemon(const std::function<void(Config&)>& change = {},
                      const std::string& family = "llama");

  // Where the audit log is, if it is on.
  const std::string& state_folder() const { return state_.path(); }

  Daemon& daemon() { return *daemon_; }
  FakeDevice& device() { return *device_; }
  v1::GenerationService::Stub& generation() { return *generation_; }
  v1::ModelService::Stub& models() { return *models_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  // Ends the daemon now instead of with the object.
  void Stop() { daemon_.reset(); }

 private:
  const TinyModelPath model_;
  const StateFolder state_;
  std::unique_ptr<Daemon> daemon_;
  FakeDevice* device_ = nullptr;  // the daemon's
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::ModelService::Stub> models_;
};

// A request for `max_tokens` tokens that ends nowhere else; greedy.
v1::GenerateStreamRequest LongRequest(int max_tokens);
// The unary request of the same fields.
v1::GenerateRequest AsUnary(const v1::GenerateStreamRequest& request);

// All that came of a call.
struct StreamResult {
  std::vector<v1::GenerateStreamResponse> messages;
  std::map<std::string, std::string> trailers;
  grpc::Status status;
};
StreamResult Collect(v1::GenerationService::Stub& stub, const v1::GenerateStreamRequest& request);

// google.rpc.ErrorInfo.reason of an error, and the first violated field; "" if there is none.
std::string ReasonIn(const grpc::Status& status);
std::string FieldIn(const grpc::Status& status);

// True as soon as `condition` is; false after ten seconds.
bool Eventually(const std::function<bool()>& condition);

// Calls a method that no stub is generated for, with raw bytes.
grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel,
                     const char* method,
                     const std::string& request,
                     std::string* response);

}  // namespace inferd
