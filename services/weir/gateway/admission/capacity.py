"""How much the nodes can take, learned from how soon they begin to answer, and how fast they go on."""

from math import inf
from typing import NamedTuple

_FIRST_LIMIT = 64.0
_FLOOR = 16.0  # late first tokens alone never push it lower: a batch of a few wastes what a node can do
_BACK_OFF = 0.8
_FULL = 0.6  # of the limit: who was sent while fewer ran says nothing about it
_GROWTH = 0.1  # per round, as a share
_SMOOTHING = 0.1
_NOISE_S = 0.01
_MEMORY = 0.97  # what one request's speed weighs, one request later
_PROOF_MEMORY = 0.998
_FREE_SHARE = 8  # one in so many may end before a first token that did not have to wait
_ENOUGH = 16  # first tokens before they are called late


class Sent(NamedTuple):
    """What was known when a request went to a node."""

    running: int  # requests at the nodes, with this one
    ends: int  # of requests, until then
    cuts: int  # of the limit, until then


class Capacity:
    """A limit on concurrency that grows while nodes keep up with it.

    A node that queues what it is given begins an answer only when another one has ended. So a request whose first token
    comes while hardly any other ends was begun at once, however slow that token is: there was room, and this is how
    long first tokens take at the moment. While somebody waits, each of these lets one more run.

    Where answers are so short that others end all the while, time has to tell, of requests that were sent when the
    limit was reached. First tokens are late that take longer than twice the calm time plus half of an answer's. Then
    the limit shrinks by a fifth, once per round; where it would come below what nodes were seen to run at once, the
    work itself has become slower, and that is the calm time from now on. While first tokens are in time the limit
    grows, doubling per round until the first late one, by a tenth after. A node that refuses sets the limit to what
    runs.

    Nodes that say how many requests they answer together (`expect`) need not be found out: the limit begins there, and
    changes with them in proportion. It is a beginning only: what is seen moves it up and down as ever.

    All this counts what this process sent: others may use the nodes too, and then only refusals tell.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = min(_FIRST_LIMIT, self._most)
        self._floor = _FLOOR
        self._slots: int | None = None  # as the nodes say
        self._is_probing = True
        self._running = self._ends = self._cuts = 0
        self._proven = 0.0  # so many ran at once
        self._calm_s = inf
        self._wait_s, self._waits = 0.0, 0  # of requests that were sent after the last cut
        self._answer_s: float | None = None
        self._tokens = self._seconds = 0.0

    @property
    def limit(self) -> int:
        return max(int(self._limit), 1)

    @property
    def tokens_per_s(self) -> float | None:
        """What all nodes do together at the limit; none until an answer has ended."""
        return self._tokens / self._seconds * self.limit if self._seconds and self._tokens else None

    def expect(self, slots: int) -> None:
        """Take in how many requests the nodes answer together, at least 1."""
        known, self._slots = self._slots, slots
        self._floor = min(_FLOOR, slots)
        if known is not None:
            self._scale(slots / known)
        elif not self._ends and not self._running:
            self._limit = min(float(slots), self._most)

    def sent(self) -> Sent:
        """Note that a request goes to a node; `left` or `refused` follow."""
        self._running += 1
        return Sent(self._running, self._ends, self._cuts)

    def left(self) -> None:
        """Note that a request's place at a node is free again."""
        self._running -= 1
        self._ends += 1

    def began(self, sent: Sent, wait_s: float, *, is_pressed: bool) -> None:
        """Learn from a node's first token, `wait_s` after it was asked."""
        ended = self._ends - sent.ends
        is_free = ended * _FREE_SHARE <= sent.running
        self._proven = max(self._proven * _PROOF_MEMORY, sent.running - ended)
        is_telling = sent.cuts == self._cuts and sent.running >= _FULL * self._limit
        if is_telling:
            self._waits += 1
            self._wait_s += max(_SMOOTHING, 1 / self._waits) * (wait_s - self._wait_s)
        if is_free:
            self._learn_calm(wait_s, is_sure=ended == 0)
            self._grow(1.0 if is_pressed else 0.0)
        elif is_telling and self._waits >= _ENOUGH:
            self._judge(is_pressed=is_pressed)

    def ended(self, wait_s: float, seconds: float, tokens: int) -> None:
        """Learn from an answer that took a node `seconds`, its first token `wait_s` of them, for `tokens` in all."""
        self._tokens = self._tokens * _MEMORY + tokens
        self._seconds = self._seconds * _MEMORY + seconds
        answer_s = seconds - wait_s
        self._answer_s = (
            answer_s if self._answer_s is None else self._answer_s + _SMOOTHING * (answer_s - self._answer_s)
        )

    def refused(self) -> None:
        """Learn from a node that is full with what it has."""
        self._running -= 1
        self._is_probing = False
        self._limit = min(self._limit, max(self._running, 1.0))
        self._proven = min(self._proven, self._limit)
        self._cut()

    def probe(self) -> None:
        """Allow one more than what runs: the nodes may have room again."""
        self._limit = min(max(self._limit, self._running + 1.0), self._most)

    def _judge(self, *, is_pressed: bool) -> None:
        self._calm_s = min(self._calm_s, self._wait_s)
        if self._answer_s is not None and self._wait_s > 2 * self._calm_s + 0.5 * self._answer_s + _NOISE_S:
            self._shrink()
            return
        if is_pressed:
            self._grow(1.0 if self._is_probing else _GROWTH)

    def _scale(self, factor: float) -> None:
        """Nodes came or went: what is on its way says nothing about those that are left."""
        self._limit = min(max(self._limit * factor, 1.0), self._most)
        self._proven *= factor
        self._cut()

    def _grow(self, by: float) -> None:
        self._limit = min(self._limit + by, self._most)

    def _shrink(self) -> None:
        floor = max(self._floor, self._proven)
        if self._limit * _BACK_OFF <= floor:
            self._calm_s, self._is_probing = self._wait_s, True
            return
        self._is_probing = False
        self._limit *= _BACK_OFF
        self._cut()

    def _learn_calm(self, wait_s: float, *, is_sure: bool) -> None:
        """Those that only seem to be free are the quickest of many: they cannot make it shorter."""
        if self._calm_s == inf:
            self._calm_s = wait_s
        elif is_sure or wait_s > self._calm_s:
            self._calm_s += _SMOOTHING * (wait_s - self._calm_s)

    def _cut(self) -> None:
        self._cuts += 1
        self._wait_s, self._waits = 0.0, 0
