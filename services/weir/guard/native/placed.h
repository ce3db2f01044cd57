/* One search through positions: where it is, and how it goes on. */
#ifndef WEIR_GUARD_PLACED_H
#define WEIR_GUARD_PLACED_H

#include "positions.h"

#include <string.h>

/* The positions behind one character, and those that may be behind the next. */
typedef struct {
    uint64_t at[MOST_WORDS], then[MOST_WORDS], open[MOST_WORDS]; /* `open`: of regexes that were not found */
    uint64_t words, next_words;                                  /* which have any */
    uint8_t *found;
    int32_t num_found;
} search_t;

typedef struct recall recall_t;
recall_t *recall_new(int32_t num_classes);
void recall_free(recall_t *recall);

/* Begin to search a text of `kind` bytes per character. `found`: by regex, becomes 1 where it may match. */
static inline void search_begin(search_t *search, uint8_t *found) {
    search->words = search->next_words = 0;
    search->num_found = 0;
    search->found = found;
    memset(search->then, 0, sizeof search->then);
    memset(search->open, 0xFF, sizeof search->open);
}

/* Search by what is remembered; only under the interpreter's lock. Return -1: all was searched; or up to where, if too
 * much of it is new. */
int32_t search_known(positions_t *positions, search_t *search, const void *text, int kind, int32_t size);
/* Search the rest, from `at` on. */
void search_rest(const positions_t *positions, search_t *search, const void *text, int kind, int32_t at, int32_t size);

static inline uint32_t character_at(const void *text, int kind, int32_t at) {
    return kind == 1 ? ((const uint8_t *)text)[at] : kind == 2 ? ((const uint16_t *)text)[at] : ((const uint32_t *)text)[at];
}

static inline void add_all(search_t *s, const rows_t *rows, int32_t key) {
    for (int32_t i = rows->from[key]; i < rows->from[key + 1]; i++) {
        s->then[rows->parts[i].word] |= rows->parts[i].mask;
        s->next_words |= UINT64_C(1) << rows->parts[i].word;
    }
}

/* Matches end in these positions of a word. */
static inline void find_all(const positions_t *p, search_t *s, int32_t word, uint64_t ended) {
    for (; ended; ended &= ended - 1) {
        int32_t regex = p->owners[word * BITS + __builtin_ctzll(ended)];
        if (s->found[regex]) continue;
        s->found[regex] = 1, s->num_found++;
        for (int32_t i = p->owned.from[regex]; i < p->owned.from[regex + 1]; i++)
            s->open[p->owned.parts[i].word] &= ~p->owned.parts[i].mask;
    }
}

static inline const uint64_t *ends_of(const positions_t *p, uint32_t pair) {
    return p->ends + (size_t)pair * (size_t)p->num_words;
}

/* Go from all positions to what follows them; `pair`: the traits around the place where that is. */
static inline void leave(const positions_t *p, search_t *s, uint32_t pair) {
    const uint64_t *ends = ends_of(p, pair);
    for (uint64_t words = s->words; words; words &= words - 1) {
        int32_t word = __builtin_ctzll(words);
        uint64_t at = s->at[word], then = (at & p->next[word]) << 1 | (at & p->skips[word]) << 2 | (at & p->stays[word]);
        if (at & ends[word]) find_all(p, s, word, at & ends[word]);
        for (uint64_t some = at & p->jumps[word]; some; some &= some - 1)
            add_all(s, &p->followers, word * BITS + __builtin_ctzll(some));
        s->then[word] |= then;
        s->next_words |= (uint64_t)(then != 0) << word;
    }
}

/* Keep the positions that hold a character of a class. */
static inline void enter(const positions_t *p, search_t *s, int32_t klass) {
    const uint64_t *members = p->members + (size_t)klass * (size_t)p->num_words;
    s->words = 0;
    for (uint64_t words = s->next_words; words; words &= words - 1) {
        int32_t word = __builtin_ctzll(words);
        s->at[word] = s->then[word] & members[word] & s->open[word];
        s->then[word] = 0;
        s->words |= (uint64_t)(s->at[word] != 0) << word;
    }
    s->next_words = 0;
}

#endif
