"""A simulated node: reads one prompt at a time, writes a token of every running answer per step, queues the rest.

Nothing here knows what a policy believes of nodes. Between two changes of who runs, all answers go on at the same
speed, so only the next end has to be known: a change costs a heap operation, whatever the length of the answers.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from math import inf
from typing import Final

from weir_training.benching.route.load import Call, Shape

_WHILE_READING: Final = 0.55  # of the speed at which answers go on, while a prompt is read beside them
_KEPT: Final = 24  # beginnings of prompts that a node has in memory


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a node is.

    Attributes:
        slots: answers that are written together.
        read_per_s: prompt tokens that are read per second.
        base_s: what a prompt of any length takes.
        step_s: of a token of a lone answer.
        crowd: how much longer a step takes for each answer beside it, as a share.
    """

    slots: int
    read_per_s: float
    base_s: float
    step_s: float
    crowd: float

    def step(self, running: int) -> float:
        return self.step_s * (1 + self.crowd * (running - 1))

    def slowed(self, factor: float) -> "Speed":
        return replace(
            self, read_per_s=self.read_per_s / factor, base_s=self.base_s * factor, step_s=self.step_s * factor
        )

    def capacity(self, shape: Shape) -> float:
        """Return requests per second that it can do at most, on average."""
        reading = self.base_s + shape.mean_prompt / self.read_per_s
        writing = shape.mean_answer * self.step(self.slots) / self.slots
        return 1 / max(reading, writing + reading * (1 - _WHILE_READING))


@dataclass(frozen=True, slots=True)
class Model:
    """A model of machine: how fast, what it is called and runs, whether it says how many slots it has."""

    label: str
    flavour: str
    speed: Speed
    tells_slots: bool


class Work:
    """One request at a node."""

    __slots__ = ("attempts", "call", "first_at", "number", "place")

    def __init__(self, number: int, call: Call) -> None:
        self.number = number
        self.call = call
        self.first_at = inf
        self.attempts = 0
        self.place: object = None  # the policy's

    def __lt__(self, other: "Work") -> bool:
        return self.number < other.number


class Machine:
    """One node in simulated time; `advance` has to be called at `next_s`."""

    def __init__(self, speed: Speed) -> None:
        self.usual = self.speed = speed
        self.is_alive = True
        self.next_s = inf
        self.stamp = 0
        self._waiting: deque[Work] = deque()
        self._read: Work | None = None
        self._read_ends = inf
        self._running: list[tuple[float, Work]] = []
        self._written = 0.0  # tokens of an answer that had run since the start
        self._at = 0.0
        self._kept: OrderedDict[int, None] = OrderedDict()

    @property
    def present(self) -> list[Work]:
        return [*self._waiting, *([self._read] if self._read else []), *(work for _, work in self._running)]

    def take(self, work: Work, now: float) -> None:
        self._pass(now)
        self._waiting.append(work)
        self._begin(now)

    def advance(self, now: float) -> tuple[Work | None, list[Work]]:
        """Go on to `now`; return whose first token came and which answers ended."""
        self._pass(now)
        begun, ended = None, []
        if self._read is not None and self._read_ends <= now:
            begun, self._read = self._read, None
            self._read_ends = inf
            if begun.call.answer_tokens > 1:
                heappush(self._running, (self._written + begun.call.answer_tokens - 1, begun))
            else:
                ended.append(begun)
        while self._running and self._running[0][0] <= self._written + 1e-6:
            ended.append(heappop(self._running)[1])
        self._begin(now)
        return begun, ended

    def change(self, speed: Speed, now: float) -> None:
        """Become slower or faster; a prompt that is being read is read at the old speed."""
        self._pass(now)
        self.speed = speed
        self._begin(now)

    def die(self, now: float) -> list[Work]:
        """Stop; return all that it had."""
        lost = self.present
        self._pass(now)
        self._waiting.clear()
        self._running.clear()
        self._kept.clear()
        self._read, self._read_ends, self.is_alive = None, inf, False
        self._begin(now)
        return lost

    def _pass(self, now: float) -> None:
        if self._running:
            self._written += (now - self._at) / self._step_s()
        self._at = now

    def _step_s(self) -> float:
        step_s = self.speed.step(len(self._running))
        return step_s if self._read is None else step_s / _WHILE_READING

    def _begin(self, now: float) -> None:
        """Read the next prompt, if there is room for its answer, and find out when something changes next."""
        if self._read is None and self._waiting and len(self._running) < self.speed.slots:
            work = self._read = self._waiting.popleft()
            self._read_ends = now + self.speed.base_s + self._unread(work.call) / self.speed.read_per_s
        self.next_s = self._read_ends
        if self._running:
            self.next_s = min(self.next_s, now + max(self._running[0][0] - self._written, 0.0) * self._step_s())
        self.stamp += 1

    def _unread(self, call: Call) -> int:
        """Return how many tokens have to be read: a beginning that is in memory need not be."""
        if call.family in self._kept:
            self._kept.move_to_end(call.family)
            return max(call.prompt_tokens - call.shared_tokens, 1)
        self._kept[call.family] = None
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return call.prompt_tokens
