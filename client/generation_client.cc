#include "client/generation_client.h"

#include <google/protobuf/wrappers.pb.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <charconv>
#include <future>

#include "base/file.h"
#include "governance/keys/crypto.h"
#include "governance/keys/secret_files.h"
#include "inferd/v1/generation.grpc.pb.h"
#include "inferd/v1/model.grpc.pb.h"

namespace inferd {
namespace {

constexpr int kReplyBytesMax = 64 << 20;
constexpr int kModelPagesMax = 1000;
constexpr uint64_t kPemBytesMax = 1 << 20;

// The codes have equal numbers. What came beside the message is added to it.
Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) {
    return OkStatus();
  }
  std::string message = status.error_message();
  google::rpc::Status details;
  if (details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& any : details.details()) {
      google::rpc::BadRequest bad_request;
      google::rpc::RetryInfo retry;
      google::rpc::ErrorInfo info;
      if (any.UnpackTo(&bad_request)) {
        for (const auto& violation : bad_request.field_violations()) {
          message += "; " + violation.field() + ": " + violation.description();
        }
      } else if (any.UnpackTo(&retry)) {
        message += absl::StrFormat("; try again in %.3g s",
                                   static_cast<double>(retry.retry_delay().seconds()) +
                                       1e-9 * retry.retry_delay().nanos());
      } else if (any.UnpackTo(&info)) {
        message += " [" + info.reason() + "]";
      }
    }
  }
  return {static_cast<StatusCode>(status.error_code()), message};
}

Duration FromProto(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(duration.seconds()) + std::chrono::nanoseconds(duration.nanos());
}

void FillSampling(const GenerationOptions& options, v1::SamplingParams& sampling) {
  const auto set = [&sampling](const auto& value, auto setter) {
    if (value) {
      (sampling.*setter)(*value);
    }
  };
  set(options.temperature, &v1::SamplingParams::set_temperature);
  set(options.top_p, &v1::SamplingParams::set_top_p);
  set(options.top_k, &v1::SamplingParams::set_top_k);
  set(options.min_p, &v1::SamplingParams::set_min_p);
  set(options.repetition_penalty, &v1::SamplingParams::set_repetition_penalty);
  set(options.presence_penalty, &v1::SamplingParams::set_presence_penalty);
  set(options.frequency_penalty, &v1::SamplingParams::set_frequency_penalty);
  set(options.seed, &v1::SamplingParams::set_seed);
  set(options.n, &v1::SamplingParams::set_n);
  set(options.logprobs, &v1::SamplingParams::set_logprobs);
  for (const auto& [token, bias] : options.logit_bias) {
    (*sampling.mutable_logit_bias())[token] = bias;
  }
}

void FillStopping(const GenerationOptions& options, v1::StoppingParams& stopping) {
  if (options.max_tokens) {
    stopping.set_max_tokens(*options.max_tokens);
  }
  if (options.min_tokens) {
    stopping.set_min_tokens(*options.min_tokens);
  }
  for (const std::string& stop : options.stop) {
    stopping.add_stop(stop);
  }
  for (const TokenId token : options.stop_token_ids) {
    stopping.add_stop_token_ids(token);
  }
  if (options.ignore_eos) {
    stopping.set_ignore_eos(true);
  }
  if (options.include_stop) {
    stopping.set_include_stop(true);
  }
}

// Request is v1::GenerateRequest or v1::GenerateStreamRequest, which have the same fields.
template <typename Request>
Request MakeRequest(const GenerationCall& call) {
  Request request;
  request.set_request_id(call.request_id);
  request.set_model(call.model);
  request.set_end_user(call.end_user);
  request.set_session_id(call.session);
  if (!call.expected_digest.empty()) {
    request.set_expected_digest(call.expected_digest);
  }
  if (const auto* text = std::get_if<std::string>(&call.prompt)) {
    request.set_text(*text);
  } else if (const auto* ids = std::get_if<std::vector<TokenId>>(&call.prompt)) {
    request.mutable_token_ids()->mutable_ids()->Add(ids->begin(), ids->end());
  } else {
    for (const ChatMessage& message : std::get<std::vector<ChatMessage>>(call.prompt)) {
      v1::ChatMessage* added = request.mutable_chat()->add_messages();
      added->set_role(message.role);
      added->set_content(message.content);
    }
  }
  FillSampling(call.options, *request.mutable_sampling());
  FillStopping(call.options, *request.mutable_stopping());
  if (call.token_ids) {
    request.mutable_output()->set_token_ids(true);
  }
  if (call.max_tokens_per_message) {
    request.mutable_output()->set_max_tokens_per_message(*call.max_tokens_per_message);
  }
  return request;
}

