// ModelDirectory: which versions of which models are resident in this daemon, and which are on
// their way.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/thread_annotations.h"
#include "engine/engine.h"

namespace inferd {

// Thread-safe. A version is announced, then becomes ready; it may be removed. No two versions of a
// name have the same bytes.
class ModelDirectory {
 public:
  // What a caller sees. `model` is set once it is ready. Whoever found it holds it, from before its
  // request is submitted to after it ended: once it is removed, use_count() says how many still do.
  struct Entry {
    std::string name;
    std::string version;
    std::string device;
    std::shared_ptr<const ResidentModel> model;
    bool ready() const { return model != nullptr; }
  };

  void Announce(const std::string& name, const std::string& version) EXCLUDES(mutex_);
  void SetReady(const std::string& device, std::shared_ptr<const ResidentModel> model)
      EXCLUDES(mutex_);
  // Nobody finds it from now on. False if it was not there.
  bool Remove(const std::string& name, const std::string& version) EXCLUDES(mutex_);

  // These bytes under this name. MODEL_LOADING while a version of the name is on its way, else
  // MODEL_NOT_RESIDENT; MODEL_NOT_FOUND if there is nothing of that name.
  StatusOr<Entry> Find(std::string_view name, const Digest& digest) const EXCLUDES(mutex_);
  // The versions of a name, by version; ready or not.
  std::vector<Entry> Versions(std::string_view name) const EXCLUDES(mutex_);
  std::vector<Entry> List() const EXCLUDES(mutex_);  // by name, then version

 private:
  mutable Mutex mutex_;
  std::map<std::pair<std::string, std::string>, Entry> entries_ GUARDED_BY(mutex_);
};

// A digest as the API writes it: "sha256:<64 hex digits>".
std::string DigestText(const Digest& digest);
// VERSION_PIN_MISMATCH unless `expected` is the model's digest; INVALID_FIELD naming `field` if it
// is none.
Status CheckDigest(const ResidentModel& model, std::string_view expected, std::string_view field);

}  // namespace inferd
