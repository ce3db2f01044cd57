"""Guessing tokens ahead: a step verifies several at the price of little more than one, when that pays.

A guess is accepted only if it is what the request's own sampler chooses there, so answers are those without guessing
(Leviathan et al. 2022, arXiv:2211.17192, with the draft's distribution put on one token).
"""

from collections.abc import Callable
from collections.abc import Sequence as Tokens
from typing import Protocol

from weir.engine.chunking import StepTimes
from weir.engine.sequence import Sequence

_PRIOR = 0.5
_PRIOR_WEIGHT = 4.0
_MEMORY = 0.9  # what an older guess weighs beside the next one
_PROBE_EVERY = 32  # steps without a guess, then one is tried: traffic changes
_MARGIN = 1.1


class Drafter(Protocol):
    """Guesses for one sequence; it may keep what it learns of it."""

    def propose(self, tokens: Tokens[int], limit: int) -> Tokens[int]:
        """Return up to `limit` tokens that may come after `tokens`; the same list each time, grown at its end."""
        ...

    def observe(self, accepted: int, proposed: int) -> None:
        """Of the last proposal's first `proposed` tokens, `accepted` came true."""
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


def worthwhile(probability: float, times: StepTimes, *, rows: int, limit: int) -> int:
    """How many guesses to add to one row of a step that decodes `rows` rows.

    The j-th guess adds `probability ** j` expected tokens for `times.per_token` seconds; it pays while that is a
    better rate than the step's own, `rows / times.seconds(rows)`.
    """
    if not times.is_known or times.seconds(rows) <= 0:
        return 0
    break_even = _MARGIN * times.per_token * rows / times.seconds(rows)
    count, expected = 0, probability
    while count < limit and expected > break_even:
        count += 1
        expected *= probability
    return count


class _Guesser:
    """A drafter and how well it did for one sequence."""

    def __init__(self, drafter: Drafter, prior: float) -> None:
        self.drafter = drafter
        self.acceptance = Acceptance(prior)
        self.abstained = 0

    def length(self, times: StepTimes, *, rows: int, limit: int) -> int:
        count = worthwhile(self.acceptance.probability, times, rows=rows, limit=limit)
        self.abstained = 0 if count else self.abstained + 1
        return count if self.abstained % _PROBE_EVERY or not self.abstained else min(limit, 1)


class Speculation:
    """Asks drafters for guesses when they pay; one drafter per sequence, made by `make_drafter`."""

    def __init__(self, make_drafter: Callable[[], Drafter], times: StepTimes, *, limit: int) -> None:
        self._make_drafter = make_drafter
        self._times = times
        self._limit = limit
        self._overall = Acceptance()

    def draft(self, sequence: Sequence, *, rows: int, limit: int) -> Tokens[int]:
        """Return guesses for what follows the sequence's tokens, at most `limit`, in a step of `rows` rows."""
        guesser = self._guesser(sequence)
        count = guesser.length(self._times, rows=rows, limit=min(limit, self._limit))
        return guesser.drafter.propose(sequence.tokens, count)[:count] if count else ()

    def observe(self, sequence: Sequence, *, accepted: int, proposed: int) -> None:
        guesser = self._guesser(sequence)
        guesser.drafter.observe(accepted, proposed)
        guesser.acceptance.observe(accepted, proposed)
        self._overall.observe(accepted, proposed)

    def _guesser(self, sequence: Sequence) -> _Guesser:
        found = sequence.guesser
        if not isinstance(found, _Guesser):
            found = sequence.guesser = _Guesser(self._make_drafter(), self._overall.probability)
        return found
