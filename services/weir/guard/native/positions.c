/* Glushkov's automaton, without states: the positions of a word that follow one another are shifted all at once, as
 * others are one by one. Words without a position to be in cost nothing. */
#include "placed.h"

#include <stdlib.h>

#define BIT(position) (UINT64_C(1) << ((position) % BITS))

/* Whether what begins with a character of a class may go on with one of another, or ends there. */
static inline int goes_on(const positions_t *p, uint32_t before, int32_t klass, int32_t next) {
    const uint64_t *onward = p->onward + ((size_t)before * (size_t)p->classes.count + (size_t)klass) * (size_t)p->num_onward;
    return onward[next / BITS] >> next % BITS & 1;
}

static inline __attribute__((always_inline)) void look(const positions_t *p, search_t *s, const void *text, int kind,
                                                       int32_t at, int32_t size) {
    uint32_t before = at ? p->traits[class_in(&p->classes, character_at(text, kind, at - 1))] : NOTHING;
    int32_t klass = at < size ? class_in(&p->classes, character_at(text, kind, at)) : 0;
    for (; at < size; at++) {
        int32_t next = at + 1 < size ? class_in(&p->classes, character_at(text, kind, at + 1)) : p->classes.count;
        if (s->words) leave(p, s, before * NUM_TRAITS + p->traits[klass]);
        if (goes_on(p, before, klass, next)) add_all(s, &p->starts, (int32_t)before * p->classes.count + klass);
        enter(p, s, klass);
        before = p->traits[klass];
        klass = next;
    }
    leave(p, s, before * NUM_TRAITS + NOTHING);
}

void search_rest(const positions_t *p, search_t *s, const void *text, int kind, int32_t at, int32_t size) {
    if (kind == 1) look(p, s, text, 1, at, size);
    else if (kind == 2) look(p, s, text, 2, at, size);
    else look(p, s, text, 4, at, size);
}

int rows_of_pairs(rows_t *rows, const int32_t *pairs, int32_t count, int32_t num_keys) {
    rows->from = calloc((size_t)num_keys + 2, sizeof *rows->from);
    rows->parts = malloc(((size_t)count + 1) * sizeof *rows->parts);
    if (!rows->from || !rows->parts) return 0;
    int32_t *next = rows->from + 1, at = 0; /* while they are filled, where each row ends */
    for (int32_t i = 0; i < count; i++) next[pairs[2 * i] + 1]++;
    for (int32_t key = 0; key < num_keys; key++) next[key + 1] += next[key];
    for (int32_t i = 0; i < count; i++) {
        int32_t position = pairs[2 * i + 1];
        rows->parts[next[pairs[2 * i]]++] = (part_t){position / BITS, BIT(position)};
    }
    for (int32_t key = 0, from = 0; key < num_keys; key++) { /* one part for what is in one word */
        int32_t end = next[key], first = at;
        for (int32_t i = from; i < end; i++) {
            if (at > first && rows->parts[at - 1].word == rows->parts[i].word) rows->parts[at - 1].mask |= rows->parts[i].mask;
            else rows->parts[at++] = rows->parts[i];
        }
        from = end, rows->from[key] = first;
    }
    rows->from[num_keys] = at;
    return 1;
}

static void make_members(positions_t *p, const uint8_t *members, const int32_t *sets) {
    for (int32_t i = 0; i < p->num_words * BITS; i++)
        for (int32_t klass = 0; sets[i] >= 0 && klass < p->classes.count; klass++)
            if (members[(size_t)sets[i] * (size_t)p->classes.count + (size_t)klass])
                p->members[klass * p->num_words + i / BITS] |= BIT(i);
}

static int make_owned(positions_t *p, const int32_t *sets) {
    int32_t *pairs = malloc((size_t)p->num_words * BITS * 2 * sizeof *pairs), count = 0;
    for (int32_t i = 0; pairs && i < p->num_words * BITS; i++)
        if (sets[i] >= 0) pairs[2 * count] = p->owners[i], pairs[2 * count++ + 1] = i;
    int is_made = pairs && rows_of_pairs(&p->owned, pairs, count, p->num_regexes);
    free(pairs);
    return is_made;
}

static int make_followers(positions_t *p, pairs_t edges) {
    int32_t *pairs = malloc(((size_t)edges.count + 1) * 2 * sizeof *pairs), count = 0;
    for (int32_t i = 0; pairs && i < edges.count; i++) {
        int32_t from = edges.pairs[2 * i], to = edges.pairs[2 * i + 1];
        if (to == from + 1 && to % BITS) {
            p->next[from / BITS] |= BIT(from);
        } else if (to == from + 2 && to % BITS > 1) { /* what is between them may be left out */
            p->skips[from / BITS] |= BIT(from);
        } else if (to == from) {
            p->stays[from / BITS] |= BIT(from);
        } else {
            p->jumps[from / BITS] |= BIT(from);
            pairs[2 * count] = from, pairs[2 * count++ + 1] = to;
        }
    }
    int is_made = pairs && rows_of_pairs(&p->followers, pairs, count, p->num_words * BITS);
    free(pairs);
    return is_made;
}

