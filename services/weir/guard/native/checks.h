/* Validators in C: the same as those in Python of the same names, which say what they are about. */
#ifndef WEIR_GUARD_CHECKS_H
#define WEIR_GUARD_CHECKS_H

#include <stdint.h>

/* 1: right, 0: wrong, -1: for Python to say. */
typedef int (*check_t)(const uint32_t *text, int32_t size);
typedef struct {
    const char *name;
    check_t check;
} named_check_t;

int weir_base58_wallet(const uint32_t *text, int32_t size);

extern const named_check_t weir_checks[]; /* the last one has no name */

#endif
