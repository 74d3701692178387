// The tables of the contract, and that nothing but the shape decides them.
#include "cuda/contract.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "cuda/contract_name.h"
#include "cuda/elementary.h"

namespace inferd::cuda_internal {
namespace {

// The type is the promise: a shape goes in, and neither M nor a card can.
static_assert(std::is_same_v<decltype(&SliceOf), SliceRange (*)(GemmClass, MatrixShape, int)>);
static_assert(std::is_same_v<decltype(&NumSlices), int (*)(GemmClass, MatrixShape)>);

constexpr MatrixShape kShapes[] = {{6144, 4096},
                                   {4096, 4096},
                                   {28672, 4096},
                                   {4096, 14336},
                                   {4608, 3584},
                                   {3584, 3584},
                                   {37888, 3584},
                                   {3584, 18944},
                                   {128256, 4096},
                                   {152064, 3584},
                                   {1024, 4096},
                                   {8192, 8192},
                                   {28672, 8192},
                                   {64, 128},
                                   {576, 256},
                                   {1536, 8960},
                                   {1, 1},
                                   {17, 129},
                                   {2880, 2880}};

TEST(Slices, CoverEveryBlockOnceInOrder) {
  for (const MatrixShape& shape : kShapes) {
    for (const GemmClass gemm_class : {GemmClass::kDecode, GemmClass::kPrefill}) {
      int64_t next = 0;
      for (int slice = 0; slice < NumSlices(gemm_class, shape); ++slice) {
        const SliceRange range = SliceOf(gemm_class, shape, slice);
        EXPECT_EQ(range.begin, next);
        EXPECT_LE(range.begin, range.end);
        next = range.end;
      }
      EXPECT_EQ(next, NumBlocks(shape.k)) << shape.n << "x" << shape.k;
    }
  }
}

TEST(Slices, AreTheOnesOfTheContract) {
  // Golden: a change here is a new contract version.
  constexpr int64_t kOf18944[] = {0, 18, 37, 55, 74, 92, 111, 129, 148};
  constexpr int64_t kOf576[] = {0, 0, 1, 1, 2, 3, 3, 4, 5};
  for (int slice = 0; slice < kDecodeSlices; ++slice) {
    EXPECT_EQ(SliceOf(GemmClass::kDecode, {3584, 18944}, slice).begin, kOf18944[slice]);
    EXPECT_EQ(SliceOf(GemmClass::kDecode, {3584, 18944}, slice).end, kOf18944[slice + 1]);
    EXPECT_EQ(SliceOf(GemmClass::kDecode, {64, 576}, slice).begin, kOf576[slice]);
  }
}

TEST(ContractName, TellsApartWhatMayNotBeCompared) {
  const CudaContractFacts h100{.compute_capability = 90, .toolkit = "13.0.88"};
  EXPECT_EQ(CudaContractName(h100),
            "inferd.cuda.1 slices=8/1 block=128 mma=hopper prefill=qgemm_p math=1 toolkit=13.0.88");
  CudaContractFacts other = h100;
  other.compute_capability = 120;
  EXPECT_EQ(CudaContractName(h100), CudaContractName(other));
  other.compute_capability = 89;
  EXPECT_NE(CudaContractName(h100), CudaContractName(other));
  other = h100;
  other.prefill = "cublaslt-13.1.0";
  EXPECT_NE(CudaContractName(h100), CudaContractName(other));
  EXPECT_EQ(TensorCoreClassOf(80), TensorCoreClassOf(89));
  EXPECT_NE(TensorCoreClassOf(89), TensorCoreClassOf(90));
}

TEST(Elementary, LieWithinTheirBounds) {
  SplitMix64 random(3);
  double exp_worst = 0;
  for (int i = 0; i < 200000; ++i) {
    const auto x = static_cast<float>(random.Unit() * 174.0 - 86.0);
    const double exact = std::exp(static_cast<double>(x));
    const double ulp = std::ldexp(1.0, std::ilogb(exact) - 23);
    exp_worst = std::max(exp_worst, std::abs(static_cast<double>(Exp(x)) - exact) / ulp);
    const float small = x / 8;
    const double sigmoid = 1.0 / (1.0 + std::exp(-static_cast<double>(small)));
    EXPECT_NEAR(Silu(small), small * sigmoid, 1e-6 * std::abs(small) + 1e-30);
  }
  EXPECT_LT(exp_worst, 1.1);
  EXPECT_EQ(Exp(-87.0f), 0.0f);
  EXPECT_TRUE(std::isinf(Exp(89.0f)));
  EXPECT_TRUE(std::isnan(Silu(std::nanf(""))));
  EXPECT_NEAR(GeluTanh(1.0f), 0.841192f, 1e-5f);
}

}  // namespace
}  // namespace inferd::cuda_internal
