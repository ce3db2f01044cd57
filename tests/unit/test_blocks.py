"""Blocks are given out once, counted right and never lost."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from weir.engine.blocks import BlockPool

COUNT = 9


class Pool(RuleBasedStateMachine):
    """Holders come and go; a plain count of holds and a dictionary of keys say what the pool must say."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(COUNT, block_tokens=4)
        self.chains: list[list[int]] = []
        self.keys: dict[int, bytes] = {}  # what the last publisher of a block wrote

    def holds(self) -> Counter[int]:
        return Counter(block for chain in self.chains for block in chain)

    @rule()
    def open(self) -> None:
        self.chains.append([])

    @precondition(lambda self: self.chains and self.pool.available)
    @rule(which=st.integers(0, 99))
    def take(self, which: int) -> None:
        block = self.pool.take()
        assert not self.holds()[block], "given out twice"
        self.keys.pop(block, None)
        self.chains[which % len(self.chains)].append(block)

    @precondition(lambda self: self.chains)
    @rule(which=st.integers(0, 99), key=st.sampled_from([b"a", b"b", b"c", b"d"]))
    def share(self, which: int, key: bytes) -> None:
        block = self.pool.find(key)
        if block is not None:
            assert self.keys[block] == key
            self.pool.hold(block)
            self.chains[which % len(self.chains)].append(block)

    @precondition(lambda self: any(self.chains))
    @rule(which=st.integers(0, 99), key=st.sampled_from([b"a", b"b", b"c", b"d"]))
    def publish(self, which: int, key: bytes) -> None:
        chain = [c for c in self.chains if c][which % sum(map(bool, self.chains))]
        if chain[-1] in self.keys or self.holds()[chain[-1]] > 1:
            return  # its content was final before
        chain[-1] = self.pool.publish(chain[-1], key)
        assert self.keys.setdefault(chain[-1], key) == key

    @precondition(lambda self: self.chains)
    @rule(which=st.integers(0, 99))
    def close(self, which: int) -> None:
        self.pool.release(self.chains.pop(which % len(self.chains)))

    @invariant()
    def counts_are_right(self) -> None:
        held = len(self.holds())
        assert self.pool.held == held
        assert self.pool.free + self.pool.idle + held == COUNT
        assert self.pool.available == COUNT - held

    @invariant()
    def a_held_block_stays_what_it_is(self) -> None:
        for block in self.holds():
            if block in self.keys:
                assert self.pool.find(self.keys[block]) == block


Pool.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestPool = Pool.TestCase


def published(pool: BlockPool, *keys: bytes) -> list[int]:
    return [pool.publish(pool.take(), key) for key in keys]


def test_the_end_of_the_chain_that_was_left_longest_ago_is_forgotten_first() -> None:
    pool = BlockPool(4, block_tokens=4)
    old, new = published(pool, b"old-1", b"old-2"), published(pool, b"new-1", b"new-2")
    pool.release(old)
    pool.release(new)
    kept = []
    for _ in range(4):
        kept.append([k for k in (b"old-1", b"old-2", b"new-1", b"new-2") if pool.find(k) is not None])
        pool.take()
    assert kept == [
        [b"old-1", b"old-2", b"new-1", b"new-2"],
        [b"old-1", b"new-1", b"new-2"],
        [b"new-1", b"new-2"],
        [b"new-1"],
    ]


def test_free_blocks_go_before_kept_ones() -> None:
    pool = BlockPool(2, block_tokens=4)
    pool.release(published(pool, b"kept"))
    pool.take()
    assert pool.find(b"kept") is not None


def test_two_that_hold_the_same_come_to_hold_one() -> None:
    pool = BlockPool(3, block_tokens=4)
    [first] = published(pool, b"same")
    second = pool.take()
    assert pool.publish(second, b"same") == first
    assert (pool.held, pool.free) == (1, 2)
    pool.release([first])
    assert pool.held == 1
    pool.release([first])
    assert (pool.held, pool.idle) == (0, 1)


def test_nothing_is_given_out_beyond_the_pool() -> None:
    pool = BlockPool(1, block_tokens=4)
    pool.take()
    with pytest.raises(IndexError):
        pool.take()


@pytest.mark.parametrize(("tokens", "blocks"), [(0, 0), (1, 1), (16, 1), (17, 2)])
def test_a_started_block_counts(tokens: int, blocks: int) -> None:
    assert BlockPool(4, block_tokens=16).needed(tokens) == blocks
