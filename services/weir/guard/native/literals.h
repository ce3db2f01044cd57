/* Sets of literals, searched for in text all at once. Text is UTF-32; positions are in characters. */
#ifndef WEIR_GUARD_LITERALS_H
#define WEIR_GUARD_LITERALS_H

#include <stdint.h>

/* What the terms that a literal stands for ask for. */
enum {
    ANYWHERE = 1,       /* one of them may follow a word character */
    AT_WORD = 2,        /* one of them may not */
    WAITS_ANYWHERE = 4, /* as ANYWHERE, and what follows it matters */
    WAITS_AT_WORD = 8,
    PLAIN = 16,         /* all consist of nothing but the literal's letters */
};
enum { NO_SYMBOL = 0x1FFFFF, HAS_MORE = 1 << 21, HAS_FINDS = 1 << 22 }; /* in `next`: other edges, a literal's end */

/* Bits by hash: what is not in it was not put in. */
typedef struct {
    uint64_t *bits;
    uint32_t shift;
} filter_t;

typedef struct {
    uint32_t parent, symbol, node;
} edge_t;

typedef struct {
    uint32_t symbols[3], node;
} begin_t;

/* Nodes are the beginnings of literals, the first the empty one. */
typedef struct {
    uint32_t num_nodes, room, num_edges, edge_mask;
    uint32_t *next;             /* the symbol that leads to the node behind this one, and what is below */
    edge_t *edges;              /* that lead elsewhere, by hash */
    uint32_t *fail, *shorter;   /* the longest proper end that begins a literal; that is one */
    int32_t *literal;           /* which one ends here, -1: none */
    uint16_t *depth;
    uint8_t *begun;             /* ANYWHERE, AT_WORD of literals that go on or wait here */
    uint64_t pairs[256];        /* which two ASCII characters a literal may begin with */
    filter_t begins, begins_anywhere; /* which three symbols literals begin with; of those that may stand anywhere */
    filter_t goes_on;           /* which four and six they go on with; all of shorter ones */
    begin_t *nodes_of;          /* the nodes behind three symbols */
    uint32_t begin_mask;
    uint32_t longest;           /* letters of a literal */
    int has_one, has_two, has_anywhere; /* literals of so many letters; that may follow a word character */
    uint8_t *flags;             /* of literals */
    uint32_t num_literals;
} set_t;

/* Characters to search. `at` says where each stands in the text; NULL: one by one from `begin`. */
typedef struct {
    const uint32_t *text;
    int32_t size, begin;
    const uint32_t *symbols;
    const int32_t *at;
    int32_t count;
} view_t;

/* In which sets terms are looked for, and what need not be told of where a text is open from. */
enum { WRITTEN, LEET, JOINED, APART, NUM_KINDS };
enum { NO_OPEN = 1, NO_SPELLED_OPEN = 2 };

typedef struct {
    const set_t *sets[NUM_KINDS]; /* any may be NULL */
    const uint8_t *letters;       /* a bit for each character */
} terms_t;

/* What these do is said where they are: literals.c, search.c. `out` has room for so many finds, of four numbers each. */
set_t *weir_set_new(const uint32_t *letters, const uint32_t *lengths, uint32_t count, const uint8_t *flags);
void weir_set_free(set_t *set);
int32_t weir_terms(const terms_t *terms, const uint32_t *text, int32_t size, int32_t begin, int32_t options,
                   int32_t *out, int32_t room);
int32_t weir_find(const set_t *set, const uint32_t *text, int32_t size, const uint32_t *map, int32_t *out, int32_t room);
int32_t weir_find_which(const set_t *set, const uint32_t *text, int32_t size, int32_t *out, int32_t room);
int32_t weir_find_drawn_out(const set_t *set, const uint32_t *text, int32_t size, const uint32_t *letters,
                            int32_t num_letters, int32_t *out, int32_t room);
enum { MOST_ROUNDS = 32 }; /* as in `repeats.py` */
int32_t weir_drawn_out(const uint32_t *text, int32_t size, uint32_t *letters);
int32_t weir_encoded_words(const uint32_t *text, int32_t size, int32_t least, int32_t most, int32_t *out,
                           int32_t room);

static inline int is_word(uint32_t c) {
    static const uint32_t words[4] = {0, 0x03FF0000u, 0x87FFFFFEu, 0x07FFFFFEu}; /* a bit for 0-9, A-Z, _, a-z */
    return c < 128 && (words[c >> 5] >> (c & 31) & 1);
}

static inline int32_t place_of(const view_t *view, int32_t index) {
    return view->at ? view->at[index] : view->begin + index;
}

static inline int follows_word(const view_t *view, int32_t place) { return place > 0 && is_word(view->text[place - 1]); }

static inline int has_finds(const set_t *set, uint32_t state) { return set->next[state] & HAS_FINDS; }

