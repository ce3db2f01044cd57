/* Which tokens are likeliest: nobody copies a vocabulary of logits to find out. */
#pragma once
#include <stdlib.h>
#include "kernels.h"
#include "simd.h"

typedef struct Candidate { float logit; int32_t id; } Candidate;

static int likelier(const void *left, const void *right) {
  const Candidate *a = left, *b = right;
  if (a->logit != b->logit) return a->logit > b->logit ? -1 : 1;
  return (a->id > b->id) - (a->id < b->id);
}

INLINE int any16(i16x mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#else
  int32_t lanes[16], any = 0;
  memcpy(lanes, &mask, 64);
  for (int i = 0; i < 16; i++) any |= lanes[i];
  return any;
#endif
}

static int32_t likeliest(const float *logits, int64_t columns, float *most) {
  const i16x lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  v16 best = all16(-INFINITY);
  i16x where = (i16x){};
  int64_t whole = columns / 16 * 16;
  for (int64_t c = 0; c < whole; c += 16) {
    v16 x = load16(logits + c);
    i16x better = x > best;
    best = choose16(better, x, best);
    where = (better & (lanes + (int32_t)c)) | (~better & where);
  }
  float peak = -INFINITY, values[16];
  int32_t id = 0, ids[16];
  store16(values, best);
  memcpy(ids, &where, 64);
  for (int i = 0; i < 16; i++)
    if (values[i] > peak || (values[i] == peak && ids[i] < id)) peak = values[i], id = ids[i];
  for (int64_t c = whole; c < columns; c++)
    if (logits[c] > peak) peak = logits[c], id = (int32_t)c;
  *most = peak;
  return id;
}

static float log_sum_exp(const float *logits, int64_t columns, float most) {
  v16 level = all16(most);
  int64_t whole = columns / 16 * 16;
  double sum = 0.0;
  for (int64_t c = 0; c < whole;) { /* float lanes for 4096 columns at a time, the total in double */
    v16 part = all16(0.0f);
    for (int64_t end = c + 4096 < whole ? c + 4096 : whole; c < end; c += 16)
      part = part + exp16(load16(logits + c) - level);
    sum += sum16(part);
  }
  for (int64_t c = whole; c < columns; c++) sum += expf(logits[c] - most);
  return most + (float)log(sum);
}

/* Keeps the best `count` seen so far, give or take; `found` has room for four times as many. */
static void candidates(const float *logits, int64_t columns, int64_t count, Candidate *found, int32_t *ids, float *out) {
  int64_t kept = 0;
  float least = -INFINITY;
  for (int64_t c = 0; c < columns; c += 16) {
    int64_t width = columns - c < 16 ? columns - c : 16;
    if (width == 16 && !any16(load16(logits + c) > all16(least))) continue;
    for (int64_t i = c; i < c + width; i++)
      if (logits[i] > least || kept < count) found[kept++] = (Candidate){logits[i], (int32_t)i};
    if (kept > count * 4 - 16) {
      qsort(found, kept, sizeof *found, likelier);
      kept = count;
      least = found[count - 1].logit;
    }
  }
  qsort(found, kept, sizeof *found, likelier);
  for (int64_t i = 0; i < count; i++) ids[i] = found[i].id, out[i] = found[i].logit;
}

static void top_row(void *argument, size_t r) {
  const Top *top = argument;
  const float *logits = top->logits + r * top->columns;
  int32_t *ids = top->ids + r * top->count;
  float *values = top->values + r * top->count;
  memset(ids, 0, top->count * sizeof *ids);
  memset(values, 0, top->count * sizeof *values);
  ids[0] = likeliest(logits, top->columns, values);
  top->logsumexp[r] = 0.0f;
  if (top->wants[r] <= 0) return;
  top->logsumexp[r] = log_sum_exp(logits, top->columns, values[0]);
  Candidate found[top->count * 4 + 16];
  candidates(logits, top->columns, top->count, found, ids, values);
}

static void top(const Top *top, const Pool *pool) {
  if (top->rows == 1)
    top_row((void *)top, 0);
  else
    pool->run(pool, top_row, top->rows, (void *)top);
}

static void embedding(const Embedding *e) {
  for (int64_t t = 0; t < e->tokens; t++) {
    int64_t id = e->ids[t], quarter = e->inner / 4;
    const uint8_t *w = e->weights + ((id / TILE) * quarter * TILE + id % TILE) * 4;
    float scale = e->scales[id], *y = e->y + t * e->inner;
    for (int64_t k = 0; k < quarter; k++, w += TILE * 4)
      for (int i = 0; i < 4; i++) y[k * 4 + i] = (float)(w[i] - 128) * scale;
  }
}
