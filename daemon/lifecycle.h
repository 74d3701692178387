// The process around a Daemon: signals, systemd, exit codes.
#pragma once

#include "daemon/config.h"

namespace inferd {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitConfig = 78;  // EX_CONFIG; systemd does not restart after it

// Reads what the configuration names besides models: tenant files, revocations, the listener's
// certificates. Says on stderr what is wrong, and returns the exit code.
int RunCheckConfig(const Config& config);

// Serves until SIGTERM or SIGINT, drains, and returns the exit code. A second signal ends what is
// in flight at once; a third ends the process.
//
// On stdout one line once every model answers: "listening ADDRESS", with the port that the system
// picked. Everything else is logged on stderr ("listening" as soon as the address is bound).
int RunDaemon(const Config& config);

// Makes the audit index anew (audit_state.h) and returns the exit code.
int RunRebuildIndex(const Config& config);

}  // namespace inferd
