/* Looks for sets of literals in a text: as it stands, in leet, spelled out, mapped, with repeats taken out. */
#include "literals.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_GAP = 3, LEAST_APART = 4, ON_STACK = 512 };

/* A list of finds: kind, literal, start, end of each. More than there is room for are only counted. */
typedef struct {
    int32_t *finds, room, count, kind;
} finds_t;

static void note(finds_t *finds, int32_t literal, int32_t start, int32_t end) {
    if (finds->count < finds->room) {
        int32_t *find = finds->finds + 4 * finds->count;
        find[0] = finds->kind, find[1] = literal, find[2] = start, find[3] = end;
    }
    finds->count++;
}

/* The text in a view, which is no longer than it; freed by view_end. */
typedef struct {
    uint32_t symbols_here[ON_STACK];
    int32_t at_here[ON_STACK];
    uint32_t *symbols;
    int32_t *at;
} memory_t;

static int view_begin(memory_t *memory, int32_t size) {
    memory->symbols = size <= ON_STACK ? memory->symbols_here : malloc(size * sizeof *memory->symbols);
    memory->at = size <= ON_STACK ? memory->at_here : malloc(size * sizeof *memory->at);
    return memory->symbols && memory->at;
}

static void view_end(memory_t *memory) {
    if (memory->symbols != memory->symbols_here) free(memory->symbols);
    if (memory->at != memory->at_here) free(memory->at);
}

static inline uint32_t unleet(uint32_t c) {
    static const uint8_t becomes[128] = {['0'] = '0' ^ 'o', ['1'] = '1' ^ 'i', ['3'] = '3' ^ 'e', ['4'] = '4' ^ 'a',
                                         ['5'] = '5' ^ 's', ['7'] = '7' ^ 't', ['@'] = '@' ^ 'a', ['$'] = '$' ^ 's',
                                         ['!'] = '!' ^ 'i', ['|'] = '|' ^ 'i', ['l'] = 'l' ^ 'i'};
    return c ^ becomes[c < 128 ? c : 0];
}

static inline int is_leet(uint32_t c) { return c != 'l' && unleet(c) != c; }

static inline int is_letter(const uint8_t *letters, uint32_t c) {
    return letters[c >> 3] >> (c & 7) & 1;
}

/* Whether a beginning of `length` symbols that ends at symbol `last` may be one of a set's literals here. */
static int is_begun(const set_t *set, const view_t *view, uint32_t state, int32_t last) {
    int32_t place = place_of(view, last + 1 - set->depth[state]);
    return set->begun[state] & ANYWHERE || (set->begun[state] & AT_WORD && !follows_word(view, place));
}

/* Where the longest end of the view starts that begins a literal and does not start behind `latest`; -1: nowhere. */
static int32_t open_place(const set_t *set, const view_t *view, uint32_t state, int32_t latest) {
    for (; state; state = set->fail[state]) {
        int32_t place = place_of(view, view->count - set->depth[state]);
        if (place <= latest && is_begun(set, view, state, view->count - 1)) return place;
    }
    return -1;
}

static uint32_t find_plain(const set_t *set, const view_t *view, finds_t *finds) {
    uint32_t state = 0;
    int may_leap = !set->has_one && !set->has_two;
    for (int32_t i = 0; i < view->count; i++) {
        if (!state && may_leap && i + 2 < view->count) { /* the first three symbols at once */
            if (!may_begin(set, view, i) || !(state = node_of(set, view->symbols + i))) continue;
            i += 2;
        } else {
            state = set_step(set, view, state, i);
        }
        for (uint32_t s = has_finds(set, state) ? state : 0; s; s = set->shorter[s])
            if (set->literal[s] >= 0)
                note(finds, set->literal[s], place_of(view, i + 1 - set->depth[s]), place_of(view, i) + 1);
    }
    return state;
}

/* `next`: for each character the place of the first one from there on that is not what it reads as. */
static uint32_t find_leet(const set_t *set, const view_t *view, const int32_t *next, finds_t *finds) {
    uint32_t state = 0;
    int32_t changed = -1; /* the last such character */
    for (int32_t i = 0; i < view->count; i++) {
        if (!state && next[i] - i >= (int32_t)set->longest) {
            if (next[i] >= view->count) break;
            i = next[i] - (int32_t)set->longest;
            continue;
        }
        if (next[i] == i) changed = i;
        state = set_step(set, view, state, i);
        for (uint32_t s = has_finds(set, state) ? state : 0; s; s = set->shorter[s])
            if (set->literal[s] >= 0 && changed > i - (int32_t)set->depth[s])
                note(finds, set->literal[s], view->begin + i + 1 - set->depth[s], view->begin + i + 1);
    }
    return state;
}

