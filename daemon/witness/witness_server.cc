#include "daemon/witness/witness_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <optional>
#include <thread>
#include <utility>

namespace inferd {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Tcp = asio::ip::tcp;

constexpr uint32_t kHeaderBytesMax = 8 * 1024;
constexpr char kTarget[] = "/add-checkpoint";

StatusOr<Tcp::endpoint> ParseAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  uint16_t port = 0;
  const char* const end = address.data() + address.size();
  const char* const start = colon == std::string::npos ? end : address.data() + colon + 1;
  const auto parsed = std::from_chars(start, end, port);
  beast::error_code error;
  const asio::ip::address ip = asio::ip::make_address(host, error);
  if (error || start == end || parsed.ec != std::errc() || parsed.ptr != end) {
    return ErrorF(StatusCode::kInvalidArgument, "\"%s\" is not IP:PORT", address);
  }
  return Tcp::endpoint(ip, port);
}

uint64_t UnixSeconds(const Clock& clock) {
  const auto since = clock.WallNow().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(since).count());
}

// A connection: reads a request, answers, reads the next. It lives as long as a handler of it
// waits, and each handler holds a shared_ptr.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Tcp::socket socket, Witness& witness, const Clock& clock, size_t& num_connections)
      : stream_(std::move(socket)),
        witness_(witness),
        clock_(clock),
        num_connections_(num_connections) {
    ++num_connections_;
  }
  ~Connection() { --num_connections_; }

  void Read() {
    parser_.emplace();
    parser_->header_limit(kHeaderBytesMax);
    parser_->body_limit(kWitnessRequestBytesMax);
    stream_.expires_after(kWitnessRequestTime);
    http::async_read(
        stream_, buffer_, *parser_, [self = shared_from_this()](beast::error_code error, size_t) {
          self->Answer(error);
        });
  }

 private:
  void Answer(beast::error_code error) {
    if (error == http::error::body_limit || error == http::error::header_limit ||
        error == http::error::bad_method || error == http::error::bad_version) {
      Write({.status = 400, .content_type = "text/plain", .body = "too long, or no HTTP\n"}, false);
      return;
    }
    if (error) {
      return;  // it went away, or took too long
    }
    const auto& request = parser_->get();
    WitnessAnswer answer{.status = 404, .content_type = "text/plain", .body = "no such resource\n"};
    if (request.target() == kTarget) {
      answer = request.method() == http::verb::post
                   ? witness_.AddCheckpoint(request.body(), UnixSeconds(clock_))
                   : WitnessAnswer{.status = 405, .content_type = "text/plain", .body = "POST\n"};
    }
    Write(answer, request.keep_alive());
  }

  void Write(const WitnessAnswer& answer, bool keep_alive) {
    response_ = {};
    response_.result(static_cast<unsigned>(answer.status));
    response_.version(11);
    response_.set(http::field::content_type, answer.content_type);
    response_.set(http::field::server, "inferd-witness");
    response_.keep_alive(keep_alive);
    response_.body() = answer.body;
    response_.prepare_payload();
    http::async_write(stream_,
                      response_,
                      [self = shared_from_this(), keep_alive](beast::error_code error, size_t) {
                        if (!error && keep_alive) {
                          self->Read();
                        } else {
                          self->stream_.socket().shutdown(Tcp::socket::shutdown_send, error);
                        }
                      });
  }

  beast::tcp_stream stream_;
  Witness& witness_;
  const Clock& clock_;
  size_t& num_connections_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
};

}  // namespace

class WitnessServer::Impl {
 public:
  Impl(Witness& witness, const Clock& clock) : witness_(witness), clock_(clock), acceptor_(io_) {}
  ~Impl() {
    io_.stop();
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  Status Start(const std::string& address) {
    ASSIGN_OR_RETURN(const Tcp::endpoint endpoint, ParseAddress(address));
    beast::error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) {
      acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    }
    if (!error) {
      acceptor_.bind(endpoint, error);
    }
    if (!error) {
      acceptor_.listen(asio::socket_base::max_listen_connections, error);
    }
    if (error) {
      return ErrorF(StatusCode::kUnavailable, "%s: cannot listen: %s", address, error.message());
    }
    Accept();
    thread_ = std::thread([this] { io_.run(); });
    return OkStatus();
  }
  uint16_t port() const {
    beast::error_code error;
    return acceptor_.local_endpoint(error).port();
  }

 private:
  void Accept() {
    acceptor_.async_accept([this](beast::error_code error, Tcp::socket socket) {
      if (!error && num_connections_ < kWitnessConnectionsMax) {
        std::make_shared<Connection>(std::move(socket), witness_, clock_, num_connections_)->Read();
      }
      Accept();
    });
  }

  Witness& witness_;
  const Clock& clock_;
  size_t num_connections_ = 0;  // before io_, whose handlers count down in their destructors
  asio::io_context io_;
  Tcp::acceptor acceptor_;
  std::thread thread_;
};

WitnessServer::WitnessServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WitnessServer::~WitnessServer() = default;

StatusOr<std::unique_ptr<WitnessServer>> WitnessServer::Start(const std::string& address,
                                                              Witness& witness,
                                                              const Clock& clock) {
  auto impl = std::make_unique<Impl>(witness, clock);
  RETURN_IF_ERROR(impl->Start(address));
  return std::unique_ptr<WitnessServer>(new WitnessServer(std::move(impl)));
}

uint16_t WitnessServer::port() const { return impl_->port(); }

}  // namespace inferd
