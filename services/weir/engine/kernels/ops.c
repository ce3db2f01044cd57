/* onnxruntime's view of the kernels: the operators of domain "weir". Shapes are checked here, once per call. */
#include <stdlib.h>
#include "abi.h"
#include "kernels.h"

enum { MOST_INPUTS = 8, MOST_DIMENSIONS = 8 };

typedef struct Kernel {
  const Api *api;
  int64_t outputs, bits, group, gated, layer, heads, kv_heads, size, count, adapter_at, adapter_total, adapter_parts;
  float epsilon, scale;
} Kernel;

typedef struct Tensor {
  void *data;
  size_t rank;
  int64_t dims[MOST_DIMENSIONS];
} Tensor;

static const Kernels *kernels = &weir_kernels_portable;

/* Which instruction set is used; for tests also a way to choose one. Returns NULL for one that this machine lacks. */
__attribute__((visibility("default"))) const char *weir_kernels_use(const char *wanted) {
  const Kernels *known[3] = {0};
  int n = 0;
#ifdef WEIR_X86
  __builtin_cpu_init();
  int half = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (half && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    known[n++] = &weir_kernels_avx512;
  if (half) known[n++] = &weir_kernels_avx2;
#endif
  known[n++] = &weir_kernels_portable;
  for (int i = 0; i < n; i++) {
    const char *a = known[i]->name, *b = wanted ? wanted : a;
    while (*a && *a == *b) a++, b++;
    if (*a == *b) return (kernels = known[i])->name;
  }
  return NULL;
}

static void run_pool(const Pool *pool, void (*fn)(void *, size_t), size_t total, void *argument) {
  Status *status = parallel_for((const Api *)pool->api, (const KernelContext *)pool->context, fn, total, argument);
  if (status) { /* no pool: do it here */
    release_status((const Api *)pool->api, status);
    for (size_t i = 0; i < total; i++) fn(argument, i);
  }
}

static Status *refuse(const Kernel *k, const char *words) { return create_status(k->api, 2, words); }

static Status *input(const Kernel *k, KernelContext *context, size_t index, Tensor *out) {
  const Value *value = NULL;
  ShapeInfo *shape = NULL;
  Status *status = context_input(k->api, context, index, &value);
  *out = (Tensor){0};
  if (status || !value) return status;
  if ((status = tensor_data(k->api, value, &out->data))) return status;
  if ((status = shape_info(k->api, value, &shape))) return status;
  if (!(status = dimension_count(k->api, shape, &out->rank))) {
    if (out->rank > MOST_DIMENSIONS) status = refuse(k, "weir: too many dimensions");
    else status = dimensions(k->api, shape, out->dims, out->rank);
  }
  release_shape_info(k->api, shape);
  return status;
}

static Status *inputs(const Kernel *k, KernelContext *context, size_t count, Tensor *out) {
  for (size_t i = 0; i < count; i++) {
    Status *status = input(k, context, i, out + i);
    if (status) return status;
  }
  return NULL;
}

static Status *output(const Kernel *k, KernelContext *context, size_t i, size_t rank, const int64_t *dims, void *out) {
  Value *value = NULL;
  Status *status = context_output(k->api, context, i, dims, rank, &value);
  return status ? status : tensor_data(k->api, value, (void **)out);
}

#define TRY(call) do { Status *status_ = (call); if (status_) return status_; } while (0)
#define CHECK(condition, words) do { if (!(condition)) return refuse(k, words); } while (0)

static int64_t elements(const Tensor *t) {
  int64_t n = 1;
  for (size_t i = 0; i < t->rank; i++) n *= t->dims[i];
  return n;
}

/* Every row's slot is checked: a wrong one would read another's memory. */
static Status *find_adapters(const Kernel *k, Product *p, const Tensor *adapters, const Tensor *adapter_of) {
  if (!adapters->data || !adapter_of->data || !elements(adapters) || !k->adapter_total) return NULL;
  CHECK(adapters->rank == 2 && adapters->dims[1] % k->adapter_total == 0, "weir.Product: adapters' size");
  CHECK(elements(adapter_of) == p->rows, "weir.Product: adapter_of is [rows]");
  int64_t rank = adapters->dims[1] / k->adapter_total;
  p->adapters = adapters->data, p->adapter_of = adapter_of->data;
  p->adapter_stride = adapters->dims[1], p->adapter_at = k->adapter_at * rank, p->rank = rank * k->adapter_parts;
  for (int64_t r = 0; r < p->rows; r++)
    CHECK(p->adapter_of[r] < adapters->dims[0], "weir.Product: no such adapter");
  return NULL;
}

static Status *run_product(void *kernel, KernelContext *context) {
  const Kernel *k = kernel;
  Tensor in[8];
  TRY(inputs(k, context, 8, in));
  CHECK(in[0].rank == 2, "weir.Product: x is [rows, inner]");
  Product p = {.rows = in[0].dims[0], .inner = in[0].dims[1], .outputs = k->outputs, .bits = (int)k->bits,
               .group = (int)k->group, .gated = (int)k->gated, .epsilon = k->epsilon, .x = in[0].data,
               .weights = in[1].data, .scales = in[2].data, .bias = in[3].data, .gamma = in[4].data,
               .residual = in[5].data};
  int64_t tile_bytes = p.inner * TILE * p.bits / 8, groups = p.bits == 4 ? p.inner / p.group : 1;
  CHECK(p.inner > 0 && p.inner % 32 == 0 && (p.bits == 8 || (p.group >= 32 && p.inner % p.group == 0)),
        "weir.Product: inner must be a multiple of 32 and of the group");
  p.columns = elements(&in[1]) / tile_bytes * TILE;
  CHECK(p.columns % PAIR == 0 && elements(&in[1]) == p.columns / TILE * tile_bytes, "weir.Product: weights' size");
  CHECK(elements(&in[2]) == p.columns * groups, "weir.Product: scales' size");
  CHECK(p.outputs * (p.gated ? 2 : 1) <= p.columns, "weir.Product: more outputs than columns");
  CHECK(!p.bias || elements(&in[3]) == p.columns, "weir.Product: bias' size");
  CHECK(!p.gamma || elements(&in[4]) == p.inner, "weir.Product: norm's size");
  CHECK(!p.residual || elements(&in[5]) == p.rows * p.outputs, "weir.Product: residual's size");
  TRY(find_adapters(k, &p, in + 6, in + 7));
  int64_t dims[2] = {p.rows, p.outputs};
  TRY(output(k, context, 0, 2, dims, &p.y));
  Pool pool = {run_pool, k->api, context};
  CHECK(kernels->product(&p, &pool) == 0, "weir.Product: out of memory");
  return NULL;
}

static Status *check_sequences(const Kernel *k, const Attention *a) {
  int64_t next = 0;
  for (int64_t s = 0; s < a->sequences; s++) {
    const int32_t *seq = a->sequence + s * 3;
    int64_t end = (int64_t)seq[2] + seq[1], used = (end + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    CHECK(seq[0] == next && seq[1] > 0 && seq[2] >= 0, "weir.Attention: sequences must follow one another");
    CHECK(end <= a->context && used <= a->table_width, "weir.Attention: positions beyond the context or the table");
    for (int64_t b = 0; b < used; b++)
      CHECK(a->table[s * a->table_width + b] >= 0 && a->table[s * a->table_width + b] < a->blocks,
            "weir.Attention: no such block");
    next += seq[1];
  }
  CHECK(next == a->tokens, "weir.Attention: tokens without a sequence");
  return NULL;
}

static Status *run_attention(void *kernel, KernelContext *context) {
  const Kernel *k = kernel;
  Tensor in[8];
  TRY(inputs(k, context, 8, in));
  CHECK(in[0].rank == 2 && in[1].rank == 5 && in[2].rank == 2 && in[3].rank == 2 && in[4].rank == 2,
        "weir.Attention: ranks");
  Attention a = {.tokens = in[0].dims[0], .sequences = in[2].dims[0], .table_width = in[3].dims[1],
                 .blocks = in[1].dims[0], .context = in[4].dims[0], .layer = k->layer, .layers = in[1].dims[1],
                 .heads = k->heads, .kv_heads = k->kv_heads, .size = k->size, .scale = k->scale,
                 .epsilon = k->epsilon, .qkv = in[0].data, .cache = in[1].data, .sequence = in[2].data,
                 .table = in[3].data, .cosine = in[4].data, .sine = in[5].data, .q_gamma = in[6].data,
                 .k_gamma = in[7].data};
  CHECK(a.size % 16 == 0 && a.size <= 256 && a.kv_heads > 0 && a.heads % a.kv_heads == 0 &&
            a.heads / a.kv_heads <= 64,
        "weir.Attention: head sizes are multiples of 16 up to 256, at most 64 heads share keys");
  CHECK(in[0].dims[1] == (a.heads + 2 * a.kv_heads) * a.size, "weir.Attention: qkv's width");
  CHECK(in[1].dims[2] == 2 && in[1].dims[3] == a.kv_heads && in[1].dims[4] == BLOCK_TOKENS * a.size &&
            a.layer < a.layers,
        "weir.Attention: the cache is [blocks, layers, 2, kv_heads, 16 * size]");
  CHECK(in[2].dims[1] == 3 && in[3].dims[0] == a.sequences, "weir.Attention: sequences are [rows, 3]");
  CHECK(in[4].dims[1] == a.size / 2 && elements(&in[5]) == elements(&in[4]), "weir.Attention: rotary tables");
  TRY(check_sequences(k, &a));
  int64_t dims[2] = {a.tokens, a.heads * a.size};
  TRY(output(k, context, 0, 2, dims, &a.y));
  Pool pool = {run_pool, k->api, context};
  CHECK(kernels->attention(&a, &pool) == 0, "weir.Attention: out of memory");
  return NULL;
}

static Status *run_embedding(void *kernel, KernelContext *context) {
  const Kernel *k = kernel;
  Tensor in[3];
  TRY(inputs(k, context, 3, in));
  Embedding e = {.tokens = elements(&in[0]), .columns = elements(&in[2]), .inner = k->size, .ids = in[0].data,
                 .weights = in[1].data, .scales = in[2].data};
  CHECK(elements(&in[1]) == e.columns * e.inner, "weir.Embedding: weights' size");
  for (int64_t t = 0; t < e.tokens; t++) CHECK(e.ids[t] >= 0 && e.ids[t] < e.columns, "weir.Embedding: no such token");
  int64_t dims[2] = {e.tokens, e.inner};
  TRY(output(k, context, 0, 2, dims, &e.y));
  kernels->embedding(&e);
  return NULL;
}

/* Rows of x by number. */
static Status *run_rows(void *kernel, KernelContext *context) {
  const Kernel *k = kernel;
  Tensor in[2];
  TRY(inputs(k, context, 2, in));
  CHECK(in[0].rank == 2, "weir.Rows: x is [rows, inner]");
  int64_t count = elements(&in[1]), width = in[0].dims[1], dims[2] = {count, width};
  const int32_t *rows = in[1].data;
  float *y;
  TRY(output(k, context, 0, 2, dims, &y));
  for (int64_t r = 0; r < count; r++) {
    CHECK(rows[r] >= 0 && rows[r] < in[0].dims[0], "weir.Rows: no such row");
    __builtin_memcpy(y + r * width, (float *)in[0].data + rows[r] * width, width * sizeof(float));
  }
  return NULL;
}

static Status *run_top(void *kernel, KernelContext *context) {
  const Kernel *k = kernel;
  Tensor in[2];
  TRY(inputs(k, context, 2, in));
  CHECK(in[0].rank == 2 && elements(&in[1]) == in[0].dims[0], "weir.Top: logits are [rows, columns]");
  Top t = {.rows = in[0].dims[0], .columns = in[0].dims[1], .count = k->count, .logits = in[0].data,
           .wants = in[1].data};
  CHECK(t.count > 0 && t.count <= t.columns && t.count <= 1024, "weir.Top: count");
  int64_t dims[2] = {t.rows, t.count};
  TRY(output(k, context, 0, 2, dims, &t.ids));
  TRY(output(k, context, 1, 2, dims, &t.values));
  TRY(output(k, context, 2, 1, dims, &t.logsumexp));
  Pool pool = {run_pool, k->api, context};
  kernels->top(&t, &pool);
  return NULL;
}

typedef struct Op {
  CustomOp base;
  const char *name, *inputs, *outputs; /* a letter each: f h b i l; capitals are optional */
  Status *(*run)(void *, KernelContext *);
} Op;

static int type_of(char letter) {
  switch (letter | 32) {
    case 'f': return TYPE_FLOAT;
    case 'h': return TYPE_FLOAT16;
    case 'b': return TYPE_UINT8;
    case 'i': return TYPE_INT32;
    case 'l': return TYPE_INT64;
    default: return 0; /* any */
  }
}

static const Op *op_of(const CustomOp *op) { return (const Op *)op; }
static const char *op_name(const CustomOp *op) { return op_of(op)->name; }
static const char *op_provider(const CustomOp *op) { (void)op; return "CPUExecutionProvider"; }
static size_t input_count(const CustomOp *op) { return __builtin_strlen(op_of(op)->inputs); }
static size_t output_count(const CustomOp *op) { return __builtin_strlen(op_of(op)->outputs); }
static int input_type(const CustomOp *op, size_t i) { return type_of(op_of(op)->inputs[i]); }
static int output_type(const CustomOp *op, size_t i) { return type_of(op_of(op)->outputs[i]); }
static int input_kind(const CustomOp *op, size_t i) { return op_of(op)->inputs[i] & 32 ? INPUT_REQUIRED : INPUT_OPTIONAL; }
static int required(const CustomOp *op, size_t i) { (void)op, (void)i; return INPUT_REQUIRED; }
static int zero_memory(const CustomOp *op, size_t i) { (void)op, (void)i; return 0; }
static int one(const CustomOp *op) { (void)op; return 1; }
static int many(const CustomOp *op) { (void)op; return INT32_MAX; }
static void destroy(void *kernel) { free(kernel); }

static Status *create(const CustomOp *op, const Api *api, const KernelInfo *info, void **out) {
  (void)op;
  Kernel *k = calloc(1, sizeof *k);
  if (!k) return create_status(api, 1, "weir: out of memory");
  k->api = api;
  struct { const char *name; int64_t *to; } numbers[] = {
      {"width", &k->outputs}, {"bits", &k->bits}, {"group", &k->group}, {"gated", &k->gated}, {"layer", &k->layer},
      {"heads", &k->heads}, {"kv_heads", &k->kv_heads}, {"size", &k->size}, {"count", &k->count},
      {"adapter_at", &k->adapter_at}, {"adapter_total", &k->adapter_total}, {"adapter_parts", &k->adapter_parts}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) { /* an operator has those it needs */
    Status *status = attribute_int(api, info, numbers[i].name, numbers[i].to);
    if (status) release_status(api, status);
  }
  Status *status = attribute_float(api, info, "epsilon", &k->epsilon);
  if (status) release_status(api, status);
  if ((status = attribute_float(api, info, "scale", &k->scale))) release_status(api, status);
  *out = k;
  return NULL;
}

#define OP(NAME, INPUTS, OUTPUTS, RUN) \
  {{.version = ABI_VERSION, .name = op_name, .provider = op_provider, .input_type = input_type, \
    .input_count = input_count, .output_type = output_type, .output_count = output_count, .destroy = destroy, \
    .input_kind = input_kind, .output_kind = required, .input_memory = zero_memory, .variadic_input_least = one, \
    .variadic_input_same = one, .variadic_output_least = one, .variadic_output_same = one, \
    .create_kernel_2 = create, .compute_2 = RUN, .first_version = one, .last_version = many}, \
   NAME, INPUTS, OUTPUTS, RUN}

static const Op ops[] = {
    OP("Product", "fb?FFFFI", "f", run_product),  /* x, weights, scales, bias, norm, residual, adapters, adapter_of */
    OP("Attention", "fhiiffFF", "f", run_attention),  /* qkv, cache, sequences, table, cos, sin, q norm, k norm */
    OP("Embedding", "lbf", "f", run_embedding),  /* ids, weights, scales */
    OP("Rows", "fi", "f", run_rows),  /* x, rows */
    OP("Top", "fi", "iff", run_top),  /* logits, wants */
};

/* onnxruntime looks for this name. */
__attribute__((visibility("default"))) Status *RegisterCustomOps(void *options, const ApiBase *base) {
  const Api *api = base->get_api(ABI_VERSION);
  if (!api) return NULL;
  void *domain;
  weir_kernels_use(NULL);
  Status *status = create_domain(api, "weir", &domain); /* lives as long as the process */
  for (size_t i = 0; !status && i < sizeof ops / sizeof *ops; i++) status = domain_add(api, domain, &ops[i].base);
  return status ? status : add_domain(api, options, domain);
}