static inline uint32_t edge_hash(uint32_t parent, uint32_t symbol) {
    uint32_t hash = parent * 0x9E3779B1u ^ symbol * 0x85EBCA77u;
    return hash ^ hash >> 15;
}

static inline uint32_t set_go(const set_t *set, uint32_t state, uint32_t symbol) {
    uint32_t next = set->next[state];
    if ((next & NO_SYMBOL) == symbol) return state + 1;
    if (!(next & HAS_MORE)) return 0;
    for (uint32_t slot = edge_hash(state, symbol) & set->edge_mask;; slot = (slot + 1) & set->edge_mask) {
        const edge_t *edge = &set->edges[slot];
        if (!edge->node || (edge->parent == state && edge->symbol == symbol)) return edge->node;
    }
}

/* `is_whole`: as a literal, not as the beginning of one. The products do not wait for each other. */
static inline uint32_t hash_of(const uint32_t *s, uint32_t count, uint32_t is_whole) {
    uint32_t hash = (count << 1 | is_whole) * 0x27D4EB2Fu + s[0] * 0x9E3779B1u;
    if (count > 1) hash += s[1] * 0x85EBCA77u;
    if (count > 2) hash += s[2] * 0xC2B2AE3Du;
    if (count > 3) hash += s[3] * 0x165667B1u;
    if (count > 4) hash += s[4] * 0xD6E8FEB9u;
    if (count > 5) hash += s[5] * 0xA0761D65u;
    return hash;
}

/* Which two bits of a filter's word stand for a hash: one for every eight that is asked for is found that was not put
 * in, with one bit; with two, one for every twenty. */
static inline uint64_t bits_of(const filter_t *filter, uint32_t hash) {
    return 1ull << (hash >> filter->shift & 63) | 1ull << (hash >> 5 & 63);
}

static inline int is_in(const filter_t *filter, const uint32_t *symbols, uint32_t count, uint32_t is_whole) {
    uint32_t hash = hash_of(symbols, count, is_whole);
    uint64_t bits = bits_of(filter, hash);
    return (filter->bits[hash >> filter->shift >> 6] & bits) == bits;
}

/* The node behind three symbols that a literal begins with, which are `s`; 0: none does. */
static inline uint32_t node_of(const set_t *set, const uint32_t *s) {
    for (uint32_t slot = hash_of(s, 3, 0) * 0x9E3779B1u >> 8 & set->begin_mask;; slot = (slot + 1) & set->begin_mask) {
        const begin_t *begin = &set->nodes_of[slot];
        if (!begin->node || (begin->symbols[0] == s[0] && begin->symbols[1] == s[1] && begin->symbols[2] == s[2]))
            return begin->node;
    }
}

/* Whether more than three symbols that a literal begins with stand at `s`, as far as there are that many. */
static inline int may_go_on(const set_t *set, const uint32_t *s, int32_t count) {
    if (count < 6 || is_in(&set->goes_on, s, 3, 1)) return 1;
    if (!is_in(&set->goes_on, s, 4, 0)) return 0;
    return is_in(&set->goes_on, s, 6, 0) || is_in(&set->goes_on, s, 4, 1) || is_in(&set->goes_on, s, 5, 1);
}

/* Whether a literal may begin at symbol `i`; never false where one does, or where the view ends within one. */
static inline int may_begin(const set_t *set, const view_t *view, int32_t i) {
    const filter_t *begins = &set->begins;
    const uint32_t *s = view->symbols + i;
    int32_t count = view->count - i;
    if (follows_word(view, place_of(view, i))) {
        if (!set->has_anywhere) return 0;
        begins = &set->begins_anywhere;
    }
    if (count < 3) return 1;
    if ((s[0] | s[1]) < 128) {
        uint32_t pair = s[0] << 7 | s[1];
        if (!(set->pairs[pair >> 6] >> (pair & 63) & 1)) return 0;
    }
    if (is_in(begins, s, 3, 0) && may_go_on(set, s, count)) return 1;
    return (set->has_two && is_in(begins, s, 2, 1)) || (set->has_one && is_in(begins, s, 1, 1));
}

/* Whether nothing that goes on from a state, reached before symbol `i`, could be a find where it starts. */
static inline int is_in_vain(const set_t *set, const view_t *view, uint32_t state, int32_t i) {
    return !(set->begun[state] & ANYWHERE) && follows_word(view, place_of(view, i - set->depth[state]));
}

/* The state after symbol `i`. It skips what begins nothing that could be a find. */
static inline uint32_t set_step(const set_t *set, const view_t *view, uint32_t state, int32_t i) {
    uint32_t symbol = view->symbols[i];
    while (state) {
        uint32_t next = set_go(set, state, symbol);
        if (next) return next;
        do state = set->fail[state];
        while (state && is_in_vain(set, view, state, i));
    }
    return may_begin(set, view, i) ? set_go(set, 0, symbol) : 0;
}

#endif
