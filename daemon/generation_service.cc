#include "daemon/generation_service.h"

#include <algorithm>

#include "daemon/prompt.h"
#include "daemon/wire.h"
#include "daemon/worker_call.h"
#include "inferd/v1/generation.grpc.pb.h"

namespace inferd {
namespace {

using v1::GenerationService;
using RawService = GenerationService::WithRawCallbackMethod_Generate<
    GenerationService::WithRawCallbackMethod_GenerateStream<
        GenerationService::WithRawCallbackMethod_Tokenize<
            GenerationService::WithRawCallbackMethod_Detokenize<
                GenerationService::WithRawCallbackMethod_ApplyChatTemplate<
                    GenerationService::Service>>>>>;

// The gRPC context of a call for as long as gRPC has it, so that Kill can come at any time.
class ContextRef {
 public:
  explicit ContextRef(grpc::CallbackServerContext& context) : context_(&context) {}
  void Drop() {
    MutexLock lock(mutex_);
    context_ = nullptr;
  }
  void TryCancel() {
    MutexLock lock(mutex_);
    if (context_ != nullptr) {
      context_->TryCancel();
    }
  }

 private:
  Mutex mutex_;
  grpc::CallbackServerContext* context_ GUARDED_BY(mutex_);
};

// gRPC's side of GenerateStream, and the CallWriter on it. Owned by itself until OnDone; the
// CallWriter is a separate object that outlives it.
class StreamReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  StreamReactor(grpc::CallbackServerContext& context, EgressThread& egress)
      : context_(context), egress_(egress), writer_(std::make_shared<Writer>(*this, context)) {}

  std::shared_ptr<CallWriter> writer() const { return writer_; }
  void set_call(CallPtr call) { call_ = std::move(call); }

 private:
  class Writer final : public CallWriter {
   public:
    Writer(StreamReactor& reactor, grpc::CallbackServerContext& context)
        : reactor_(reactor), context_(context) {}
    void Write(const v1::GenerateStreamResponse& message) override {
      AddFieldsOnce(true);
      reactor_.message_ = SerializeMessage(message);
      reactor_.StartWrite(&reactor_.message_);
    }
    void Finish(const v1::GenerateStreamResponse* last,
                const Status& status,
                const AuditReceipt* record) override {
      AddFieldsOnce(last != nullptr);
      AddRecordTrailers(record, reactor_.context_);
      grpc::Status end = EndStatus(status, reactor_.context_);
      if (last == nullptr) {
        reactor_.Finish(std::move(end));
        return;
      }
      reactor_.message_ = SerializeMessage(*last);
      reactor_.StartWriteAndFinish(&reactor_.message_, grpc::WriteOptions(), std::move(end));
    }
    void Kill() override { context_.TryCancel(); }
    void Drop() { context_.Drop(); }

   private:
    void AddFieldsOnce(bool answered) {
      if (!std::exchange(fields_added_, true)) {
        AddFields(reactor_.call_->governed.fields, answered, reactor_.context_);
      }
    }
    StreamReactor& reactor_;  // not used after Finish
    ContextRef context_;
    bool fields_added_ = false;
  };

  void OnWriteDone(bool ok) override { egress_.WriteDone(call_, ok); }
  void OnCancel() override { egress_.Cancel(call_); }
  void OnDone() override {
    writer_->Drop();
    delete this;
  }

  grpc::CallbackServerContext& context_;
  EgressThread& egress_;
  const std::shared_ptr<Writer> writer_;  // shared with the call
  CallPtr call_;
  grpc::ByteBuffer message_;  // of the outstanding write
};

// The same for Generate: messages are put together, and go out at the end.
class WholeReactor final : public grpc::ServerUnaryReactor {
 public:
  WholeReactor(grpc::CallbackServerContext& context,
               grpc::ByteBuffer& response,
               EgressThread& egress)
      : context_(context),
        response_(response),
        egress_(egress),
        writer_(std::make_shared<Writer>(*this)) {}

  std::shared_ptr<CallWriter> writer() const { return writer_; }
  void set_call(CallPtr call) { call_ = std::move(call); }

