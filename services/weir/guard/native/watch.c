#define PY_SSIZE_T_CLEAN
#include <Python.h> /* before all others; for what is a letter, and small, to Python */

#include "watch.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_FOR_FINDS = 16, DOTTED_I = 0x130, SIGMA = 0x3A3, SURROGATES = 0xD800, BEHIND_SURROGATES = 0xE000 };

void watch_begin(watch_t *watch) {
    memset(watch, 0, offsetof(watch_t, here));
    watch->room = WATCH_HERE;
    watch->original = watch->here;
    watch->plain = watch->here + WATCH_HERE;
    watch->folded = watch->here + 2 * WATCH_HERE;
}

void watch_end(watch_t *watch) {
    if (watch->original != watch->here) free(watch->original);
}

static int make_room(watch_t *watch, int32_t count) {
    if (count <= watch->room) return 1;
    int32_t room = 2 * count;
    uint32_t *more = malloc(3 * (size_t)room * sizeof *more);
    if (!more) return 0;
    size_t size = (size_t)watch->count * sizeof *more;
    memcpy(more, watch->original, size);
    memcpy(more + room, watch->plain, size);
    memcpy(more + 2 * room, watch->folded, size);
    watch_end(watch);
    watch->original = more, watch->plain = more + room, watch->folded = more + 2 * room;
    watch->room = room;
    return 1;
}

int watch_copy(watch_t *to, const watch_t *from) {
    watch_begin(to);
    if (!make_room(to, from->count)) return 0;
    size_t size = (size_t)from->count * sizeof *from->original;
    memcpy(to->original, from->original, size);
    memcpy(to->plain, from->plain, size);
    memcpy(to->folded, from->folded, size);
    to->count = from->count, to->decided = from->decided, to->seen = from->seen;
    return 1;
}

/* Put characters behind the text; 0: one of them becomes none or several, or depends on others. */
static int append(const watcher_t *watcher, watch_t *watch, const void *text, int kind, int32_t count) {
    int32_t at = watch->count;
    if (!make_room(watch, at + count)) return 0;
    for (int32_t i = 0; i < count; i++, at++) {
        uint32_t c = PyUnicode_READ(kind, text, i), plain = fold_of(watcher->fold, c);
        if (plain & SEVERAL || plain == DOTTED_I || plain == SIGMA) return 0;
        if (plain >= SURROGATES && plain < BEHIND_SURROGATES) return 0;
        watch->original[at] = c, watch->plain[at] = plain;
        watch->folded[at] = plain < 128 ? plain + (plain - 'A' < 26 ? 32 : 0) : Py_UNICODE_TOLOWER(plain);
    }
    watch->count = at;
    return 1;
}

static int has_only_letters(const uint32_t *text, int32_t count) {
    int32_t i = 0;
    while (i < count && Py_UNICODE_ISALPHA(text[i])) i++;
    return i == count && count;
}

/* Bring `found` down to where the first find starts, `open` to where something does that may become one. */
static int look(const watcher_t *watcher, const watch_t *watch, int is_end, int32_t *found, int32_t *open) {
    int32_t begin = watch->decided, size = watch->count, out[4 * ROOM_FOR_FINDS + 1];
    *found = *open = size;
    if (watcher->automaton && !automaton_look(watcher->automaton, watch->plain, size, begin, is_end, found, open))
        return 0;
    if (size - *open > LOOSELY_HELD) { /* looked at closely, it may be less */
        if (!watcher->backward) return 0;
        *open = backward_open(watcher->backward, watch->plain, 4, size, begin);
    }
    int is_letters = !is_end && watcher->num_terms && has_only_letters(watch->folded + begin, size - begin);
    for (int32_t i = 0; i < watcher->num_terms; i++) {
        int options = is_end ? NO_OPEN : is_letters && watcher->is_letters_only[i] ? NO_SPELLED_OPEN : 0;
        int32_t count = weir_terms(watcher->terms[i], watch->folded, size, begin, options, out, ROOM_FOR_FINDS);
        if (count < 0 || count > ROOM_FOR_FINDS) return 0;
        if (out[0] < *open) *open = out[0];
        for (int32_t k = 0; k < count; k++)
            if (out[4 * k + 3] < *found) *found = out[4 * k + 3];
    }
    return 1;
}

int32_t watch_feed(const watcher_t *watcher, watch_t *watch, const void *text, int kind, int32_t count) {
    int32_t before = watch->count, found, open;
    if (count > MOST_FED || !append(watcher, watch, text, kind, count)) return -1;
    if (!look(watcher, watch, 0, &found, &open) || found < open || watch->count - open > MOST_HELD) {
        watch->count = before;
        return -1;
    }
    watch->seen += count;
    return open > watch->decided ? open : watch->decided;
}

int watch_flush(const watcher_t *watcher, const watch_t *watch) {
    int32_t found, open;
    return look(watcher, watch, 1, &found, &open) && found == watch->count;
}

int watch_load(const watcher_t *watcher, watch_t *watch, const void *text, int kind, int32_t count, int32_t decided,
               int64_t seen) {
    watch->count = 0;
    if (count > MOST_FED || !append(watcher, watch, text, kind, count)) return 0;
    watch->decided = decided, watch->seen = seen;
    return 1;
}

void watch_forget(watch_t *watch, int32_t decided) {
    int32_t cut = decided ? decided - 1 : 0;
    size_t rest = (size_t)(watch->count - cut) * sizeof *watch->original;
    if (cut) {
        memmove(watch->original, watch->original + cut, rest);
        memmove(watch->plain, watch->plain + cut, rest);
        memmove(watch->folded, watch->folded + cut, rest);
    }
    watch->count -= cut;
    watch->decided = decided - cut;
}
