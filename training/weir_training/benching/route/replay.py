"""Runs a load over machines under one policy, in simulated time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any, Final

from weir_training.benching.route.contestants import NOBODY, Policy, Without
from weir_training.benching.route.load import Call
from weir_training.benching.route.machine import Machine, Speed, Work

_ATTEMPTS: Final = 3
_PROBE_S: Final = 1.0
_NOTICED_S: Final = 0.001  # a connection that is refused, or reset
_PAUSE_S: Final = 0.05
_PATIENCE_S: Final = 0.1  # before a request is offered again that found no node


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to a node: at `at_s` it dies, or its times grow by `factor`, until `until_s`."""

    node: int
    at_s: float
    until_s: float
    factor: float = inf


@dataclass(slots=True)
class Seen:
    """What became of the requests; seconds from arrival, in order of their ends."""

    firsts: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    lost: int = 0  # in the middle of an answer
    refused: int = 0  # no node in three attempts
    per_node: list[int] = field(default_factory=list)


class Clock:
    """Simulated time."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Replay:
    """One run. `make` is given the clock, and returns the policy."""

    def __init__(
        self, speeds: Sequence[Speed], make: Callable[[Clock], Policy], troubles: Iterable[Trouble] = ()
    ) -> None:
        self.clock = Clock()
        self.policy = make(self.clock)
        self.machines = [Machine(speed) for speed in speeds]
        self.seen = Seen(per_node=[0] * len(speeds))
        self._order = count()
        self._events: list[tuple[float, int, int, Any]] = []  # when, order, kind or -1 - number, what
        for trouble in troubles:
            self._at(trouble.at_s, self._begin_trouble, trouble)
            self._at(trouble.until_s, self._end_trouble, trouble)
        if self._events:
            self._at(_PROBE_S, self._probe, None)
        self._live = 0

    def run(self, calls: Iterable[Call]) -> Seen:
        clock, events = self.clock, self._events
        for number, call in enumerate(calls):
            while events and events[0][0] <= call.at_s:
                self._step(heappop(events))
            clock.now = call.at_s
            self._live += 1
            self._offer(Work(number, call))
        while self._live and events:
            self._step(heappop(events))
        return self.seen

    def _step(self, event: tuple[float, int, int, Any]) -> None:
        when, _, number, what = event
        if number >= 0:
            machine = self.machines[number]
            if machine.stamp != what:
                return
            self.clock.now = when
            self._advance(number, machine)
        else:
            self.clock.now = when
            call, argument = what
            call(argument)

    def _advance(self, number: int, machine: Machine) -> None:
        now, policy, seen = self.clock.now, self.policy, self.seen
        begun, ended = machine.advance(now)
        if begun is not None:
            begun.first_at = now
            policy.began(begun.place)
        self._live -= len(ended)
        for work in ended:
            call = work.call
            seen.firsts.append(work.first_at - call.at_s)
            seen.totals.append(now - call.at_s)
            seen.tokens.append(call.answer_tokens)
            policy.ended(work.place, call.answer_tokens)
        self._schedule(number, machine)

    def _schedule(self, number: int, machine: Machine) -> None:
        if machine.next_s < inf:
            heappush(self._events, (machine.next_s, next(self._order), number, machine.stamp))

    def _offer(self, work: Work, without: Without = NOBODY) -> None:
        work.attempts += 1
        place = self.policy.pick(work.call, without)
        if place is None:
            self._again(work, _PATIENCE_S)
            return
        work.place = place
        number = self.policy.number(place)
        machine = self.machines[number]
        if machine.is_alive:
            self.seen.per_node[number] += 1
            machine.take(work, self.clock.now)
            self._schedule(number, machine)
        else:
            self._at(self.clock.now + _NOTICED_S, self._refused, work)

    def _refused(self, work: Work) -> None:
        number = self.policy.number(work.place)
        self.policy.ended(work.place, None)
        self.policy.health(number, is_up=False)
        self._again(work, _PAUSE_S, frozenset({number}))

    def _again(self, work: Work, pause_s: float, without: Without = NOBODY) -> None:
        if work.attempts >= _ATTEMPTS:
            self.seen.refused += 1
            self._live -= 1
        else:
            self._at(self.clock.now + pause_s, lambda again: self._offer(again, without), work)

    def _begin_trouble(self, trouble: Trouble) -> None:
        machine = self.machines[trouble.node]
        if trouble.factor < inf:
            machine.change(machine.usual.slowed(trouble.factor), self.clock.now)
            self._schedule(trouble.node, machine)
            return
        for work in machine.die(self.clock.now):
            if work.first_at < inf:
                self.seen.lost += 1
                self._live -= 1
                self.policy.ended(work.place, None)
                self.policy.health(trouble.node, is_up=False)
            else:
                self._refused(work)

    def _end_trouble(self, trouble: Trouble) -> None:
        machine = self.machines[trouble.node]
        machine.is_alive = True
        machine.change(machine.usual, self.clock.now)
        self._schedule(trouble.node, machine)

    def _probe(self, _: None) -> None:
        for number, machine in enumerate(self.machines):
            self.policy.health(number, is_up=machine.is_alive)
        self._at(self.clock.now + _PROBE_S, self._probe, None)

    def _at(self, when: float, call: Callable[[Any], None], argument: Any) -> None:
        heappush(self._events, (when, next(self._order), -1, (call, argument)))
