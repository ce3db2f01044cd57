"""Fair shares of tokens between keys: start-time fair queueing, priorities as weights."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

_PER_LEVEL = 4.0  # one level of priority more: four times the share
_FIRST_GUESS_TOKENS = 128.0  # of an answer, while no request has ended
_KEPT_FLOWS = 256
_SMOOTHING = 0.1  # weight of the newest answer in a mean


@dataclass(slots=True, eq=False)
class Work:
    """One request, as admission sees it. `cost` and `charge` are the policy's."""

    key: str
    prompt_tokens: int
    max_new_tokens: int
    priority: int = 0
    max_concurrency: int | None = None  # of the key
    order: int = 0
    cost: float = 0.0  # tokens it will probably take
    charge: float = 0.0  # what its flow paid when it started
    flow: "Flow | None" = None  # while it runs

    @property
    def reserved(self) -> int:
        """Tokens that it may take at most."""
        return self.prompt_tokens + self.max_new_tokens


@dataclass(slots=True)
class KeyLoad:
    """What one key does at the moment, over all its priorities."""

    running: int = 0
    waiting: int = 0
    waiting_tokens: int = 0
    mean_answer: float | None = None


@dataclass(slots=True)
class Flow:
    """The waiting requests of one key and priority. `counter` is the share used so far, in tokens by weight."""

    load: KeyLoad
    weight: float
    counter: float = 0.0
    cost: float = 0.0
    waiting: OrderedDict[Work, None] = field(default_factory=OrderedDict)

    @property
    def head(self) -> Work:
        return next(iter(self.waiting))

    @property
    def may_start(self) -> bool:
        most = self.head.max_concurrency
        return most is None or self.load.running < most