GenerationStarted FromProto(const v1::Started& started) {
  return {.request_id = started.request_id(),
          .model = started.model().name(),
          .version = started.model().version(),
          .digest = started.model().digest(),
          .numerics_id = started.numerics_id(),
          .fingerprint = started.system_fingerprint(),
          .seed = started.seed(),
          .prompt_tokens = started.prompt_tokens(),
          .cached_tokens = started.cached_tokens()};
}

StatusOr<ChoiceOutput> FromProto(const v1::Output& output) {
  ChoiceOutput result{.index = output.index(),
                      .text = output.text(),
                      .token_ids = {output.token_ids().begin(), output.token_ids().end()},
                      .logprobs = {}};
  const v1::Logprobs& logprobs = output.logprobs();
  const int64_t wanted = int64_t{logprobs.top_count()} * logprobs.logprobs_size();
  if (logprobs.top_count() < 0 || wanted != logprobs.top_token_ids_size() ||
      wanted != logprobs.top_logprobs_size()) {
    return ErrorF(StatusCode::kInternal, "the daemon's log-probabilities do not fit together");
  }
  for (int i = 0; i < logprobs.logprobs_size(); ++i) {
    TokenLogprobs token{.logprob = logprobs.logprobs(i), .top = {}};
    for (int j = i * logprobs.top_count(); j < (i + 1) * logprobs.top_count(); ++j) {
      token.top.emplace_back(logprobs.top_token_ids(j), logprobs.top_logprobs(j));
    }
    result.logprobs.push_back(std::move(token));
  }
  return result;
}

void Append(const ChoiceOutput& piece, ChoiceOutput& whole) {
  whole.text += piece.text;
  whole.token_ids.insert(whole.token_ids.end(), piece.token_ids.begin(), piece.token_ids.end());
  whole.logprobs.insert(whole.logprobs.end(), piece.logprobs.begin(), piece.logprobs.end());
}

// Gathers a generation, from a stream or a unary reply, and tells the observer.
class Gatherer {
 public:
  Gatherer(GenerationResult& result, const GenerationObserver& observer, int32_t n)
      : result_(result), observer_(observer) {
    result_.choices.resize(static_cast<size_t>(std::max(n, 1)));
    for (size_t i = 0; i < result_.choices.size(); ++i) {
      result_.choices[i].output.index = static_cast<int32_t>(i);
    }
  }

  void Started(const v1::Started& started) {
    result_.started = FromProto(started);
    if (observer_.on_started) {
      observer_.on_started(result_.started);
    }
  }

  Status Add(const v1::Output& output) {
    ASSIGN_OR_RETURN(const ChoiceOutput piece, FromProto(output));
    ASSIGN_OR_RETURN(Choice* const choice, At(piece.index));
    Append(piece, choice->output);
    if (observer_.on_output) {
      observer_.on_output(piece);
    }
    return OkStatus();
  }

  Status Finish(const v1::Finished& finished) {
    if (finished.has_output()) {
      RETURN_IF_ERROR(Add(finished.output()));
    }
    ASSIGN_OR_RETURN(Choice* const choice, At(finished.index()));
    choice->finish_reason = finished.finish_reason() == v1::FINISH_REASON_STOP ? "stop" : "length";
    if (finished.matched_stop_case() == v1::Finished::kMatchedStopString) {
      choice->matched_stop = finished.matched_stop_string();
    } else if (finished.matched_stop_case() == v1::Finished::kMatchedStopTokenId) {
      choice->matched_stop_token = finished.matched_stop_token_id();
    }
    choice->output_tokens = finished.usage().output_tokens();
    choice->queue = FromProto(finished.timings().queue());
    choice->prefill = FromProto(finished.timings().prefill());
    choice->decode = FromProto(finished.timings().decode());
    return OkStatus();
  }

 private:
  StatusOr<Choice*> At(int32_t index) {
    if (index < 0 || static_cast<size_t>(index) >= result_.choices.size()) {
      return ErrorF(StatusCode::kInternal, "the daemon sent choice %d, which nobody asked", index);
    }
    return &result_.choices[static_cast<size_t>(index)];
  }

  GenerationResult& result_;
  const GenerationObserver& observer_;
};

ServedModel FromProto(const v1::Model& model) {
  return {.name = model.ref().name(),
          .version = model.ref().version(),
          .digest = model.ref().digest(),
          .state = model.state() == v1::MODEL_STATE_READY ? "ready" : "loading",
          .display_name = model.display_name(),
          .architecture = model.architecture(),
          .quantization = model.quantization(),
          .device = model.device(),
          .template_digest = model.template_digest(),
          .numerics_id = model.numerics_id(),
          .context_tokens_max = model.context_tokens_max(),
          .vocab_size = model.vocab_size(),
          .file_bytes = model.file_bytes(),
          .weight_bytes = model.weight_bytes(),
          .kv_tokens_max = model.kv_tokens_max(),
          .adds_bos = model.adds_bos(),
          .end_token_ids = {model.end_token_ids().begin(), model.end_token_ids().end()}};
}

