#include "daemon/witness/http_post.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <optional>
#include <utility>

namespace inferd {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using Tcp = asio::ip::tcp;

constexpr std::string_view kHttp = "http://";
constexpr std::string_view kHttps = "https://";

struct Url {
  bool tls = false;
  std::string host, port, path;
};

StatusOr<Url> ParseUrl(std::string_view text) {
  const bool tls = text.starts_with(kHttps);
  if (!tls && !text.starts_with(kHttp)) {
    return ErrorF(
        StatusCode::kInvalidArgument, "\"%s\": a witness's url begins https:// or http://", text);
  }
  std::string_view rest = text.substr(tls ? kHttps.size() : kHttp.size());
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string_view authority = rest.substr(0, slash);
  const size_t colon = authority.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos;
  std::string_view host = authority.substr(0, has_port ? colon : authority.size());
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  if (host.empty() || text.find_first_of(" \r\n") != std::string_view::npos) {
    return ErrorF(StatusCode::kInvalidArgument, "\"%s\" is no url of a host", text);
  }
  return Url{.tls = tls,
             .host = std::string(host),
             .port = std::string(has_port ? authority.substr(colon + 1)
                                 : tls    ? "443"
                                          : "80"),
             .path = slash == rest.size() ? "/" : std::string(rest.substr(slash))};
}

// What a client believes: certificates of these authorities, TLS 1.2 and newer.
Status Trust(ssl::context& context, const std::string& ca_file) {
  beast::error_code error;
  context.set_options(
      ssl::context::default_workarounds | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1, error);
  if (!error) {
    context.set_verify_mode(ssl::verify_peer, error);
  }
  if (!error) {
    ca_file.empty() ? context.set_default_verify_paths(error)
                    : context.load_verify_file(ca_file, error);
  }
  return error ? ErrorF(StatusCode::kFailedPrecondition,
                        "%s: no authorities can be read: %s",
                        ca_file.empty() ? "the machine's trust store" : ca_file,
                        error.message())
               : OkStatus();
}

// One request on a connection of its own. Every step starts the next; the first error ends it.
class Exchange {
 public:
  Exchange(const Url& url, std::string_view body, ssl::context& trust)
      : url_(url), request_(http::verb::post, url.path, 11), resolver_(io_), stream_(io_, trust) {
    request_.set(http::field::host, url.host);
    request_.set(http::field::user_agent, "inferd");
    request_.set(http::field::content_type, "text/plain; charset=utf-8");
    request_.body() = std::string(body);
    request_.prepare_payload();
    request_.keep_alive(false);
    parser_.body_limit(kHttpAnswerBytesMax);
  }

  StatusOr<HttpAnswer> Run(Duration timeout) {
    resolver_.async_resolve(url_.host, url_.port, [this](auto error, auto endpoints) {
      if (Proceed(error, "resolve")) {
        Connect(endpoints);
      }
    });
    io_.run_for(timeout);
    if (!status_.has_value()) {
      return ErrorF(
          StatusCode::kDeadlineExceeded, "%s:%s: no answer in time", url_.host, url_.port);
    }
    RETURN_IF_ERROR(*status_);
    const auto& answer = parser_.get();
    const auto type = answer[http::field::content_type];
    return HttpAnswer{.status = static_cast<int>(answer.result_int()),
                      .content_type = std::string(type.data(), type.size()),
                      .body = answer.body()};
  }

 private:
  bool Proceed(beast::error_code error, const char* what) {
    if (error) {
      status_ = ErrorF(StatusCode::kUnavailable,
                       "%s:%s: cannot %s: %s",
                       url_.host,
                       url_.port,
                       what,
                       error.message());
    }
    return !error;
  }
  void Connect(const Tcp::resolver::results_type& endpoints) {
    tcp().async_connect(endpoints, [this](auto error, const auto&) {
      if (Proceed(error, "connect")) {
        url_.tls ? Greet() : Send(tcp());
      }
    });
  }
  void Greet() {
    beast::error_code no_address;
    asio::ip::make_address(url_.host, no_address);
    // A name is told to the server, which may have several; an address is not (RFC 6066). What
    // SSL_set_tlsext_host_name stands for.
    if (no_address && SSL_ctrl(stream_.native_handle(),
                               SSL_CTRL_SET_TLSEXT_HOSTNAME,
                               TLSEXT_NAMETYPE_host_name,
                               url_.host.data()) != 1) {
      (void)Proceed(asio::error::invalid_argument, "name the host in TLS");
      return;
    }
    stream_.set_verify_callback(ssl::host_name_verification(url_.host));
    stream_.async_handshake(ssl::stream_base::client, [this](auto error) {
      if (Proceed(error, "agree on TLS")) {
        Send(stream_);
      }
    });
  }
  template <typename Stream>
  void Send(Stream& stream) {
    http::async_write(stream, request_, [this, &stream](auto error, size_t) {
      if (Proceed(error, "send")) {
        Receive(stream);
      }
    });
  }
  template <typename Stream>
  void Receive(Stream& stream) {
    http::async_read(stream, buffer_, parser_, [this](auto error, size_t) {
      if (Proceed(error, "read the answer")) {
        status_ = OkStatus();
      }
    });
  }
  beast::tcp_stream& tcp() { return stream_.next_layer(); }

  Url url_;
  http::request<http::string_body> request_;
  http::response_parser<http::string_body> parser_;
  beast::flat_buffer buffer_;
  std::optional<Status> status_;
  asio::io_context io_;  // destroyed after what hangs on it
  Tcp::resolver resolver_;
  beast::ssl_stream<beast::tcp_stream> stream_;  // plain HTTP uses the layer below
};

}  // namespace

StatusOr<HttpAnswer> PostHttp(std::string_view url,
                              std::string_view body,
                              const HttpOptions& options) {
  ASSIGN_OR_RETURN(const Url parsed, ParseUrl(url));
  ssl::context trust(ssl::context::tls_client);
  if (parsed.tls) {
    RETURN_IF_ERROR(Trust(trust, options.ca_file));
  }
  return Exchange(parsed, body, trust).Run(options.timeout);
}

}  // namespace inferd
