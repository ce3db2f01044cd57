/* Compiled once per instruction set, with WEIR_SET naming the table. */
#include "attention.h"
#include "product.h"
#include "top.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define WORD_(a) #a
#define WORD(a) WORD_(a)

const Kernels JOIN(weir_kernels_, WEIR_SET) = {WORD(WEIR_SET), product, attention, embedding, top};
