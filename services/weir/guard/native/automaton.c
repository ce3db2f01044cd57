/* A deterministic automaton of many regexes, made as far as texts lead into it. It is entered at each character anew:
 * what may follow one beginning is little, where what may follow any of them would be nearly everything. */
#include "automaton.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_STATES = 6000, FIRST_STATES = 64, NUM_SLOTS = 1 << 14, MOST_OPEN = 48 };

static void forget_states(automaton_t *a) {
    for (uint32_t i = 0; i < a->num_states; i++) {
        free(a->states[i].next);
        free(a->states[i].at);
    }
    a->num_states = 0;
    if (a->slots) memset(a->slots, 0, NUM_SLOTS * sizeof *a->slots);
}

static uint32_t hash_at(const int32_t *at, int32_t count, uint32_t trait) {
    uint32_t hash = 0x9E3779B1u * (trait + 1);
    for (int32_t i = 0; i < count; i++) hash = (hash ^ (uint32_t)at[i]) * 0x85EBCA77u, hash ^= hash >> 15;
    return hash;
}

static int is_same(const state_t *state, const int32_t *at, int32_t count, uint32_t trait, uint32_t hash) {
    return state->hash == hash && state->count == count && state->trait == trait &&
           !memcmp(state->at, at, (size_t)count * sizeof *at);
}

static int make_room(automaton_t *a) {
    if (a->num_states < a->room) return 1;
    uint32_t room = a->room ? 2 * a->room : FIRST_STATES;
    state_t *states = realloc(a->states, room * sizeof *states);
    if (!states) return 0;
    a->states = states, a->room = room;
    return 1;
}

/* The state of these instructions; UNKNOWN: no memory, or all states were forgotten. */
static uint32_t state_of(automaton_t *a, const int32_t *at, int32_t count, uint32_t trait) {
    uint32_t hash = hash_at(at, count, trait), slot = hash & (NUM_SLOTS - 1);
    for (; a->slots[slot]; slot = (slot + 1) & (NUM_SLOTS - 1))
        if (is_same(&a->states[a->slots[slot] - 1], at, count, trait, hash)) return a->slots[slot] - 1;
    if (a->num_states == MOST_STATES) {
        forget_states(a);
        return UNKNOWN;
    }
    if (!make_room(a)) return UNKNOWN;
    size_t width = ((size_t)a->num_classes + 1) * sizeof(uint32_t);
    state_t state = {malloc(width), malloc((size_t)count * sizeof *at + 1), count, hash, (uint8_t)trait};
    if (!state.next || !state.at) {
        free(state.next);
        free(state.at);
        return UNKNOWN;
    }
    memset(state.next, 0xFF, width);
    memcpy(state.at, at, (size_t)count * sizeof *at);
    a->states[a->num_states] = state;
    return (a->slots[slot] = ++a->num_states) - 1;
}

/* 0 leads nowhere; then there is one for what may stand before a match. */
int automaton_begin(automaton_t *a) {
    if (a->num_states) return 1;
    int are_made = state_of(a, a->entries, 0, NOTHING) == 0;
    for (uint32_t trait = 0; are_made && trait < NUM_TRAITS; trait++)
        are_made = (a->starts[trait] = state_of(a, a->entries, a->num_entries, trait)) != UNKNOWN;
    if (!are_made) forget_states(a);
    return are_made;
}