class Flows:
    """Orders the requests of all keys.

    The flow that used the least goes next and pays for its request at once, by what such requests took lately; the
    difference to what it took is settled at the end. Idle time earns nothing: who comes back starts where the others
    are. A flow that was charged too much gets back one request's worth at a time, so that nobody can save up.

    Source: Goyal, Vin, Cheng, "Start-time fair queueing" (1996); Sheng et al., "Fairness in serving large language
    models" (2024), for counting tokens.
    """

    def __init__(self) -> None:
        self._flows: dict[tuple[str, int], Flow] = {}
        self._loads: dict[str, KeyLoad] = {}
        self._backlog: dict[tuple[str, int], Flow] = {}  # those with waiting requests
        self._virtual = 0.0
        self._mean_answer = _FIRST_GUESS_TOKENS
        self._arrivals = 0
        self.running = 0
        self.waiting = 0
        self.waiting_tokens = 0  # reserved
        self.waiting_cost = 0.0
        self.running_tokens = 0  # reserved

    def load(self, key: str) -> KeyLoad:
        load = self._loads.get(key)
        if load is None:
            load = self._loads[key] = KeyLoad()
        return load

    def busy_keys(self) -> dict[str, KeyLoad]:
        """Return the keys with waiting requests."""
        return {key: self._loads[key] for key, _ in self._backlog}

    def push(self, work: Work) -> None:
        """Let it wait behind the others of its flow."""
        self._arrivals += 1
        work.order = self._arrivals
        work.cost = self.cost(work)
        flow = self._flow(work)
        if not flow.waiting:
            flow.counter = max(flow.counter, self._virtual)
        self._add(flow, work)

    def begin(self, work: Work) -> None:
        """Start it at once: what `push` and `pop` would do while nobody waits."""
        self._arrivals += 1
        work.order = self._arrivals
        work.cost = self.cost(work)
        flow = self._flow(work)
        self._virtual = max(flow.counter, self._virtual)
        flow.counter = self._virtual
        self._started(flow, work)

    def put_back(self, work: Work) -> None:
        """Take a started one back to the front, as if it had never started."""
        flow = self._stopped(work)
        flow.counter -= work.charge
        self._add(flow, work)
        flow.waiting.move_to_end(work, last=False)

    def pop(self) -> Work | None:
        """Start the request whose turn it is, if there is one whose key may run more."""
        flow = min(self._eligible(), key=lambda f: (f.counter, f.head.order), default=None)
        if flow is None:
            return None
        work = flow.head
        self.remove(work)
        flow.counter = max(flow.counter, self._virtual - work.cost / flow.weight)
        self._virtual = max(self._virtual, flow.counter)
        self._started(flow, work)
        return work

    def _started(self, flow: Flow, work: Work) -> None:
        work.charge = work.cost / flow.weight
        work.flow = flow
        flow.counter += work.charge
        flow.load.running += 1
        self.running += 1
        self.running_tokens += work.reserved

    def remove(self, work: Work) -> None:
        """Forget a waiting request."""
        key = (work.key, work.priority)
        flow = self._flows[key]
        del flow.waiting[work]
        if not flow.waiting:
            del self._backlog[key]
        flow.cost = flow.cost - work.cost if flow.waiting else 0.0
        flow.load.waiting -= 1
        flow.load.waiting_tokens -= work.reserved
        self.waiting -= 1
        self.waiting_tokens -= work.reserved
        self.waiting_cost = self.waiting_cost - work.cost if self.waiting else 0.0
        self._sweep()

    def finish(self, work: Work, answer_tokens: int | None) -> None:
        """Settle a started request; without `answer_tokens` nothing is learned from it."""
        flow = self._stopped(work)
        if answer_tokens is not None:
            flow.counter += (work.prompt_tokens + answer_tokens) / flow.weight - work.charge
            self._learn(flow.load, answer_tokens)
        self._sweep()

    def cost(self, work: Work) -> float:
        """Return how many tokens it will probably take."""
        load = self._loads.get(work.key)
        mean = self._mean_answer if load is None or load.mean_answer is None else load.mean_answer
        return max(work.prompt_tokens + min(mean, work.max_new_tokens), 1.0)

    def ahead_of(self, work: Work) -> float:
        """Return about how many tokens others would take before `work`, came it now."""
        own = self._backlog.get((work.key, work.priority))
        weight, queued = _weight(work), 0.0 if own is None else own.cost
        others = [flow for flow in self._backlog.values() if flow is not own]
        turns = sum(flow.head.cost + queued * flow.weight / weight for flow in others)
        return min(queued + turns, self.waiting_cost)

    def newest_of(self, key: str) -> Work:
        """Return the request of this key that would be missed least: the last one of its lowest priority."""
        lowest = min(priority for name, priority in self._backlog if name == key)
        return next(reversed(self._backlog[key, lowest].waiting))

    def has_turn(self) -> bool:
        """Whether any waiting request's key may run more."""
        return bool(self._backlog) and any(True for _ in self._eligible())

    def _eligible(self) -> Iterable[Flow]:
        return (flow for flow in self._backlog.values() if flow.may_start)

    def _flow(self, work: Work) -> Flow:
        key = (work.key, work.priority)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = Flow(self.load(work.key), _weight(work), self._virtual)
        return flow

    def _add(self, flow: Flow, work: Work) -> None:
        flow.waiting[work] = None
        self._backlog[work.key, work.priority] = flow
        flow.cost += work.cost
        flow.load.waiting += 1
        flow.load.waiting_tokens += work.reserved
        self.waiting += 1
        self.waiting_tokens += work.reserved
        self.waiting_cost += work.cost

    def _stopped(self, work: Work) -> Flow:
        flow, work.flow = work.flow, None
        if flow is None:
            raise RuntimeError("this request does not run")
        flow.load.running -= 1
        self.running -= 1
        self.running_tokens -= work.reserved
        return flow

    def _learn(self, load: KeyLoad, answer_tokens: int) -> None:
        known = self._mean_answer if load.mean_answer is None else load.mean_answer
        load.mean_answer = known + _SMOOTHING * (answer_tokens - known)
        self._mean_answer += _SMOOTHING * (answer_tokens - self._mean_answer)

    def _sweep(self) -> None:
        """Forget flows and keys without work, once there are many: what such a flow owes is one request's worth."""
        if len(self._flows) > 2 * (self.running + self.waiting) + _KEPT_FLOWS:
            self._flows = {key: flow for key, flow in self._flows.items() if flow.waiting or flow.load.running}
            self._loads = {key: self._loads[key] for key, _ in self._flows}


def _weight(work: Work) -> float:
    return float(_PER_LEVEL**work.priority)
