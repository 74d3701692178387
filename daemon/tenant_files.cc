#include "daemon/tenant_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "base/sha256.h"
#include "daemon/config_reader.h"
#include "governance/registry/model_reference.h"

namespace inferd {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPrincipalRolesMax = 16;
constexpr size_t kTenantModelsMax = 64;
constexpr size_t kErrorsShown = 20;

Status CheckModelReference(std::string_view text) { return ParseModelReference(text).status(); }

void VisitTenantFile(FieldVisitor& v, TenantFile& file, TenantAudit& audit) {
  int64_t schema_version = 0;
  v.Integer("schema_version",
            schema_version,
            {.min = 1, .max = 1, .required = true},
            "Version of this file's format.");
  VisitTenant(v, file.scheduling);
  v.String("organisation",
           file.record.organisation,
           {},
           "Whose the tenant is; empty: an organisation of the tenant's name.");
  v.Strings("models",
            file.record.models,
            {.choices = {}, .check = CheckModelReference, .required = false},
            kTenantModelsMax,
            "Models it may use: NAME, NAME:VERSION, NAME#ALIAS or NAME@sha256:DIGEST; a name alone "
            "is given the first of that name here; none: every model.");
  v.Bool("signed_models_only",
         file.record.signed_models_only,
         "Refuse it versions that were registered without a signature.");
  v.Enter("audit", "How its calls are recorded; as the daemon's audit section.");
  v.String("mode", audit.mode, AuditModeField(), "As audit.mode; not off.");
  v.String("level", audit.level, AuditLevelField(), "As audit.level.");
  v.Leave();
  const size_t size = v.BeginList("principals",
                                  file.record.principals.size(),
                                  {.min = 0, .max = kTenantPrincipalsMax, .required = false},
                                  "Its callers, by the name in their certificate.");
  file.record.principals.resize(size);
  for (size_t i = 0; i < size; ++i) {
    Principal& principal = file.record.principals[i];
    v.EnterItem(i);
    v.String("name",
             principal.name,
             {.choices = {}, .check = CheckNotEmpty, .required = true},
             "A SPIFFE id, spiffe://DOMAIN/PATH/* for all below, or a DNS name.");
    v.String("project", principal.project, {}, "Its project; empty: none.");
    std::vector<std::string> roles = {std::string(Name(Role::kTenantUser))};
    StringField role = RoleField();
    role.required = false;
    v.Strings("roles", roles, role, kPrincipalRolesMax, "Its roles.");
    principal.roles.clear();
    for (const std::string& name : roles) {
      if (const auto parsed = ParseRole(name)) {
        principal.roles.push_back(*parsed);
      }
    }
    v.Leave();
  }
  v.EndList();
  VisitTenantQuotas(v, file.quotas);
}

// What the fields say together, unless one of them is wrong by itself.
void CheckTenantQuotas(TenantFile& file, const YAML::Node& root, YamlReader& reader) {
  for (QuotaEntry& quota : file.quotas) {
    quota.org = file.record.organisation;
    quota.tenant = file.scheduling.name;
  }
  if (reader.has_errors()) {
    return;
  }
  for (const ConfigFault& fault : CheckQuotas(file.quotas)) {
    reader.ErrorAt(reader.Where(NodeAt(root, fault.key), fault.key), fault.key, fault.what);
  }
}

// Whoever writes these files decides who is who.
Status CheckOwner(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) {
    return ErrorF(StatusCode::kNotFound, "%s: is not there, or cannot be looked at", path);
  }
  if ((info.st_uid != 0 && info.st_uid != geteuid()) || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return ErrorF(StatusCode::kFailedPrecondition,
                  "%s: only root or the daemon's user may own it, and nobody else write it "
                  "(chown root, chmod go-w)",
                  path);
  }
  return OkStatus();
}

StatusOr<std::vector<std::string>> ListFiles(const std::string& directory) {
  RETURN_IF_ERROR(CheckOwner(directory));
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(".yaml") && !name.starts_with(".")) {
      names.push_back(name);
    }
  }
  if (error || names.size() > kTenantFilesMax) {
    return ErrorF(StatusCode::kInvalidArgument,
                  "%s: cannot be read as a folder of at most %d files",
                  directory,
                  kTenantFilesMax);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// What is one file's alone: tenants and ids of quotas.
void CheckAcross(const std::vector<TenantFile>& files, std::vector<std::string>& errors) {
  std::map<std::string, const TenantFile*> owners;
  const auto check = [&](const std::string& what, const TenantFile& file) {
    const auto [owner, fresh] = owners.emplace(what, &file);
    if (!fresh && owner->second != &file) {
      errors.push_back(
          absl::StrFormat("%s: error: %s stands in %s too", file.path, what, owner->second->path));
    }
  };
  for (const TenantFile& file : files) {
    check("tenant " + file.scheduling.name, file);
    for (const QuotaEntry& quota : file.quotas) {
      check("quota " + quota.id, file);
    }
  }
}

Status ManyErrors(const std::vector<std::string>& errors) {
  std::string text;
  for (size_t i = 0; i < errors.size() && i < kErrorsShown; ++i) {
    text += (i == 0 ? "" : "\n") + errors[i];
  }
  if (errors.size() > kErrorsShown) {
    text += absl::StrFormat("\nand %d more errors", errors.size() - kErrorsShown);
  }
  return {StatusCode::kInvalidArgument, text};
}

}  // namespace

TenantFileResult ParseTenantFile(std::string_view text, const std::string& file_name) {
  TenantFileResult result;
  TenantFile& file = result.file;
  file.path = file_name;
  result.errors = ReadYaml(text, file_name, [&](YamlReader& reader, const YAML::Node& root) {
    TenantAudit audit;
    VisitTenantFile(reader, file, audit);
    reader.Finish();
    file.record.id = TenantId(file.scheduling.name);
    if (file.record.organisation.empty()) {
      file.record.organisation = file.scheduling.name;
    }
    CheckTenantQuotas(file, root, reader);
    if (root.IsMap() && root["audit"].IsDefined()) {
      audit.name = file.scheduling.name;
      file.audit = audit;
    }
  });
  if (file.audit.has_value() && file.audit->mode == "off") {
    result.errors.push_back(file_name + ": error: audit.mode: off is for the whole daemon alone");
  }
  // What else its record must be; the names of others are not known here.
  if (result.errors.empty()) {
    const Status alone = TenantDirectory::Build({file.record}).status();
    if (!alone.ok()) {
      result.errors.push_back(file_name + ": error: " + std::string(Message(alone)));
    }
  }
  return result;
}

StatusOr<TenantFiles> ReadTenantFiles(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFiles(directory));
  TenantFiles all;
  std::vector<std::string> errors;
  std::string contents;
  for (const std::string& name : names) {
    const std::string path = directory + "/" + name;
    RETURN_IF_ERROR(CheckOwner(path));
    ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kTenantFileBytesMax));
    contents += absl::StrFormat("%s %s\n", Sha256Of(text).Hex(), name);
    TenantFileResult result = ParseTenantFile(text, path);
    errors.insert(errors.end(), result.errors.begin(), result.errors.end());
    all.files.push_back(std::move(result.file));
  }
  if (errors.empty()) {
    CheckAcross(all.files, errors);
  }
  if (!errors.empty()) {
    return ManyErrors(errors);
  }
  all.digest = Sha256Of(contents);
  return all;
}

}  // namespace inferd
