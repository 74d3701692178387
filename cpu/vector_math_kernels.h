// exp, tanh, SiLU and GELU (tanh form) over a Lanes type (lanes_*.h): fixed sequences of singly
// rounded operations, the same bits on every instruction set (NaN stays NaN, with any payload).
// docs/design/0002 states them.
#pragma once

namespace inferd {
namespace {

// Below kExpLowest e^x is 0: what is left is >= 2^-125, so that a product with any f16 is exact
// enough never to round to zero. Above kExpHighest it is infinity.
constexpr float kExpLowest = -86.5f;
constexpr float kExpHighest = 88.375f;

// Within 1 ulp between the two.
template <typename F>
inline F Exp(F x) {
  // x / ln 2 rounded to an integer n, in the low bits of `shifted`; r = x - n ln 2 in two steps.
  const F magic = F::Set1(0x1.8p23f);
  const F shifted = F::Fma(x, F::Set1(0x1.715476p+0f), magic);
  const F n = F::Sub(shifted, magic);
  F r = F::FmaNegated(n, F::Set1(0x1.62e43p-1f), x);
  r = F::FmaNegated(n, F::Set1(-0x1.05c61p-29f), r);
  // e^r = 1 + r (1 + r q(r)), |r| <= ln 2 / 2; q interpolates at Chebyshev nodes.
  F p = F::Set1(0x1.6d1176p-10f);
  p = F::Fma(p, r, F::Set1(0x1.120bdap-7f));
  p = F::Fma(p, r, F::Set1(0x1.555518p-5f));
  p = F::Fma(p, r, F::Set1(0x1.5554dcp-3f));
  p = F::Fma(p, r, F::Set1(0.5f));
  p = F::Fma(p, r, F::Set1(1.0f));
  p = F::Fma(p, r, F::Set1(1.0f));
  const F result = F::Mul(p, F::PowerOfTwo(shifted));
  const F bounded = F::SelectLess(F::Set1(kExpHighest), x, F::Set1(__builtin_inff()), result);
  return F::SelectLess(x, F::Set1(kExpLowest), F::Set1(0.0f), bounded);
}

// Within 3 ulp.
template <typename F>
inline F Tanh(F x) {
  const F a = F::Abs(x);
  const F one = F::Set1(1.0f);
  // Far from zero: 1 - 2 / (e^2a + 1).
  const F e = Exp(F::Add(a, a));
  const F far = F::Sub(one, F::Div(F::Set1(2.0f), F::Add(e, one)));
  // Near zero: a + a z P(z), z = a^2.
  const F z = F::Mul(a, a);
  F p = F::Set1(-0x1.8f8de4p-8f);
  p = F::Fma(p, z, F::Set1(0x1.58048ep-6f));
  p = F::Fma(p, z, F::Set1(-0x1.b9258ap-5f));
  p = F::Fma(p, z, F::Set1(0x1.110e1cp-3f));
  p = F::Fma(p, z, F::Set1(-0x1.555552p-2f));
  const F near = F::Fma(F::Mul(a, z), p, a);
  return F::CopySign(F::SelectLess(a, F::Set1(0.625f), near, far), x);
}

// x / (1 + e^-x).
template <typename F>
inline F Silu(F x) {
  const F e = Exp(F::Sub(F::Set1(0.0f), x));
  return F::Div(x, F::Add(F::Set1(1.0f), e));
}

// 0.5 x (1 + tanh(u)) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3).
template <typename F>
inline F GeluTanh(F x) {
  // -2u = x (c1 + c3 x^2)
  const F z = F::Mul(x, x);
  const F inner = F::Fma(z, F::Set1(-0.0713548163f), F::Set1(-1.59576912f));
  const F e = Exp(F::Mul(x, inner));
  return F::Div(x, F::Add(F::Set1(1.0f), e));
}

// cap * tanh(x / cap), given 1 / cap.
template <typename F>
inline F SoftCap(F x, F cap, F inverse_cap) {
  return F::Mul(cap, Tanh(F::Mul(x, inverse_cap)));
}

}  // namespace
}  // namespace inferd
