// inferd_log_tamper [LEAVES [STRIDE]]: every byte of a shard changed, for `make bench`.
#include <cstdio>

#include "governance/verify/base64.h"
#include "tests/crash/log_tamper.h"

int main(int argc, char** argv) {
  const auto leaves = inferd::ParseDecimal(argc > 1 ? argv[1] : "2000");
  const auto stride = inferd::ParseDecimal(argc > 2 ? argv[2] : "1");
  if (!leaves.ok() || !stride.ok() || *stride == 0) {
    std::fprintf(stderr, "usage: inferd_log_tamper [LEAVES [STRIDE]]\n");
    return 2;
  }
  const inferd::TamperCounts counts =
      inferd::TamperWithEverything({.num_leaves = *leaves, .stride = *stride, .whole_every = 1000});
  if (!counts.first.empty()) {
    std::fprintf(stderr, "%s\n", counts.first.c_str());
  }
  std::printf("WORKLOAD %llu changes to a shard of %llu leaves\n",
              static_cast<unsigned long long>(counts.tried),
              static_cast<unsigned long long>(*leaves));
  std::printf("RESULT audit.tamper_missed %llu count\n",
              static_cast<unsigned long long>(counts.missed + counts.misnamed));
  return counts.missed + counts.misnamed == 0 ? 0 : 1;
}
