"""Which of many regexes a text gives reason to search for.

Most of them need some literal, and one Aho-Corasick pass tells which of those a text has: `ghp_` is reason enough to
search for its regex alone, `password` only to look closer, at all such regexes at once, in an RE2 set. Those that need
no literal are another set. One set of them all would be as fast on text like the text before it, but RE2 builds a state
for each situation that it meets, and on random characters every one is new.
"""

from collections.abc import Iterable, Sequence
from re import _constants as ops  # type: ignore[attr-defined]
from typing import Any

import re2

from weir.guard.literals import literals as compiled_literals
from weir.guard.searched import Searched

_LEAST_ASCII, _LEAST_OTHER = 3, 2  # characters of a literal that is worth looking for
_LEAST_WORD = 4  # of one that is made of letters
_REPEATS = frozenset({ops.MAX_REPEAT, ops.MIN_REPEAT})


class Candidates:
    """Tells which patterns may match. Immutable."""

    def __init__(self, regexes: Sequence[str], literals: Sequence[frozenset[str]], options: Any) -> None:
        """Compile. Every match of the regex at the same place holds one of its literals, in small letters."""
        rare = [number for number, some in enumerate(literals) if some and all(map(_is_rare, some))]
        words = [n for n, some in enumerate(literals) if some and n not in set(rare) and all(map(_is_word, some))]
        named = {*rare, *words}
        self._words = _Set(words, regexes, options)
        self._others = _Set([n for n in range(len(regexes)) if n not in named], regexes, options)
        meant: dict[str, set[int]] = {}
        for number in named:
            for literal in literals[number]:
                meant.setdefault(literal, set()).add(number)
        self._meant = [(numbers.intersection(rare), not numbers.isdisjoint(words)) for numbers in meant.values()]
        self._search = compiled_literals(list(meant), at_word=False) if meant else None

    def among(self, folded: Searched, raw: bytes) -> list[int]:
        """Return the places of the patterns that may match the plain view, which is `raw` in UTF-8."""
        found = self._others.matching(raw)
        if self._search is not None:
            seen = {literal for literal, _, _ in self._search.finds(folded)}
            has_word = False
            for rare, is_word in map(self._meant.__getitem__, seen):
                found |= rare
                has_word = has_word or is_word
            if has_word:
                found |= self._words.matching(raw)
        return sorted(found)


class _Set:
    """Some of the patterns, searched for all at once."""

    def __init__(self, numbers: Sequence[int], regexes: Sequence[str], options: Any) -> None:
        self._numbers = numbers
        self._set = re2.Set.SearchSet(options) if numbers else None
        if self._set is not None:
            for number in numbers:
                self._set.Add(regexes[number])
            self._set.Compile()

    def matching(self, raw: bytes) -> set[int]:
        return {self._numbers[place] for place in self._set.Match(raw) or ()} if self._set is not None else set()


def _is_rare(literal: str) -> bool:
    return literal.isascii() and not literal.isalpha()


def _is_word(literal: str) -> bool:
    return len(literal) >= (_LEAST_WORD if literal.isascii() else _LEAST_OTHER)


def required_literals(nodes: Iterable[Any]) -> frozenset[str]:
    """Return literals, in small letters, of which every match of a syntax tree's nodes holds one; none: no such."""
    choices: list[frozenset[str]] = []
    run = ""
    for op, content in nodes:
        if op is ops.LITERAL and len(small := chr(content).lower()) == 1:
            run += small
        elif op is not ops.AT:
            choices += [_worth(run), _inside(op, content)]
            run = ""
    choices.append(_worth(run))
    return max(choices, key=lambda choice: min(map(_weight, choice), default=0))


def _inside(op: Any, content: Any) -> frozenset[str]:
    if op is ops.SUBPATTERN:
        return required_literals(content[3])
    if op in _REPEATS and content[0] > 0:
        return required_literals(content[2])
    if op is ops.BRANCH:
        branches = [required_literals(branch) for branch in content[1]]
        return frozenset().union(*branches) if all(branches) else frozenset()
    return frozenset()


def _worth(literal: str) -> frozenset[str]:
    least = _LEAST_ASCII if literal.isascii() else _LEAST_OTHER
    return frozenset({literal}) if len(literal) >= least else frozenset()


def _weight(literal: str) -> int:
    return len(literal.encode())
