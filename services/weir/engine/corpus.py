"""Texts that are known beforehand, found again by what was said last (He et al. 2023, arXiv:2311.08252)."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from weir.release.drafts import CONTEXT_TOKENS, Drafts, digest_of

BORDER: Final = -1  # between answers; no token
_VOTES = 16  # most places that are asked how a text goes on


@dataclass(frozen=True, slots=True)
class Places:
    """Places in `Corpus.tokens` that `matched` tokens, at most `CONTEXT_TOKENS`, lead to; at most `_VOTES` of them."""

    at: tuple[int, ...]
    matched: int


class Corpus:
    """Answers, searched for the longest end of a sequence that also precedes a token in one of them.

    All places in answers are sorted by the tokens before them, the nearest first, so those that share the longest end
    lie side by side, wherever the search by halves comes out (a suffix array, Manber and Myers 1990, of the reversed
    text, cut at a depth of `CONTEXT_TOKENS`).
    """

    def __init__(self, drafts: Drafts) -> None:
        self.tokens: list[int] = [BORDER]
        starts: list[int] = []
        for answer in drafts.answers:
            starts.append(len(self.tokens) + len(drafts.opening))
            self.tokens += [*drafts.opening, *answer, BORDER]
        self._reversed = self.tokens[::-1]
        self._replies = {(q.length, q.digest): starts[q.answer] for q in reversed(drafts.questions)}
        self._lengths = sorted({question.length for question in drafts.questions}, reverse=True)
        spans = zip(starts, drafts.answers, strict=True)
        places = np.array([place for start, answer in spans for place in range(start, start + len(answer))], np.int64)
        ranks = _ranks_of_contexts(np.array(self.tokens, np.int64))
        self._order = array("q", places[np.argsort(ranks[places], kind="stable")].tolist())

    def reply(self, prompt: Tokens[int]) -> int | None:
        """Return where the answer to a trained question begins, if `prompt` ends in one."""
        for length in self._lengths:
            if length <= len(prompt):
                place = self._replies.get((length, digest_of(prompt[len(prompt) - length :])))
                if place is not None:
                    return place
        return None

    def find(self, tokens: Tokens[int]) -> Places:
        """Return where the longest end of `tokens` leads to; nowhere when not even the last one occurs."""
        wanted = list(tokens[: -CONTEXT_TOKENS - 1 : -1])
        near = bisect_left(self._order, wanted, key=lambda place: self._before(place, len(wanted)))
        neighbours = self._order[max(near - 1, 0) : near + 1]
        matched = max((_common(self._before(place, len(wanted)), wanted) for place in neighbours), default=0)
        return Places(self._sharing(wanted[:matched], near) if matched else (), matched)

    def _sharing(self, wanted: list[int], near: int) -> tuple[int, ...]:
        def key(place: int) -> list[int]:
            return self._before(place, len(wanted))

        first = bisect_left(self._order, wanted, hi=near, key=key)
        last = bisect_right(self._order, wanted, lo=first, key=key)
        return tuple(self._order[first : last : -(-(last - first) // _VOTES)])

    def _before(self, place: int, count: int) -> list[int]:
        start = len(self.tokens) - place
        return self._reversed[start : start + count]

    def continuations(self, places: Places, limit: int) -> list[list[int]]:
        """Return up to `limit` tokens from each place on, to the end of its answer."""
        return [until_border(self.tokens[place : place + limit]) for place in places.at]


def until_border(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(BORDER)] if BORDER in tokens else tokens


def majority(texts: Tokens[list[int]]) -> list[int]:
    """Return how at least half of the texts begin, as far as they do."""
    said: list[int] = []
    alive = list(texts)
    while votes := Counter(text[len(said)] for text in alive if len(text) > len(said)):
        token, count = votes.most_common(1)[0]
        if 2 * count < len(texts):
            break
        said.append(token)
        alive = [text for text in alive if len(text) >= len(said) and text[len(said) - 1] == token]
    return said


def _ranks_of_contexts(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return per place the rank of the `CONTEXT_TOKENS` tokens before it, read backwards; equal ones have equal ranks.

    By doubling: twice as long contexts are ordered by the rank of their nearer half, then of the farther one.
    """
    ranks = np.zeros(len(tokens) + 1, np.int64)
    ranks[1:] = tokens + 2  # a place before all tokens comes before a border
    reach = 1
    while reach < CONTEXT_TOKENS:
        farther = np.concatenate((np.zeros(reach, np.int64), ranks[:-reach])) if reach < len(ranks) else 0 * ranks
        ranks = np.unique(ranks * (int(ranks.max()) + 1) + farther, return_inverse=True)[1].astype(np.int64)
        reach *= 2
    return ranks


def _common(one: list[int], other: list[int]) -> int:
    """How many tokens two lists have in common at their beginnings."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
