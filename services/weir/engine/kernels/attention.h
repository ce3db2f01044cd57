/* Ragged attention over keys and values in blocks, with rotary positions; each query's sums run over the same positions
 * in the same order however prompts are cut, 64 positions at a time from position 0 (online softmax: Milakov and
 * Gimelshein 2018, arXiv:1805.02867). */
#pragma once
#include "kernels.h"
#include "scratch.h"
#include "simd.h"

enum { SPAN = 64, QUERIES = 64, MAX_SIZE = 256 }; /* positions at once; queries of one kv head at once */

typedef struct AttentionJob {
  const Attention *attention;
  float *q;          /* rotated and scaled: [tokens][heads][size] */
  int32_t *items;    /* [count][3]: sequence, kv head, first of its tokens */
  size_t count, tile; /* tile: tokens of one item */
} AttentionJob;

INLINE uint16_t *cached(const Attention *at, int32_t block, int64_t is_value, int64_t head) {
  int64_t each = BLOCK_TOKENS * at->size;
  return at->cache + ((((int64_t)block * at->layers + at->layer) * 2 + is_value) * at->kv_heads + head) * each;
}

/* Optional RMS norm over the head, then rotation of dimension pairs (i, i + size/2). */
INLINE void rotated(const Attention *at, const float *x, int64_t position, const float *gamma, float scale, float *y) {
  int64_t half = at->size / 2;
  const float *c = at->cosine + position * half, *s = at->sine + position * half;
  float head[MAX_SIZE];
  if (gamma) {
    v16 squares = all16(0.0f);
    for (int64_t i = 0; i < at->size; i += 16) squares = fma16(load16(x + i), load16(x + i), squares);
    v16 factor = all16(1.0f / sqrtf(sum16(squares) / (float)at->size + at->epsilon));
    for (int64_t i = 0; i < at->size; i += 16) store16(head + i, load16(x + i) * factor * load16(gamma + i));
    x = head;
  }
  for (int64_t i = 0; i < half; i++) {
    float a = x[i], b = x[i + half];
    y[i] = (a * c[i] - b * s[i]) * scale;
    y[i + half] = (b * c[i] + a * s[i]) * scale;
  }
}

/* Rotate one kv head of a sequence's tokens, and the queries that share it; write keys and values into their blocks. */
static void place_head(const AttentionJob *job, int64_t row, int64_t head) {
  const Attention *at = job->attention;
  const int32_t *seq = at->sequence + row * 3, *table = at->table + row * at->table_width;
  int64_t each = at->heads / at->kv_heads, size = at->size, width = (at->heads + 2 * at->kv_heads) * size;
  for (int64_t i = 0; i < seq[1]; i++) {
    int64_t token = seq[0] + i, position = seq[2] + i, slot = position % BLOCK_TOKENS;
    int32_t block = table[position / BLOCK_TOKENS];
    const float *q = at->qkv + token * width + head * each * size, *k = at->qkv + token * width + (at->heads + head) * size;
    float *out = job->q + (token * at->heads + head * each) * size, key[MAX_SIZE];
    for (int64_t h = 0; h < each; h++, q += size, out += size) rotated(at, q, position, at->q_gamma, at->scale, out);
    uint16_t halves[MAX_SIZE], *keys = cached(at, block, 0, head), *values = cached(at, block, 1, head) + slot * size;
    rotated(at, k, position, at->k_gamma, 1.0f, key);
    for (int64_t d = 0; d < size; d += 16) half_store16(halves + d, load16(key + d));
    for (int64_t d = 0; d < size; d++) keys[d * BLOCK_TOKENS + slot] = halves[d];
    for (int64_t d = 0; d < size; d += 16) half_store16(values + d, load16(k + at->kv_heads * size + d));
  }
}

/* A long row is placed before its items run; a short one by its own item. */
static void place_item(void *argument, size_t item) {
  const AttentionJob *job = argument;
  const Attention *at = job->attention;
  int64_t row = item / at->kv_heads;
  if (at->sequence[row * 3 + 1] > (int64_t)job->tile) place_head(job, row, item % at->kv_heads);
}

typedef struct Heads {
  int count;
  const float *q[QUERIES];
  int64_t last[QUERIES]; /* the last position that this query sees */
  float most[QUERIES], sum[QUERIES];
  float score[QUERIES][SPAN] __attribute__((aligned(64)));
  float y[QUERIES][MAX_SIZE] __attribute__((aligned(64)));
} Heads;

