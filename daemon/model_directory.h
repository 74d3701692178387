// ModelDirectory: which models this daemon serves, by name, and where each is in its life.
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

// Thread-safe. A model is announced, then becomes ready; it may be removed.
class ModelDirectory {
 public:
  // What a caller sees. `model` is set once it is ready; shared with calls in flight, which may
  // outlive its residence.
  struct Entry {
    std::string name;
    std::string device;
    std::shared_ptr<const ResidentModel> model;
    bool ready() const { return model != nullptr; }
  };

  void Announce(const std::string& name) EXCLUDES(mutex_);
  void SetReady(const std::string& device, std::shared_ptr<const ResidentModel> model)
      EXCLUDES(mutex_);

  // Nobody finds it from now on.
  void Remove(const std::string& name) EXCLUDES(mutex_);

  // `reference` is `name` or `name@sha256:<hex>`. MODEL_NOT_FOUND, MODEL_LOADING,
  // VERSION_PIN_MISMATCH, or INVALID_FIELD for a reference that is malformed.
  StatusOr<std::shared_ptr<const ResidentModel>> Resolve(std::string_view reference) const
      EXCLUDES(mutex_);
  // The same, but a model that is still loading is an answer.
  StatusOr<Entry> Find(std::string_view reference) const EXCLUDES(mutex_);
  std::vector<Entry> List() const EXCLUDES(mutex_);  // by name

 private:
  mutable Mutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_ GUARDED_BY(mutex_);
};

// A digest as the API writes it: "sha256:<64 hex digits>".
std::string DigestText(const Digest& digest);
// VERSION_PIN_MISMATCH unless `expected` is the model's digest; INVALID_FIELD naming `field` if it
// is none.
Status CheckDigest(const ResidentModel& model, std::string_view expected, std::string_view field);

}  // namespace inferd
