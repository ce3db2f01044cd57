"""The rules of admission, without clock and tasks: bounds, and what becomes of a request that comes now."""

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final

from weir.gateway.admission.flows import Flows, Work


class Refusal(Enum):
    """Why a request is not even let into the queue."""

    KEY = "key"  # its key waits with more than its share, or than it may run
    SYSTEM = "system"  # the queue is full
    HOPELESS = "hopeless"  # it would wait for longer than it can


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is never exceeded, whatever is learned: requests that run, that wait, tokens of both together."""

    running: int
    waiting: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What became of a request: it waits (perhaps only until the next `start`), or is refused.

    `evicted` had to make room: it waited for a key that held more of the queue.
    """

    refusal: Refusal | None = None
    evicted: Work | None = None


_TAKEN: Final = Offer()
_ANSWERS_OF_ONE: Final = 4  # that one HTTP request may want (`n`): a key that runs one at a time may ask for them


class AdmissionPolicy:
    """Bookkeeping over `Flows`. `limit` is how many may run now; it is set from outside, within the bounds."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._flows = Flows()
        self.limit = bounds.running

    @property
    def running(self) -> int:
        return self._flows.running

    @property
    def waiting(self) -> int:
        return self._flows.waiting

    @property
    def waiting_tokens(self) -> int:
        return self._flows.waiting_tokens

    @property
    def tokens(self) -> int:
        """Tokens that all running and waiting requests may take at most."""
        return self._flows.running_tokens + self._flows.waiting_tokens

    @property
    def waiting_cost(self) -> float:
        """Tokens that the waiting requests will probably take."""
        return self._flows.waiting_cost

    def begin(self, work: Work) -> bool:
        """Start a request at once if nobody waits and nothing speaks against it; the usual case, without a queue."""
        if self._flows.waiting or not self.has_room(work):
            return False
        self._flows.begin(work)
        return True

    def has_room(self, work: Work) -> bool:
        """Whether it could start at once, before whoever waits for a turn of his key."""
        flows, bounds = self._flows, self._bounds
        if flows.running >= min(self.limit, bounds.running) or (flows.waiting and flows.has_turn()):
            return False
        if work.max_concurrency is not None and flows.load(work.key).running >= work.max_concurrency:
            return False
        tokens = flows.running_tokens + flows.waiting_tokens
        return not flows.running or tokens + work.reserved <= bounds.tokens

    def offer(self, work: Work, *, most_ahead: float = inf) -> Offer:
        """Put a request into the queue, or refuse it; `most_ahead` tokens may come before it if it must wait."""
        if self.has_room(work):
            self._flows.push(work)
            return _TAKEN
        if refusal := self.refusal(work, most_ahead=most_ahead):
            return Offer(refusal)
        evicted = self._evictable(work) if self._is_full(work) else None
        if evicted is not None:
            self._flows.remove(evicted)
        self._flows.push(work)
        return Offer(evicted=evicted)

    def refusal(self, work: Work, *, most_ahead: float = inf) -> Refusal | None:
        """Say whether `offer` would refuse it; nothing is changed."""
        if self.has_room(work):
            return None
        load = self._flows.load(work.key)
        if work.max_concurrency is not None and load.waiting >= max(work.max_concurrency, _ANSWERS_OF_ONE):
            return Refusal.KEY
        if self.ahead_of(work) > most_ahead:
            return Refusal.HOPELESS
        if not self._is_full(work) or self._evictable(work) is not None:
            return None
        own, keys = load.waiting_tokens + work.reserved, len(self._flows.busy_keys())
        return Refusal.KEY if keys > 1 and own * keys > self.waiting_tokens else Refusal.SYSTEM

    def start(self) -> Work | None:
        """Return the next request that may run now; call it until there is none."""
        if self.running >= min(self.limit, self._bounds.running):
            return None
        return self._flows.pop()

    def leave(self, work: Work) -> None:
        """Forget a waiting request: its caller left, or its time is over."""
        self._flows.remove(work)

    def put_back(self, work: Work) -> None:
        """Let a running one wait again, before all others of its key: no node had room for it."""
        self._flows.put_back(work)

    def finish(self, work: Work, answer_tokens: int | None) -> None:
        """Note that a running one ended, after so many tokens; none: it never really ran."""
        self._flows.finish(work, answer_tokens)

    def ahead_of(self, work: Work) -> float:
        """Return about how many tokens would be worked on before `work` could start, came it now."""
        return self._flows.ahead_of(work) + self._flows.cost(work)

    def _is_full(self, work: Work) -> bool:
        return self.waiting >= self._bounds.waiting or self.tokens + work.reserved > self._bounds.tokens

    def _evictable(self, work: Work) -> Work | None:
        """Return what makes room if another key holds more of the queue than this one would."""
        keys = self._flows.busy_keys()
        largest = max(keys, key=lambda key: keys[key].waiting_tokens, default=work.key)
        own = self._flows.load(work.key).waiting_tokens + work.reserved
        if largest == work.key or own >= keys[largest].waiting_tokens:
            return None
        newest = self._flows.newest_of(largest)
        makes_room = self.tokens - newest.reserved + work.reserved <= self._bounds.tokens
        return newest if makes_room else None