/* Scores of N queries against the keys of B blocks. */
INLINE void score_blocks(const int N, const int B, const Attention *at, Heads *heads, int from,
                         const uint16_t *const *keys, int column) {
  v16 sum[6][4]; /* fixed: the compiler keeps no variable-length array in registers */
#pragma GCC unroll 6
  for (int n = 0; n < N; n++)
#pragma GCC unroll 4
    for (int b = 0; b < B; b++) sum[n][b] = all16(0.0f);
  for (int64_t d = 0; d < at->size; d++) {
    v16 key[4];
#pragma GCC unroll 4
    for (int b = 0; b < B; b++) key[b] = half_load16(keys[b] + d * BLOCK_TOKENS);
#pragma GCC unroll 6
    for (int n = 0; n < N; n++) {
      v16 q = all16(heads->q[from + n][d]);
#pragma GCC unroll 4
      for (int b = 0; b < B; b++) sum[n][b] = fma16(q, key[b], sum[n][b]);
    }
  }
#pragma GCC unroll 6
  for (int n = 0; n < N; n++)
#pragma GCC unroll 4
    for (int b = 0; b < B; b++) store16(heads->score[from + n] + column + b * BLOCK_TOKENS, sum[n][b]);
}

INLINE void score_some(const int B, const Attention *at, Heads *heads, const uint16_t *const *keys, int column) {
  int n = 0;
  for (; n + 6 <= heads->count; n += 6) score_blocks(6, B, at, heads, n, keys, column);
  switch (heads->count - n) {
#define CASE(N) case N: score_blocks(N, B, at, heads, n, keys, column); break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5)
#undef CASE
  }
}

/* Add the probability-weighted values of `count` positions to N queries, V times 16 dimensions from `d` on. */
INLINE void add_values(const int N, const int V, const Attention *at, Heads *heads, int from,
                       const uint16_t *const *blocks, int count, int64_t d) {
  v16 sum[6][4];
#pragma GCC unroll 6
  for (int n = 0; n < N; n++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) sum[n][v] = load16(heads->y[from + n] + d + v * 16);
  for (int i = 0; i < count; i++) {
    const uint16_t *values = blocks[i / BLOCK_TOKENS] + (i % BLOCK_TOKENS) * at->size + d;
    v16 value[4];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) value[v] = half_load16(values + v * 16);
#pragma GCC unroll 6
    for (int n = 0; n < N; n++)
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) sum[n][v] = fma16(all16(heads->score[from + n][i]), value[v], sum[n][v]);
  }
#pragma GCC unroll 6
  for (int n = 0; n < N; n++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) store16(heads->y[from + n] + d + v * 16, sum[n][v]);
}

INLINE void add_all_values(const int N, const Attention *at, Heads *heads, int from, const uint16_t *const *blocks,
                           int count) {
  int64_t d = 0;
  for (; d + 64 <= at->size; d += 64) add_values(N, 4, at, heads, from, blocks, count, d);
  for (; d + 32 <= at->size; d += 32) add_values(N, 2, at, heads, from, blocks, count, d);
  for (; d < at->size; d += 16) add_values(N, 1, at, heads, from, blocks, count, d);
}

/* Turn scores of positions base..base+63 into weights; rescale what was summed before. */
INLINE void weigh(const Attention *at, Heads *heads, int n, int64_t base) {
  const v16 nothing = all16(-INFINITY);
  const i16x lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  float *score = heads->score[n];
  int32_t seen = heads->last[n] - base >= SPAN ? SPAN : (int32_t)(heads->last[n] - base + 1);
  if (seen <= 0) { /* weights of zero change nothing */
    memset(score, 0, SPAN * sizeof(float));
    return;
  }
  v16 most = nothing;
  for (int i = 0; i < SPAN; i += 16) {
    v16 part = choose16((lanes + i) < seen, load16(score + i), nothing);
    store16(score + i, part);
    most = max16(part, most);
  }
  float peak = peak16(most), before = heads->most[n];
  if (before > peak) peak = before;
  v16 sum = all16(0.0f), level = all16(peak);
  for (int i = 0; i < SPAN; i += 16) {
    v16 weight = exp16(load16(score + i) - level);
    store16(score + i, weight);
    sum = sum + weight;
  }
  float keep = 1.0f;
  if (before != peak) {
    v16 factor = exp16(all16(before - peak));
    float first[16];
    store16(first, factor);
    keep = first[0];
    for (int64_t d = 0; d < at->size; d += 16) store16(heads->y[n] + d, load16(heads->y[n] + d) * factor);
  }
  heads->sum[n] = heads->sum[n] * keep + sum16(sum);
  heads->most[n] = peak;
}

/* Ask for the keys (or values) of positions base..base+63: blocks lie far apart, where the hardware does not look. */
INLINE void fetch_span(const Attention *at, const int32_t *table, int64_t head, int64_t base, int64_t end, int is_value) {
  for (int64_t position = base; position < end && position < base + SPAN; position += BLOCK_TOKENS) {
    const uint16_t *from = cached(at, table[position / BLOCK_TOKENS], is_value, head);
    for (int64_t i = 0; i < BLOCK_TOKENS * at->size; i += 32) __builtin_prefetch(from + i, 0, 2);
  }
}

