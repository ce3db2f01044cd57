#include "classes.h"

#include <stdlib.h>

/* The classes of a page; all those pages share one whose characters are of one class. */
static uint16_t *page_of(classes_t *classes, uint16_t **shared, uint32_t *used, const uint32_t *spans, int32_t num_spans,
                         int32_t span, uint32_t first) {
    uint16_t only = (uint16_t)spans[2 * span + 1];
    int is_mixed = span + 1 < num_spans && spans[2 * (span + 1)] < first + PAGE;
    if (!is_mixed && shared[only]) return shared[only];
    uint16_t *page = classes->room + *used;
    *used += PAGE;
    for (uint32_t c = 0; c < PAGE; c++) {
        while (span + 1 < num_spans && spans[2 * (span + 1)] <= first + c) span++;
        page[c] = (uint16_t)spans[2 * span + 1];
    }
    if (!is_mixed) shared[only] = page;
    return page;
}

int classes_make(classes_t *classes, const uint32_t *spans, int32_t num_spans, int32_t count) {
    uint16_t **shared = calloc((size_t)count, sizeof *shared);
    uint32_t used = 0;
    classes->count = count;
    classes->room = malloc(((size_t)num_spans + (size_t)count) * 2 * PAGE * sizeof *classes->room);
    int is_made = shared && classes->room;
    for (int32_t page = 0, span = 0; is_made && page < NUM_PAGES; page++) {
        uint32_t first = (uint32_t)page * PAGE;
        while (span + 1 < num_spans && spans[2 * (span + 1)] <= first) span++;
        classes->pages[page] = page_of(classes, shared, &used, spans, num_spans, span, first);
    }
    free(shared);
    return is_made;
}

void classes_free(classes_t *classes) { free(classes->room); }
