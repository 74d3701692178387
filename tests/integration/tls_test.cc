// Goal: only callers with a certificate of the configured authority get a connection, and
// certificates are exchanged while the daemon serves.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/clock.h"
#include "governance/keys/dev_certificates.h"
#include "tests/integration/test_daemon.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

constexpr char kCaller[] = "spiffe://example.org/summaries";

std::string Content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class TlsTest : public testing::Test {
 protected:
  // An authority with a server and a caller, in a folder of its own.
  std::string Make(const std::string& name) {
    const std::string path = folder_ / name;
    const auto written = WriteDevCertificates(
        {.directory = path, .hosts = {}, .callers = {kCaller}, .now = SystemClock().WallNow()});
    EXPECT_TRUE(written.ok()) << written.status();
    return path;
  }
  // What the daemon reads.
  void Install(const std::string& from) {
    fs::create_directories(folder_ / "live");
    for (const char* name : {"server.pem", "server.key", "ca.pem"}) {
      Replace(from + "/" + name, folder_ / "live/" + name);
    }
  }
  static void Replace(const std::string& from, const std::string& to) {
    fs::copy_file(from, to + ".new", fs::copy_options::overwrite_existing);
    fs::rename(to + ".new", to);
  }
  std::unique_ptr<TestDaemon> Start() {
    return std::make_unique<TestDaemon>([this](Config& config) {
      config.data.tls = {.certificate = folder_ / "live/server.pem",
                         .key = folder_ / "live/server.key",
                         .client_ca = folder_ / "live/ca.pem"};
    });
  }
  // A call over a connection of its own; `trust` and `own` are folders that Make made.
  static grpc::Status Call(TestDaemon& daemon, const std::string& trust, const std::string& own) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = Content(trust + "/ca.pem");
    if (!own.empty()) {
      options.pem_cert_chain = Content(own + "/summaries.pem");
      options.pem_private_key = Content(own + "/summaries.key");
    }
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = v1::ModelService::NewStub(grpc::CreateCustomChannel(
        daemon.daemon().address(), grpc::SslCredentials(options), arguments));
    return List(*stub);
  }
  static grpc::Status List(v1::ModelService::Stub& stub) {
    grpc::ClientContext context;
    v1::ListModelsResponse response;
    return stub.ListModels(&context, {}, &response);
  }

  TempFolder folder_;
};

TEST_F(TlsTest, OnlyCallersOfTheAuthorityGetIn) {
  const std::string ours = Make("ours");
  const std::string other = Make("other");
  Install(ours);
  const auto daemon = Start();
  const grpc::Status good = Call(*daemon, ours, ours);
  EXPECT_TRUE(good.ok()) << good.error_message();
  EXPECT_EQ(Call(*daemon, ours, "").error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(*daemon, ours, other).error_code(), grpc::StatusCode::UNAVAILABLE);
  // A caller that trusts another authority does not talk to us.
  EXPECT_EQ(Call(*daemon, other, ours).error_code(), grpc::StatusCode::UNAVAILABLE);
  // The channel of TestDaemon is a plain one.
  EXPECT_EQ(List(daemon->models()).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, NewFilesServeNewConnectionsAndBadOnesNobody) {
  const std::string first = Make("first");
  const std::string second = Make("second");
  Install(first);
  const auto daemon = Start();
  ASSERT_TRUE(Call(*daemon, first, first).ok());

  // Half of the exchange: a certificate whose key is still to come.
  Replace(second + "/server.pem", folder_ / "live/server.pem");
  daemon->daemon().Tick();
  EXPECT_TRUE(Call(*daemon, first, first).ok());

  Install(second);
  daemon->daemon().Tick();
  EXPECT_TRUE(Call(*daemon, second, second).ok());
  EXPECT_FALSE(Call(*daemon, first, first).ok());
  EXPECT_FALSE(Call(*daemon, second, first).ok());

  fs::remove(folder_ / "live/server.key");
  daemon->daemon().Tick();
  EXPECT_TRUE(Call(*daemon, second, second).ok());
}

TEST_F(TlsTest, TheDaemonDoesNotStartOnFilesOfNoUse) {
  const std::string ours = Make("ours");
  Install(ours);
  Replace(ours + "/ca.key", folder_ / "live/server.key");
  Config config;
  config.data.address = "127.0.0.1:0";
  config.audit.mode = "off";
  config.data.tls = {.certificate = folder_ / "live/server.pem",
                     .key = folder_ / "live/server.key",
                     .client_ca = folder_ / "live/ca.pem"};
  const auto daemon = Daemon::Start(config, std::make_unique<FakeDevice>());
  ASSERT_FALSE(daemon.ok());
  EXPECT_THAT(std::string(Message(daemon.status())), testing::HasSubstr("is not the key of"));
}

}  // namespace
}  // namespace inferd
