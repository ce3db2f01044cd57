/* Matrix product in 8 or 4 bits with activations rounded to int8: per row (8 bits), or per row and group (4 bits). */
#pragma once
#include "kernels.h"
#include "scratch.h"
#include "simd.h"

/* Rows at once: 16 for 8-bit weights, 12 for 4-bit ones, which also need float sums; more would spill registers
 * (measured: 12 rows by two tiles are 40 % slower than 8). */
enum { ROWS = 16, ROWS4 = 12 };

/* Rounded activations. Rows are cut into `count` blocks of at most ROWS; a block's bytes lie [inner/4][rows][4], its
 * scales and its (negated, offset) sums [groups][rows]. */
typedef struct Rounded {
  int8_t *bytes;
  float *scales;
  int32_t *starts;
  float *low; /* LoRA: A x of each row, [rows][rank] */
  size_t count, groups, group;
} Rounded;

typedef struct ProductJob {
  const Product *product;
  Rounded a;
  size_t pairs, items;
} ProductJob;

INLINE size_t block_start(const ProductJob *job, size_t block) { return block * job->product->rows / job->a.count; }

static void normed(const Product *p, const float *x, float *out) {
  v16 squares = all16(0.0f);
  for (int64_t k = 0; k < p->inner; k += 16) squares = fma16(load16(x + k), load16(x + k), squares);
  v16 factor = all16(1.0f / sqrtf(sum16(squares) / (float)p->inner + p->epsilon));
  for (int64_t k = 0; k < p->inner; k += 16) store16(out + k, load16(x + k) * factor * load16(p->gamma + k));
}

/* Sixteen rounded values become four times four bytes, `stride` apart. */
INLINE void store_bytes(i16x q, int8_t *out, size_t stride) {
#if defined(__AVX512F__)
  __m128i bytes = _mm512_cvtepi32_epi8((__m512i)q);
  int32_t four[4];
  memcpy(four, &bytes, 16);
  for (int i = 0; i < 4; i++) memcpy(out + i * stride, four + i, 4);
#else
  int32_t lanes[16];
  memcpy(lanes, &q, 64);
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) out[i * stride + j] = (int8_t)lanes[i * 4 + j];
#endif
}

/* Round one group of one row; returns the sum of the rounded values. */
INLINE int32_t round_group(const float *x, size_t size, int8_t *out, size_t stride, float *scale) {
  const i16x positive = (i16x){} + 0x7fffffff;
  v16 peak = all16(0.0f);
  for (size_t k = 0; k < size; k += 16) peak = max16((v16)((i16x)load16(x + k) & positive), peak);
  float most = peak16(peak);
  *scale = most / 127.0f;
  v16 inverse = all16(most > 1e-30f ? 127.0f / most : 0.0f);
  const v16 magic = all16(12582912.0f);
  i16x total = (i16x){};
  for (size_t k = 0; k < size; k += 16) {
    i16x q = __builtin_convertvector(load16(x + k) * inverse + magic - magic, i16x);
    total += q;
    store_bytes(q, out + k / 4 * stride, stride);
  }
  int32_t lanes[16], sum = 0;
  memcpy(lanes, &total, 64);
  for (int i = 0; i < 16; i++) sum += lanes[i];
  return sum;
}

INLINE const float *adapter_of(const Product *p, size_t row) {
  if (!p->adapters || p->adapter_of[row] < 0) return NULL;
  return p->adapters + p->adapter_of[row] * p->adapter_stride + p->adapter_at;
}

static void adapted(const Product *p, size_t row, const float *x, float *low) {
  const float *a = adapter_of(p, row);
  for (int64_t r = 0; a && r < p->rank; r++, a += p->inner) {
    v16 sum = all16(0.0f);
    for (int64_t k = 0; k < p->inner; k += 16) sum = fma16(load16(x + k), load16(a + k), sum);
    low[r] = sum16(sum);
  }
}

