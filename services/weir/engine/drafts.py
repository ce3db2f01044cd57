"""Where guesses come from: a request's own text, the answers its release was trained on, and answers given lately.

None of them costs a run of a model (docs/decisions/0009-what-drafts-come-from.md).
"""

from collections import OrderedDict
from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from typing import Final

from weir.engine.corpus import Corpus, Places, majority, until_border
from weir.engine.sequence import Sequence
from weir.engine.speculation import Draft, Drafter
from weir.release.drafts import CONTEXT_TOKENS

_CANDIDATES: Final = 8
_OWN_TOKENS: Final = 4_096  # of a longer prompt, its end: indexing must not hold up other streams
_RECENT_ANSWERS: Final = 1_024
_RECENT_TOKENS: Final = 512  # of one answer
_MIN_MATCH: Final = 2
_NOWHERE: Final = Places((), 0)
_NOTHING: Final = Draft(())

Key = tuple[str | None, int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Match:
    """The last `length` tokens stand also before `at`."""

    at: int
    length: int


class OwnText:
    """A growing text's index of itself (prompt lookup, Saxena 2023): constant work for each new token.

    Known are the places that follow each pair of tokens, the latest `_CANDIDATES` of them compared.
    """

    def __init__(self) -> None:
        self._latest: dict[tuple[int, int], int] = {}
        self._earlier: dict[int, int] = {}  # place -> the place before it that follows the same pair
        self._read = 0

    def extend(self, tokens: Tokens[int]) -> None:
        """Read what was added to the end of `tokens`."""
        start = max(self._read, len(tokens) - _OWN_TOKENS, _MIN_MATCH)
        for place in range(start, len(tokens)):  # the pair before the newest token leads to it
            pair = (tokens[place - 2], tokens[place - 1])
            known = self._latest.get(pair)
            if known is not None:
                self._earlier[place] = known
            self._latest[pair] = place
        self._read = max(len(tokens), _MIN_MATCH)

    def find(self, tokens: Tokens[int]) -> Match | None:
        """Return the place that the longest end of `tokens` leads to, the latest among equals.

        Lengths are counted up to `CONTEXT_TOKENS`.
        """
        if len(tokens) < _MIN_MATCH:
            return None
        place, best = self._latest.get((tokens[-2], tokens[-1])), None
        for _ in range(_CANDIDATES):
            if place is None or (best is not None and best.length == CONTEXT_TOKENS):
                break
            length = _shared(tokens, place)
            if best is None or length > best.length:
                best = Match(place, length)
            place = self._earlier.get(place)
        return best


class RecentAnswers:
    """What was answered lately to prompts that end alike; whoever has another salt or adapter never finds it.

    The least recently used is forgotten first.
    """

    def __init__(self, capacity: int = _RECENT_ANSWERS) -> None:
        self._capacity = capacity
        self._answers: OrderedDict[Key, list[int]] = OrderedDict()

    def find(self, sequence: Sequence) -> list[int]:
        found = self._answers.get(_key(sequence))
        if found is None:
            return []
        self._answers.move_to_end(_key(sequence))
        return found

    def add(self, sequence: Sequence) -> None:
        key = _key(sequence)
        self._answers[key] = sequence.tokens[sequence.prompt_len : sequence.prompt_len + _RECENT_TOKENS]
        self._answers.move_to_end(key)
        if len(self._answers) > self._capacity:
            self._answers.popitem(last=False)


@dataclass(slots=True)
class _Trail:
    """A text that has come true so far; `at` is where it goes on."""

    text: list[int]
    at: int
    matched: int
    source: str


class LookupDrafter:
    """Guesses for one sequence: on along the text that came true so far, else the longest match."""

    def __init__(self, sequence: Sequence, corpus: Corpus | None, recent: RecentAnswers) -> None:
        self._sequence = sequence
        self._corpus = corpus
        self._recent = recent
        self._own = OwnText()
        self._read = sequence.prompt_len
        self._trail = self._remembered(sequence.tokens[: sequence.prompt_len])

    def propose(self, tokens: Tokens[int], limit: int) -> Draft:
        """As `Drafter.propose`."""
        self._own.extend(tokens)
        trail = self._followed(tokens)
        if trail is not None and (said := until_border(trail.text[trail.at : trail.at + limit])):
            return Draft(said, _basis(trail.source, trail.matched))
        self._trail = None
        return self._looked_up(tokens, limit)

    def observe(self, accepted: int, proposed: int) -> None:
        """What came true is seen in the tokens."""

    def ended(self) -> None:
        """Remember the answer for prompts that end alike."""
        self._recent.add(self._sequence)

    def _remembered(self, prompt: list[int]) -> _Trail | None:
        """The answer that was given lately, else the one that was trained."""
        if answer := self._recent.find(self._sequence):
            return _Trail(answer, 0, CONTEXT_TOKENS, "recent")
        place = None if self._corpus is None else self._corpus.reply(prompt)
        if self._corpus is None or place is None:
            return None
        return _Trail(self._corpus.tokens, place, CONTEXT_TOKENS, "trained")

    def _followed(self, tokens: Tokens[int]) -> _Trail | None:
        """Return the trail moved over what is new, if that is what it said."""
        trail, new = self._trail, tokens[self._read :]
        self._read = len(tokens)
        if trail is None or trail.text[trail.at : trail.at + len(new)] != new:
            return None
        trail.at += len(new)
        trail.matched = min(trail.matched + len(new), CONTEXT_TOKENS)
        return trail

    def _looked_up(self, tokens: Tokens[int], limit: int) -> Draft:
        own = self._own.find(tokens)
        places = _NOWHERE if self._corpus is None else self._corpus.find(tokens)
        if own is not None and own.length >= places.matched:
            return Draft(_repeated(tokens, own.at, limit), _basis("own", own.length))
        if self._corpus is None or places.matched < _MIN_MATCH:
            return _NOTHING
        texts = self._corpus.continuations(places, limit)
        if any(text != texts[0] for text in texts):
            return Draft(majority(texts), _basis("votes", places.matched))
        self._trail = _Trail(self._corpus.tokens, places.at[0], places.matched, "corpus")
        return Draft(texts[0], _basis("corpus", places.matched))


class Drafters:
    """Makes the drafters of one engine; they share the release's answers and what was answered lately."""

    def __init__(self, corpus: Corpus | None = None) -> None:
        self._corpus = corpus
        self._recent = RecentAnswers()

    def __call__(self, sequence: Sequence) -> Drafter:
        return LookupDrafter(sequence, self._corpus, self._recent)


def _key(sequence: Sequence) -> Key:
    start = max(sequence.prompt_len - CONTEXT_TOKENS, 0)
    return (sequence.salt, sequence.adapter, tuple(sequence.tokens[start : sequence.prompt_len]))


def _basis(source: str, matched: int) -> str:
    return f"{source}-{matched.bit_length()}"


def _shared(tokens: Tokens[int], place: int) -> int:
    """How many tokens before `place` are those at the end, up to `CONTEXT_TOKENS`; the last pair is known to be."""
    end, length = len(tokens), _MIN_MATCH
    most = min(place, CONTEXT_TOKENS)
    while length < most and tokens[place - 1 - length] == tokens[end - 1 - length]:
        length += 1
    return length


def _repeated(tokens: Tokens[int], at: int, limit: int) -> list[int]:
    """Return `limit` tokens from `at` on; past the end it goes on as it repeats itself."""
    piece = list(tokens[at : at + limit])
    period = len(piece)
    while len(piece) < limit:
        piece += piece[: min(limit - len(piece), period)]
    return piece