/* `least` to MAX_GAP characters stand between two letters of a find. */
static uint32_t find_spelled(const set_t *set, const view_t *view, int32_t least, finds_t *finds) {
    uint32_t state = 0;
    int32_t changed = -1;
    for (int32_t i = 0; i < view->count; i++) {
        int32_t here = view->at[i], gap = i ? here - view->at[i - 1] - 1 : 0;
        if (i && (gap < least || gap > MAX_GAP)) state = 0;
        if (is_leet(view->text[here])) changed = i;
        if (!state && least && i + 1 < view->count) { /* nothing begins that cannot go on */
            int32_t next = view->at[i + 1] - here - 1;
            if (next < least || next > MAX_GAP) continue;
        }
        state = set_step(set, view, state, i);
        for (uint32_t s = has_finds(set, state) ? state : 0; s; s = set->shorter[s]) {
            if (set->literal[s] < 0) continue;
            int32_t first = i + 1 - set->depth[s], start = view->at[first];
            int is_as_written = here - start == i - first && changed < first;
            if (!is_as_written || !(set->flags[set->literal[s]] & PLAIN)) note(finds, set->literal[s], start, here + 1);
        }
    }
    return state;
}

/* Whether as many letters as a term spelled out has at least stand apart from each other somewhere. */
static int has_apart(const view_t *view) {
    int32_t chain = 0, longest = 0;
    for (int32_t i = 1; i < view->count; i++) { /* without a branch */
        uint32_t gap = view->at[i] - view->at[i - 1] - 1;
        chain = (chain + 1) * (gap - 1 < MAX_GAP);
        longest = chain > longest ? chain : longest;
    }
    return longest + 1 >= LEAST_APART;
}

static int32_t min_place(int32_t place, int32_t open) { return open >= 0 && open < place ? open : place; }

static int32_t look_leet(const set_t *set, view_t *view, memory_t *memory, finds_t *finds) {
    int32_t changed = -1;
    view->count = view->size - view->begin;
    for (int32_t i = view->count - 1, next = view->count + set->longest; i >= 0; i--) {
        uint32_t c = view->text[view->begin + i];
        memory->symbols[i] = unleet(c);
        if (is_leet(c)) {
            next = i;
            if (changed < 0) changed = i;
        }
        memory->at[i] = next;
    }
    if (changed < 0) return -1;
    view->symbols = memory->symbols;
    uint32_t state = find_leet(set, view, memory->at, finds);
    return open_place(set, view, state, view->begin + changed);
}

static int32_t look_spelled(const terms_t *terms, view_t *view, memory_t *memory, int options, finds_t *finds) {
    int32_t count = 0, open = -1;
    uint32_t all = 0;
    for (int32_t i = view->begin; i < view->size; i++) { /* without a branch: texts are not foreseeable */
        uint32_t c = view->text[i];
        all |= c;
        memory->symbols[count] = unleet(c);
        memory->at[count] = i;
        count += is_letter(terms->letters, c);
    }
    view->symbols = memory->symbols, view->at = memory->at, view->count = count;
    int is_open = count && view->size - memory->at[count - 1] - 1 <= MAX_GAP && !options;
    for (int kind = options & NO_OPEN && all < 128 ? APART : JOINED; kind <= APART; kind++) {
        if (!terms->sets[kind] || (kind == APART && options & NO_OPEN && !has_apart(view))) continue;
        finds->kind = kind;
        uint32_t state = find_spelled(terms->sets[kind], view, kind == APART, finds);
        if (is_open && state) {
            int32_t place = open_place(terms->sets[kind], view, state, view->size);
            if (place >= 0 && (open < 0 || place < open)) open = place;
        }
    }
    view->at = NULL;
    return open;
}

/* Look for terms from `begin` on. Return the number of finds, which are in `out` behind the place from where on more
 * text may make a find (the size, if it may not, or with NO_OPEN); -1: no memory. */
