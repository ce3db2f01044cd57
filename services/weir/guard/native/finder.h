/* Where matches of one regex stand, the ones that RE2 would return: the leftmost, of which the earlier choice wins. */
#ifndef WEIR_GUARD_FINDER_H
#define WEIR_GUARD_FINDER_H

#include "automaton.h"

enum { NO_MATCH = -1, CANNOT_TELL = -2 };

typedef struct {
    automaton_t *automaton; /* ordered */
    int32_t run;            /* a match goes on over characters of this set; NO_MATCH: none */
} finder_t;

/* How far a search has come, and what it has cost. */
typedef struct {
    int32_t at, begin, num_forgotten;
    int64_t num_steps;
} progress_t;

void finder_free(finder_t *finder);

/* Where the first match from `progress->at` on ends, `at` becomes where it starts; NO_MATCH: there is none from there
 * on; CANNOT_TELL: nor whether there is one, which is for others to say from there on. */
int32_t finder_next(finder_t *finder, const uint32_t *text, int32_t size, progress_t *progress);
/* Up to where a match that ended there goes on. */
int32_t finder_run_end(const finder_t *finder, const uint32_t *text, int32_t size, int32_t end);

#endif
