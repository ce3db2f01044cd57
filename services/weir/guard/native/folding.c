#include "folding.h"

#include <stdlib.h>
#include <string.h>

static uint32_t *page_of(fold_t *fold, uint32_t c) {
    uint32_t *page = fold->pages[c >> 8];
    if (page || !(page = malloc(FOLD_PAGE * sizeof *page))) return page;
    for (uint32_t i = 0; i < FOLD_PAGE; i++) page[i] = (c & ~255u) + i;
    return fold->pages[c >> 8] = page;
}

fold_t *fold_new(const uint32_t *changes, int32_t count, const uint32_t *longer, int32_t num_longer) {
    fold_t *fold = calloc(1, sizeof *fold);
    if (!fold) return NULL;
    int is_made = (fold->longer = malloc(((size_t)num_longer + 1) * sizeof *longer)) != NULL;
    if (is_made) memcpy(fold->longer, longer, (size_t)num_longer * sizeof *longer);
    for (int32_t i = 0; is_made && i < count; i++) {
        uint32_t *page = page_of(fold, changes[2 * i]);
        if (page) page[changes[2 * i] & 255] = changes[2 * i + 1];
        is_made = page != NULL;
    }
    if (is_made) return fold;
    fold_free(fold);
    return NULL;
}

void fold_free(fold_t *fold) {
    if (!fold) return;
    for (int i = 0; i < FOLD_PAGES; i++) free(fold->pages[i]);
    free(fold->longer);
    free(fold);
}
