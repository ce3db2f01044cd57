/* What searches through positions remember: the sets of positions that they met, and what followed. Ordinary text meets
 * few, and costs a look at a table for each character; a text that meets new ones all the time is left to what makes none. */
#include "placed.h"

#include <stdlib.h>

enum { MOST_STATES = 4096, NUM_SLOTS = 1 << 13, FREE_MISSES = 256, MISSES_EVERY = 32 }; /* characters */
#define UNKNOWN UINT16_MAX

/* A set of positions behind a character of a trait. */
typedef struct {
    part_t *parts;
    int32_t count;
    uint32_t hash, trait;
} state_t;

struct recall {
    state_t states[MOST_STATES];
    uint16_t slots[NUM_SLOTS]; /* states by hash, from 1 on */
    uint16_t *next;            /* by state and class: twice the state, plus one where matches end */
    uint32_t num_states, room, width;
};

recall_t *recall_new(int32_t num_classes) {
    recall_t *recall = calloc(1, sizeof *recall);
    if (recall) recall->width = (uint32_t)num_classes;
    return recall;
}

static void forget(recall_t *r) {
    for (uint32_t i = 0; i < r->num_states; i++) free(r->states[i].parts);
    r->num_states = 0;
    memset(r->slots, 0, sizeof r->slots);
}

void recall_free(recall_t *recall) {
    if (!recall) return;
    forget(recall);
    free(recall->next);
    free(recall);
}

static uint32_t hash_of(const search_t *s, uint32_t trait) {
    uint64_t hash = trait + 1;
    for (uint64_t words = s->words; words; words &= words - 1) {
        uint32_t word = (uint32_t)__builtin_ctzll(words);
        hash = (hash ^ (s->at[word] + word)) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 29;
    }
    return (uint32_t)(hash ^ hash >> 32);
}

static int is_same(const state_t *state, const search_t *s, uint32_t trait, uint32_t hash) {
    if (state->hash != hash || state->trait != trait || state->count != __builtin_popcountll(s->words)) return 0;
    for (int32_t i = 0; i < state->count; i++) {
        const part_t *part = &state->parts[i];
        if (!(s->words >> part->word & 1) || s->at[part->word] != part->mask) return 0;
    }
    return 1;
}

static int make_room(recall_t *r) {
    if (r->num_states < r->room) return 1;
    uint32_t room = r->room ? 2 * r->room : 64;
    uint16_t *next = realloc(r->next, (size_t)room * r->width * sizeof *next);
    if (!next) return 0;
    r->next = next, r->room = room;
    return 1;
}

/* The state of where a search is; UNKNOWN: there is no room or memory for it. */
static uint32_t state_of(recall_t *r, const search_t *s, uint32_t trait) {
    uint32_t hash = hash_of(s, trait), slot = hash % NUM_SLOTS;
    for (; r->slots[slot]; slot = (slot + 1) % NUM_SLOTS)
        if (is_same(&r->states[r->slots[slot] - 1], s, trait, hash)) return r->slots[slot] - 1u;
    if (r->num_states == MOST_STATES || !make_room(r)) return UNKNOWN;
    int32_t count = 0;
    part_t *parts = malloc(((size_t)__builtin_popcountll(s->words) + 1) * sizeof *parts);
    if (!parts) return UNKNOWN;
    for (uint64_t words = s->words; words; words &= words - 1) {
        int32_t word = __builtin_ctzll(words);
        parts[count++] = (part_t){word, s->at[word]};
    }
    memset(r->next + (size_t)r->num_states * r->width, 0xFF, r->width * sizeof *r->next);
    r->states[r->num_states] = (state_t){parts, count, hash, trait};
    r->slots[slot] = (uint16_t)++r->num_states;
    return r->num_states - 1;
}

static void go_to(search_t *s, const state_t *state) {
    s->words = s->next_words = 0;
    for (int32_t i = 0; i < state->count; i++) {
        s->at[state->parts[i].word] = state->parts[i].mask;
        s->words |= UINT64_C(1) << state->parts[i].word;
    }
}

/* Note what ends behind a state, where a character of that trait follows; return whether anything does. */
static int note_ends(const positions_t *p, search_t *s, const state_t *state, uint32_t behind) {
    const uint64_t *ends = ends_of(p, state->trait * NUM_TRAITS + behind);
    uint64_t any = 0;
    for (int32_t i = 0; i < state->count; i++) {
        uint64_t ended = state->parts[i].mask & ends[state->parts[i].word];
        if (ended) find_all(p, s, state->parts[i].word, ended);
        any |= ended;
    }
    return any != 0;
}

/* Take in a character of a class. */
static void take_in(const positions_t *p, search_t *s, uint32_t before, int32_t klass) {
    if (s->words) leave(p, s, before * NUM_TRAITS + p->traits[klass]);
    add_all(s, &p->starts, (int32_t)before * p->classes.count + klass);
    enter(p, s, klass);
}

/* Follow a state over a character that none followed it with before; `s` is then behind it. UNKNOWN: all was forgotten,
 * or there is no memory. */
static uint32_t follow(const positions_t *p, search_t *s, uint32_t from, int32_t klass) {
    recall_t *r = p->recall;
    uint32_t before = r->states[from].trait, is_end = (uint32_t)note_ends(p, s, &r->states[from], p->traits[klass]);
    memset(s->open, 0xFF, sizeof s->open); /* what was found goes on, as it does where it was not */
    go_to(s, &r->states[from]);
    take_in(p, s, before, klass);
    uint32_t to = state_of(r, s, p->traits[klass]);
    if (to == UNKNOWN) {
        forget(r);
        return UNKNOWN;
    }
    return r->next[(size_t)from * r->width + (uint32_t)klass] = (uint16_t)(to << 1 | is_end);
}

static inline __attribute__((always_inline)) int32_t look(const positions_t *p, search_t *s, const void *text, int kind,
                                                          int32_t size) {
    recall_t *r = p->recall;
    uint32_t state = state_of(r, s, NOTHING); /* no positions */
    if (state == UNKNOWN) {
        forget(r);
        return 0;
    }
    for (int32_t i = 0, num_misses = 0; i < size; i++) {
        int32_t klass = class_in(&p->classes, character_at(text, kind, i));
        uint32_t next = r->next[(size_t)state * r->width + (uint32_t)klass];
        if (next == UNKNOWN) {
            next = follow(p, s, state, klass);
            if (next == UNKNOWN || ++num_misses > FREE_MISSES + i / MISSES_EVERY) return i + 1;
        } else if (next & 1) {
            note_ends(p, s, &r->states[state], p->traits[klass]);
        }
        state = next >> 1;
    }
    note_ends(p, s, &r->states[state], NOTHING);
    return -1;
}

int32_t search_known(positions_t *p, search_t *s, const void *text, int kind, int32_t size) {
    return kind == 1 ? look(p, s, text, 1, size) : kind == 2 ? look(p, s, text, 2, size) : look(p, s, text, 4, size);
}
