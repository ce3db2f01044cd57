/* Every position may be the last one of a text; each character before it leaves fewer. It never takes more steps than
 * the longest match has characters, and makes no states. */
#include "backward.h"
#include "placed.h"

#include <stdlib.h>

enum { MOST_STEPS = 1 << 22 }; /* of all walks through a program */
#define BIT(position) (UINT64_C(1) << ((position) % BITS))

/* Words from `first` to `last` have positions; `then` is empty between steps. */
typedef struct {
    uint64_t at[MOST_BACK_WORDS + 1], then[MOST_BACK_WORDS + 1];
    int32_t first, last;
} place_t;

static inline const uint64_t *members_of(const backward_t *b, int32_t klass) {
    return b->members + (size_t)klass * (size_t)b->num_words;
}

/* Put what is in the rows of some positions of each word with the rest; `mask`: which have one. */
static void add_rows(place_t *s, const uint64_t *mask, const rows_t *rows) {
    int32_t first = s->first, last = s->last;
    for (int32_t word = s->first; word <= s->last; word++)
        for (uint64_t some = s->at[word] & mask[word]; some; some &= some - 1) {
            int32_t position = word * BITS + __builtin_ctzll(some);
            for (int32_t k = rows->from[position]; k < rows->from[position + 1]; k++) {
                const part_t *part = &rows->parts[k];
                s->then[part->word] |= part->mask;
                if (part->word < first) first = part->word;
                if (part->word > last) last = part->word;
            }
        }
    for (int32_t word = first; word < s->first; word++) s->at[word] = 0;
    for (int32_t word = s->last + 1; word <= last; word++) s->at[word] = 0;
    s->first = first, s->last = last;
}

static int narrow(place_t *s) {
    while (s->first <= s->last && !s->at[s->first]) s->first++;
    while (s->first <= s->last && !s->at[s->last]) s->last--;
    return s->first <= s->last;
}

/* Go to what precedes the positions, where that is a character of a class; 0: nothing does. */
static int step_back(const backward_t *b, place_t *s, int32_t klass) {
    const uint64_t *members = members_of(b, klass), *linked = b->linked, *skipped = b->skipped, *stays = b->stays;
    add_rows(s, b->landings, &b->preceders);
    if (s->first) s->at[--s->first] = 0;
    s->at[s->last + 1] = 0;
    for (int32_t word = s->first; word <= s->last; word++) {
        uint64_t at = s->at[word], behind = s->at[word + 1];
        uint64_t by_one = (at & linked[word]) >> 1 | (behind & linked[word + 1]) << (BITS - 1);
        uint64_t by_two = (at & skipped[word]) >> 2 | (behind & skipped[word + 1]) << (BITS - 2);
        s->at[word] = (s->then[word] | by_one | by_two | (at & stays[word])) & members[word];
        s->then[word] = 0;
    }
    return narrow(s);
}

/* Go to what follows the positions. */
static int step_on(const backward_t *b, place_t *s, int32_t klass) {
    const uint64_t *members = members_of(b, klass), *linked = b->linked, *skipped = b->skipped, *stays = b->stays;
    add_rows(s, b->jumps, &b->followers);
    if (s->last + 1 < b->num_words) s->at[++s->last] = 0;
    uint64_t before = 0;
    for (int32_t word = s->first; word <= s->last; word++) {
        uint64_t at = s->at[word];
        uint64_t by_one = (at << 1 | before >> (BITS - 1)) & linked[word];
        uint64_t by_two = (at << 2 | before >> (BITS - 2)) & skipped[word];
        s->at[word] = (s->then[word] | by_one | by_two | (at & stays[word])) & members[word];
        s->then[word] = 0;
        before = at;
    }
    return narrow(s);
}

static inline int32_t class_at(const backward_t *b, const void *text, int kind, int32_t at) {
    return class_in(&b->classes, character_at(text, kind, at));
}

/* Where a match may begin before the character at a place. */
static const uint64_t *begins_at(const backward_t *b, const void *text, int kind, int32_t at) {
    uint32_t before = at ? b->traits[class_at(b, text, kind, at - 1)] : NOTHING;
    uint32_t pair = before * NUM_TRAITS + b->traits[class_at(b, text, kind, at)];
    return b->begins + (size_t)pair * (size_t)b->num_words;
}

