/* Which of many regexes may match somewhere in a text. All that a search (placed.h) knows is in which positions of the
 * regexes it may be, a bit for each, so it costs about the same whether a text is like one before it or not. */
#ifndef WEIR_GUARD_POSITIONS_H
#define WEIR_GUARD_POSITIONS_H

#include "classes.h"

enum { MOST_WORDS = 64, BITS = 64, NUM_PAIRS = NUM_TRAITS * NUM_TRAITS }; /* PAIRS: of traits before and behind a place */

typedef struct {
    int32_t word;
    uint64_t mask;
} part_t;

/* For each of some keys a row of parts. */
typedef struct {
    int32_t *from; /* by key; the last ends the last row */
    part_t *parts;
} rows_t;

/* Make rows of pairs of a key and a position; 0: no memory. */
int rows_of_pairs(rows_t *rows, const int32_t *pairs, int32_t count, int32_t num_keys);

/* A position is one character of a regex. But for `recall` all stays as it was made, and many may search at once. */
typedef struct {
    classes_t classes;
    uint8_t *traits; /* by class */
    int32_t num_words, num_regexes;
    uint64_t *members;        /* by class and word: which positions hold such a character */
    uint64_t *next, *skips;   /* by word: whose next position follows, and whose next but one */
    uint64_t *stays;          /* by word: which follow themselves */
    uint64_t *jumps, *ends;   /* by word: which have others that follow; by pair and word: where a match may end */
    rows_t starts, followers; /* by trait before and class; by position */
    uint64_t *onward;         /* by trait before and class: the classes of what may follow there, a bit for each */
    int32_t num_onward;       /* words of it for each */
    rows_t owned;             /* by regex */
    int32_t *owners;          /* by position */
    struct recall *recall;
} positions_t;

/* What a regex consists of, all of `count` pairs: which position follows which; and in which places, a bit for each pair
 * of traits, one may be the first or the last. */
typedef struct {
    const int32_t *pairs;
    int32_t count;
} pairs_t;

/* `sets`: of characters, by position, -1: there is none. NULL: no memory. */
positions_t *positions_new(const uint32_t *spans, int32_t num_spans, const uint8_t *members, const uint8_t *traits,
                           int32_t num_classes, const int32_t *sets, const int32_t *owners, int32_t num_words,
                           int32_t num_regexes, pairs_t edges, pairs_t firsts, pairs_t lasts);
void positions_free(positions_t *positions);

#endif
