"""Guessing tokens ahead: a step verifies several at the price of little more than one, when that pays.

A guess is accepted only if it is what the request's own sampler chooses there, so answers are those without guessing
(Leviathan et al. 2022, arXiv:2211.17192, with the draft's distribution put on one token).
"""

from collections import defaultdict
from collections.abc import Callable
from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from typing import Protocol

from weir.engine.chunking import StepTimes
from weir.engine.sequence import Sequence

_PRIOR = 0.5
_PRIOR_WEIGHT = 4.0
_MEMORY = 0.9  # what an older guess weighs beside the next one
_PATIENCE = 3  # times in a row that a sequence is asked in vain before it is let rest: 1 step, 2, 4, ...
_LONGEST_REST = 16
_PROBE_EVERY = 12  # drafts of one basis that do not pay, then one guess of it is tried: traffic changes
_MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Draft:
    """Guessed tokens, and what they rest on: guesses of one `basis` are expected to come true equally often."""

    tokens: Tokens[int]
    basis: str = ""


class Drafter(Protocol):
    """Guesses for one sequence; it may keep what it learns of it."""

    def propose(self, tokens: Tokens[int], limit: int) -> Draft:
        """Return up to `limit` tokens that may come after `tokens`; the same list each time, grown at its end."""
        ...

    def observe(self, accepted: int, proposed: int) -> None:
        """Of the last proposal's first `proposed` tokens, `accepted` came true."""
        ...

    def ended(self) -> None:
        """The sequence is whole."""
        ...


class Acceptance:
    """The running probability that a guess is accepted, given that those before it were."""

    def __init__(self, prior: float = _PRIOR) -> None:
        self._prior = prior
        self._hits = 0.0
        self._tries = 0.0

    @property
    def probability(self) -> float:
        return (self._hits + _PRIOR_WEIGHT * self._prior) / (self._tries + _PRIOR_WEIGHT)

    def observe(self, accepted: int, proposed: int) -> None:
        tries = min(accepted + 1, proposed)  # what follows the first miss was never tried
        self._hits = self._hits * _MEMORY + accepted
        self._tries = self._tries * _MEMORY + tries


@dataclass(frozen=True, slots=True)
class Step:
    """A step that only decodes, without guesses: `rows` streams that look at `reads` positions."""

    rows: int
    reads: int


def worthwhile(probability: float, times: StepTimes, step: Step, *, past: int, limit: int) -> int:
    """How many guesses to add to one row, `past` tokens long, of a step.

    The j-th guess adds `probability ** j` expected tokens for what one more token costs; it pays while that is a
    better rate than the step's own.
    """
    seconds = times.seconds(step.rows, step.reads)
    if not times.is_known or seconds <= 0:
        return 0
    break_even = _MARGIN * (times.per_token + times.per_read * past) * step.rows / seconds
    count, expected = 0, probability
    while count < limit and expected > break_even:
        count += 1
        expected *= probability
    return count


class _Basis:
    """How well guesses that rest on the same did, over all sequences."""

    def __init__(self) -> None:
        self.acceptance = Acceptance()
        self._abstained = 0

    def probe(self) -> int:
        """Return how many guesses to try although they do not pay: one now and then."""
        self._abstained += 1
        return int(self._abstained % _PROBE_EVERY == 0)


class _Guesser:
    """A drafter, how well it did for one sequence on each basis, and what its last proposal rested on."""

    def __init__(self, drafter: Drafter) -> None:
        self.drafter = drafter
        self.acceptance: dict[str, Acceptance] = {}
        self.basis = ""
        self._in_vain = 0
        self._rest = 0

    @property
    def rests(self) -> bool:
        """Whether asking is not worth its time in this step; to be read once a step."""
        self._rest -= 1
        return self._rest >= 0

    def asked(self, *, in_vain: bool) -> None:
        self._in_vain = min(self._in_vain + 1, 2 * _PATIENCE + 1) if in_vain else 0
        self._rest = min(1 << self._in_vain >> _PATIENCE, _LONGEST_REST)


class Speculation:
    """Asks drafters for guesses when they pay; one drafter per sequence, made by `make_drafter`."""

    def __init__(self, make_drafter: Callable[[Sequence], Drafter], times: StepTimes, *, limit: int) -> None:
        self._make_drafter = make_drafter
        self._times = times
        self._limit = limit
        self._bases: dict[str, _Basis] = defaultdict(_Basis)

    def draft(self, sequence: Sequence, *, rows: int, reads: int, limit: int) -> Tokens[int]:
        """Return guesses for what follows the sequence's tokens, at most `limit`.

        Args:
            sequence: one of the step's `rows` streams.
            rows: how many streams decode.
            reads: how many positions they look at, all together.
            limit: most guesses that there is room for.
        """
        most = min(limit, self._limit)
        guesser = self._guesser(sequence)
        if most <= 0 or not self._times.is_known or guesser.rests:
            return ()
        draft = guesser.drafter.propose(sequence.tokens, most)
        guesser.basis = draft.basis
        count = self._length(guesser, sequence, Step(rows, reads), min(most, len(draft.tokens)))
        guesser.asked(in_vain=not count)
        return draft.tokens[: count or (self._bases[draft.basis].probe() if draft.tokens else 0)]

    def observe(self, sequence: Sequence, *, accepted: int, proposed: int) -> None:
        guesser = self._guesser(sequence)
        guesser.drafter.observe(accepted, proposed)
        self._acceptance(guesser).observe(accepted, proposed)
        self._bases[guesser.basis].acceptance.observe(accepted, proposed)

    def ended(self, sequence: Sequence) -> None:
        """Tell the drafter that the sequence is whole."""
        self._guesser(sequence).drafter.ended()

    def _length(self, guesser: _Guesser, sequence: Sequence, step: Step, limit: int) -> int:
        if not limit:
            return 0
        probability = self._acceptance(guesser).probability
        return worthwhile(probability, self._times, step, past=len(sequence.tokens), limit=limit)

    def _acceptance(self, guesser: _Guesser) -> Acceptance:
        """What this sequence showed; it starts from what all sequences showed on the same basis."""
        known = guesser.acceptance.get(guesser.basis)
        if known is None:
            prior = self._bases[guesser.basis].acceptance.probability
            known = guesser.acceptance[guesser.basis] = Acceptance(prior)
        return known

    def _guesser(self, sequence: Sequence) -> _Guesser:
        found = sequence.guesser
        if not isinstance(found, _Guesser):
            found = sequence.guesser = _Guesser(self._make_drafter(sequence))
        return found
