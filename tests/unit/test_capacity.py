"""What is learned of the nodes: how many at once, how fast. A node is simulated, in virtual time."""

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.gateway.admission.capacity import Capacity, Sent


@dataclass
class Asked:
    """One request: how long its first token and the rest of its answer take once the node has begun."""

    first_s: float
    answer_s: float
    sent: Sent | None = None
    sent_at: float = 0.0
    wait_s: float = 0.0


@dataclass
class Node:
    """Runs `slots` requests at once, first come, first served; `limit_s` and `busy_s` are sums over time."""

    capacity: Capacity
    slots: float = inf
    now: float = 0.0
    longest_wait_s: float = 0.0  # for a turn in the gateway
    done: int = 0
    limit_s: float = 0.0
    _running: int = 0
    _outstanding: int = 0
    _queue: deque[Asked] = field(default_factory=deque)
    _waiting: deque[tuple[float, Asked]] = field(default_factory=deque)
    _events: list[tuple[float, int, str, Asked]] = field(default_factory=list)
    _order: count = field(default_factory=count)
    _dice: random.Random = field(default_factory=lambda: random.Random(1))

    def run(self, seconds: float, clients: int, first_s: float, answer_s: float, spread: float = 0.2) -> None:
        """So many clients ask, again and again, for so long."""
        end = self.now + seconds

        def ask() -> None:
            factors = [self._dice.lognormvariate(-(spread**2) / 2, spread) for _ in range(2)]  # mean 1
            self._waiting.append((self.now, Asked(first_s * factors[0], answer_s * factors[1])))

        for _ in range(clients - len(self._waiting) - self._outstanding):
            ask()
        self._let_in()
        while self._events and self._events[0][0] <= end:
            at, _, kind, asked = heapq.heappop(self._events)
            self.limit_s += (at - self.now) * self.capacity.limit
            self.now = at
            if kind == "first":
                self._first(asked)
            else:
                self._end(asked)
                ask()
            self._let_in()
        self.now = end

    def _let_in(self) -> None:
        while self._waiting and self._outstanding < self.capacity.limit:
            since, asked = self._waiting.popleft()
            self.longest_wait_s = max(self.longest_wait_s, self.now - since)
            self._outstanding += 1
            asked.sent, asked.sent_at = self.capacity.sent(), self.now
            self._queue.append(asked)
        if self._waiting:
            self.longest_wait_s = max(self.longest_wait_s, self.now - self._waiting[0][0])
        while self._queue and self._running < self.slots:
            self._running += 1
            self._at(self._queue[0].first_s, "first", self._queue.popleft())

    def _first(self, asked: Asked) -> None:
        assert asked.sent is not None
        asked.wait_s = self.now - asked.sent_at
        is_pressed = bool(self._waiting) or self._outstanding >= self.capacity.limit
        self.capacity.began(asked.sent, asked.wait_s, is_pressed=is_pressed)
        self._at(asked.answer_s, "end", asked)

    def _end(self, asked: Asked) -> None:
        self._running -= 1
        self._outstanding -= 1
        self.done += 1
        self.capacity.left()
        self.capacity.ended(asked.wait_s, self.now - asked.sent_at, 100)

    def _at(self, seconds: float, kind: str, asked: Asked) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), kind, asked))


@pytest.mark.parametrize(("first_s", "answer_s"), [(0.01, 1.0), (1.0, 1.0), (0.1, 0.0), (5.0, 60.0)])
def test_it_grows_to_the_bound_while_nodes_keep_up(first_s: float, answer_s: float) -> None:
    capacity = Capacity(500)
    Node(capacity).run(40 * (first_s + answer_s), 600, first_s, answer_s)
    assert capacity.limit == 500


def test_it_does_not_grow_while_nobody_waits() -> None:
    capacity = Capacity(200)
    before = capacity.limit
    Node(capacity).run(100, 2, 0.01, 0.1)
    assert capacity.limit == before


