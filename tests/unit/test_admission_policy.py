"""The rules of admission: bounds, shares, priorities; whatever comes in whatever order, nothing leaks."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from weir.gateway.admission.flows import Work
from weir.gateway.admission.policy import AdmissionPolicy, Bounds, Refusal

KEYS = st.sampled_from("abcd")
BOUNDS = Bounds(running=3, waiting=6, tokens=2_000)


def work(key: str = "a", tokens: int = 100, *, prompt: int = 10, priority: int = 0, most: int | None = None) -> Work:
    return Work(key, prompt, tokens, priority, most)


class Anything(RuleBasedStateMachine):
    """Arrivals, ends, departures, full nodes and changed limits in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = AdmissionPolicy(BOUNDS)
        self.running: list[Work] = []
        self.waiting: list[Work] = []

    @rule(
        key=KEYS,
        tokens=st.integers(1, 900),
        prompt=st.integers(1, 300),
        priority=st.integers(-2, 2),
        most=st.sampled_from([None, 1, 2]),
        patience=st.sampled_from([0.0, 300.0, float("inf")]),
    )
    def arrive(self, key: str, tokens: int, prompt: int, priority: int, most: int | None, patience: float) -> None:
        new = work(key, tokens, prompt=prompt, priority=priority, most=most)
        offer = self.policy.offer(new, most_ahead=patience)
        if offer.evicted is not None:
            assert offer.evicted.key != key
            self.waiting.remove(offer.evicted)
        if offer.refusal is None:
            self.waiting.append(new)
        self.start_all()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), tokens=st.none() | st.integers(0, 900))
    def finish(self, data: st.DataObject, tokens: int | None) -> None:
        done = data.draw(st.sampled_from(self.running))
        self.running.remove(done)
        self.policy.finish(done, tokens)
        self.start_all()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(gone)
        self.policy.leave(gone)
        self.start_all()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def find_the_nodes_full(self, data: st.DataObject) -> None:
        back = data.draw(st.sampled_from(self.running))
        self.policy.limit = max(len(self.running) - 1, 0)
        self.running.remove(back)
        self.waiting.append(back)
        self.policy.put_back(back)

    @rule(limit=st.integers(0, 5))
    def learn(self, limit: int) -> None:
        self.policy.limit = limit
        self.start_all()

    def start_all(self) -> None:
        while (started := self.policy.start()) is not None:
            self.waiting.remove(started)
            self.running.append(started)

    @invariant()
    def counts_are_true(self) -> None:
        assert (self.policy.running, self.policy.waiting) == (len(self.running), len(self.waiting))
        assert self.policy.tokens == sum(w.reserved for w in self.running + self.waiting)
        assert self.policy.waiting_tokens == sum(w.reserved for w in self.waiting)
        assert abs(self.policy.waiting_cost - sum(w.cost for w in self.waiting)) < 1e-6

    @invariant()
    def bounds_hold(self) -> None:
        assert len(self.running) <= BOUNDS.running
        assert self.policy.tokens <= BOUNDS.tokens
        assert len(self.waiting) <= BOUNDS.waiting + BOUNDS.running  # those that came back from full nodes on top

    @invariant()
    def no_room_is_left_unused(self) -> None:
        by_key = Counter(w.key for w in self.running)
        free = [w for w in self.waiting if w.max_concurrency is None or by_key[w.key] < w.max_concurrency]
        heads = {(w.key, w.priority): w for w in sorted(self.waiting, key=lambda w: -w.order)}
        startable = [w for w in free if w in heads.values()]
        if startable and self.policy.limit > len(self.running):
            assert len(self.running) >= min(self.policy.limit, BOUNDS.running)

    def teardown(self) -> None:
        for one in list(self.waiting):
            self.policy.leave(one)
        for one in self.running:
            self.policy.finish(one, 1)
        assert (self.policy.running, self.policy.waiting, self.policy.tokens) == (0, 0, 0)
        assert self.policy.waiting_cost == 0


Anything.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnything = Anything.TestCase


def drained(policy: AdmissionPolicy, *, tokens: int = 100) -> list[Work]:
    """Run all that waits, one at a time, and return it in its order."""
    order = []
    while (started := policy.start()) is not None:
        order.append(started)
        policy.finish(started, tokens)
    return order


def filled(policy: AdmissionPolicy, *works: Work) -> None:
    for one in works:
        assert policy.offer(one).refusal is None


def one_at_a_time() -> AdmissionPolicy:
    return AdmissionPolicy(Bounds(running=1, waiting=10_000, tokens=10_000_000))


@given(floods=st.dictionaries(st.sampled_from("bcdef"), st.integers(1, 60), min_size=1), seed=st.integers(0, 999))
@settings(deadline=None)
def test_a_newcomer_waits_for_at_most_two_requests_of_every_other_key(floods: dict[str, int], seed: int) -> None:
    policy, dice = one_at_a_time(), random.Random(seed)
    for key, count in floods.items():
        filled(policy, *(work(key, dice.randint(1, 500)) for _ in range(count)))
    for _ in range(dice.randint(0, sum(floods.values()) - 1)):
        if (started := policy.start()) is not None:
            policy.finish(started, dice.randint(0, started.max_new_tokens))
    newcomer = work("new")
    filled(policy, newcomer)

    before = []
    while (started := policy.start()) is not newcomer:
        assert started is not None
        before.append(started.key)
        policy.finish(started, dice.randint(0, started.max_new_tokens))

    assert all(count <= 2 for count in Counter(before).values())


