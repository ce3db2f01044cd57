/* An automaton after Aho and Corasick over characters, its edges in one hash table. */
#include "literals.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_FILTER_BITS = 12, MOST_FILTER_BITS = 21, FIRST_NODES = 1024 };

typedef struct {
    uint32_t *parent, *symbol;
} origin_t;

static int grow(set_t *set, origin_t *origin) {
    uint32_t room = set->room ? 2 * set->room : FIRST_NODES;
#define GROW(array)                                                  \
    do {                                                             \
        void *more = realloc(array, room * sizeof *(array));         \
        if (!more) return 0;                                         \
        array = more;                                                \
    } while (0)
    GROW(set->next);
    GROW(set->literal);
    GROW(set->depth);
    GROW(set->begun);
    GROW(origin->parent);
    GROW(origin->symbol);
#undef GROW
    set->room = room;
    return 1;
}

static void put_edge(edge_t *edges, uint32_t mask, edge_t edge) {
    uint32_t slot = edge_hash(edge.parent, edge.symbol) & mask;
    while (edges[slot].node) slot = (slot + 1) & mask;
    edges[slot] = edge;
}

static int add_edge(set_t *set, edge_t edge) {
    if (3 * set->num_edges >= 2 * set->edge_mask) {
        uint32_t mask = 2 * set->edge_mask + 1;
        edge_t *edges = calloc((size_t)mask + 1, sizeof *edges);
        if (!edges) return 0;
        for (uint32_t slot = 0; slot <= set->edge_mask; slot++)
            if (set->edges[slot].node) put_edge(edges, mask, set->edges[slot]);
        free(set->edges);
        set->edges = edges;
        set->edge_mask = mask;
    }
    put_edge(set->edges, set->edge_mask, edge);
    set->num_edges++;
    return 1;
}

static uint32_t add_node(set_t *set, origin_t *origin, uint32_t parent, uint32_t symbol) {
    if (set->num_nodes == set->room && !grow(set, origin)) return 0;
    uint32_t node = set->num_nodes++;
    set->next[node] = NO_SYMBOL;
    set->literal[node] = -1;
    set->begun[node] = 0;
    set->depth[node] = node ? set->depth[parent] + 1 : 0;
    origin->parent[node] = parent;
    origin->symbol[node] = symbol;
    if (!node) return 0;
    if (parent + 1 == node) { /* needs no edge in the table */
        set->next[parent] = (set->next[parent] & ~NO_SYMBOL) | symbol;
        return node;
    }
    set->next[parent] |= HAS_MORE;
    return add_edge(set, (edge_t){parent, symbol, node}) ? node : 0;
}

static int add_literal(set_t *set, origin_t *origin, const uint32_t *letters, uint32_t length, uint32_t number) {
    uint8_t flags = set->flags[number];
    uint8_t goes_on = flags & (ANYWHERE | AT_WORD), waits = flags >> 2 & (ANYWHERE | AT_WORD);
    uint32_t state = 0;
    for (uint32_t i = 0; i < length; i++) {
        uint32_t next = set_go(set, state, letters[i]);
        if (!next && !(next = add_node(set, origin, state, letters[i]))) return 0;
        set->begun[next] |= i + 1 < length ? goes_on : waits;
        state = next;
    }
    set->literal[state] = (int32_t)number;
    return 1;
}

static int filter_make(filter_t *filter, uint32_t count) {
    uint32_t bits = LEAST_FILTER_BITS;
    while (bits < MOST_FILTER_BITS && 1u << bits < 8 * count) bits++;
    filter->shift = 32 - bits;
    filter->bits = calloc((1u << bits) / 64, 8);
    return filter->bits != NULL;
}

static void filter_add(filter_t *filter, const uint32_t *symbols, uint32_t count, uint32_t is_whole) {
    uint32_t hash = hash_of(symbols, count, is_whole);
    filter->bits[hash >> filter->shift >> 6] |= bits_of(filter, hash);
}

static void add_beginning(set_t *set, const uint32_t *letters, uint32_t length, int is_anywhere) {
    if (length > set->longest) set->longest = length;
    set->has_one |= length == 1;
    set->has_two |= length == 2;
    set->has_anywhere |= is_anywhere;
    for (uint32_t next = 0; letters[0] < 128 && next < 128; next++) {
        if (length > 1 && letters[1] != next) continue;
        uint32_t pair = letters[0] << 7 | next;
        set->pairs[pair >> 6] |= 1ull << (pair & 63);
    }
    uint32_t first = length < 3 ? length : 3;
    filter_add(&set->begins, letters, first, length < 3);
    if (is_anywhere) filter_add(&set->begins_anywhere, letters, first, length < 3);
    if (length >= 3 && length < 6) filter_add(&set->goes_on, letters, length, 1);
    if (length >= 4) filter_add(&set->goes_on, letters, 4, 0);
    if (length >= 6) filter_add(&set->goes_on, letters, 6, 0);
}

static void add_node_of(set_t *set, const uint32_t *symbols, uint32_t node) {
    uint32_t slot = hash_of(symbols, 3, 0) * 0x9E3779B1u >> 8 & set->begin_mask;
    while (set->nodes_of[slot].node) slot = (slot + 1) & set->begin_mask;
    set->nodes_of[slot] = (begin_t){{symbols[0], symbols[1], symbols[2]}, node};
}