static void round_row(void *argument, size_t number) {
  ProductJob *job = argument;
  const Product *p = job->product;
  size_t block = ((number + 1) * job->a.count - 1) / p->rows;
  size_t start = block_start(job, block), rows = block_start(job, block + 1) - start, r = number - start;
  const float *x = p->x + number * p->inner;
  float row[p->inner];
  if (p->gamma) normed(p, x, row), x = row;
  adapted(p, number, x, job->a.low + number * p->rank);
  for (size_t g = 0; g < job->a.groups; g++) {
    size_t k = g * job->a.group, at = start * job->a.groups + g * rows + r;
    int8_t *out = job->a.bytes + start * p->inner + k * rows + r * 4;
    int32_t sum = round_group(x + k, job->a.group, out, rows * 4, job->a.scales + at);
    job->a.starts[at] = (p->bits == 8 ? -128 : -8) * sum;
  }
}

#if defined(__AVX512VNNI__)
/* How far ahead weights are asked for: the hardware stops at every page, and the first line of the next one costs as
 * much as sixteen rows of a quarter page. */
enum { AHEAD = 2048 };

INLINE __m512i dot4(__m512i sum, __m512i w, const int8_t *a) {
  int32_t four;
  memcpy(&four, a, 4);
  return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four));
}

/* T tiles of 8-bit weights by M rows. */
INLINE void tiles8(const int M, const int T, const Product *p, const uint8_t *w, const int8_t *a, const int32_t *starts,
                  const float *scales, const float *column_scales, float (*out)[PAIR]) {
  __m512i sum[2][ROWS]; /* fixed: the compiler keeps no variable-length array in registers */
  const uint8_t *second = w + p->inner * TILE;
#pragma GCC unroll 16
  for (int m = 0; m < M; m++)
#pragma GCC unroll 2
    for (int t = 0; t < T; t++) sum[t][m] = _mm512_set1_epi32(starts[m]);
  for (int64_t k = 0; k < p->inner / 4; k++) {
    __m512i w0 = _mm512_loadu_si512(w + k * 64), w1 = _mm512_loadu_si512((T == 2 ? second : w) + k * 64);
    _mm_prefetch((const char *)w + k * 64 + AHEAD, _MM_HINT_T0);
    if (T == 2) _mm_prefetch((const char *)second + k * 64 + AHEAD, _MM_HINT_T0);
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) {
      sum[0][m] = dot4(sum[0][m], w0, a + (k * M + m) * 4);
      if (T == 2) sum[1][m] = dot4(sum[1][m], w1, a + (k * M + m) * 4);
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; m++)
#pragma GCC unroll 2
    for (int t = 0; t < T; t++)
      store16(out[m] + t * TILE, float16((i16x)sum[t][m]) * (load16(column_scales + t * TILE) * all16(scales[m])));
}

/* Two tiles of 8-bit weights by M rows: at once while registers last, else one after the other. More rows at once mean
 * that weights come from memory no faster than they are used. */
INLINE void pair8(const int M, const Product *p, const uint8_t *w, const int8_t *a, const int32_t *starts,
                  const float *scales, const float *column_scales, float (*out)[PAIR]) {
  if (M <= 8) {
    tiles8(M, 2, p, w, a, starts, scales, column_scales, out);
    return;
  }
  for (int t = 0; t < 2; t++)
    tiles8(M, 1, p, w + t * p->inner * TILE, a, starts, scales, column_scales + t * TILE,
           (float (*)[PAIR])((float *)out + t * TILE));
}

/* One tile of 4-bit weights by M rows. */
INLINE void tile4(const int M, const Product *p, const uint8_t *w, const int8_t *a, const int32_t *starts,
                  const float *scales, const uint16_t *group_scales, float (*out)[PAIR]) {
  const __m512i low = _mm512_set1_epi8(15);
  v16 total[ROWS4];
#pragma GCC unroll 12
  for (int m = 0; m < M; m++) total[m] = all16(0.0f);
  for (int64_t g = 0; g < p->inner / p->group; g++) {
    __m512i sum[ROWS4];
#pragma GCC unroll 12
    for (int m = 0; m < M; m++) sum[m] = _mm512_set1_epi32(starts[g * M + m]);
    for (int part = 0; part < p->group / 32; part++, w += 256, a += M * 32) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) {
        __m512i both = _mm512_loadu_si512(w + j * 64);
        _mm_prefetch((const char *)w + j * 64 + AHEAD, _MM_HINT_T0);
        __m512i w0 = _mm512_and_si512(both, low), w1 = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
#pragma GCC unroll 16
        for (int m = 0; m < M; m++) {
          sum[m] = dot4(sum[m], w0, a + (j * M + m) * 4);
          sum[m] = dot4(sum[m], w1, a + ((j + 4) * M + m) * 4);
        }
      }
    }
    v16 scale = half_load16(group_scales + g * TILE);