Status CheckEndpoint(const std::string& endpoint) {
  if (endpoint.starts_with("unix:") && endpoint.size() > 5) {
    return OkStatus();
  }
  const size_t colon = endpoint.rfind(':');
  uint16_t port = 0;
  if (colon != std::string::npos && colon > 0) {
    const char* const end = endpoint.data() + endpoint.size();
    const auto parsed = std::from_chars(endpoint.data() + colon + 1, end, port);
    if (parsed.ec == std::errc() && parsed.ptr == end && port != 0) {
      return OkStatus();
    }
  }
  return ErrorF(
      StatusCode::kInvalidArgument, "endpoint \"%s\" is neither HOST:PORT nor unix:PATH", endpoint);
}

StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(const Connection& connection) {
  if (connection.tls_certificate.empty() != connection.tls_key.empty()) {
    return ErrorF(StatusCode::kInvalidArgument, "a TLS certificate and its key go together");
  }
  if (connection.tls_ca.empty()) {
    return connection.tls_key.empty()
               ? StatusOr<std::shared_ptr<grpc::ChannelCredentials>>(
                     grpc::InsecureChannelCredentials())
               : ErrorF(StatusCode::kInvalidArgument,
                        "a TLS certificate needs the daemon's authority beside it");
  }
  grpc::SslCredentialsOptions options;
  ASSIGN_OR_RETURN(options.pem_root_certs, ReadFile(connection.tls_ca, kPemBytesMax));
  if (!connection.tls_key.empty()) {
    ASSIGN_OR_RETURN(options.pem_cert_chain, ReadFile(connection.tls_certificate, kPemBytesMax));
    ASSIGN_OR_RETURN(options.pem_private_key, ReadSecretFile(connection.tls_key));
  }
  auto credentials = grpc::SslCredentials(options);
  Cleanse(options.pem_private_key);
  return credentials;
}

// The value of the metadata `authorization`; "" without a key.
StatusOr<std::string> MakeAuthorization(const Connection& connection) {
  if (connection.api_key_file.empty()) {
    return std::string();
  }
  ASSIGN_OR_RETURN(std::string key, ReadSecretFile(connection.api_key_file));
  while (!key.empty() && (key.back() == '\n' || key.back() == ' ')) {
    key.pop_back();
  }
  // Anything else would end the process: gRPC aborts on metadata that is not printable.
  const bool printable =
      std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (key.empty() || !printable) {
    return ErrorF(
        StatusCode::kInvalidArgument, "%s: an API key is one word", connection.api_key_file);
  }
  return "Bearer " + key;
}

}  // namespace

class GenerationClient::Impl {
 public:
  Impl(const std::shared_ptr<grpc::Channel>& channel, std::string authorization)
      : authorization_(std::move(authorization)),
        generation_(v1::GenerationService::NewStub(channel)),
        models_(v1::ModelService::NewStub(channel)),
        health_(channel) {}

  // For each call.
  void Prepare(grpc::ClientContext& context, std::optional<Duration> timeout) const {
    if (timeout) {
      context.set_deadline(std::chrono::system_clock::now() +
                           std::chrono::duration_cast<std::chrono::microseconds>(*timeout));
    }
    if (!authorization_.empty()) {
      context.AddMetadata("authorization", authorization_);
    }
  }

  Status Stream(const GenerationCall& call, grpc::ClientContext& context, Gatherer& gatherer) {
    const auto reader =
        generation_->GenerateStream(&context, MakeRequest<v1::GenerateStreamRequest>(call));
    v1::GenerateStreamResponse response;
    Status gathered = OkStatus();
    while (gathered.ok() && reader->Read(&response)) {
      switch (response.event_case()) {
        case v1::GenerateStreamResponse::kStarted:
          gatherer.Started(response.started());
          break;
        case v1::GenerateStreamResponse::kDelta:
          gathered = gatherer.Add(response.delta());
          break;
        case v1::GenerateStreamResponse::kFinished:
          gathered = gatherer.Finish(response.finished());
          break;
        default:
          break;  // an event of a later version
      }
    }
    if (!gathered.ok()) {
      context.TryCancel();
    }
    const Status ended = FromGrpc(reader->Finish());
    return gathered.ok() ? ended : gathered;
  }

