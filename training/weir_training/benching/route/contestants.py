"""Policies in one form: Weir's own, as the gateway runs it, and the usual simpler ones."""

from collections.abc import Callable
from random import Random
from typing import Final, Protocol

from weir.routing.policy.fleet import Fleet
from weir.routing.policy.job import Job
from weir.routing.policy.member import KindKey
from weir.routing.policy.ticket import Ticket
from weir_training.benching.route.load import Call

PRETTY: Final = {
    "round-robin": "round robin",
    "least-loaded": "least loaded",
    "two-choices": "two choices",
    "weir": "Weir",
}


class Policy(Protocol):
    """Chooses nodes by number. What it is told is what a gateway sees."""

    def pick(self, call: Call, without: frozenset[int]) -> object | None:
        """Return a place that is reserved at a node; none: no node is known to be up."""
        ...

    def number(self, place: object) -> int: ...

    def began(self, place: object) -> None: ...

    def ended(self, place: object, tokens: int | None) -> None:
        """`tokens`: of a whole answer; none: it failed."""
        ...

    def health(self, number: int, *, is_up: bool) -> None: ...


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

    def usable(self, without: frozenset[int]) -> list[int]:
        return [number for number, is_up in enumerate(self.up) if is_up and number not in without]


class RoundRobin(_Counting):
    _next = 0

    def pick(self, call: Call, without: frozenset[int]) -> object | None:
        del call
        for _ in self.up:
            number, self._next = self._next, (self._next + 1) % len(self.up)
            if self.up[number] and number not in without:
                return self.taken(number)
        return None


class LeastLoaded(_Counting):
    """The fewest requests; any of those that have as few."""

    def pick(self, call: Call, without: frozenset[int]) -> object | None:
        del call
        usable = self.usable(without)
        if not usable:
            return None
        least = min(map(self.loads.__getitem__, usable))
        return self.taken(self.dice.choice([number for number in usable if self.loads[number] == least]))


class TwoChoices(_Counting):
    """The less loaded of two that are drawn."""

    def pick(self, call: Call, without: frozenset[int]) -> object | None:
        del call
        count = len(self.up)
        for _ in range(8):
            pair = [self.dice.randrange(count), self.dice.randrange(count)]
            if usable := [number for number in pair if self.up[number] and number not in without]:
                return self.taken(min(usable, key=self.loads.__getitem__))
        usable = self.usable(without)
        return self.taken(self.dice.choice(usable)) if usable else None


class Weir:
    """The policy of the gateway's router, with the simulation's clock."""

    def __init__(self, labels: list[str], clock: Callable[[], float], slots: list[int] | None = None) -> None:
        self.fleet = Fleet(clock, proven={"cpu", "gpu"})
        for number, label in enumerate(labels):
            key = KindKey("m/1", label.partition("-")[0], label)
            member = self.fleet.add(str(number), key)
            self.fleet.up(member, is_up=True)
            if slots is not None:
                self.fleet.told(member, key, slots=slots[number], foreign=0)

    def pick(self, call: Call, without: frozenset[int]) -> object | None:
        shared = min(96, call.prompt_tokens)
        job = Job("m", call.prompt_tokens, call.most_tokens, ((call.family, shared),), {str(n) for n in without})
        return self.fleet.pick(job)

    def number(self, place: object) -> int:
        return int(_ticket(place).member.name)

    def began(self, place: object) -> None:
        ticket = _ticket(place)
        ticket.began(self.fleet.now())

    def ended(self, place: object, tokens: int | None) -> None:
        ticket = _ticket(place)
        ticket.left(self.fleet.now(), tokens)
        if tokens is None:
            self.fleet.failed(ticket.member)
        else:
            self.fleet.succeeded(ticket.member)

    def health(self, number: int, *, is_up: bool) -> None:
        """A probe's result; an ejected node's is that of its canary."""
        member = self.fleet.members[str(number)]
        self.fleet.up(member, is_up=is_up)
        if is_up:
            for due in list(self.fleet.due_for_canary()):
                self.fleet.canary_passed(due) if due.is_up else self.fleet.canary_failed(due)


def _ticket(place: object) -> Ticket:
    if not isinstance(place, Ticket):
        raise TypeError
    return place