@given(seed=st.integers(0, 999), slots=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_keys_with_enough_to_do_get_equal_tokens_however_long_their_answers_are(seed: int, slots: int) -> None:
    dice = random.Random(seed)
    policy = AdmissionPolicy(Bounds(running=slots, waiting=10_000, tokens=10_000_000))
    longest = {"short": 20, "long": 400}
    got: Counter[str] = Counter()
    running: list[Work] = []
    for step in range(1500):
        for key in longest:
            while policy._flows.load(key).waiting < 3:
                filled(policy, work(key, 1000, prompt=dice.randint(1, 20)))
        while (started := policy.start()) is not None:
            running.append(started)
        done = running.pop(dice.randrange(len(running)))
        answer = dice.randint(1, longest[done.key])
        policy.finish(done, answer)
        if step > 300:  # lengths are learned by then
            got[done.key] += done.prompt_tokens + answer

    assert 0.75 < got["short"] / got["long"] < 1.33


def test_one_key_is_served_in_the_order_of_arrival() -> None:
    policy = one_at_a_time()
    works = [work("a", 10 + i) for i in range(5)]
    filled(policy, *works)

    assert drained(policy) == works


def test_idle_time_earns_nothing() -> None:
    policy = one_at_a_time()
    filled(policy, work("rested", 5), *(work("busy") for _ in range(60)))
    for _ in range(41):
        started = policy.start()
        assert started is not None
        policy.finish(started, 100)
    filled(policy, *(work("rested") for _ in range(20)))

    keys = [one.key for one in drained(policy)]

    assert keys[:10] in (["rested", "busy"] * 5, ["busy", "rested"] * 5)


def test_a_higher_priority_overtakes_and_a_lower_one_still_gets_its_turn() -> None:
    policy = one_at_a_time()
    filled(policy, *(work("batch", priority=-1) for _ in range(40)))
    filled(policy, *(work("chat", priority=0) for _ in range(40)))

    keys = [one.key for one in drained(policy)]

    assert Counter(keys[:40])["chat"] in range(30, 35)  # four to one
    assert keys[:40].count("batch") >= 6


def test_a_high_priority_leaves_others_the_rest_only() -> None:
    policy = one_at_a_time()
    filled(policy, *(work("all", priority=0) for _ in range(40)), *(work("urgent", priority=5) for _ in range(40)))

    assert [one.key for one in drained(policy)][:40].count("urgent") >= 39


def test_a_key_waits_for_its_own_concurrency_and_is_refused_beyond_as_many_again() -> None:
    policy = AdmissionPolicy(Bounds(running=8, waiting=100, tokens=100_000))
    running = []
    for _ in range(10):
        filled(policy, work("a", most=5))
        if (started := policy.start()) is not None:
            running.append(started)

    assert len(running) == 5
    assert policy.offer(work("a", most=5)).refusal is Refusal.KEY
    filled(policy, work("b", most=2))
    started = policy.start()
    assert started is not None
    assert started.key == "b"
    policy.finish(running[0], 5)
    assert policy.start() is not None


def test_a_full_queue_makes_room_for_a_key_that_holds_less_of_it() -> None:
    policy = AdmissionPolicy(Bounds(running=1, waiting=4, tokens=100_000))
    filled(policy, *(work("flood") for _ in range(4)))
    last = work("flood", priority=-1)
    policy.start()
    filled(policy, last)

    offer = policy.offer(work("quiet"))

    assert offer.refusal is None
    assert offer.evicted is last
    assert policy.offer(work("flood")).refusal is Refusal.KEY
    assert policy.waiting == 4


def test_a_queue_that_one_key_filled_alone_is_the_systems_end() -> None:
    policy = AdmissionPolicy(Bounds(running=1, waiting=2, tokens=100_000))
    filled(policy, work(), work())
    policy.start()
    filled(policy, work())

    assert policy.offer(work()).refusal is Refusal.SYSTEM


def test_tokens_are_bounded_too() -> None:
    policy = AdmissionPolicy(Bounds(running=10, waiting=10, tokens=1_000))
    filled(policy, work(tokens=790, prompt=10))
    policy.start()

    assert policy.offer(work(tokens=300)).refusal is Refusal.SYSTEM
    assert policy.offer(work(tokens=100)).refusal is None


def test_who_would_wait_in_vain_is_told_at_once() -> None:
    policy = one_at_a_time()
    filled(policy, *(work() for _ in range(5)))
    policy.start()

    assert policy.offer(work(), most_ahead=200).refusal is Refusal.HOPELESS
    assert policy.offer(work("other"), most_ahead=300).refusal is None  # its turn is the next but one


def test_what_no_node_had_room_for_is_the_next_of_its_key() -> None:
    policy = one_at_a_time()
    first, second = work(), work()
    filled(policy, first, second)
    started = policy.start()
    assert started is first
    policy.put_back(first)

    assert policy.start() is first


def test_keys_that_are_gone_are_forgotten() -> None:
    policy = AdmissionPolicy(Bounds(running=4, waiting=10, tokens=100_000))
    for number in range(5_000):
        filled(policy, work(f"key-{number}"))
        started = policy.start()
        assert started is not None
        policy.finish(started, 3)

    assert len(policy._flows._flows) < 400
    assert len(policy._flows._loads) < 400
