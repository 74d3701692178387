// Sixteen f32 lanes in one AVX-512 register. See lanes_scalar.h for what each member means.
// Only for files compiled with AVX-512: include no std header with inline code beside it.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace inferd {
namespace {

struct Avx512Lanes {
  static constexpr int kWidth = 16;
  static constexpr int kRegisters = 24;
  __m512 v;

  static __mmask16 FirstLanes(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

  static Avx512Lanes Set1(float x) { return {_mm512_set1_ps(x)}; }
  static Avx512Lanes Load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Avx512Lanes LoadPartial(const float* p, int n) {
    return {_mm512_maskz_loadu_ps(FirstLanes(n), p)};
  }
  static Avx512Lanes LoadHalf(const uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  void Store(float* p) const { _mm512_storeu_ps(p, v); }
  void StorePartial(float* p, int n) const { _mm512_mask_storeu_ps(p, FirstLanes(n), v); }
  void StoreHalf(uint16_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static void LoadPairs(const float* p, Avx512Lanes& even, Avx512Lanes& odd) {
    const __m512i even_index =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd_index = _mm512_add_epi32(even_index, _mm512_set1_epi32(1));
    const __m512 low = _mm512_loadu_ps(p);
    const __m512 high = _mm512_loadu_ps(p + 16);
    even.v = _mm512_permutex2var_ps(low, even_index, high);
    odd.v = _mm512_permutex2var_ps(low, odd_index, high);
  }
  static void StorePairs(float* p, Avx512Lanes even, Avx512Lanes odd) {
    const __m512i low_index =
        _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high_index = _mm512_add_epi32(low_index, _mm512_set1_epi32(8));
    _mm512_storeu_ps(p, _mm512_permutex2var_ps(even.v, low_index, odd.v));
    _mm512_storeu_ps(p + 16, _mm512_permutex2var_ps(even.v, high_index, odd.v));
  }

  static Avx512Lanes Add(Avx512Lanes a, Avx512Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
  static Avx512Lanes Sub(Avx512Lanes a, Avx512Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
  static Avx512Lanes Mul(Avx512Lanes a, Avx512Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
  static Avx512Lanes Div(Avx512Lanes a, Avx512Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
  static Avx512Lanes Fma(Avx512Lanes a, Avx512Lanes b, Avx512Lanes c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
  }
  static Avx512Lanes FmaNegated(Avx512Lanes a, Avx512Lanes b, Avx512Lanes c) {
    return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
  }
  static Avx512Lanes Max(Avx512Lanes a, Avx512Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
  static Avx512Lanes Min(Avx512Lanes a, Avx512Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
  static Avx512Lanes Abs(Avx512Lanes a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)}; }
  static Avx512Lanes CopySign(Avx512Lanes magnitude, Avx512Lanes sign) {
    const __m512 sign_bit = _mm512_set1_ps(-0.0f);
    return {_mm512_or_ps(_mm512_andnot_ps(sign_bit, magnitude.v), _mm512_and_ps(sign_bit, sign.v))};
  }
  static Avx512Lanes SelectLess(Avx512Lanes a, Avx512Lanes b, Avx512Lanes x, Avx512Lanes y) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
  }
  static Avx512Lanes PowerOfTwo(Avx512Lanes n) {
    return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(n.v), 23),
                                                 _mm512_set1_epi32(0x3f800000)))};
  }
  static float ReduceAdd(Avx512Lanes a) {
    const __m256 x8 = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    const __m128 x4 = _mm_add_ps(_mm256_castps256_ps128(x8), _mm256_extractf128_ps(x8, 1));
    const __m128 x2 = _mm_add_ps(x4, _mm_movehl_ps(x4, x4));
    return _mm_cvtss_f32(_mm_add_ss(x2, _mm_movehdup_ps(x2)));
  }
  static float ReduceMax(Avx512Lanes a) {
    const __m256 x8 = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    const __m128 x4 = _mm_max_ps(_mm256_castps256_ps128(x8), _mm256_extractf128_ps(x8, 1));
    const __m128 x2 = _mm_max_ps(x4, _mm_movehl_ps(x4, x4));
    return _mm_cvtss_f32(_mm_max_ss(x2, _mm_movehdup_ps(x2)));
  }
};

}  // namespace
}  // namespace inferd