/* How many different beginnings of so many letters there are. */
static uint32_t count_beginnings(const set_t *set, uint32_t length) {
    uint32_t count = 0;
    for (uint32_t node = 0; node < set->num_nodes; node++)
        count += set->depth[node] == length || (set->depth[node] < length && set->literal[node] >= 0);
    return count;
}

static int make_beginnings(set_t *set, const origin_t *origin, const uint32_t *letters, const uint32_t *lengths,
                           uint32_t num_literals) {
    uint32_t count = count_beginnings(set, 3), further = count_beginnings(set, 4) + count_beginnings(set, 6);
    while (set->begin_mask < 2 * count) set->begin_mask = 2 * set->begin_mask + 1;
    set->nodes_of = calloc((size_t)set->begin_mask + 1, sizeof *set->nodes_of);
    if (!filter_make(&set->begins, count) || !filter_make(&set->begins_anywhere, count)) return 0;
    if (!filter_make(&set->goes_on, further) || !set->nodes_of) return 0;
    for (uint32_t number = 0; number < num_literals; letters += lengths[number++])
        add_beginning(set, letters, lengths[number], set->flags[number] & ANYWHERE);
    for (uint32_t node = 0; node < set->num_nodes; node++) {
        if (set->depth[node] != 3) continue;
        uint32_t second = origin->parent[node], first = origin->parent[second];
        uint32_t symbols[3] = {origin->symbol[first], origin->symbol[second], origin->symbol[node]};
        add_node_of(set, symbols, node);
    }
    return 1;
}

/* Nodes by depth, so that shorter ends are known before longer ones. */
static uint32_t *by_depth(const set_t *set) {
    uint32_t *first = calloc(1 << 16, sizeof *first), *order = malloc(set->num_nodes * sizeof *order);
    if (first && order) {
        for (uint32_t node = 0; node < set->num_nodes; node++)
            if (set->depth[node] < 0xFFFF) first[set->depth[node] + 1]++;
        for (uint32_t depth = 1; depth < 1 << 16; depth++) first[depth] += first[depth - 1];
        for (uint32_t node = 0; node < set->num_nodes; node++) order[first[set->depth[node]]++] = node;
    } else {
        free(order);
        order = NULL;
    }
    free(first);
    return order;
}

static int make_links(set_t *set, const origin_t *origin) {
    set->fail = calloc(set->num_nodes, sizeof *set->fail);
    set->shorter = calloc(set->num_nodes, sizeof *set->shorter);
    uint32_t *order = by_depth(set);
    if (!set->fail || !set->shorter || !order) {
        free(order);
        return 0;
    }
    for (uint32_t i = 1; i < set->num_nodes; i++) {
        uint32_t node = order[i], state = origin->parent[node], next = 0;
        while (state && !next) {
            state = set->fail[state];
            next = set_go(set, state, origin->symbol[node]);
        }
        set->fail[node] = next;
        set->shorter[node] = set->literal[next] >= 0 ? next : set->shorter[next];
        if (set->literal[node] >= 0 || set->shorter[node]) set->next[node] |= HAS_FINDS;
    }
    free(order);
    return 1;
}

static uint8_t *copied(const uint8_t *bytes, uint32_t count) {
    uint8_t *copy = malloc(count + 1);
    if (copy) memcpy(copy, bytes, count);
    return copy;
}

static int fill(set_t *set, origin_t *origin, const uint32_t *letters, const uint32_t *lengths, uint32_t count) {
    set->edge_mask = 2 * FIRST_NODES - 1;
    set->edges = calloc(set->edge_mask + 1, sizeof *set->edges);
    if (!set->edges || !set->flags || !grow(set, origin)) return 0;
    add_node(set, origin, 0, 0);
    const uint32_t *rest = letters;
    for (uint32_t number = 0; number < count; rest += lengths[number++]) {
        if (!lengths[number] || lengths[number] >= 0xFFFF) return 0;
        if (!add_literal(set, origin, rest, lengths[number], number)) return 0;
    }
    return make_links(set, origin) && make_beginnings(set, origin, letters, lengths, count);
}

/* Return a set of `count` different literals, which stand one behind the other in `letters`; NULL: no memory. */
set_t *weir_set_new(const uint32_t *letters, const uint32_t *lengths, uint32_t count, const uint8_t *flags) {
    set_t *set = calloc(1, sizeof *set);
    if (!set) return NULL;
    origin_t origin = {0};
    set->flags = copied(flags, count);
    set->num_literals = count;
    int is_made = fill(set, &origin, letters, lengths, count);
    free(origin.parent);
    free(origin.symbol);
    if (is_made) return set;
    weir_set_free(set);
    return NULL;
}

void weir_set_free(set_t *set) {
    if (!set) return;
    void *parts[] = {set->edges, set->next,     set->fail,  set->shorter,     set->literal,
                     set->depth, set->begun,    set->flags, set->begins.bits, set->begins_anywhere.bits,
                     set->nodes_of, set->goes_on.bits};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
    free(set);
}