int32_t weir_terms(const terms_t *terms, const uint32_t *text, int32_t size, int32_t begin, int32_t options,
                          int32_t *out, int32_t room) {
    memory_t memory;
    view_t view = {.text = text, .size = size, .begin = begin, .symbols = text + begin, .count = size - begin};
    finds_t finds = {.finds = out + 1, .room = room};
    int32_t open = size;
    if (!view_begin(&memory, size - begin + 1)) {
        view_end(&memory);
        return -1;
    }
    if (terms->sets[WRITTEN]) {
        uint32_t state = find_plain(terms->sets[WRITTEN], &view, &finds);
        open = min_place(open, open_place(terms->sets[WRITTEN], &view, state, size));
    }
    if (terms->sets[LEET]) {
        finds.kind = LEET;
        open = min_place(open, look_leet(terms->sets[LEET], &view, &memory, &finds));
    }
    if (terms->sets[JOINED] || terms->sets[APART])
        open = min_place(open, look_spelled(terms, &view, &memory, options, &finds));
    view_end(&memory);
    out[0] = options & NO_OPEN ? size : open;
    return finds.count;
}

/* Look for a set as it stands or, with `map`, after each character below 65,536 has become what stands there. */
int32_t weir_find(const set_t *set, const uint32_t *text, int32_t size, const uint32_t *map, int32_t *out,
                         int32_t room) {
    view_t view = {.text = text, .size = size, .symbols = text, .count = size};
    finds_t finds = {.finds = out, .room = room};
    uint32_t *mapped = NULL;
    if (map) {
        if (!(mapped = malloc(size * sizeof *mapped + 1))) return -1;
        for (int32_t i = 0; i < size; i++) mapped[i] = text[i] < 0x10000 ? map[text[i]] : text[i];
        view.symbols = mapped;
    }
    find_plain(set, &view, &finds);
    free(mapped);
    return finds.count;
}

static int is_among(const uint32_t *letters, int32_t count, uint32_t c) {
    for (int32_t i = 0; i < count; i++)
        if (letters[i] == c) return 1;
    return 0;
}

/* Look for a set in the text in which each of `letters` follows itself nowhere; what stood there as it is counts not. */
int32_t weir_find_drawn_out(const set_t *set, const uint32_t *text, int32_t size, const uint32_t *letters,
                                   int32_t num_letters, int32_t *out, int32_t room) {
    memory_t memory;
    finds_t finds = {.finds = out, .room = room};
    if (view_begin(&memory, size + 1)) {
        view_t view = {.text = text, .size = size, .symbols = memory.symbols, .at = memory.at};
        for (int32_t i = 0; i < size; i++) {
            if (i && text[i] == text[i - 1] && is_among(letters, num_letters, text[i])) continue;
            memory.symbols[view.count] = text[i];
            memory.at[view.count++] = i;
        }
        uint32_t state = 0;
        memory.at[view.count] = size;
        for (int32_t i = 0; i < view.count; i++) {
            state = set_step(set, &view, state, i);
            for (uint32_t s = has_finds(set, state) ? state : 0; s; s = set->shorter[s]) {
                int32_t first = i + 1 - set->depth[s], start = memory.at[first], end = memory.at[i + 1];
                if (set->literal[s] >= 0 && end - start > set->depth[s]) note(&finds, set->literal[s], start, end);
            }
        }
    } else {
        finds.count = -1;
    }
    view_end(&memory);
    return finds.count;
}

/* Write to `letters` which characters, ASCII and lone surrogates left out, stand three times in a row, or twice beside
 * another that does, each once; return how many. Such a one counts as one from then on. */
int32_t weir_drawn_out(const uint32_t *text, int32_t size, uint32_t *letters) {
    uint32_t a = 0, b = 0, c = 0;
    int32_t count = 0;
    for (int32_t i = 0, round = 0; i < size && round < MOST_ROUNDS; i++) {
        uint32_t d = text[i];
        if (d < 128 || (d >= 0xD800 && d < 0xE000) || (d == c && is_among(letters, count, d))) continue;
        if (d == c && c == b) {
            letters[count++] = d, round++;
            b = a, a = 0;
        } else if (d == c && b == a && b) {
            letters[count++] = b, letters[count++] = d, round++;
            a = 0;
        } else {
            a = b, b = c, c = d;
        }
    }
    return count;
}

