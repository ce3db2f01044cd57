/* The plain view, and small letters: what each character becomes. */
#ifndef WEIR_GUARD_FOLDING_H
#define WEIR_GUARD_FOLDING_H

#include <stdint.h>

enum { FOLD_PAGES = 0x1100, FOLD_PAGE = 256 };
#define SEVERAL 0x80000000u /* of what a character becomes: none or several, from there on in `longer` */

typedef struct {
    uint32_t *pages[FOLD_PAGES]; /* NULL: what is there stays */
    uint32_t *longer;            /* how many, and then those */
} fold_t;

/* `changes`: pairs of a character and what it becomes. NULL: no memory. */
fold_t *fold_new(const uint32_t *changes, int32_t count, const uint32_t *longer, int32_t num_longer);
void fold_free(fold_t *fold);

static inline uint32_t fold_of(const fold_t *fold, uint32_t c) {
    const uint32_t *page = fold->pages[c >> 8];
    return page ? page[c & 255] : c;
}

#endif
