/* The ordinary part of a stream: text in which nothing is found and in which each character becomes one. */
#ifndef WEIR_GUARD_WATCH_H
#define WEIR_GUARD_WATCH_H

#include "automaton.h"
#include "backward.h"
#include "folding.h"
#include "literals.h"

enum { MOST_TERMS = 16, MOST_FED = 4096, MOST_HELD = 512, LOOSELY_HELD = 32, WATCH_HERE = 80 };

/* What all streams under the same rules share. */
typedef struct {
    const fold_t *fold;
    automaton_t *automaton;     /* NULL: there are no regexes */
    const backward_t *backward; /* the same, looked at closely; NULL: that is for others */
    const terms_t *terms[MOST_TERMS];
    uint8_t is_letters_only[MOST_TERMS];
    int32_t num_terms;
} watcher_t;

/* Text that is held or, its first character, context: as it came, in the plain and in the fold view. */
typedef struct {
    uint32_t *original, *plain, *folded;
    int32_t count, room, decided; /* what is before `decided` was released */
    int64_t seen;                 /* characters taken in */
    uint32_t here[3 * WATCH_HERE];
} watch_t;

void watch_begin(watch_t *watch);
void watch_end(watch_t *watch);
int watch_copy(watch_t *to, const watch_t *from);

/* Take in `count` characters, of `kind` bytes each. Return up to which place of the text all is released now, which
 * watch_forget is then to be told; -1: it is not that simple, and nothing was taken in. */
int32_t watch_feed(const watcher_t *watcher, watch_t *watch, const void *text, int kind, int32_t count);
/* Whether nothing is found at the end of the text. */
int watch_flush(const watcher_t *watcher, const watch_t *watch);
/* Go on with that text, of which what is before `decided` was released; 0: it is not that simple. */
int watch_load(const watcher_t *watcher, watch_t *watch, const void *text, int kind, int32_t count, int32_t decided,
               int64_t seen);
void watch_forget(watch_t *watch, int32_t decided);

#endif