@pytest.mark.parametrize("slots", [16, 32, 100])
@pytest.mark.parametrize(("first_s", "answer_s"), [(0.02, 1.0), (0.02, 0.2), (0.3, 0.3)])
def test_it_settles_where_a_node_is_full_but_its_queue_short(slots: int, first_s: float, answer_s: float) -> None:
    capacity = Capacity(1000)
    node = Node(capacity, slots)
    node.run(20, 1000, first_s, answer_s)
    node.limit_s, node.done, began = 0.0, 0, node.now
    node.run(20, 1000, first_s, answer_s)
    mean = node.limit_s / (node.now - began)
    assert slots <= mean <= 2.5 * slots
    assert node.done >= 0.95 * slots / (first_s + answer_s) * 20


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 8, 64, 300]), st.floats(0.0005, 3.0), st.floats(0.0, 20.0)),
        min_size=1,
        max_size=4,
    ),
)
def test_nobody_waits_for_long_while_a_node_would_take_all(work: list[tuple[int, float, float]]) -> None:
    """Whatever work came before: within 25 first tokens everybody runs."""
    node = Node(Capacity(1000))
    for clients, first_s, answer_s in work:
        node.longest_wait_s = 0.0
        node.run(40 * first_s + answer_s, clients, first_s, answer_s)
        assert node.longest_wait_s <= 25 * max(first for _, first, _ in work) + 0.1


def test_late_first_tokens_alone_never_starve_a_node() -> None:
    capacity = Capacity(64)
    node = Node(capacity, 2)
    node.run(2, 64, 0.01, 0.001)
    node.run(500, 64, 5.0, 0.001)
    assert 16 <= capacity.limit <= 64


def test_a_node_that_refuses_sets_the_limit_to_what_runs_and_it_may_grow_again() -> None:
    capacity = Capacity(64)
    sent = [capacity.sent() for _ in range(5)]
    capacity.refused()
    assert capacity.limit == 4
    for _ in range(4):
        capacity.left()
    capacity.sent()
    capacity.refused()
    assert capacity.limit == 1
    assert len(sent) == 5
    capacity.sent()
    capacity.probe()
    assert capacity.limit == 2


@pytest.mark.parametrize("slots", [1, 4, 16, 200])
def test_it_begins_with_what_nodes_say_and_wastes_nothing_of_it(slots: int) -> None:
    capacity = Capacity(1000)
    capacity.expect(slots)
    assert capacity.limit == slots

    node = Node(capacity, slots)
    node.run(60, 5 * slots, 0.01, 1.0)
    assert node.done >= 0.9 * 60 * slots
    assert slots <= node.limit_s / 60 <= 2 * slots + 16


def test_what_nodes_say_is_a_beginning_only_and_never_beyond_the_bound() -> None:
    capacity = Capacity(300)
    capacity.expect(1000)
    assert capacity.limit == 300

    node = Node(capacity, 20)  # as if others used the rest of them
    node.run(300, 300, 0.01, 1.0)
    assert capacity.limit < 100
    assert node.done >= 0.9 * 300 * 20


def test_what_was_learned_already_is_not_forgotten_when_nodes_begin_to_say_it() -> None:
    capacity = Capacity(1000)
    Node(capacity).run(20, 500, 0.01, 0.1)
    learned = capacity.limit
    capacity.expect(4)
    assert capacity.limit == learned


def test_nodes_that_come_and_go_move_the_limit_in_proportion() -> None:
    capacity = Capacity(1000)
    capacity.expect(40)
    for slots, limit in ((80, 80), (20, 20), (1, 1), (40, 40), (4000, 1000)):
        capacity.expect(slots)
        assert capacity.limit == limit


def test_the_speed_is_all_slots_together() -> None:
    capacity = Capacity(8)
    assert capacity.tokens_per_s is None
    for _ in range(20):
        capacity.ended(0.1, 2.0, 100)
    assert capacity.tokens_per_s == pytest.approx(400)
