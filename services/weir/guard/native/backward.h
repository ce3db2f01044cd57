/* From where on the end of a text may be the beginning of a match: the positions of regexes, read from the end. */
#ifndef WEIR_GUARD_BACKWARD_H
#define WEIR_GUARD_BACKWARD_H

#include "automaton.h"
#include "positions.h"

enum { MOST_BACK_WORDS = 1024 };

/* As `positions_t`, in both directions. */
typedef struct {
    classes_t classes;
    uint8_t *traits;
    int32_t num_words;
    uint64_t *members;            /* by class and word */
    uint64_t *linked, *skipped;   /* by word: what the position before it precedes, and the one before that */
    uint64_t *stays;              /* by word: what precedes itself */
    uint64_t *landings, *jumps;   /* by word: what others precede, what others follow */
    uint64_t *begins;             /* by pair of traits and word: where a match may begin */
    rows_t preceders, followers;  /* by position: those others */
} backward_t;

/* Of a program as for automaton_new. NULL: no memory, or it is too large. */
backward_t *backward_new(const instruction_t *code, int32_t size, const int32_t *entries, int32_t num_entries,
                         const uint32_t *spans, int32_t num_spans, const uint8_t *members, const uint8_t *traits,
                         int32_t num_classes);
void backward_free(backward_t *backward);

/* The first place from `begin` on where something starts that more text may complete, or that is complete and ends with
 * the text; `size`: nothing does. */
int32_t backward_open(const backward_t *backward, const void *text, int kind, int32_t size, int32_t begin);

#endif
