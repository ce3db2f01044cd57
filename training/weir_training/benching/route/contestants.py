"""Policies in one form: Weir's own, as the gateway runs it, and the usual simpler ones."""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Final, Protocol

from weir.routing.policy.breaker import Circuit
from weir.routing.policy.fleet import Fleet
from weir.routing.policy.job import Job
from weir.routing.policy.member import KindKey
from weir.routing.policy.ticket import Ticket
from weir_training.benching.route.load import Call
from weir_training.benching.route.machine import Model

Without = frozenset[int]
NOBODY: Final[Without] = frozenset()


class Policy(Protocol):
    """Chooses nodes by number. What it is told is what a gateway sees."""

    def pick(self, call: Call, without: Without) -> object | None:
        """Return a place that is reserved at a node; none: no node is known to be up."""
        ...

    def number(self, place: object) -> int: ...

    def began(self, place: object) -> None: ...

    def ended(self, place: object, tokens: int | None) -> None:
        """`tokens`: of a whole answer; none: it failed."""
        ...

    def health(self, number: int, *, is_up: bool) -> None:
        """Take in a probe's result, or that a node could not be reached."""
        ...


class _Counting:
    """What the simple policies share: which nodes are up, and how many requests each has."""

    def __init__(self, count: int, seed: int) -> None:
        self.loads = [0] * count
        self.up = [True] * count
        self.dice = Random(seed)  # noqa: S311

    def number(self, place: object) -> int:
        if not isinstance(place, int):
            raise TypeError
        return place

    def began(self, place: object) -> None:
        pass

    def ended(self, place: object, tokens: int | None) -> None:
        del tokens
        self.loads[self.number(place)] -= 1

    def health(self, number: int, *, is_up: bool) -> None:
        self.up[number] = is_up

    def taken(self, number: int) -> int:
        self.loads[number] += 1
        return number


class RoundRobin(_Counting):
    """One after the other."""

    _next = 0

    def pick(self, call: Call, without: Without) -> object | None:
        del call
        for _ in self.up:
            number, self._next = self._next, (self._next + 1) % len(self.up)
            if self.up[number] and number not in without:
                return self.taken(number)
        return None


class LeastLoaded(_Counting):
    """The fewest requests; any of those that have as few."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__(count, seed)
        self._heap: list[tuple[int, float, int]] = []
        for number in range(count):
            self._push(number)

    def _push(self, number: int) -> None:
        heappush(self._heap, (self.loads[number], self.dice.random(), number))

    def ended(self, place: object, tokens: int | None) -> None:
        super().ended(place, tokens)
        self._push(self.number(place))

    def health(self, number: int, *, is_up: bool) -> None:
        if is_up and not self.up[number]:
            self._push(number)
        super().health(number, is_up=is_up)

    def pick(self, call: Call, without: Without) -> object | None:
        del call
        heap, put_back, found = self._heap, [], None
        while heap:
            entry = heappop(heap)
            load, _, number = entry
            if load != self.loads[number] or not self.up[number]:
                continue
            if number in without:
                put_back.append(entry)
                continue
            found = self.taken(number)
            self._push(number)
            break
        for entry in put_back:
            heappush(heap, entry)
        return found


class TwoChoices(_Counting):
    """The less loaded of two that are drawn."""

    def pick(self, call: Call, without: Without) -> object | None:
        del call
        for _ in range(16):
            pair = [self.dice.randrange(len(self.up)) for _ in range(2)]
            if usable := [number for number in pair if self.up[number] and number not in without]:
                return self.taken(min(usable, key=self.loads.__getitem__))
        usable = [number for number, is_up in enumerate(self.up) if is_up and number not in without]
        return self.taken(self.dice.choice(usable)) if usable else None


class Weir:
    """The policy of the gateway's router, with the simulation's clock."""

    def __init__(self, models: Sequence[Model], clock: Callable[[], float]) -> None:
        self._clock = clock
        self.fleet = Fleet(clock, proven={model.flavour for model in models})
        self._members = []
        for number, model in enumerate(models):
            key = KindKey("m/1", model.flavour, model.label)
            member = self.fleet.add(str(number), key)
            self.fleet.up(member, is_up=True)
            self.fleet.told(member, key, slots=model.speed.slots if model.tells_slots else None, foreign=0)
            self._members.append(member)

    def pick(self, call: Call, without: Without) -> object | None:
        names = {str(number) for number in without} if without else ()
        return self.fleet.pick(Job("m", call.prompt_tokens, call.most_tokens, (call.beginning,), names))

    def number(self, place: object) -> int:
        return _ticket(place).member.number - 1

    def began(self, place: object) -> None:
        _ticket(place).began(self._clock())

    def ended(self, place: object, tokens: int | None) -> None:
        ticket = _ticket(place)
        ticket.left(self._clock(), tokens)
        if tokens is None:
            self.fleet.failed(ticket.member)
        else:
            self.fleet.succeeded(ticket.member)

    def health(self, number: int, *, is_up: bool) -> None:
        """Take in a probe's result; for an ejected node it is its canary's."""
        member = self._members[number]
        self.fleet.up(member, is_up=is_up)
        if is_up and member.breaker.state is Circuit.HALF_OPEN:
            self.fleet.canary_passed(member)


def _ticket(place: object) -> Ticket:
    if not isinstance(place, Ticket):
        raise TypeError
    return place