 private:
  class Writer final : public CallWriter {
   public:
    explicit Writer(WholeReactor& reactor) : reactor_(reactor) {}
    void Write(const v1::GenerateStreamResponse& message) override {
      Add(message);
      reactor_.egress_.WriteDone(reactor_.call_, true);
    }
    void Finish(const v1::GenerateStreamResponse* last,
                const Status& status,
                const AuditReceipt* record) override {
      AddFields(reactor_.call_->governed.fields, last != nullptr, reactor_.context_);
      AddRecordTrailers(record, reactor_.context_);
      if (last != nullptr) {
        Add(*last);
        std::sort(answer_.mutable_choices()->begin(),
                  answer_.mutable_choices()->end(),
                  [](const auto& a, const auto& b) { return a.index() < b.index(); });
        reactor_.response_ = SerializeMessage(answer_);
      }
      reactor_.Finish(EndStatus(status, reactor_.context_));
    }
    void Kill() override {}  // no write is ever outstanding

   private:
    void Add(const v1::GenerateStreamResponse& message) {
      if (message.has_started()) {
        *answer_.mutable_started() = message.started();
      } else {
        *answer_.add_choices() = message.finished();
      }
    }
    WholeReactor& reactor_;  // not used after Finish
    v1::GenerateResponse answer_;
  };

  void OnCancel() override { egress_.Cancel(call_); }
  void OnDone() override { delete this; }

  grpc::CallbackServerContext& context_;
  grpc::ByteBuffer& response_;
  EgressThread& egress_;
  const std::shared_ptr<Writer> writer_;  // shared with the call
  CallPtr call_;
};

class Service final : public RawService {
 public:
  explicit Service(const GenerationServiceParts& parts) : parts_(parts) {}

  grpc::ServerUnaryReactor* Generate(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    auto* reactor = new WholeReactor(*context, *response, parts_.egress);
    Begin<v1::GenerateRequest>("GenerationService/Generate", *reactor, *context, *request);
    return reactor;
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateStream(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) override {
    auto* reactor = new StreamReactor(*context, parts_.egress);
    Begin<v1::GenerateStreamRequest>(
        "GenerationService/GenerateStream", *reactor, *context, *request);
    return reactor;
  }
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override {
    return OnWorker<v1::TokenizeRequest>(
        "GenerationService/Tokenize",
        context,
        request,
        response,
        [](const auto& r, const ResidentModel& model) { return TokenizeWith(model, r); });
  }
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    return OnWorker<v1::DetokenizeRequest>(
        "GenerationService/Detokenize",
        context,
        request,
        response,
        [](const auto& r, const ResidentModel& model) { return DetokenizeWith(model, r); });
  }
  grpc::ServerUnaryReactor* ApplyChatTemplate(grpc::CallbackServerContext* context,
                                              const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* response) override {
    return OnWorker<v1::ApplyChatTemplateRequest>(
        "GenerationService/ApplyChatTemplate",
        context,
        request,
        response,
        [](const auto& r, const ResidentModel& model) { return ApplyTemplate(model, r); });
  }

 private:
  static void FillRef(const ResidentModel& model, v1::ModelRef* ref) {
    ref->set_name(model.name);
    ref->set_digest(DigestText(model.digest));
    ref->set_version(model.version);
  }

  static StatusOr<v1::TokenizeResponse> TokenizeWith(const ResidentModel& model,
                                                     const v1::TokenizeRequest& request) {
    const auto special =
        request.parse_control_tokens() ? SpecialTokens::kParse : SpecialTokens::kAsText;
    const bool add_bos = request.has_add_bos() ? request.add_bos() : model.add_bos;
    ASSIGN_OR_RETURN(const auto tokens, EncodeText(model, request.text(), special, add_bos));
    v1::TokenizeResponse response;
    response.mutable_token_ids()->Add(tokens.begin(), tokens.end());
    FillRef(model, response.mutable_model());
    return response;
  }

  static StatusOr<v1::DetokenizeResponse> DetokenizeWith(const ResidentModel& model,
                                                         const v1::DetokenizeRequest& request) {
    const std::vector<TokenId> tokens(request.token_ids().begin(), request.token_ids().end());
    const auto text = model.tokenizer->Decode(tokens, request.show_control_tokens());
    if (!text.ok()) {
      return MakeFieldError("token_ids", Message(text.status()));
    }
    v1::DetokenizeResponse response;
    response.set_text(*text);
    FillRef(model, response.mutable_model());
    return response;
  }

