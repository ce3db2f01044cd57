/* Memory of the calling thread that grows to the largest call and stays; no two kernels use it at once. */
#pragma once
#include <stdlib.h>

static void *scratch(size_t bytes) {
  static _Thread_local void *memory;
  static _Thread_local size_t size;
  if (bytes > size) {
    free(memory);
    size = bytes;
    memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) size = 0;
  }
  return memory;
}
