// Daemon: the composition root: device, engine, ingress, egress and server of one process.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "backend/device.h"
#include "base/clock.h"
#include "base/status.h"
#include "daemon/config.h"
#include "engine/engine.h"

namespace inferd {

// Start, LoadModels, Drain, destruction: in this order, each from one thread; the rest from any.
class Daemon {
 public:
  // Binds the listener and starts every thread; no model answers yet. `device` may be any (tests).
  static StatusOr<std::unique_ptr<Daemon>> Start(const Config& config,
                                                 std::unique_ptr<Device> device);
  ~Daemon();  // what is in flight ends with DRAINING

  // Opens, digests and loads the config's models, one after another. `progress` is called from
  // several threads, with a line for people ("loading smollm2: 43 % verified"). Stops at the first
  // error, which names the model.
  Status LoadModels(const std::function<void(const std::string&)>& progress);

  // Sets health from the engine's progress, and reads TLS files that changed; call it about once a
  // second.
  void Tick();

  // Reads tenant files, revocations and TLS files again, and logs what came of it. What cannot be
  // used is refused as a whole, and the old stays. Waits for its leaf. Any thread.
  Status Reload();

  // Why the audit log takes nothing until it is started again, if that is so: its device failed.
  // Then the process should end, so that the next one recovers.
  Status audit_status() const;

  // Refuses new generations and turns health to NOT_SERVING.
  void BeginDrain();
  // Waits for the generations in flight, then closes the listener. At the config's timeout, or once
  // Abort() is called, those that are left end with DRAINING.
  void FinishDrain();
  void Abort();

  const std::string& address() const;
  EngineStats stats() const;
  size_t generations_in_flight() const;

 private:
  struct Parts;
  explicit Daemon(std::unique_ptr<Parts> parts);
  void UpdateHealth();
  void ReloadTls();

  std::unique_ptr<Parts> parts_;
};

}  // namespace inferd
