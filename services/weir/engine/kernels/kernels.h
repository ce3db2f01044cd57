/* What each instruction set offers; ops.c takes the best one that the machine has. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Runs `fn(argument, i)` for i in 0..total-1, on any thread, and returns when all are done. */
typedef struct Pool {
  void (*run)(const struct Pool *, void (*fn)(void *, size_t), size_t total, void *argument);
  const void *api, *context;
} Pool;

enum { TILE = 16, PAIR = 32, BLOCK_TOKENS = 16 };

/* y = act(norm(x) W + bias) + residual, W in `bits` bits.
 *
 * Weights lie in tiles of 16 columns, as unsigned bytes (value + 128) or nibbles (value + 8):
 *   8 bits: [columns/16][inner/4][16][4]
 *   4 bits: [columns/16][inner/32][4][64]: byte j*64+c*4+k holds inner 4j+k (low nibble) and 16+4j+k (high) of column c
 * Scales: 8 bits float32 [columns]; 4 bits float16 [columns/16][inner/group][16].
 * `columns` is padded to a multiple of 32. A gated product has tiles gate 0, up 0, gate 1, up 1, ...; its result is
 * silu(gate) * up, with half as many columns.
 */
typedef struct Product {
  int64_t rows, inner, columns, outputs;  /* outputs: columns of y, not padded */
  int bits, group, gated;
  float epsilon;
  const float *x, *gamma, *bias, *residual;  /* gamma: RMS norm of x first; NULL: none */
  const uint8_t *weights;
  const void *scales;
  float *y;
  /* LoRA: what an adapter adds to xW. `adapters` is [slots][stride]; at `adapter_at` of a slot lie A, [rank][inner],
   * and B (with the scale), [columns/32][rank][32]. `adapter_of` is a row's slot, or -1. NULL: no adapters. */
  const float *adapters;
  const int32_t *adapter_of;
  int64_t adapter_stride, adapter_at, rank;
} Product;

/* Keys and values of all sequences: half [blocks][layers][2][heads][16 * size]; a block's keys lie [size][16], its
 * values [16][size]. `sequences` is [rows][3]: first token, tokens, positions before them. */
typedef struct Attention {
  int64_t tokens, sequences, table_width, blocks, context;
  int64_t layer, layers, heads, kv_heads, size;
  float scale, epsilon;
  const float *qkv, *cosine, *sine, *q_gamma, *k_gamma;
  const int32_t *sequence, *table;
  uint16_t *cache;
  float *y;
} Attention;

typedef struct Embedding {
  int64_t tokens, inner, columns;
  const int64_t *ids;
  const uint8_t *weights;
  const float *scales;
  float *y;
} Embedding;

/* Per row the likeliest token, and for rows with wants[r] > 0 also `count` candidates and the log-sum-exp. */
typedef struct Top {
  int64_t rows, columns, count;
  const float *logits;
  const int32_t *wants;
  int32_t *ids;
  float *values, *logsumexp;
} Top;

/* A non-zero result: out of memory. */
typedef struct Kernels {
  const char *name;
  int (*product)(const Product *, const Pool *);
  int (*attention)(const Attention *, const Pool *);
  void (*embedding)(const Embedding *);
  void (*top)(const Top *, const Pool *);
} Kernels;

#ifdef WEIR_X86
extern const Kernels weir_kernels_avx512, weir_kernels_avx2;
#endif
extern const Kernels weir_kernels_portable;