  Status Unary(const GenerationCall& call, grpc::ClientContext& context, Gatherer& gatherer) {
    v1::GenerateResponse response;
    RETURN_IF_ERROR(FromGrpc(
        generation_->Generate(&context, MakeRequest<v1::GenerateRequest>(call), &response)));
    gatherer.Started(response.started());
    for (const v1::Finished& choice : response.choices()) {
      RETURN_IF_ERROR(gatherer.Finish(choice));
    }
    return OkStatus();
  }

  v1::GenerationService::Stub& generation() { return *generation_; }
  v1::ModelService::Stub& models() { return *models_; }

  // grpc.health.v1.Health/Check. Its messages, {string service = 1} and {enum status = 1}, have
  // the wire form of two well-known wrappers.
  StatusOr<std::string> Health(const std::string& service, Duration timeout) {
    grpc::ClientContext context;
    Prepare(context, timeout);
    google::protobuf::StringValue request;
    request.set_value(service);
    google::protobuf::Int32Value reply;
    std::promise<grpc::Status> done;
    health_.UnaryCall(&context,
                      "/grpc.health.v1.Health/Check",
                      {},
                      &request,
                      &reply,
                      [&done](grpc::Status status) { done.set_value(std::move(status)); });
    RETURN_IF_ERROR(FromGrpc(done.get_future().get()));
    return std::string(reply.value() == 1   ? "serving"
                       : reply.value() == 2 ? "not serving"
                                            : "unknown");
  }

 private:
  const std::string authorization_;
  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value> health_;
};

GenerationClient::GenerationClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GenerationClient::~GenerationClient() = default;

StatusOr<std::unique_ptr<GenerationClient>> GenerationClient::Create(const Connection& connection) {
  RETURN_IF_ERROR(CheckEndpoint(connection.endpoint));
  ASSIGN_OR_RETURN(const auto credentials, MakeCredentials(connection));
  ASSIGN_OR_RETURN(std::string authorization, MakeAuthorization(connection));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kReplyBytesMax);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // a daemon is reached directly
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, connection.own ? 1 : 0);
  return std::unique_ptr<GenerationClient>(new GenerationClient(
      std::make_unique<Impl>(grpc::CreateCustomChannel(connection.endpoint, credentials, arguments),
                             std::move(authorization))));
}

StatusOr<GenerationResult> GenerationClient::Generate(const GenerationCall& call,
                                                      const GenerationObserver& observer,
                                                      std::stop_token stop) {
  grpc::ClientContext context;
  impl_->Prepare(context, call.timeout);
  const std::stop_callback cancel(std::move(stop), [&context] { context.TryCancel(); });
  GenerationResult result;
  Gatherer gatherer(result, observer, call.options.n.value_or(1));
  RETURN_IF_ERROR(call.stream ? impl_->Stream(call, context, gatherer)
                              : impl_->Unary(call, context, gatherer));
  return result;
}

StatusOr<std::vector<TokenId>> GenerationClient::Tokenize(const std::string& model,
                                                          const std::string& text,
                                                          bool add_bos,
                                                          bool parse_special,
                                                          Duration timeout) {
  grpc::ClientContext context;
  impl_->Prepare(context, timeout);
  v1::TokenizeRequest request;
  request.set_model(model);
  request.set_text(text);
  request.set_add_bos(add_bos);
  request.set_parse_control_tokens(parse_special);
  v1::TokenizeResponse response;
  RETURN_IF_ERROR(FromGrpc(impl_->generation().Tokenize(&context, request, &response)));
  return std::vector<TokenId>(response.token_ids().begin(), response.token_ids().end());
}

StatusOr<std::vector<ServedModel>> GenerationClient::ListModels(Duration timeout) {
  std::vector<ServedModel> models;
  v1::ListModelsRequest request;
  for (int page = 0; page < kModelPagesMax; ++page) {
    grpc::ClientContext context;
    impl_->Prepare(context, timeout);
    v1::ListModelsResponse response;
    RETURN_IF_ERROR(FromGrpc(impl_->models().ListModels(&context, request, &response)));
    for (const v1::Model& model : response.models()) {
      models.push_back(FromProto(model));
    }
    if (response.next_page_token().empty()) {
      return models;
    }
    request.set_page_token(response.next_page_token());
  }
  return ErrorF(StatusCode::kInternal, "the list of models does not end");
}

StatusOr<ServedModel> GenerationClient::GetModel(const std::string& model, Duration timeout) {
  grpc::ClientContext context;
  impl_->Prepare(context, timeout);
  v1::GetModelRequest request;
  request.set_model(model);
  v1::GetModelResponse response;
  RETURN_IF_ERROR(FromGrpc(impl_->models().GetModel(&context, request, &response)));
  return FromProto(response.model());
}

StatusOr<std::string> GenerationClient::Health(const std::string& service, Duration timeout) {
  return impl_->Health(service, timeout);
}

}  // namespace inferd
