// Goal: an address is taken as it is written or refused, and a taken one is named as taken.
#include "daemon/listen_address.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace inferd {
namespace {

TEST(ListenAddress, KnowsWhatOtherHostsReach) {
  for (const std::string text : {"127.0.0.1:8750", "127.3.2.1:0", "[::1]:65535", "unix:/a/b"}) {
    const auto address = ParseListenAddress(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ForGrpc(), text);
    EXPECT_TRUE(address->IsLocal()) << text;
  }
  for (const std::string text : {"0.0.0.0:8750", "[::]:8750", "10.0.0.1:1", "[fe80::2]:1"}) {
    const auto address = ParseListenAddress(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ForGrpc(), text);
    EXPECT_FALSE(address->IsLocal()) << text;
  }
}

TEST(ListenAddress, RefusesWhatIsNoAddress) {
  for (const std::string text : {"",
                                 "127.0.0.1",
                                 "127.0.0.1:",
                                 "127.0.0.1:65536",
                                 "127.0.0.1:-1",
                                 "127.0.0.1:80x",
                                 "localhost:8750",
                                 "example.org:80",
                                 ":8750",
                                 "*:1",
                                 "::1:80",
                                 "[]:80",
                                 "[127.0.0.1]:80",
                                 "unix:"}) {
    EXPECT_FALSE(ParseListenAddress(text).ok()) << text;
  }
  EXPECT_FALSE(ParseListenAddress("unix:" + std::string(108, 'x')).ok());
}

TEST(ListenAddress, NamesAPortInUse) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* generic = static_cast<sockaddr*>(static_cast<void*>(&in));
  socklen_t size = sizeof(in);
  ASSERT_EQ(bind(fd, generic, size), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  ASSERT_EQ(getsockname(fd, generic, &size), 0);
  const std::string text = "127.0.0.1:" + std::to_string(ntohs(in.sin_port));
  const Status status = CheckFree(*ParseListenAddress(text));
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(Message(status), "cannot listen on " + text + ": Address already in use");
  close(fd);
  EXPECT_TRUE(CheckFree(*ParseListenAddress(text)).ok());
}

}  // namespace
}  // namespace inferd