/* Whether what starts just there goes on up to the end. */
static int is_open(const backward_t *b, place_t *s, const void *text, int kind, int32_t size, int32_t at) {
    const uint64_t *begins = begins_at(b, text, kind, at), *members = members_of(b, class_at(b, text, kind, at));
    s->first = 0, s->last = b->num_words - 1;
    for (int32_t word = 0; word < b->num_words; word++) s->at[word] = begins[word] & members[word];
    int is_any = narrow(s);
    while (is_any && ++at < size) is_any = step_on(b, s, class_at(b, text, kind, at));
    return is_any;
}

static int begins_here(const place_t *s, const uint64_t *begins) {
    uint64_t any = 0;
    for (int32_t word = s->first; word <= s->last; word++) any |= s->at[word] & begins[word];
    return any != 0;
}

int32_t backward_open(const backward_t *b, const void *text, int kind, int32_t size, int32_t begin) {
    if (begin >= size) return size;
    place_t s;
    memset(s.then, 0, (size_t)b->num_words * sizeof *s.then);
    if (is_open(b, &s, text, kind, size, begin)) return begin; /* mostly it was before, and still is */
    int32_t first = size, at = size - 1;
    s.first = 0, s.last = b->num_words - 1;
    memcpy(s.at, members_of(b, class_at(b, text, kind, at)), (size_t)b->num_words * sizeof *s.at);
    int is_any = narrow(&s);
    for (; is_any && at > begin; is_any = step_back(b, &s, class_at(b, text, kind, --at)))
        if (begins_here(&s, begins_at(b, text, kind, at))) first = at;
    return first;
}

/* What is needed while one is made: the position of each instruction, walks from instructions, edges. */
typedef struct {
    const instruction_t *code;
    int32_t size, *position, *stack, *touched, num_touched, *edges, num_edges, room;
    uint16_t *seen; /* by instruction: between which traits it was reached */
    int64_t num_steps;
} maker_t;

static uint16_t pairs_where(int32_t place) {
    uint16_t pairs = 0;
    for (uint32_t pair = 0; pair < NUM_PAIRS; pair++)
        if (place_holds(place, pair / NUM_TRAITS, pair % NUM_TRAITS)) pairs |= (uint16_t)(1 << pair);
    return pairs;
}

/* Walk from an instruction to all that are reached without a character; 0: that takes too long. */
static int walk(maker_t *m, int32_t from) {
    while (m->num_touched) m->seen[m->touched[--m->num_touched]] = 0;
    int32_t depth = 0;
    m->stack[depth++] = from, m->stack[depth++] = 0xFFFF;
    while (depth) {
        uint16_t when = (uint16_t)m->stack[--depth];
        int32_t at = m->stack[--depth];
        if (!(when & ~m->seen[at])) continue;
        if (++m->num_steps > MOST_STEPS || depth + 4 > 4 * m->size) return 0;
        if (!m->seen[at]) m->touched[m->num_touched++] = at;
        when = m->seen[at] |= when;
        const instruction_t *one = &m->code[at];
        if (one->op == OP_SPLIT) {
            m->stack[depth++] = one->x, m->stack[depth++] = when;
            m->stack[depth++] = one->y, m->stack[depth++] = when;
        } else if (one->op == OP_PLACE) {
            m->stack[depth++] = one->y, m->stack[depth++] = when & pairs_where(one->x);
        }
    }
    return 1;
}

static int add_edge(maker_t *m, int32_t to, int32_t from) {
    if (m->num_edges == m->room) {
        int32_t room = m->room ? 2 * m->room : 1 << 12, *more = realloc(m->edges, 2 * (size_t)room * sizeof *more);
        if (!more) return 0;
        m->edges = more, m->room = room;
    }
    m->edges[2 * m->num_edges] = to, m->edges[2 * m->num_edges++ + 1] = from;
    return 1;
}

static int add_edges(maker_t *m, backward_t *b, int32_t at) {
    int32_t from = m->position[at];
    if (!walk(m, m->code[at].y)) return 0;
    for (int32_t i = 0; i < m->num_touched; i++) {
        int32_t to = m->position[m->touched[i]];
        if (to < 0) continue;
        if (to == from) b->stays[to / BITS] |= BIT(to);
        else if (to == from + 1) b->linked[to / BITS] |= BIT(to);
        else if (to == from + 2) b->skipped[to / BITS] |= BIT(to);
        else if (!add_edge(m, to, from)) return 0;
        else b->landings[to / BITS] |= BIT(to), b->jumps[from / BITS] |= BIT(from);
    }
    return 1;
}