#pragma GCC unroll 12
    for (int m = 0; m < M; m++) total[m] = fma16(float16((i16x)sum[m]), scale * all16(scales[g * M + m]), total[m]);
  }
#pragma GCC unroll 12
  for (int m = 0; m < M; m++) store16(out[m], total[m]);
}
#else
INLINE void add4(int32_t *sum, const uint8_t *w, const int8_t *a) {
  int32_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
  for (int c = 0; c < TILE; c++) sum[c] += w[c * 4] * a0 + w[c * 4 + 1] * a1 + w[c * 4 + 2] * a2 + w[c * 4 + 3] * a3;
}

INLINE void pair8(const int M, const Product *p, const uint8_t *w, const int8_t *a, const int32_t *starts,
                  const float *scales, const float *column_scales, float (*out)[PAIR]) {
  for (int t = 0; t < 2; t++, w += p->inner * TILE)
    for (int m = 0; m < M; m++) {
      i16x lanes;
      int32_t sum[TILE];
      for (int c = 0; c < TILE; c++) sum[c] = starts[m];
      for (int64_t k = 0; k < p->inner / 4; k++) add4(sum, w + k * 64, a + (k * M + m) * 4);
      memcpy(&lanes, sum, 64);
      store16(out[m] + t * TILE, float16(lanes) * (load16(column_scales + t * TILE) * all16(scales[m])));
    }
}

INLINE void tile4(const int M, const Product *p, const uint8_t *w, const int8_t *a, const int32_t *starts,
                  const float *scales, const uint16_t *group_scales, float (*out)[PAIR]) {
  v16 total[ROWS];
  for (int m = 0; m < M; m++) total[m] = all16(0.0f);
  for (int64_t g = 0; g < p->inner / p->group; g++) {
    int32_t sum[ROWS][TILE];
    for (int m = 0; m < M; m++)
      for (int c = 0; c < TILE; c++) sum[m][c] = starts[g * M + m];
    for (int part = 0; part < p->group / 32; part++, w += 256, a += M * 32)
      for (int j = 0; j < 4; j++) {
        uint8_t low[64], high[64];
        for (int i = 0; i < 64; i++) low[i] = w[j * 64 + i] & 15, high[i] = w[j * 64 + i] >> 4;
        for (int m = 0; m < M; m++) {
          add4(sum[m], low, a + (j * M + m) * 4);
          add4(sum[m], high, a + ((j + 4) * M + m) * 4);
        }
      }
    v16 scale = half_load16(group_scales + g * TILE);
    for (int m = 0; m < M; m++) {
      i16x lanes;
      memcpy(&lanes, sum[m], 64);
      total[m] = fma16(float16(lanes), scale * all16(scales[g * M + m]), total[m]);
    }
  }
  for (int m = 0; m < M; m++) store16(out[m], total[m]);
}
#endif

INLINE void pair_of(const int M, const ProductJob *job, size_t pair, size_t start, float (*out)[PAIR]) {
  const Product *p = job->product;
  const int8_t *a = job->a.bytes + start * p->inner;
  const int32_t *starts = job->a.starts + start * job->a.groups;
  const float *scales = job->a.scales + start * job->a.groups;
  if (p->bits == 8 || M > ROWS4) {
    pair8(M, p, p->weights + pair * PAIR * p->inner, a, starts, scales, (const float *)p->scales + pair * PAIR, out);
    return;
  }
  for (int t = 0; t < 2; t++) {
    size_t tile = pair * 2 + t;
    const uint16_t *group_scales = (const uint16_t *)p->scales + tile * job->a.groups * TILE;
    tile4(M, p, p->weights + tile * TILE * p->inner / 2, a, starts, scales, group_scales,
          (float (*)[PAIR])((float *)out + t * TILE));
  }
}

