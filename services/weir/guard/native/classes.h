/* Characters by class: those of one class no regex of a program tells apart. */
#ifndef WEIR_GUARD_CLASSES_H
#define WEIR_GUARD_CLASSES_H

#include <stdint.h>

enum { NOTHING, WORD, BREAK, OTHER, NUM_TRAITS };                           /* of a character, or where there is none */
enum { TEXT_BEGIN, LINE_BEGIN, BOUNDARY, NO_BOUNDARY, TEXT_END, LINE_END }; /* places between two characters */
enum { NUM_PAGES = 0x1100, PAGE = 256 };

typedef struct {
    uint16_t *pages[NUM_PAGES]; /* classes; pages that are alike are one */
    uint16_t *room;
    int32_t count;
} classes_t;

/* `spans`: pairs of a first character and the class of those from there on. 0: no memory. */
int classes_make(classes_t *classes, const uint32_t *spans, int32_t num_spans, int32_t count);
void classes_free(classes_t *classes);

/* Whether a place is one between characters of those traits. */
static inline int place_holds(int32_t place, uint32_t before, uint32_t behind) {
    int is_boundary = (before == WORD) != (behind == WORD);
    switch (place) {
        case TEXT_BEGIN: return before == NOTHING;
        case LINE_BEGIN: return before == NOTHING || before == BREAK;
        case BOUNDARY: return is_boundary;
        case NO_BOUNDARY: return !is_boundary;
        case TEXT_END: return behind == NOTHING;
        default: return behind == NOTHING || behind == BREAK;
    }
}

static inline int32_t class_in(const classes_t *classes, uint32_t c) { return classes->pages[c >> 8][c & 255]; }

#endif
