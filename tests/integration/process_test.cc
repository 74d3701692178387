// Goal: the process starts, serves, drains and fails as the manual says: lines, exit codes,
// systemd's notifications. Method: the real binary as a child, a tiny random model, the CPU device.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/clock.h"
#include "base/file.h"
#include "daemon/lifecycle.h"
#include "tests/integration/test_daemon.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

// The daemon as a child process. Its stdout is read as lines, its stderr goes to a file.
class Child {
 public:
  Child(const TempFolder& folder,
        const std::vector<std::string>& arguments,
        const std::string& notify_socket = "")
      : log_(folder / "log") {
    int pipes[2];
    EXPECT_EQ(pipe(pipes), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(pipes[1], STDOUT_FILENO);
      const int log = open(log_.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
      dup2(log, STDERR_FILENO);
      if (!notify_socket.empty()) {
        setenv("NOTIFY_SOCKET", notify_socket.c_str(), 1);
      }
      std::vector<std::string> words = {INFERD_BINARY};
      words.insert(words.end(), arguments.begin(), arguments.end());
      std::vector<char*> argv;
      for (std::string& word : words) {
        argv.push_back(word.data());
      }
      argv.push_back(nullptr);
      execv(INFERD_BINARY, argv.data());
      _exit(127);
    }
    close(pipes[1]);
    out_ = pipes[0];
  }
  ~Child() {
    if (!exit_code_.has_value()) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(out_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // The next line of stdout; "" if there is none within a minute.
  std::string Line() {
    while (buffer_.find('\n') == std::string::npos) {
      pollfd fd{.fd = out_, .events = POLLIN, .revents = 0};
      char bytes[256];
      const ssize_t got = poll(&fd, 1, 60'000) == 1 ? read(out_, bytes, sizeof(bytes)) : 0;
      if (got <= 0) {
        return "";
      }
      buffer_.append(bytes, static_cast<size_t>(got));
    }
    const size_t end = buffer_.find('\n');
    std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 1);
    return line;
  }
  void Signal(int signal) const { kill(pid_, signal); }
  // The exit code, or minus the signal that ended it.
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return *exit_code_;
  }
  std::string Log() const { return ReadFile(log_, 1 << 20).value_or(""); }

 private:
  std::string log_;
  pid_t pid_ = 0;
  int out_ = -1;
  std::string buffer_;
  std::optional<int> exit_code_;
};

class ProcessTest : public ::testing::Test {
 protected:
  // A config file on the model; `more` is added to it.
  std::string WriteConfig(const std::string& address, const std::string& more = "") {
    const std::string path = folder_ / "inferd.yaml";
    std::ofstream(path) << "schema_version: 1\nlisteners: {data: {address: \"" << address
                        << "\"}}\ndrain: {delay: 0, timeout: 20s}\n"
                        << "kv_cache: {bytes_max: 4MiB}\nmodels:\n  - {name: tiny, path: "
                        << model_path_ << "}\nstate_directory: " << state_.path()
                        << "\naudit: {mode: " << (AuditInTests() ? "strict" : "off")
                        << ", reserve_bytes: 0, wait_max: 30s}\n"
                        << more;
    return path;
  }
  static std::string AddressIn(const std::string& line) {
    return line.substr(std::string("listening ").size());
  }
  static std::unique_ptr<v1::GenerationService::Stub> StubFor(const std::string& address) {
    return v1::GenerationService::NewStub(
        grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  }

  TempFolder folder_;
  StateFolder state_;
  TinyModelPath model_;
  std::string model_path_ = model_.path();
};

TEST_F(ProcessTest, ServesAndStopsOnSigterm) {
  Child child(folder_, {"--config", WriteConfig("127.0.0.1:0")});
  const std::string line = child.Line();
  ASSERT_THAT(line, ::testing::StartsWith("listening 127.0.0.1:"));
  const auto stub = StubFor(AddressIn(line));
  EXPECT_TRUE(Collect(*stub, LongRequest(20)).status.ok());
  child.Signal(SIGTERM);
  EXPECT_EQ(child.Wait(), kExitOk);
  EXPECT_THAT(child.Log(), HasSubstr("\"stopped\""));
  EXPECT_THAT(child.Log(), ::testing::Not(HasSubstr("Spain")));  // the prompt's text
}

TEST_F(ProcessTest, ServesOnAUnixSocketThatOthersCannotOpen) {
  const std::string socket = folder_ / "data.sock";
  Child child(folder_, {"--config", WriteConfig("unix:" + socket)});
  ASSERT_EQ(child.Line(), "listening unix:" + socket);
  EXPECT_EQ(fs::status(socket).permissions() & fs::perms::others_all, fs::perms::none);
  EXPECT_TRUE(Collect(*StubFor("unix:" + socket), LongRequest(5)).status.ok());
  // A second one finds it taken and does not steal it.
  TempFolder other;
  const StateFolder other_state;
  const std::string elsewhere = "state_directory=" + other_state.path();
  Child second(other, {"--config", WriteConfig("unix:" + socket), "--set", elsewhere});
  EXPECT_EQ(second.Wait(), kExitFailure);
  EXPECT_THAT(second.Log(), HasSubstr("Address already in use"));
  EXPECT_TRUE(Collect(*StubFor("unix:" + socket), LongRequest(5)).status.ok());
}

TEST_F(ProcessTest, APortInUseIsNamed) {
  Child child(folder_, {"--config", WriteConfig("127.0.0.1:0")});
  const std::string address = AddressIn(child.Line());
  TempFolder other;
  const StateFolder other_state;
  const std::string elsewhere = "state_directory=" + other_state.path();
  Child second(other, {"--config", WriteConfig(address), "--set", elsewhere});
  EXPECT_EQ(second.Wait(), kExitFailure);
  EXPECT_THAT(second.Log(), HasSubstr("cannot listen on " + address + ": Address already in use"));
}

TEST_F(ProcessTest, ConfigErrorsEndWithTheirPlaceAndCode) {
  const std::string path = WriteConfig("127.0.0.1:0", "sheduler: {}\n");
  Child child(folder_, {"--config", path});
  EXPECT_EQ(child.Wait(), kExitConfig);
  EXPECT_EQ(child.Log(),
            path + ":9:1: error: sheduler: unknown key (did you mean \"scheduler\"?)\n");
  Child missing(folder_, {"--config", folder_ / "none.yaml"});
  EXPECT_EQ(missing.Wait(), kExitConfig);
  EXPECT_THAT(missing.Log(), HasSubstr("none.yaml: error: "));
  Child open(folder_, {"--config", WriteConfig("0.0.0.0:0"), "--check-config"});
  EXPECT_EQ(open.Wait(), kExitConfig);
  EXPECT_THAT(open.Log(), HasSubstr("other hosts reach"));
  Child good(folder_, {"--config", WriteConfig("127.0.0.1:0"), "--check-config"});
  EXPECT_EQ(good.Wait(), kExitOk);
  Child usage(folder_, {"--no-such-flag"});
  EXPECT_EQ(usage.Wait(), kExitUsage);
}

TEST_F(ProcessTest, SighupReadsTenantFilesAgain) {
  const std::string tenants = folder_ / "tenants.d";
  fs::create_directories(tenants);
  const auto write = [&tenants](const std::string& quota) {
    std::ofstream(tenants + "/local.yaml")
        << "schema_version: 1\nname: local\nquotas:\n  - {id: day, metric: tok_day, " << quota
        << "}\n";
    fs::permissions(tenants + "/local.yaml", fs::perms::owner_read | fs::perms::owner_write);
  };
  const std::string more = "identity: {tenants_directory: " + tenants + "}\n";
  write("limit: -1");
  Child broken(folder_, {"--config", WriteConfig("127.0.0.1:0", more), "--check-config"});
  EXPECT_EQ(broken.Wait(), kExitConfig);
  EXPECT_THAT(broken.Log(), HasSubstr("local.yaml:4:39: error: quotas[0].limit"));

  write("limit: 1");
  Child child(folder_, {"--config", WriteConfig("127.0.0.1:0", more)});
  const std::string line = child.Line();
  ASSERT_NE(line, "");
  const auto stub = StubFor(AddressIn(line));
  EXPECT_EQ(Collect(*stub, LongRequest(5)).status.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  write("limit: 1000000");
  child.Signal(SIGHUP);
  EXPECT_TRUE(Eventually([&] { return Collect(*stub, LongRequest(5)).status.ok(); }));
  write("limit: -1");
  child.Signal(SIGHUP);
  EXPECT_TRUE(Eventually([&] {
    return child.Log().find("reload refused; everything stays as it was") != std::string::npos;
  }));
  EXPECT_TRUE(Collect(*stub, LongRequest(5)).status.ok());
  child.Signal(SIGTERM);
  EXPECT_EQ(child.Wait(), kExitOk);
}

TEST_F(ProcessTest, ACudaThatIsMissingIsAnError) {
  Child child(folder_, {"--config", WriteConfig("127.0.0.1:0"), "--set", "device.kind=cuda"});
  EXPECT_EQ(child.Wait(), kExitFailure);
  EXPECT_THAT(child.Log(), HasSubstr("cuda"));
}

TEST_F(ProcessTest, ABrokenModelFileIsNamed) {
  const std::string whole = *ReadFile(model_path_, 64 << 20);
  const std::string path = folder_ / "broken.gguf";
  std::ofstream(path, std::ios::binary) << whole.substr(0, whole.size() / 2);
  model_path_ = path;
  Child truncated(folder_, {"--config", WriteConfig("127.0.0.1:0")});
  EXPECT_EQ(truncated.Wait(), kExitFailure);
  EXPECT_THAT(truncated.Log(), HasSubstr("model tiny: "));
  std::string flipped = whole;
  flipped[9] = static_cast<char>(flipped[9] ^ 0x40);  // in the number of tensors
  std::ofstream(path, std::ios::binary) << flipped;
  Child bits(folder_, {"--config", WriteConfig("127.0.0.1:0")});
  EXPECT_EQ(bits.Wait(), kExitFailure);
  EXPECT_THAT(bits.Log(), HasSubstr("model tiny: "));
  model_path_ = folder_ / "none.gguf";
  Child none(folder_, {"--config", WriteConfig("127.0.0.1:0")});
  EXPECT_EQ(none.Wait(), kExitFailure);
  EXPECT_THAT(none.Log(), HasSubstr("none.gguf"));
}

TEST_F(ProcessTest, TellsSystemdWhereItStands) {
  const std::string path = folder_ / "notify.sock";
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un un = {};
  un.sun_family = AF_UNIX;
  path.copy(un.sun_path, sizeof(un.sun_path) - 1);
  const auto* generic = static_cast<const sockaddr*>(static_cast<const void*>(&un));
  ASSERT_EQ(bind(fd, generic, sizeof(un)), 0);
  Child child(folder_, {"--config", WriteConfig("127.0.0.1:0")}, path);
  ASSERT_NE(child.Line(), "");
  child.Signal(SIGHUP);
  EXPECT_TRUE(Eventually([&] { return child.Log().find("\"reloaded\"") != std::string::npos; }));
  child.Signal(SIGTERM);
  EXPECT_EQ(child.Wait(), kExitOk);
  std::string all;
  char bytes[512];
  ssize_t got = 0;
  while ((got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
    all.append(bytes, static_cast<size_t>(got)).append("\n");
  }
  close(fd);
  const size_t loading = all.find("STATUS=loading tiny");
  const size_t ready = all.find("READY=1");
  const size_t reloading = all.find("RELOADING=1\nMONOTONIC_USEC=");
  const size_t ready_again = all.find("READY=1", reloading);
  const size_t stopping = all.find("STOPPING=1");
  EXPECT_LT(loading, ready);
  EXPECT_LT(ready, reloading);
  EXPECT_LT(reloading, ready_again);
  EXPECT_LT(ready_again, stopping);
  EXPECT_NE(stopping, std::string::npos);
}

TEST_F(ProcessTest, ASecondSignalDoesNotWaitForWhatRuns) {
  Child child(folder_, {"--config", WriteConfig("127.0.0.1:0"), "--set", "drain.delay=10min"});
  ASSERT_NE(child.Line(), "");
  child.Signal(SIGTERM);
  // The first is noticed before the second comes: pending signals do not add up.
  ASSERT_TRUE(Eventually([&] { return child.Log().find("draining") != std::string::npos; }));
  const TimePoint start = SystemClock().Now();
  child.Signal(SIGTERM);
  EXPECT_EQ(child.Wait(), kExitOk);
  EXPECT_LT(SystemClock().Now() - start, std::chrono::minutes(1));
}

}  // namespace
}  // namespace inferd