  static StatusOr<v1::ApplyChatTemplateResponse> ApplyTemplate(
      const ResidentModel& model, const v1::ApplyChatTemplateRequest& request) {
    v1::ApplyChatTemplateResponse response;
    ASSIGN_OR_RETURN(*response.mutable_text(), RenderChat(model, request.chat()));
    ASSIGN_OR_RETURN(const ChatEncoding chat, EncodeChat(model, request.chat()));
    response.mutable_token_ids()->Add(chat.tokens.begin(), chat.tokens.end());
    FillRef(model, response.mutable_model());
    return response;
  }

  // A unary call about a model's text, on an ingress worker.
  template <typename Request, typename Handler>
  grpc::ServerUnaryReactor* OnWorker(std::string_view method,
                                     grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response,
                                     Handler handler) {
    return RunOnWorker<Request>(
        parts_.workers,
        parts_.gate,
        method,
        context,
        request,
        response,
        [this, handler](const Request& r, CallScope& s)
            -> decltype(handler(r, std::declval<const ResidentModel&>())) {
          ASSIGN_OR_RETURN(
              const auto model,
              parts_.models.Resolve({.reference = r.model(), .tenant = s.caller().tenant}));
          s.set_model(model->name);
          PolicyFacts denied;
          const Status allowed = parts_.governor.MayUse(s, "tokenize", *model, 0, &denied).status();
          if (!allowed.ok()) {
            parts_.gate.RecordDenial(s, allowed, denied);
            return allowed;
          }
          return handler(r, *model);
        });
  }

  // Starts a generation: what may take time goes to a worker, all ends go through egress.
  template <typename Request, typename Reactor>
  void Begin(std::string_view method,
             Reactor& reactor,
             grpc::CallbackServerContext& context,
             const grpc::ByteBuffer& bytes) {
    const TimePoint deadline =
        EffectiveDeadline(parts_.clock, context.deadline(), parts_.duration_max);
    auto call =
        std::make_shared<GenerationCall>(parts_.gate.Enter(method, context), reactor.writer());
    reactor.set_call(call);
    Status status = call->scope.admission();
    if (status.ok()) {
      status = parts_.registry.Enter(call);
    }
    if (status.ok()) {
      auto job = [this, call, deadline, bytes] {
        const Status submitted = Submit<Request>(call, deadline, bytes);
        parts_.egress.HandOver(call, submitted);
      };
      status = parts_.workers.TryPost(std::move(job)) ? OkStatus() : MakeWorkersBusyError();
    }
    if (!status.ok()) {
      parts_.egress.HandOver(call, status);
    }
  }

  // On a worker. After registry.Submit the call belongs to egress.
  template <typename Request>
  Status Submit(const CallPtr& call, TimePoint deadline, const grpc::ByteBuffer& bytes) {
    Request request;
    RETURN_IF_ERROR(ParseMessage(bytes, request));
    RETURN_IF_ERROR(CheckRequestId(request.request_id()));
    if (!request.request_id().empty()) {
      call->scope.SetRequestId(request.request_id());
    }
    RETURN_IF_ERROR(parts_.registry.ClaimId(call));
    if (parts_.egress.device_lost()) {
      return MakeError(Reason::kDeviceLost, "the device failed; the daemon must be restarted");
    }
    ASSIGN_OR_RETURN(PreparedGeneration prepared,
                     Prepare(request, parts_.models, call->scope.caller().tenant, parts_.delivery));
    call->scope.set_model(prepared.facts.model->name);
    RETURN_IF_ERROR(parts_.governor.Admit(*call, prepared));
    std::optional<AdmittedLeaf> leaf;
    if (parts_.audit != nullptr) {
      leaf = parts_.audit->Prepare(*call, prepared, request.end_user());
    }
    call->facts = std::move(prepared.facts);
    GenerationRequest& out = prepared.request;
    out.request_id = RequestId(call->scope.request_id());
    out.tenant = call->scope.caller().tenant;
    out.service_class = parts_.classes.ClassOf(out.tenant);
    out.arrival = call->scope.start();
    out.deadline = deadline;
    const Status submitted = FromRoom(parts_.registry.Submit(call, parts_.backend, std::move(out)));
    if (!submitted.ok()) {
      call->record.on = false;  // refused: a denied leaf, no admitted one
      call->governed.reservation.Cancel();
    } else if (leaf.has_value()) {
      // The engine works meanwhile; egress holds what it gives until the leaf is durable.
      parts_.audit->Admit(call, *std::move(leaf));
    }
    return submitted;
  }

  const GenerationServiceParts parts_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeGenerationService(const GenerationServiceParts& parts) {
  return std::make_unique<Service>(parts);
}

}  // namespace inferd
