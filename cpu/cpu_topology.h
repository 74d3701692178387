// How many threads suit this host.
#pragma once

namespace inferd {

// Physical cores that the process's affinity mask allows, at most what a cgroup CPU quota grants;
// at least 1. Two hardware threads of one core share its units: more threads than cores only add
// waiting.
int PhysicalCoresAllowed();

}  // namespace inferd