static int add_begins(maker_t *m, backward_t *b, int32_t entry) {
    if (!walk(m, entry)) return 0;
    for (int32_t i = 0; i < m->num_touched; i++) {
        int32_t to = m->position[m->touched[i]];
        for (int32_t pair = 0; to >= 0 && pair < NUM_PAIRS; pair++)
            if (m->seen[m->touched[i]] >> pair & 1) b->begins[pair * b->num_words + to / BITS] |= BIT(to);
    }
    return 1;
}

static int make(maker_t *m, backward_t *b, const int32_t *entries, int32_t num_entries, const uint8_t *members,
                int32_t num_positions) {
    for (int32_t at = 0; at < m->size; at++) {
        int32_t position = m->position[at];
        if (position < 0) continue;
        const uint8_t *of_set = members + (size_t)m->code[at].x * (size_t)b->classes.count;
        for (int32_t klass = 0; klass < b->classes.count; klass++)
            if (of_set[klass]) b->members[klass * b->num_words + position / BITS] |= BIT(position);
        if (!add_edges(m, b, at)) return 0;
    }
    for (int32_t i = 0; i < num_entries; i++)
        if (!add_begins(m, b, entries[i])) return 0;
    if (!rows_of_pairs(&b->preceders, m->edges, m->num_edges, num_positions)) return 0;
    for (int32_t i = 0; i < m->num_edges; i++) {
        int32_t to = m->edges[2 * i];
        m->edges[2 * i] = m->edges[2 * i + 1], m->edges[2 * i + 1] = to;
    }
    return rows_of_pairs(&b->followers, m->edges, m->num_edges, num_positions);
}

backward_t *backward_new(const instruction_t *code, int32_t size, const int32_t *entries, int32_t num_entries,
                         const uint32_t *spans, int32_t num_spans, const uint8_t *members, const uint8_t *traits,
                         int32_t num_classes) {
    maker_t m = {.code = code, .size = size};
    backward_t *b = calloc(1, sizeof *b);
    m.position = malloc(((size_t)size + 1) * sizeof *m.position), m.stack = malloc((4 * (size_t)size + 8) * sizeof *m.stack);
    m.touched = malloc(((size_t)size + 1) * sizeof *m.touched), m.seen = calloc((size_t)size + 1, sizeof *m.seen);
    int32_t count = 0; /* what comes first in the text was made last */
    for (int32_t at = size - 1; m.position && at >= 0; at--) m.position[at] = code[at].op == OP_SET ? count++ : -1;
    size_t words = ((size_t)count + BITS - 1) / BITS;
    int is_made = b && m.position && m.stack && m.touched && m.seen && words && words <= MOST_BACK_WORDS;
    if (is_made) {
        b->num_words = (int32_t)words;
        b->traits = malloc((size_t)num_classes);
        b->members = calloc((size_t)num_classes * words, sizeof *b->members);
        b->linked = calloc(words + 1, sizeof *b->linked), b->skipped = calloc(words + 1, sizeof *b->skipped),
        b->jumps = calloc(words, sizeof *b->jumps), b->stays = calloc(words, sizeof *b->stays);
        b->landings = calloc(words, sizeof *b->landings), b->begins = calloc(NUM_PAIRS * words, sizeof *b->begins);
        is_made = b->traits && b->members && b->linked && b->skipped && b->stays && b->landings && b->jumps && b->begins &&
                  classes_make(&b->classes, spans, num_spans, num_classes) &&
                  make(&m, b, entries, num_entries, members, count);
        if (b->traits) memcpy(b->traits, traits, (size_t)num_classes);
    }
    void *parts[] = {m.position, m.stack, m.touched, m.seen, m.edges};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
    if (is_made) return b;
    backward_free(b);
    return NULL;
}

void backward_free(backward_t *b) {
    if (!b) return;
    classes_free(&b->classes);
    void *parts[] = {b->traits, b->members, b->linked, b->skipped, b->stays, b->landings, b->jumps, b->begins,
                     b->preceders.from, b->preceders.parts, b->followers.from, b->followers.parts};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
    free(b);
}
