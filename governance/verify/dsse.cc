#include "governance/verify/dsse.h"

#include <nlohmann/json.hpp>

#include "governance/verify/base64.h"

namespace inferd {
namespace {

using Json = nlohmann::json;

std::string KeyId(const NoteVerifier& key) {
  return absl::StrFormat("%s+%08x", key.name(), key.key_id());
}

std::string Encode(const DsseEnvelope& envelope) {
  const Json json = {
      {"payload", EncodeBase64(envelope.payload)},
      {"payloadType", envelope.payload_type},
      {"signatures",
       Json::array({{{"keyid", envelope.key_id}, {"sig", EncodeBase64(envelope.signature)}}})}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

Status Bad(const char* why) {
  return ErrorF(StatusCode::kInvalidArgument, "not a DSSE envelope: %s", why);
}

const std::string* TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

}  // namespace

std::string DssePreAuthentication(std::string_view payload_type, std::string_view payload) {
  return absl::StrFormat(
      "DSSEv1 %d %s %d %s", payload_type.size(), payload_type, payload.size(), payload);
}

std::string SignDsse(std::string_view payload_type,
                     std::string_view payload,
                     const NoteSigner& signer) {
  DsseEnvelope envelope{.payload_type = std::string(payload_type),
                        .payload = std::string(payload),
                        .key_id = KeyId(signer.verifier()),
                        .signature = ""};
  envelope.signature = signer.Sign(DssePreAuthentication(payload_type, payload)).signature;
  return Encode(envelope);
}

StatusOr<DsseEnvelope> ParseDsse(std::string_view text) {
  if (text.size() > kDssePayloadBytesMax * 3 / 2) {
    return Bad("it is too long");
  }
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return Bad("it is no JSON object");
  }
  const auto signatures = json.find("signatures");
  if (signatures == json.end() || !signatures->is_array() || signatures->size() != 1 ||
      !signatures->front().is_object()) {
    return Bad("it has not one signature");
  }
  const std::string* const type = TextOf(json, "payloadType");
  const std::string* const payload = TextOf(json, "payload");
  const std::string* const key_id = TextOf(signatures->front(), "keyid");
  const std::string* const signature = TextOf(signatures->front(), "sig");
  if (type == nullptr || payload == nullptr || key_id == nullptr || signature == nullptr) {
    return Bad("a member is missing or no text");
  }
  DsseEnvelope envelope{.payload_type = *type, .payload = "", .key_id = *key_id, .signature = ""};
  ASSIGN_OR_RETURN(envelope.payload, DecodeBase64(*payload));
  ASSIGN_OR_RETURN(envelope.signature, DecodeBase64(*signature));
  // One form alone, so that no byte can change unseen.
  if (Encode(envelope) != text) {
    return Bad("it is not in the one form that is written");
  }
  return envelope;
}

Status CheckDsse(const DsseEnvelope& envelope, const NoteVerifier& signer) {
  if (envelope.key_id != KeyId(signer)) {
    return ErrorF(StatusCode::kInvalidArgument, "the envelope is not signed by %s", KeyId(signer));
  }
  const NoteSignature signature{
      .name = signer.name(), .key_id = signer.key_id(), .signature = envelope.signature};
  return signer.type() == NoteKeyType::kEd25519 &&
                 signer.Verify(DssePreAuthentication(envelope.payload_type, envelope.payload),
                               signature)
             ? OkStatus()
             : ErrorF(StatusCode::kDataLoss, "the signature of %s does not verify", KeyId(signer));
}

}  // namespace inferd
