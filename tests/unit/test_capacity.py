"""What is learned of the nodes: how many at once, how fast."""

import random
from collections.abc import Callable

import pytest

from weir.gateway.admission.capacity import Capacity


def driven(capacity: Capacity, first_token_s: Callable[[int], float], answer_s: float, rounds: int = 400) -> None:
    """Keep the nodes as busy as `capacity` lets; a node's first token comes after `first_token_s(running)`."""
    for _ in range(rounds):
        running = capacity.limit
        wait_s = first_token_s(running)
        capacity.began(wait_s, running=running, is_pressed=True)
        capacity.ended(wait_s, wait_s + answer_s, 100)


def queueing(slots: int, calm_s: float, answer_s: float) -> Callable[[int], float]:
    """A node with so many slots: the rest waits until one is free."""
    dice = random.Random(1)
    return lambda running: (calm_s + max(running - slots, 0) / slots * answer_s) * dice.uniform(0.8, 1.2)


def test_it_grows_to_the_bound_while_nodes_keep_up() -> None:
    capacity = Capacity(200)
    driven(capacity, lambda running: 0.01, 1.0)
    assert capacity.limit == 200


def test_it_does_not_grow_while_nobody_waits() -> None:
    capacity = Capacity(200)
    before = capacity.limit
    for _ in range(500):
        capacity.began(0.01, running=2, is_pressed=False)
    assert capacity.limit == before


@pytest.mark.parametrize("slots", [16, 32, 100])
def test_it_settles_where_a_node_is_full_but_its_queue_short(slots: int) -> None:
    capacity = Capacity(1000)
    driven(capacity, queueing(slots, 0.02, 1.0), 1.0, rounds=4000)
    assert slots <= capacity.limit <= 2 * slots


def test_late_first_tokens_alone_never_starve_a_node() -> None:
    capacity = Capacity(64)
    driven(capacity, lambda running: 0.01, 0.001, rounds=50)
    driven(capacity, lambda running: 5.0, 0.001)
    assert capacity.limit >= 14


def test_a_node_that_refuses_sets_the_limit_to_what_runs_and_it_may_grow_again() -> None:
    capacity = Capacity(64)
    capacity.refused(running=4)
    assert capacity.limit == 4
    capacity.refused(running=0)
    assert capacity.limit == 1
    capacity.probe(running=1)
    assert capacity.limit == 2
    driven(capacity, lambda running: 0.01, 1.0, rounds=50)
    assert 5 <= capacity.limit <= 16


def test_the_speed_is_all_slots_together() -> None:
    capacity = Capacity(8)
    assert capacity.tokens_per_s is None
    for _ in range(20):
        capacity.ended(0.1, 2.0, 100)
    assert capacity.tokens_per_s == pytest.approx(400)
