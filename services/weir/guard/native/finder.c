#include "finder.h"

#include <stdlib.h>

enum { MOST_STEPS = 16, FREE_STEPS = 1 << 14, FORGETS_EVERY = 2000 }; /* per character; at all; characters */

void finder_free(finder_t *finder) {
    if (!finder) return;
    automaton_free(finder->automaton);
    free(finder);
}

static inline uint32_t trait_before(const automaton_t *a, const uint32_t *text, int32_t at) {
    return at ? a->traits[class_of(a, text[at - 1])] : NOTHING;
}

/* Where the match that begins just there ends. */
static int32_t match_at(automaton_t *a, const uint32_t *text, int32_t size, int32_t at, int64_t *num_steps) {
    uint32_t state = a->starts[trait_before(a, text, at)];
    int32_t end = NO_MATCH, i = at;
    for (;; i++) {
        uint32_t next = next_of(a, state, i < size ? class_of(a, text[i]) : a->num_classes);
        if (next == UNKNOWN) return CANNOT_TELL;
        if (next & 1) end = i;
        state = next >> 1;
        if (!state || i == size) break;
    }
    *num_steps += i - at + 1;
    return end;
}

/* The first place from there on where the first character may begin a match; `size`: none, UNKNOWN as a place: -1. */
static int32_t next_start(automaton_t *a, const uint32_t *text, int32_t size, int32_t at) {
    uint32_t before = trait_before(a, text, at);
    for (; at < size; at++) {
        int32_t klass = class_of(a, text[at]);
        uint32_t next = next_of(a, a->starts[before], klass);
        if (next == UNKNOWN) return -1;
        if (next >> 1) return at;
        before = a->traits[klass];
    }
    return size;
}

/* All states were forgotten: begin anew, but not so often that one search costs more than another way would. */
static int goes_on(progress_t *progress) {
    return ++progress->num_forgotten <= 1 + (progress->at - progress->begin) / FORGETS_EVERY;
}

int32_t finder_next(finder_t *finder, const uint32_t *text, int32_t size, progress_t *progress) {
    automaton_t *a = finder->automaton;
    while (progress->at < size) {
        if (!automaton_begin(a)) return CANNOT_TELL;
        int32_t start = next_start(a, text, size, progress->at);
        int32_t end = start < 0 ? CANNOT_TELL : start < size ? match_at(a, text, size, start, &progress->num_steps) : NO_MATCH;
        if (start >= 0) progress->at = start;
        if (end >= 0) return end;
        if (end == NO_MATCH) progress->at++;
        else if (!goes_on(progress)) return CANNOT_TELL;
        if (progress->num_steps > FREE_STEPS + (int64_t)MOST_STEPS * (progress->at - progress->begin)) return CANNOT_TELL;
    }
    progress->at = size;
    return NO_MATCH;
}

int32_t finder_run_end(const finder_t *finder, const uint32_t *text, int32_t size, int32_t end) {
    const automaton_t *a = finder->automaton;
    if (finder->run == NO_MATCH) return end;
    const uint8_t *members = a->members + (size_t)finder->run * (size_t)a->num_classes;
    while (end < size && members[class_of(a, text[end])]) end++;
    return end;
}
