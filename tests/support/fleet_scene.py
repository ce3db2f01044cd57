"""A fleet with a clock that a test moves."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from weir.routing.policy.fleet import Fleet
from weir.routing.policy.job import Job
from weir.routing.policy.member import KindKey, Member
from weir.routing.policy.ticket import Ticket

GPU, CPU = KindKey("m/1", "cuda-int4", "gpu"), KindKey("m/1", "cpu-int8", "cpu")
PROVEN = ("cuda-int4", "cpu-int8")


@dataclass
class Scene:
    """A fleet, a clock, and what was done with both."""

    proven: tuple[str, ...] = PROVEN
    now: float = 0.0
    tickets: list[Ticket] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.fleet = Fleet(lambda: self.now, proven=self.proven)

    def add(self, name: str, key: KindKey = CPU, *, slots: int | None = None) -> Member:
        member = self.fleet.add(name, key)
        self.fleet.up(member, is_up=True)
        self.fleet.told(member, key, slots=slots, foreign=0)
        return member

    def pick(
        self, prompt: int = 100, most: int = 64, beginning: int | None = None, without: tuple[str, ...] = ()
    ) -> str:
        """Return the name of the node that takes it; empty: none."""
        known = () if beginning is None else ((beginning, prompt // 2),)
        ticket = self.fleet.pick(Job("m", prompt, most, known, without))
        if ticket is None:
            return ""
        self.tickets.append(ticket)
        return ticket.member.name

    def serve(self, name: str, *, first_s: float, step_s: float, times: int = 30, prompt: int = 100) -> None:
        """Have one node answer alone, again and again, so that its speed is known."""
        others = tuple(other for other in self.fleet.members if other != name)
        for _ in range(times):
            ticket = self.fleet.pick(Job("m", prompt, 64, (), others))
            assert ticket is not None
            self.now += first_s
            ticket.began(self.now)
            self.now += 63 * step_s
            ticket.left(self.now, 64)
            self.fleet.succeeded(ticket.member)
