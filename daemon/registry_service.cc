#include "daemon/registry_service.h"

#include <mutex>

#include "daemon/admin_call.h"
#include "inferd/v1/registry.grpc.pb.h"

namespace inferd {
namespace {

constexpr int kHashThreads = 2;

void Fill(const RegistryChange& change, v1::RegistryChange* out) {
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(change.at.time_since_epoch()).count();
  out->set_number(change.number);
  out->set_step(std::string(Name(change.step)));
  out->mutable_at()->set_seconds(micros / 1'000'000);
  out->mutable_at()->set_nanos(static_cast<int32_t>(micros % 1'000'000 * 1'000));
  out->set_actor(change.actor);
  out->set_model(change.model);
  out->set_version(change.version);
  out->set_digest(DigestText(change.digest));
  out->set_signer(change.signer);
  out->set_source(change.source);
  out->set_alias(change.alias);
  out->set_previous(change.previous);
  out->set_percent(change.percent);
  out->set_proposed_by(change.proposed_by);
  out->set_approved_by(change.approved_by);
}

const char* StageName(ModelVersion::Stage stage) {
  switch (stage) {
    case ModelVersion::Stage::kRegistered:
      return "registered";
    case ModelVersion::Stage::kApproved:
      return "approved";
    case ModelVersion::Stage::kRevoked:
      return "revoked";
  }
  return "";
}

void Fill(const std::string& model,
          const std::string& name,
          const ModelAlias& alias,
          v1::RegisteredAlias* out) {
  out->set_model(model);
  out->set_alias(name);
  out->set_version(alias.version);
  out->set_previous(alias.previous);
  if (alias.rollout) {
    out->set_rollout_version(alias.rollout->version);
    out->set_rollout_percent(alias.rollout->percent);
    out->set_rollout_proposed_by(alias.rollout->proposed_by);
    out->set_rollout_approved_by(alias.rollout->approved_by);
  }
}

class Service final : public v1::RegistryService::Service {
 public:
  explicit Service(const RegistryServiceParts& parts) : parts_(parts) {}

  grpc::Status AddModel(grpc::ServerContext* context,
                        const v1::AddModelRequest* request,
                        grpc::ServerWriter<v1::AddModelResponse>* writer) override {
    return AdminCall(parts_.gate, "RegistryService/AddModel", *context, [&](const Caller& caller) {
      return Add(*request, caller.actor.id, *writer);
    });
  }

  grpc::Status ApproveModel(grpc::ServerContext* context,
                            const v1::ApproveModelRequest* request,
                            v1::ApproveModelResponse* response) override {
    return Step("RegistryService/ApproveModel", *context, response, [&](const std::string& actor) {
      return registry().Approve(actor, request->model(), request->version());
    });
  }

  grpc::Status ProposeAlias(grpc::ServerContext* context,
                            const v1::ProposeAliasRequest* request,
                            v1::ProposeAliasResponse* response) override {
    return Step("RegistryService/ProposeAlias", *context, response, [&](const std::string& actor) {
      return registry().ProposeRollout(
          actor, request->model(), request->alias(), request->version());
    });
  }

  grpc::Status ApproveAlias(grpc::ServerContext* context,
                            const v1::ApproveAliasRequest* request,
                            v1::ApproveAliasResponse* response) override {
    return Step("RegistryService/ApproveAlias", *context, response, [&](const std::string& actor) {
      return registry().ApproveRollout(actor, request->model(), request->alias());
    });
  }

  grpc::Status SetCanary(grpc::ServerContext* context,
                         const v1::SetCanaryRequest* request,
                         v1::SetCanaryResponse* response) override {
    return Step("RegistryService/SetCanary",
                *context,
                response,
                [&](const std::string& actor) -> StatusOr<RegistryChange> {
                  RETURN_IF_ERROR(CheckResident(request->model(), request->alias()));
                  return registry().SetPercent(
                      actor, request->model(), request->alias(), request->percent());
                });
  }

  grpc::Status RollBackAlias(grpc::ServerContext* context,
                             const v1::RollBackAliasRequest* request,
                             v1::RollBackAliasResponse* response) override {
    return Step("RegistryService/RollBackAlias",
                *context,
                response,
                [&](const std::string& actor) -> StatusOr<RegistryChange> {
                  ASSIGN_OR_RETURN(RegistryChange change,
                                   registry().RollBack(actor, request->model(), request->alias()));
                  // Whoever began with what was rolled back goes back too.
                  if (const auto left = registry().FindVersion(change.model, change.previous);
                      left.ok()) {
                    parts_.registry.sessions().Forget(left->digest);
                  }
                  return change;
                });
  }

  grpc::Status RevokeModel(grpc::ServerContext* context,
                           const v1::RevokeModelRequest* request,
                           v1::RevokeModelResponse* response) override {
    return Step("RegistryService/RevokeModel",
                *context,
                response,
                [&](const std::string& actor) -> StatusOr<RegistryChange> {
                  ASSIGN_OR_RETURN(RegistryChange change,
                                   registry().Revoke(actor, request->model(), request->version()));
                  parts_.registry.sessions().Forget(change.digest);
                  RETURN_IF_ERROR(Annotate(parts_.loader.UnloadBytes(change.digest),
                                           "it is revoked, but was not unloaded"));
                  return change;
                });
  }

  grpc::Status ListVersions(grpc::ServerContext* context,
                            const v1::ListVersionsRequest* request,
                            v1::ListVersionsResponse* response) override {
    return AdminCall(parts_.gate, "RegistryService/ListVersions", *context, [&](const Caller&) {
      for (const std::string& model : registry().Models()) {
        if (!request->model().empty() && request->model() != model) {
          continue;
        }
        for (const ModelVersion& version : registry().Versions(model)) {
          Fill(version, response->add_versions());
        }
        for (const auto& [name, alias] : registry().Aliases(model)) {
          inferd::Fill(model, name, alias, response->add_aliases());
        }
      }
      return OkStatus();
    });
  }

  grpc::Status GetHistory(grpc::ServerContext* context,
                          const v1::GetHistoryRequest* request,
                          v1::GetHistoryResponse* response) override {
    return AdminCall(parts_.gate, "RegistryService/GetHistory", *context, [&](const Caller&) {
      for (const RegistryChange& change : registry().History(request->model())) {
        inferd::Fill(change, response->add_changes());
      }
      return OkStatus();
    });
  }

 private:
  ModelRegistry& registry() const { return parts_.registry.registry(); }

  template <typename Response, typename Work>
  grpc::Status Step(std::string_view method,
                    const grpc::ServerContextBase& context,
                    Response* response,
                    const Work& work) {
    return AdminCall(parts_.gate, method, context, [&](const Caller& caller) -> Status {
      ASSIGN_OR_RETURN(const RegistryChange change, work(caller.actor.id));
      inferd::Fill(change, response->mutable_change());
      return OkStatus();
    });
  }

  Status Add(const v1::AddModelRequest& request,
             const std::string& actor,
             grpc::ServerWriter<v1::AddModelResponse>& writer) {
    ModelHashOptions options{.threads = kHashThreads};
    std::mutex mutex;  // a writer takes one message at a time
    uint64_t told = 0;
    options.progress = [&](uint64_t done, uint64_t total) {
      const std::lock_guard lock(mutex);
      if (done * 100 / total > told * 100 / total) {
        told = done;
        v1::AddModelResponse message;
        message.set_hashed_bytes(done);
        message.set_total_bytes(total);
        writer.Write(message);
      }
    };
    ASSIGN_OR_RETURN(options.also, RegistryState::SignedBy(request.signature_path()));
    ASSIGN_OR_RETURN(const ModelContents contents, HashModelFiles(request.path(), options));
    ASSIGN_OR_RETURN(const std::string signer,
                     parts_.registry.CheckSignature(request.signature_path(), contents));
    ASSIGN_OR_RETURN(
        const RegistryChange change,
        registry().Register(actor, request.model(), request.version(), contents, signer));
    v1::AddModelResponse last;
    inferd::Fill(change, last.mutable_change());
    writer.Write(last);
    return OkStatus();
  }

  // Sessions go to a version that can answer them.
  Status CheckResident(const std::string& model, const std::string& alias) const {
    const auto aliases = registry().Aliases(model);
    const auto found = aliases.find(alias);
    if (found == aliases.end() || !found->second.rollout) {
      return OkStatus();  // the registry says what is missing
    }
    ASSIGN_OR_RETURN(const ModelVersion version,
                     registry().FindVersion(model, found->second.rollout->version));
    return parts_.models.Find(model, version.digest).ok()
               ? OkStatus()
               : ErrorF(StatusCode::kFailedPrecondition,
                        "%s:%s is not in memory: `inferctl model load` it first",
                        model,
                        version.version);
  }

  void Fill(const ModelVersion& version, v1::RegisteredVersion* out) const {
    out->set_model(version.model);
    out->set_version(version.version);
    out->set_digest(DigestText(version.digest));
    out->set_files_digest(DigestText(version.files));
    out->set_stage(StageName(version.stage));
    out->set_signer(version.signer);
    out->set_submitter(version.submitter);
    out->mutable_approvers()->Add(version.approvers.begin(), version.approvers.end());
    out->set_resident(parts_.models.Find(version.model, version.digest).ok());
  }

  const RegistryServiceParts parts_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeRegistryService(const RegistryServiceParts& parts) {
  return std::make_unique<Service>(parts);
}

}  // namespace inferd