INLINE void add_adapter(const Product *p, size_t row, size_t pair, const float *low, float *sums) {
  const float *b = adapter_of(p, row);
  if (!b) return;
  b += p->rank * (p->inner + (int64_t)pair * PAIR);
  v16 one = load16(sums), other = load16(sums + TILE);
  for (int64_t r = 0; r < p->rank; r++, b += PAIR) {
    one = fma16(all16(low[r]), load16(b), one);
    other = fma16(all16(low[r]), load16(b + TILE), other);
  }
  store16(sums, one);
  store16(sums + TILE, other);
}

/* Adapter, bias, gate and residual; writes `width` columns of one row. */
INLINE void finish_row(const ProductJob *job, size_t row, size_t pair, float *sums) {
  const Product *p = job->product;
  size_t column = pair * PAIR, width = PAIR;
  add_adapter(p, row, pair, job->a.low + row * p->rank, sums);
  if (p->bias)
    for (int t = 0; t < PAIR; t += TILE) store16(sums + t, load16(sums + t) + load16(p->bias + column + t));
  if (p->gated) {
    v16 gate = load16(sums);
    store16(sums, gate / (all16(1.0f) + exp16(-gate)) * load16(sums + TILE));
    column = pair * TILE, width = TILE;
  }
  size_t at = row * p->outputs + column;
  if (column + width > (size_t)p->outputs) width = column < (size_t)p->outputs ? p->outputs - column : 0;
  for (; width >= TILE; width -= TILE, at += TILE, sums += TILE)
    store16(p->y + at, p->residual ? load16(sums) + load16(p->residual + at) : load16(sums));
  for (size_t c = 0; c < width; c++) p->y[at + c] = p->residual ? sums[c] + p->residual[at + c] : sums[c];
}

static void product_item(void *argument, size_t item) {
  const ProductJob *job = argument;
  size_t end = (item + 1) * job->pairs / job->items;
  for (size_t pair = item * job->pairs / job->items; pair < end; pair++)
    for (size_t block = 0; block < job->a.count; block++) {
      size_t start = block_start(job, block), rows = block_start(job, block + 1) - start;
      float out[ROWS][PAIR] __attribute__((aligned(64)));
      switch (rows) {
#define CASE(M) case M: pair_of(M, job, pair, start, out); break;
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
        CASE(13) CASE(14) CASE(15) CASE(16)
#undef CASE
      }
      for (size_t r = 0; r < rows; r++) finish_row(job, start + r, pair, out[r]);
    }
}

static int product(const Product *p, const Pool *pool) {
  if (!p->rows) return 0;
  ProductJob job = {.product = p};
  int at_once = p->bits == 8 ? ROWS : ROWS4;
  job.a.count = (p->rows + at_once - 1) / at_once;
  job.a.group = p->bits == 8 ? p->inner : p->group;
  job.a.groups = p->inner / job.a.group;
  size_t bytes = p->rows * p->inner, sums = p->rows * job.a.groups * 4, low = p->rows * p->rank * 4;
  char *memory = scratch(bytes + 2 * sums + low + 128);
  if (!memory) return 1;
  job.a.bytes = (int8_t *)memory;
  job.a.scales = (float *)(memory + (bytes + 63) / 64 * 64);
  job.a.starts = (int32_t *)((char *)job.a.scales + sums);
  job.a.low = (float *)((char *)job.a.starts + sums);
  job.pairs = p->columns / PAIR;
  /* Handing work to other threads costs some microseconds: not for what takes less. */
  int alone = p->columns * p->inner * (p->rows + 2) < 1000000;
  job.items = alone ? 1 : job.pairs < 64 ? job.pairs : 64;
  if (bytes < 16384 || p->rows == 1)
    for (int64_t i = 0; i < p->rows; i++) round_row(&job, i);
  else
    pool->run(pool, round_row, p->rows, &job);
  if (alone)
    product_item(&job, 0);
  else
    pool->run(pool, product_item, job.items, &job);
  return 0;
}
