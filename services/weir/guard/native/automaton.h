/* Tells, one character after the other, where a match of one of many regexes may begin that more text may complete. */
#ifndef WEIR_GUARD_AUTOMATON_H
#define WEIR_GUARD_AUTOMATON_H

#include "classes.h"

enum { OP_SET, OP_SPLIT, OP_PLACE, OP_MATCH }; /* of an instruction */

/* OP_SET: a character of set `x` leads to `y`; OP_SPLIT: to `x` and `y`; OP_PLACE: where `x` holds, to `y`. */
typedef struct {
    int32_t op, x, y;
} instruction_t;

/* What may still match behind some text: instructions, and the trait of its last character. */
typedef struct {
    uint32_t *next; /* by class of the next character, then of none: twice the state, plus one where a match ended */
    int32_t *at, count;
    uint32_t hash;
    uint8_t trait;
} state_t;

/* States are made when they are first met. Whoever asks holds the interpreter's lock. */
typedef struct {
    instruction_t *code;
    int32_t size, *entries, num_entries, num_sets, num_classes;
    int is_ordered; /* a state's instructions are in the order in which they win; what ends takes all that would lose */
    classes_t classes;
    uint8_t *members; /* by set and class */
    uint8_t *traits;  /* by class */
    state_t *states;
    uint32_t num_states, room, *slots, starts[NUM_TRAITS];
    uint32_t *seen, turn; /* per instruction, the turn in which it was last met */
    int32_t *stack, *reached;
} automaton_t;

/* `spans`: pairs of a first character and the class of those from there on. NULL: no memory. */
automaton_t *automaton_new(const instruction_t *code, int32_t size, const int32_t *entries, int32_t num_entries,
                           const uint32_t *spans, int32_t num_spans, const uint8_t *members, int32_t num_sets,
                           const uint8_t *traits, int32_t num_classes, int is_ordered);
void automaton_free(automaton_t *automaton);

/* Look at what starts at or behind `begin`. `found`: the first place where something starts that ended before the last
 * character, or (`is_end`) matches up to it; `open`: where something starts that may go on. Both are `size`, if there is
 * none. Returns 0 where it can't tell. */
int automaton_look(automaton_t *automaton, const uint32_t *text, int32_t size, int32_t begin, int is_end, int32_t *found,
                   int32_t *open);

#define UNKNOWN UINT32_MAX

/* Make the first states, where there are none. */
int automaton_begin(automaton_t *automaton);
/* Follow a state over a character of a class, or over the text's end: `num_classes`. UNKNOWN: no memory, or all states
 * were forgotten. */
uint32_t automaton_follow(automaton_t *automaton, uint32_t from, int32_t klass);

static inline uint32_t next_of(automaton_t *a, uint32_t from, int32_t klass) {
    uint32_t next = a->states[from].next[klass];
    return next == UNKNOWN ? automaton_follow(a, from, klass) : next;
}

static inline int32_t class_of(const automaton_t *a, uint32_t c) { return class_in(&a->classes, c); }

#endif
