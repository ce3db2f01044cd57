/* The part of onnxruntime's C ABI that custom operators need: struct layouts and slots of the function table.
 *
 * The table only ever grows at its end (onnxruntime's ABI promise), so a slot number holds for every later release;
 * tests/contract/test_kernels.py calls each one through the installed onnxruntime. Version 17 is the first with
 * KernelContext_ParallelFor.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { ABI_VERSION = 17 };
enum { TYPE_FLOAT = 1, TYPE_UINT8 = 2, TYPE_INT32 = 6, TYPE_INT64 = 7, TYPE_FLOAT16 = 10 };
enum { INPUT_REQUIRED = 0, INPUT_OPTIONAL = 1 };

typedef struct Status Status;
typedef struct Value Value;
typedef struct KernelContext KernelContext;
typedef struct KernelInfo KernelInfo;
typedef struct ShapeInfo ShapeInfo;
typedef struct Api { void *slot[1]; } Api;
typedef struct ApiBase {
  const Api *(*get_api)(uint32_t version);
  const char *(*version_string)(void);
} ApiBase;

typedef struct CustomOp {
  uint32_t version;
  void *(*create_kernel)(const struct CustomOp *, const Api *, const KernelInfo *);
  const char *(*name)(const struct CustomOp *);
  const char *(*provider)(const struct CustomOp *);
  int (*input_type)(const struct CustomOp *, size_t);
  size_t (*input_count)(const struct CustomOp *);
  int (*output_type)(const struct CustomOp *, size_t);
  size_t (*output_count)(const struct CustomOp *);
  void (*compute)(void *kernel, KernelContext *);
  void (*destroy)(void *kernel);
  int (*input_kind)(const struct CustomOp *, size_t);
  int (*output_kind)(const struct CustomOp *, size_t);
  int (*input_memory)(const struct CustomOp *, size_t);
  int (*variadic_input_least)(const struct CustomOp *);
  int (*variadic_input_same)(const struct CustomOp *);
  int (*variadic_output_least)(const struct CustomOp *);
  int (*variadic_output_same)(const struct CustomOp *);
  Status *(*create_kernel_2)(const struct CustomOp *, const Api *, const KernelInfo *, void **kernel);
  Status *(*compute_2)(void *kernel, KernelContext *);
  Status *(*infer_shape)(const struct CustomOp *, void *);
  int (*first_version)(const struct CustomOp *);
  int (*last_version)(const struct CustomOp *);
} CustomOp;

#define CALL(api, number, type) ((type)(api)->slot[number])
#define create_status(api, code, words) CALL(api, 0, Status *(*)(int, const char *))(code, words)
#define create_domain(api, name, out) CALL(api, 26, Status *(*)(const char *, void **))(name, out)
#define domain_add(api, domain, op) CALL(api, 27, Status *(*)(void *, const CustomOp *))(domain, op)
#define add_domain(api, options, domain) CALL(api, 28, Status *(*)(void *, void *))(options, domain)
#define tensor_data(api, value, out) CALL(api, 51, Status *(*)(const Value *, void **))(value, out)
#define dimension_count(api, info, out) CALL(api, 61, Status *(*)(const ShapeInfo *, size_t *))(info, out)
#define dimensions(api, info, out, n) CALL(api, 62, Status *(*)(const ShapeInfo *, int64_t *, size_t))(info, out, n)
#define shape_info(api, value, out) CALL(api, 65, Status *(*)(const Value *, ShapeInfo **))(value, out)
#define attribute_float(api, info, name, out) \
  CALL(api, 85, Status *(*)(const KernelInfo *, const char *, float *))(info, name, out)
#define attribute_int(api, info, name, out) \
  CALL(api, 86, Status *(*)(const KernelInfo *, const char *, int64_t *))(info, name, out)
#define context_input(api, context, i, out) \
  CALL(api, 90, Status *(*)(const KernelContext *, size_t, const Value **))(context, i, out)
#define context_output(api, context, i, dims, n, out) \
  CALL(api, 91, Status *(*)(KernelContext *, size_t, const int64_t *, size_t, Value **))(context, i, dims, n, out)
#define release_status(api, status) CALL(api, 93, void (*)(Status *))(status)
#define release_shape_info(api, info) CALL(api, 99, void (*)(ShapeInfo *))(info)
#define parallel_for(api, context, fn, total, argument) \
  CALL(api, 274, Status *(*)(const KernelContext *, void (*)(void *, size_t), size_t, size_t, void *))( \
      context, fn, total, 0, argument)