static int by_number(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

uint32_t automaton_follow(automaton_t *a, uint32_t from, int32_t klass) {
    const state_t *state = &a->states[from];
    uint32_t behind = klass == a->num_classes ? NOTHING : a->traits[klass], is_match = 0;
    int32_t depth = 0, count = 0, *stack = a->stack;
    if (!++a->turn) { /* all numbers of turns were used */
        memset(a->seen, 0, 2 * (size_t)a->size * sizeof *a->seen);
        a->turn = 1;
    }
    for (int32_t i = 0; i < state->count && !(a->is_ordered && is_match); i++) {
        stack[depth++] = state->at[i];
        while (depth) {
            int32_t at = stack[--depth];
            if (a->seen[at] == a->turn) continue;
            a->seen[at] = a->turn;
            const instruction_t *one = &a->code[at];
            if (one->op == OP_MATCH) {
                is_match = 1;
                if (a->is_ordered) depth = 0;
            } else if (one->op == OP_SPLIT) {
                stack[depth++] = one->y, stack[depth++] = one->x;
            } else if (one->op == OP_PLACE) {
                if (place_holds(one->x, state->trait, behind)) stack[depth++] = one->y;
            } else if (klass < a->num_classes && a->members[(size_t)one->x * a->num_classes + klass] &&
                       a->seen[a->size + one->y] != a->turn) {
                a->seen[a->size + one->y] = a->turn;
                a->reached[count++] = one->y;
            }
        }
    }
    if (!count) return a->states[from].next[klass] = is_match;
    if (!a->is_ordered) qsort(a->reached, (size_t)count, sizeof *a->reached, by_number);
    uint32_t next = state_of(a, a->reached, count, behind);
    if (next == UNKNOWN) return UNKNOWN;
    return a->states[from].next[klass] = next << 1 | is_match;
}

typedef struct {
    uint32_t state;
    int32_t start;
} open_t;

/* Take those over a character that go on, the earliest of those alike; return how many there are, -1: it can't tell. */
static int advance(automaton_t *a, open_t *open, int count, int32_t klass, int32_t *found) {
    int kept = 0;
    for (int i = 0; i < count; i++) {
        uint32_t next = next_of(a, open[i].state, klass);
        if (next == UNKNOWN) return -1;
        if (next & 1 && open[i].start < *found) *found = open[i].start;
        int is_new = next >> 1 != 0;
        for (int k = 0; k < kept && is_new; k++) is_new = open[k].state != next >> 1;
        if (is_new) open[kept++] = (open_t){next >> 1, open[i].start};
    }
    return kept;
}

int automaton_look(automaton_t *a, const uint32_t *text, int32_t size, int32_t begin, int is_end, int32_t *found,
                   int32_t *first_open) {
    open_t open[MOST_OPEN + 1];
    int count = 0;
    if (!automaton_begin(a)) return 0;
    uint32_t before = begin ? a->traits[class_of(a, text[begin - 1])] : NOTHING;
    *found = size;
    for (int32_t i = begin; i < size; i++) {
        int32_t klass = class_of(a, text[i]);
        open[count++] = (open_t){a->starts[before], i};
        count = advance(a, open, count, klass, found);
        if (count < 0 || count == MOST_OPEN) return 0;
        before = a->traits[klass];
    }
    *first_open = count ? open[0].start : size;
    return !is_end || advance(a, open, count, a->num_classes, found) >= 0;
}

static void *copied(const void *from, size_t size) {
    void *copy = malloc(size + 1);
    if (copy) memcpy(copy, from, size);
    return copy;
}

automaton_t *automaton_new(const instruction_t *code, int32_t size, const int32_t *entries, int32_t num_entries,
                           const uint32_t *spans, int32_t num_spans, const uint8_t *members, int32_t num_sets,
                           const uint8_t *traits, int32_t num_classes, int is_ordered) {
    automaton_t *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->size = size, a->num_entries = num_entries, a->num_sets = num_sets, a->num_classes = num_classes;
    a->is_ordered = is_ordered;
    a->code = copied(code, (size_t)size * sizeof *code);
    a->entries = copied(entries, (size_t)num_entries * sizeof *entries);
    a->members = copied(members, (size_t)num_sets * (size_t)num_classes);
    a->traits = copied(traits, (size_t)num_classes);
    a->slots = calloc(NUM_SLOTS, sizeof *a->slots);
    a->seen = calloc(2 * (size_t)size + 1, sizeof *a->seen);
    a->stack = malloc((2 * (size_t)size + 2) * sizeof *a->stack);
    a->reached = malloc(((size_t)size + 1) * sizeof *a->reached);
    int is_made = a->code && a->entries && a->members && a->traits && a->slots && a->seen && a->stack &&
                  a->reached && classes_make(&a->classes, spans, num_spans, num_classes);
    if (is_made) return a;
    automaton_free(a);
    return NULL;
}

void automaton_free(automaton_t *a) {
    if (!a) return;
    forget_states(a);
    classes_free(&a->classes);
    void *parts[] = {a->code,  a->entries, a->members, a->traits, a->states,
                     a->slots, a->seen,    a->stack,   a->reached};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
    free(a);
}