/* For each trait before and class, which positions may be first: a pair for each. */
static int make_starts(positions_t *p, pairs_t firsts) {
    int32_t num_classes = p->classes.count, num_keys = NUM_TRAITS * num_classes, count = 0;
    int32_t *pairs = malloc(((size_t)num_keys * (size_t)firsts.count + 1) * 2 * sizeof *pairs);
    for (int32_t key = 0; pairs && key < num_keys; key++) {
        int32_t klass = key % num_classes, pair = key / num_classes * NUM_TRAITS + p->traits[klass];
        for (int32_t i = 0; i < firsts.count; i++) {
            int32_t at = firsts.pairs[2 * i];
            if (firsts.pairs[2 * i + 1] >> pair & 1 && p->members[klass * p->num_words + at / BITS] & BIT(at))
                pairs[2 * count] = key, pairs[2 * count++ + 1] = at;
        }
    }
    int is_made = pairs && rows_of_pairs(&p->starts, pairs, count, num_keys);
    free(pairs);
    return is_made;
}

static int make_onward(positions_t *p, pairs_t edges, pairs_t lasts) {
    int32_t num_classes = p->classes.count, num_keys = NUM_TRAITS * num_classes, width = num_classes / BITS + 1;
    uint64_t *onward = calloc((size_t)p->num_words * BITS * (size_t)width, sizeof *onward); /* by position */
    p->onward = calloc((size_t)num_keys * (size_t)width, sizeof *p->onward);
    p->num_onward = width;
    int is_made = onward && p->onward;
    for (int32_t i = 0; is_made && i < edges.count; i++) {
        int32_t from = edges.pairs[2 * i], to = edges.pairs[2 * i + 1];
        for (int32_t klass = 0; klass < num_classes; klass++)
            if (p->members[klass * p->num_words + to / BITS] & BIT(to)) onward[from * width + klass / BITS] |= BIT(klass);
    }
    for (int32_t i = 0; is_made && i < lasts.count; i++)
        memset(onward + (size_t)lasts.pairs[2 * i] * (size_t)width, 0xFF, (size_t)width * sizeof *onward);
    for (int32_t key = 0; is_made && key < num_keys; key++) {
        uint64_t *of_key = p->onward + (size_t)key * (size_t)width;
        for (int32_t i = p->starts.from[key]; i < p->starts.from[key + 1]; i++)
            for (uint64_t some = p->starts.parts[i].mask; some; some &= some - 1) {
                int32_t position = p->starts.parts[i].word * BITS + __builtin_ctzll(some);
                for (int32_t k = 0; k < width; k++) of_key[k] |= onward[position * width + k];
            }
    }
    free(onward);
    return is_made;
}

static void make_ends(positions_t *p, pairs_t lasts) {
    for (int32_t i = 0; i < lasts.count; i++)
        for (int32_t pair = 0; pair < NUM_PAIRS; pair++)
            if (lasts.pairs[2 * i + 1] >> pair & 1)
                p->ends[pair * p->num_words + lasts.pairs[2 * i] / BITS] |= BIT(lasts.pairs[2 * i]);
}

positions_t *positions_new(const uint32_t *spans, int32_t num_spans, const uint8_t *members, const uint8_t *traits,
                           int32_t num_classes, const int32_t *sets, const int32_t *owners, int32_t num_words,
                           int32_t num_regexes, pairs_t edges, pairs_t firsts, pairs_t lasts) {
    positions_t *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    size_t words = (size_t)num_words;
    p->num_words = num_words, p->num_regexes = num_regexes;
    p->traits = malloc((size_t)num_classes);
    p->owners = malloc(words * BITS * sizeof *owners);
    p->members = calloc((size_t)num_classes * words, sizeof *p->members);
    p->next = calloc(words, sizeof *p->next), p->skips = calloc(words, sizeof *p->skips), p->stays = calloc(words, sizeof *p->stays);
    p->jumps = calloc(words, sizeof *p->jumps), p->ends = calloc(NUM_PAIRS * words, sizeof *p->ends);
    int is_made = p->traits && p->owners && p->members && p->next && p->skips && p->stays && p->jumps && p->ends &&
                  classes_make(&p->classes, spans, num_spans, num_classes);
    if (is_made) {
        memcpy(p->traits, traits, (size_t)num_classes);
        memcpy(p->owners, owners, words * BITS * sizeof *owners);
        make_members(p, members, sets);
        make_ends(p, lasts);
        is_made = make_owned(p, sets) && make_followers(p, edges) && make_starts(p, firsts) && make_onward(p, edges, lasts) &&
                  (p->recall = recall_new(num_classes)) != NULL;
    }
    if (is_made) return p;
    positions_free(p);
    return NULL;
}

void positions_free(positions_t *p) {
    if (!p) return;
    recall_free(p->recall);
    classes_free(&p->classes);
    rows_t *rows[] = {&p->starts, &p->followers, &p->owned};
    for (int i = 0; i < 3; i++) free(rows[i]->from), free(rows[i]->parts);
    void *parts[] = {p->traits, p->owners, p->members, p->next, p->skips, p->stays, p->jumps, p->ends, p->onward};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
    free(p);
}
