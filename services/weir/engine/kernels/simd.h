/* Sixteen float lanes, whatever the machine has.
 *
 * Every product that is added is an explicit `fma16`, and the files are compiled with -ffp-contract=off: a value must
 * not depend on how the compiler happened to unroll the loop it stands in.
 */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16x __attribute__((vector_size(64)));
typedef float v16u __attribute__((vector_size(64), aligned(4), may_alias));

INLINE v16 load16(const float *p) { return *(const v16u *)p; }
INLINE void store16(float *p, v16 x) { *(v16u *)p = x; }
INLINE v16 all16(float x) { return (v16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
INLINE v16 float16(i16x x) { return __builtin_convertvector(x, v16); }
INLINE v16 choose16(i16x mask, v16 a, v16 b) { return (v16)(((i16x)a & mask) | ((i16x)b & ~mask)); }
INLINE v16 max16(v16 a, v16 b) { return choose16(a > b, a, b); }

INLINE v16 fma16(v16 a, v16 b, v16 c) {
#if defined(__AVX512F__)
  return (v16)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  union { v16 v; __m256 h[2]; } x = {a}, y = {b}, z = {c};
  z.h[0] = _mm256_fmadd_ps(x.h[0], y.h[0], z.h[0]);
  z.h[1] = _mm256_fmadd_ps(x.h[1], y.h[1], z.h[1]);
  return z.v;
#else
  return a * b + c;
#endif
}

INLINE float sum16(v16 x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)x);
#endif
  float lanes[16];
  store16(lanes, x);
  for (int half = 8; half; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

INLINE float peak16(v16 x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)x);
#endif
  float lanes[16];
  store16(lanes, x);
  for (int half = 8; half; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
  return lanes[0];
}

INLINE v16 half_load16(const uint16_t *p) {
#if defined(__AVX512F__)
  return (v16)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__F16C__)
  union { v16 v; __m256 h[2]; } out;
  out.h[0] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
  out.h[1] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)));
  return out.v;
#else
  float lanes[16];
  for (int i = 0; i < 16; i++) {
    _Float16 h;
    memcpy(&h, p + i, 2);
    lanes[i] = (float)h;
  }
  return load16(lanes);
#endif
}

/* Round to half precision, to nearest even; what is too large becomes the largest finite number, because a masked
 * position is multiplied by zero. */
INLINE void half_store16(uint16_t *p, v16 x) {
  v16 most = all16(65504.0f);
  x = choose16(x > most, most, choose16(x < -most, -most, x));
#if defined(__AVX512F__)
  _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  float lanes[16];
  store16(lanes, x);
  for (int i = 0; i < 16; i++) {
    _Float16 h = (_Float16)lanes[i];
    memcpy(p + i, &h, 2);
  }
#endif
}

/* e^x, relative error below 2e-7; 1 for 0 exactly, 0 below -87, e^88 above 88. Range reduction by ln 2 in two parts
 * (Cody and Waite 1980), then a polynomial in the remainder. */
INLINE v16 exp16(v16 x) {
  const v16 magic = all16(12582912.0f);
  i16x dead = x < all16(-87.0f);
  x = choose16(x > all16(88.0f), all16(88.0f), choose16(dead, all16(0.0f), x));
  v16 shifted = fma16(x, all16(1.44269504088896341f), magic);
  v16 n = shifted - magic;
  v16 r = fma16(n, all16(-0.693359375f), x);
  r = fma16(n, all16(2.12194440e-4f), r);
  v16 p = all16(1.9875691500e-4f);
  p = fma16(p, r, all16(1.3981999507e-3f));
  p = fma16(p, r, all16(8.3334519073e-3f));
  p = fma16(p, r, all16(4.1665795894e-2f));
  p = fma16(p, r, all16(1.6666665459e-1f));
  p = fma16(p, r, all16(5.0000001201e-1f));
  p = fma16(p, r * r, r) + all16(1.0f);
  i16x exponent = (__builtin_convertvector(n, i16x) + 127) << 23;
  return choose16(dead, all16(0.0f), p * (v16)exponent);
}
