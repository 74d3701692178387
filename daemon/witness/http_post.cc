#include "daemon/witness/http_post.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <utility>

namespace inferd {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Tcp = asio::ip::tcp;

constexpr std::string_view kScheme = "http://";

struct Url {
  std::string host, port, path;
};

StatusOr<Url> ParseUrl(std::string_view text) {
  if (!text.starts_with(kScheme)) {
    return ErrorF(StatusCode::kInvalidArgument, "\"%s\": a witness's url begins http://", text);
  }
  std::string_view rest = text.substr(kScheme.size());
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
  return Url{.host = std::string(host),
             .port = std::string(has_port ? authority.substr(colon + 1) : "80"),
             .path = slash == rest.size() ? "/" : std::string(rest.substr(slash))};
}

// One request on a connection of its own. Every step starts the next; the first error ends it.
class Exchange {
 public:
  Exchange(const Url& url, std::string_view body)
      : url_(url), request_(http::verb::post, url.path, 11), resolver_(io_), stream_(io_) {
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
    stream_.async_connect(endpoints, [this](auto error, const auto&) {
      if (Proceed(error, "connect")) {
        Send();
      }
    });
  }
  void Send() {
    http::async_write(stream_, request_, [this](auto error, size_t) {
      if (Proceed(error, "send")) {
        Receive();
      }
    });
  }
  void Receive() {
    http::async_read(stream_, buffer_, parser_, [this](auto error, size_t) {
      if (Proceed(error, "read the answer")) {
        status_ = OkStatus();
      }
    });
  }

  const Url url_;
  http::request<http::string_body> request_;
  http::response_parser<http::string_body> parser_;
  beast::flat_buffer buffer_;
  std::optional<Status> status_;
  asio::io_context io_;  // destroyed after what hangs on it
  Tcp::resolver resolver_;
  beast::tcp_stream stream_;
};

}  // namespace

StatusOr<HttpAnswer> PostHttp(std::string_view url, std::string_view body, Duration timeout) {
  ASSIGN_OR_RETURN(const Url parsed, ParseUrl(url));
  return Exchange(parsed, body).Run(timeout);
}

}  // namespace inferd
