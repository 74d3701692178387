#include "cpu/cpu_topology.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <utility>

namespace inferd {
namespace {

// The first integer in a one-line file of /sys; `fallback` if it cannot be read.
int ReadInt(const std::string& path, int fallback) {
  std::ifstream file(path);
  int value = 0;
  return file >> value ? value : fallback;
}

// cgroup v2: "max 100000" or "150000 100000" (microseconds of CPU in each period). 0: no quota.
int QuotaCores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota_us = 0;
  double period_us = 0;
  if (!(file >> quota_us >> period_us) || period_us <= 0) {
    return 0;
  }
  return std::max(1, static_cast<int>(quota_us / period_us));
}

}  // namespace

int PhysicalCoresAllowed() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return 1;
  }
  std::set<std::pair<int, int>> cores;  // (package, core)
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) {
      const std::string topology =
          "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
      cores.emplace(ReadInt(topology + "physical_package_id", 0),
                    ReadInt(topology + "core_id", cpu));
    }
  }
  const int count = std::max(1, static_cast<int>(cores.size()));
  const int quota = QuotaCores();
  return quota > 0 ? std::min(count, quota) : count;
}

}  // namespace inferd
