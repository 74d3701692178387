// The cases of the quantised GEMM's conformance suite, on the host (gemm_conformance_test.cc) and
// on a card (tests/cuda/gpu_check_main.cu): every format of cuda/qgemm_formats.inc, both classes.
// Read by .cu files: no absl.
#pragma once

#include <array>
#include <cstdint>

namespace inferd {

struct GemmCase {
  int64_t n = 0;
  int64_t k = 0;
  int64_t m = 0;
};

// Every border of the kernels' shapes: 8, 16, 32 and 64 tokens, a part of a tile, of a block, of a
// row group; N * K at most 2^20.
inline constexpr std::array<GemmCase, 12> kGemmCases = {{{48, 384, 1},
                                                         {16, 96, 2},
                                                         {80, 1280, 7},
                                                         {70, 160, 8},
                                                         {48, 384, 9},
                                                         {24, 1024, 16},
                                                         {64, 128, 17},
                                                         {48, 256, 32},
                                                         {48, 256, 33},
                                                         {130, 128, 48},
                                                         {16, 384, 64},
                                                         {40, 256, 65}}};

}  // namespace inferd