static int is_encoding(uint32_t c) { return c < 128 && (is_word(c) || c == '+' || c == '/' || c == '-'); }

static int is_hex(uint32_t c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f'); }

static uint32_t six_bits(uint32_t c) {
    if (c >= 'a') return c - 'a' + 26;
    if (c == '_' || c == '/') return 63;
    if (c >= 'A') return c - 'A';
    return c >= '0' ? c - '0' + 52 : 62;
}

/* Whether bytes may be text: UTF-8 without most control characters, or UTF-16 of ASCII. */
typedef struct {
    uint32_t expected, place, num_zeros, is_bad;
} judge_t;

static inline void judge(judge_t *j, uint32_t byte) {
    j->num_zeros += j->place++ % 2 && !byte;
    if (j->expected) {
        j->is_bad |= byte >> 6 != 2;
        j->expected--;
    } else {
        j->is_bad |= byte >> 6 == 2 || byte >= 0xF8 || !(byte >= 32 || (byte >= 9 && byte <= 13));
        j->expected = byte < 0xC0 ? 0 : byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    }
}

/* Whether no byte that follows can make text of these: each second one would have to be zero. */
static int is_hopeless(const judge_t *j) { return j->is_bad && j->num_zeros < j->place / 2; }

static int is_text(const judge_t *j) { return (!j->is_bad && !j->expected) || 2 * j->num_zeros == j->place; }

static int base64_says_text(const uint32_t *word, int32_t count) {
    uint32_t bits = 0, num_bits = 0, size = (uint32_t)count * 6 / 8;
    judge_t j = {0};
    for (int32_t i = 0; i < count && j.place < size && !is_hopeless(&j); i++) {
        bits = bits << 6 | six_bits(word[i]);
        if ((num_bits += 6) >= 8) judge(&j, bits >> (num_bits -= 8) & 0xFF);
    }
    return is_text(&j);
}

static uint32_t hex_value(uint32_t c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

static int hex_says_text(const uint32_t *word, int32_t count) {
    judge_t j = {0};
    for (int32_t i = 0; i + 1 < count && !is_hopeless(&j); i += 2) judge(&j, hex_value(word[i]) << 4 | hex_value(word[i + 1]));
    return count % 2 == 0 && is_text(&j);
}

/* Find the words that may say something in base64 or hexadecimal digits: of `least` characters, not those of letters
 * that are small but for the first. All words are looked at that have `most` characters together. */
int32_t weir_encoded_words(const uint32_t *text, int32_t size, int32_t least, int32_t most, int32_t *out, int32_t room) {
    finds_t finds = {.finds = out, .room = room};
    for (int32_t i = 0; i < size; i++) {
        if (!is_encoding(text[i])) continue;
        int32_t start = i, is_ordinary = 1, has_only_hex = 1;
        for (; i < size && is_encoding(text[i]); i++) {
            int is_small = text[i] >= 'a' && text[i] <= 'z';
            is_ordinary &= is_small || (i == start && text[i] >= 'A' && text[i] <= 'Z');
            has_only_hex &= is_hex(text[i]);
        }
        if (i - start < least || is_ordinary) continue;
        most -= i - start;
        if (most < 0) break;
        int says_text = (has_only_hex && hex_says_text(text + start, i - start)) || base64_says_text(text + start, i - start);
        if (says_text) note(&finds, 0, start, i);
    }
    return finds.count;
}

/* Write to `out` which literals of a set stand in a text, each once; return how many do. */
int32_t weir_find_which(const set_t *set, const uint32_t *text, int32_t size, int32_t *out, int32_t room) {
    view_t view = {.text = text, .size = size, .symbols = text, .count = size};
    int32_t count = 0;
    uint32_t state = 0;
    uint8_t *seen = calloc(set->num_literals + 1, 1);
    if (!seen) return -1;
    for (int32_t i = 0; i < size; i++) {
        state = set_step(set, &view, state, i);
        for (uint32_t s = has_finds(set, state) ? state : 0; s; s = set->shorter[s]) {
            int32_t literal = set->literal[s];
            if (literal < 0 || seen[literal]) continue;
            if (count < room) out[count] = literal;
            count++;
            seen[literal] = 1;
        }
    }
    free(seen);
    return count;
}
