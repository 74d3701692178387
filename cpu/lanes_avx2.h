// Sixteen f32 lanes in two AVX2 registers. See lanes_scalar.h for what each member means.
// Only for files compiled with AVX2, FMA and F16C: include no std header with inline code beside
// it.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace inferd {
namespace {

struct Avx2Lanes {
  static constexpr int kWidth = 16;
  static constexpr int kRegisters = 6;
  __m256 lo, hi;

  // All ones in the lanes below n, of the eight from `first`.
  static __m256i FirstLanes(int first, int n) {
    const __m256i lane =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
  }

  static Avx2Lanes Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Avx2Lanes Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Avx2Lanes LoadPartial(const float* p, int n) {
    return {_mm256_maskload_ps(p, FirstLanes(0, n)), _mm256_maskload_ps(p + 8, FirstLanes(8, n))};
  }
  static Avx2Lanes LoadHalf(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
  }
  void Store(float* p) const {
    _mm256_storeu_ps(p, lo);
    _mm256_storeu_ps(p + 8, hi);
  }
  void StorePartial(float* p, int n) const {
    _mm256_maskstore_ps(p, FirstLanes(0, n), lo);
    _mm256_maskstore_ps(p + 8, FirstLanes(8, n), hi);
  }
  void StoreHalf(uint16_t* p) const {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(lo, kNearest));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(hi, kNearest));
  }
  static __m256 EvenOf(__m256 a, __m256 b) {
    return _mm256_castpd_ps(
        _mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88)), 0xd8));
  }
  static __m256 OddOf(__m256 a, __m256 b) {
    return _mm256_castpd_ps(
        _mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd)), 0xd8));
  }
  static void LoadPairs(const float* p, Avx2Lanes& even, Avx2Lanes& odd) {
    const __m256 a = _mm256_loadu_ps(p);
    const __m256 b = _mm256_loadu_ps(p + 8);
    const __m256 c = _mm256_loadu_ps(p + 16);
    const __m256 d = _mm256_loadu_ps(p + 24);
    even = {EvenOf(a, b), EvenOf(c, d)};
    odd = {OddOf(a, b), OddOf(c, d)};
  }
  static void StoreInterleaved(float* p, __m256 even, __m256 odd) {
    const __m256 a = _mm256_unpacklo_ps(even, odd);
    const __m256 b = _mm256_unpackhi_ps(even, odd);
    _mm256_storeu_ps(p, _mm256_permute2f128_ps(a, b, 0x20));
    _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(a, b, 0x31));
  }
  static void StorePairs(float* p, Avx2Lanes even, Avx2Lanes odd) {
    StoreInterleaved(p, even.lo, odd.lo);
    StoreInterleaved(p + 16, even.hi, odd.hi);
  }

  static Avx2Lanes Add(Avx2Lanes a, Avx2Lanes b) {
    return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
  }
  static Avx2Lanes Sub(Avx2Lanes a, Avx2Lanes b) {
    return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
  }
  static Avx2Lanes Mul(Avx2Lanes a, Avx2Lanes b) {
    return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
  }
  static Avx2Lanes Div(Avx2Lanes a, Avx2Lanes b) {
    return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
  }
  static Avx2Lanes Fma(Avx2Lanes a, Avx2Lanes b, Avx2Lanes c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  static Avx2Lanes FmaNegated(Avx2Lanes a, Avx2Lanes b, Avx2Lanes c) {
    return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
  }
  static Avx2Lanes Max(Avx2Lanes a, Avx2Lanes b) {
    return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
  }
  static Avx2Lanes Min(Avx2Lanes a, Avx2Lanes b) {
    return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
  }
  static Avx2Lanes Abs(Avx2Lanes a) {
    const __m256 sign_bit = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign_bit, a.lo), _mm256_andnot_ps(sign_bit, a.hi)};
  }
  static __m256 CopySign8(__m256 magnitude, __m256 sign) {
    const __m256 sign_bit = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(sign_bit, magnitude), _mm256_and_ps(sign_bit, sign));
  }
  static Avx2Lanes CopySign(Avx2Lanes magnitude, Avx2Lanes sign) {
    return {CopySign8(magnitude.lo, sign.lo), CopySign8(magnitude.hi, sign.hi)};
  }
  static Avx2Lanes SelectLess(Avx2Lanes a, Avx2Lanes b, Avx2Lanes x, Avx2Lanes y) {
    return {_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
            _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
  }
  static __m256 PowerOfTwo8(__m256 n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(n), 23),
                                                _mm256_set1_epi32(0x3f800000)));
  }
  static Avx2Lanes PowerOfTwo(Avx2Lanes n) { return {PowerOfTwo8(n.lo), PowerOfTwo8(n.hi)}; }
  static float ReduceAdd(Avx2Lanes a) {
    const __m256 x8 = _mm256_add_ps(a.lo, a.hi);
    const __m128 x4 = _mm_add_ps(_mm256_castps256_ps128(x8), _mm256_extractf128_ps(x8, 1));
    const __m128 x2 = _mm_add_ps(x4, _mm_movehl_ps(x4, x4));
    return _mm_cvtss_f32(_mm_add_ss(x2, _mm_movehdup_ps(x2)));
  }
  static float ReduceMax(Avx2Lanes a) {
    const __m256 x8 = _mm256_max_ps(a.lo, a.hi);
    const __m128 x4 = _mm_max_ps(_mm256_castps256_ps128(x8), _mm256_extractf128_ps(x8, 1));
    const __m128 x2 = _mm_max_ps(x4, _mm_movehl_ps(x4, x4));
    return _mm_cvtss_f32(_mm_max_ss(x2, _mm_movehdup_ps(x2)));
  }
};

}  // namespace
}  // namespace inferd