static void attend(const Attention *at, Heads *heads, const int32_t *table, int64_t head, int64_t end) {
  for (int64_t base = 0; base < end; base += SPAN) {
    const uint16_t *keys[SPAN / BLOCK_TOKENS], *values[SPAN / BLOCK_TOKENS];
    int count = end - base < SPAN ? (int)(end - base) : SPAN, blocks = (count + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    for (int b = 0; b < blocks; b++) {
      keys[b] = cached(at, table[base / BLOCK_TOKENS + b], 0, head);
      values[b] = cached(at, table[base / BLOCK_TOKENS + b], 1, head);
    }
    fetch_span(at, table, head, base + SPAN, end, 0);
    if (blocks == 4)
      score_some(4, at, heads, keys, 0);
    else
      for (int b = 0; b < blocks; b++) score_some(1, at, heads, keys + b, b * BLOCK_TOKENS);
    fetch_span(at, table, head, base + SPAN, end, 1);
    for (int n = 0; n < heads->count; n++) weigh(at, heads, n, base);
    int n = 0;
    for (; n + 6 <= heads->count; n += 6) add_all_values(6, at, heads, n, values, count);
    switch (heads->count - n) {
#define CASE(N) case N: add_all_values(N, at, heads, n, values, count); break;
      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5)
#undef CASE
    }
  }
}

static void attention_item(void *argument, size_t item) {
  const AttentionJob *job = argument;
  const Attention *at = job->attention;
  const int32_t *it = job->items + item * 3, *seq = at->sequence + it[0] * 3;
  int64_t each = at->heads / at->kv_heads, first = it[2];
  int64_t last = first + (int64_t)job->tile < seq[1] ? first + (int64_t)job->tile : seq[1];
  if (item + 1 < job->count) { /* the first of what comes next */
    const int32_t *next = it + 3;
    const int32_t *table = at->table + next[0] * at->table_width;
    int64_t end = at->sequence[next[0] * 3 + 2];
    fetch_span(at, table, next[1], 0, end, 0);
    fetch_span(at, table, next[1], 0, end, 1);
  }
  if (seq[1] <= (int64_t)job->tile) place_head(job, it[0], it[1]);
  Heads heads;
  heads.count = 0;
  for (int64_t i = first; i < last; i++)
    for (int64_t h = 0; h < each; h++, heads.count++) {
      heads.q[heads.count] = job->q + ((seq[0] + i) * at->heads + it[1] * each + h) * at->size;
      heads.last[heads.count] = seq[2] + i;
      heads.most[heads.count] = -INFINITY;
      heads.sum[heads.count] = 0.0f;
      memset(heads.y[heads.count], 0, at->size * sizeof(float));
    }
  attend(at, &heads, at->table + it[0] * at->table_width, it[1], seq[2] + last);
  for (int n = 0; n < heads.count; n++) {
    int64_t token = seq[0] + first + n / each;
    float *y = at->y + (token * at->heads + it[1] * each + n % each) * at->size;
    v16 factor = all16(1.0f / heads.sum[n]);
    for (int64_t d = 0; d < at->size; d += 16) store16(y + d, load16(heads.y[n] + d) * factor);
  }
}

static int attention(const Attention *at, const Pool *pool) {
  AttentionJob job = {.attention = at};
  int64_t each = at->heads / at->kv_heads;
  job.tile = each >= QUERIES ? 1 : QUERIES / each > 8 ? 8 : QUERIES / each;
  for (int64_t s = 0; s < at->sequences; s++)
    job.count += (at->sequence[s * 3 + 1] + job.tile - 1) / job.tile * at->kv_heads;
  size_t floats = at->tokens * at->heads * at->size;
  char *memory = scratch(floats * 4 + job.count * 12);
  if (!memory) return 1;
  job.q = (float *)memory;
  job.items = (int32_t *)(memory + floats * 4);
  int32_t *item = job.items;
  int64_t work = 0;
  for (int32_t s = 0; s < at->sequences; s++) {
    const int32_t *seq = at->sequence + s * 3;
    work += (int64_t)seq[1] * (seq[1] + seq[2]) * at->heads * at->size;
    for (int32_t h = 0; h < at->kv_heads; h++)
      for (int32_t first = 0; first < seq[1]; first += (int32_t)job.tile, item += 3)
        item[0] = s, item[1] = h, item[2] = first;
  }
  int alone = work < 100000;
  size_t heads = at->sequences * at->kv_heads;
  if (alone || at->tokens == at->sequences) /* decoding: items place their own */
    for (size_t i = 0; i < heads; i++) place_item(&job, i);
  else
    pool->run(pool, place_item, heads, &job);
  if (alone)
    for (size_t i = 0; i < job.count; i++) attention_item(&job, i);
  else
    pool->run(pool, attention_item, job.count, &job);
  return 0;
}
