#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "client/registry_commands.h"
#include "governance/registry/model_files.h"
#include "model/gguf.h"

namespace inferd {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kFromBytes[] = "computed from the files";
constexpr char kFromAuthor[] = "the author's text, taken from the file as it is";

Json Property(const std::string& name, const std::string& value) {
  return {{"name", "inferd:" + name}, {"value", value}};
}

// What a GGUF's author wrote of the model, where it stands in CycloneDX.
void AddAuthorsText(const std::string& path, Json& component) {
  const auto file = MappedFile::Open(path);
  const auto gguf = file.ok() ? Gguf::Parse(file->bytes()) : file.status();
  if (!gguf.ok()) {
    return;  // then there is nothing that it says
  }
  const auto text = [&](std::string_view key) {
    const auto value = gguf->GetString(key);
    return value.ok() ? std::string(*value) : std::string();
  };
  component["description"] = text("general.name");
  if (const std::string license = text("general.license"); !license.empty()) {
    component["licenses"] = Json::array({{{"license", {{"name", license}}}}});
  }
  component["modelCard"] = {{"modelParameters",
                             {{"architectureFamily", "transformer"},
                              {"modelArchitecture", text("general.architecture")}}}};
  Json ancestors = Json::array();
  for (const auto& [key, value] : gguf->metadata()) {
    if (key.starts_with("general.base_model.") && key.ends_with(".name")) {
      ancestors.push_back({{"type", "machine-learning-model"}, {"name", text(key)}});
    }
  }
  if (!ancestors.empty()) {
    component["pedigree"] = {{"ancestors", std::move(ancestors)}};
  }
}

}  // namespace

StatusOr<std::string> ModelBom(const std::string& path,
                               const std::string& name,
                               const std::string& version) {
  ModelHashOptions options;
  options.also = {.method = ModelSerialization::Method::kFiles};
  ASSIGN_OR_RETURN(const ModelContents contents, HashModelFiles(path, options));
  Json component = {{"type", "machine-learning-model"},
                    {"bom-ref", name + '@' + version},
                    {"name", name},
                    {"version", version}};
  if (std::filesystem::is_regular_file(path)) {
    AddAuthorsText(path, component);
  }
  component["properties"] =
      Json::array({Property("digest", "sha256:" + contents.root.Hex()),
                   Property("digest:rule",
                            "OpenSSF Model Signing v1.0, root over shards of 1,000,000,000 bytes"),
                   Property("hashes:source", kFromBytes),
                   Property("description, licenses, pedigree, modelCard:source", kFromAuthor)});
  Json components = Json::array();
  for (size_t i = 0; i < contents.files.size(); ++i) {
    const ModelResource& resource = contents.also[i];
    components.push_back(
        {{"type", "file"},
         {"name", resource.name},
         {"hashes", Json::array({{{"alg", "SHA-256"}, {"content", resource.digest.Hex()}}})},
         {"properties",
          Json::array({Property("size_bytes", std::to_string(contents.files[i].bytes))})}});
  }
  return Json({{"bomFormat", "CycloneDX"},
               {"specVersion", "1.6"},
               {"version", 1},
               {"metadata", {{"component", std::move(component)}}},
               {"components", std::move(components)}})
      .dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace inferd
