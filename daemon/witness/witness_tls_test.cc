// Goal: a witness behind https is believed only with a certificate for its name from an authority
// that is trusted. Method: a TLS front with development certificates that answers every request.
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <optional>
#include <thread>

#include "daemon/witness/http_post.h"
#include "governance/keys/dev_certificates.h"
#include "tests/support/temp_folder.h"

namespace inferd {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;

// Takes connections one after another until it goes; answers with what was sent.
class TlsEcho {
 public:
  TlsEcho(const std::string& address, const std::string& certificate, const std::string& key)
      : acceptor_(io_, {asio::ip::make_address(address), 0}) {
    tls_.use_certificate_chain_file(certificate);
    tls_.use_private_key_file(key, ssl::context::pem);
    thread_ = std::thread([this] { Serve(); });
  }
  ~TlsEcho() {
    stopping_ = true;
    asio::ip::tcp::socket wake(io_);
    beast::error_code ignored;
    wake.connect(acceptor_.local_endpoint(), ignored);
    thread_.join();
  }
  TlsEcho(const TlsEcho&) = delete;
  TlsEcho& operator=(const TlsEcho&) = delete;

  int port() const { return acceptor_.local_endpoint().port(); }

 private:
  void Serve() {
    while (true) {
      beast::error_code error;
      beast::ssl_stream<asio::ip::tcp::socket> stream(acceptor_.accept(), tls_);
      if (stopping_) {
        return;
      }
      stream.handshake(ssl::stream_base::server, error);
      if (error) {
        continue;
      }
      beast::flat_buffer buffer;
      http::request<http::string_body> request;
      http::read(stream, buffer, request, error);
      http::response<http::string_body> answer(http::status::ok, 11);
      answer.body() = request.body();
      answer.prepare_payload();
      http::write(stream, answer, error);
    }
  }

  asio::io_context io_;
  ssl::context tls_{ssl::context::tls_server};
  asio::ip::tcp::acceptor acceptor_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

class WitnessTlsTest : public testing::Test {
 protected:
  WitnessTlsTest() {
    const WallTime now = SystemClock().WallNow();
    for (const char* name : {"ours", "other"}) {
      EXPECT_TRUE(
          WriteDevCertificates(
              {.directory = folder_ / name, .hosts = {"localhost"}, .callers = {}, .now = now})
              .ok());
    }
    Listen("127.0.0.1");
  }
  void Listen(const std::string& address) {
    echo_.emplace(address, folder_ / "ours/server.pem", folder_ / "ours/server.key");
  }
  StatusOr<HttpAnswer> Post(const std::string& host, const std::string& ca_file) {
    return PostHttp(absl::StrFormat("https://%s:%d/add-checkpoint", host, echo_->port()),
                    "a body",
                    {.timeout = std::chrono::seconds(60), .ca_file = ca_file});
  }

  TempFolder folder_;
  std::optional<TlsEcho> echo_;
};

TEST_F(WitnessTlsTest, ACertificateForTheNameFromATrustedAuthority) {
  const auto answer = Post("localhost", folder_ / "ours/ca.pem");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "a body");
}

TEST_F(WitnessTlsTest, AnotherAuthority) {
  for (const std::string& ca : {folder_ / "other/ca.pem", std::string()}) {
    const auto answer = Post("localhost", ca);
    EXPECT_EQ(answer.status().code(), StatusCode::kUnavailable) << ca;
    EXPECT_NE(Message(answer.status()).find("agree on TLS"), std::string_view::npos);
  }
}

TEST_F(WitnessTlsTest, AnotherName) {
  Listen("127.0.0.2");  // the certificate is for 127.0.0.1
  const auto answer = Post("127.0.0.2", folder_ / "ours/ca.pem");
  EXPECT_EQ(answer.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(Message(answer.status()).find("agree on TLS"), std::string_view::npos);
}

TEST_F(WitnessTlsTest, NoAuthorities) {
  EXPECT_EQ(Post("localhost", folder_ / "nothing.pem").status().code(),
            StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace inferd
