"""Choosing the next token of one request."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.contracts.errors import ValidationError
from weir.contracts.request import SamplingParams
from weir.engine.draw import top_ids
from weir.engine.logprobs import log_sum_exp
from weir.engine.sampler import Choice, Sampler
from weir.engine.step import Detail, PositionLogits

VOCAB = 50


def logits_of(seed: int, size: int = VOCAB) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)


def shown(logits: np.ndarray, detail: Detail, candidates: int = 8) -> PositionLogits:
    """What a model shows of a position."""
    best = int(logits.argmax())
    if detail is Detail.GREEDY:
        return PositionLogits(best)
    ids = top_ids(logits, candidates).astype(np.int32)
    full = logits if detail is Detail.FULL else None
    return PositionLogits(best, ids, logits[ids], float(np.float32(log_sum_exp(logits))), full)


def full(logits: np.ndarray) -> PositionLogits:
    return PositionLogits(int(logits.argmax()), full=logits)


def choose(sampler: Sampler, logits: np.ndarray, *, always: Detail | None = None) -> Choice:
    """Show what the sampler asks for, again if that was too little, as an engine does."""
    for _ in range(2):
        choice = sampler.choose(shown(logits, sampler.detail if always is None else always))
        if choice is not None:
            return choice
    raise AssertionError("all logits were shown and nothing was chosen")


def run(params: SamplingParams, count: int = 40, *, always: Detail | None = None, **made) -> list[Choice]:
    sampler = Sampler(params, [3, 4], vocab_size=VOCAB, **made)
    return [choose(sampler, logits_of(i), always=always) for i in range(count)]


some_sampling = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0.3, 0.8, 1.0, 1.7]),
        "top_k": st.sampled_from([1, 4, 20]),
        "top_p": st.sampled_from([0.3, 0.9]),
        "min_p": st.sampled_from([0.01, 0.2]),
        "typical_p": st.just(0.7),
        "repetition_penalty": st.sampled_from([0.8, 1.3]),
        "frequency_penalty": st.sampled_from([-1.0, 0.7]),
        "presence_penalty": st.sampled_from([-0.5, 1.5]),
        "logit_bias": st.just({"1": 4.0, "2": -100.0}),
        "min_new_tokens": st.just(6),
        "logprobs": st.sampled_from([0, 3, 12]),
    },
)


@given(sampling=some_sampling, seed=st.integers(0, 2**64 - 1))
@settings(max_examples=150, deadline=None)
def test_the_least_detail_gives_the_tokens_that_all_logits_give(sampling: dict, seed: int) -> None:
    params = SamplingParams(seed=seed, **sampling)
    made = {"end_ids": (5, 6), "with_logprobs": params.logprobs is not None}
    least = run(params, 25, **made)
    assert least == run(params, 25, always=Detail.FULL, **made)
    if "logit_bias" in sampling:
        assert all(choice.token != 2 for choice in least)
    if "min_new_tokens" in sampling:
        assert not {5, 6} & {choice.token for choice in least[:6]}


@pytest.mark.parametrize(
    ("sampling", "detail"),
    [
        ({}, Detail.GREEDY),
        ({"temperature": 1.0}, Detail.TOP),
        ({"temperature": 1.0, "top_p": 0.9, "top_k": 5, "min_p": 0.1}, Detail.TOP),
        ({"temperature": 1.0, "typical_p": 0.9}, Detail.FULL),
        ({"repetition_penalty": 1.1}, Detail.FULL),
        ({"presence_penalty": 0.1}, Detail.FULL),
        ({"logit_bias": {1: 1.0}}, Detail.FULL),
        ({"min_new_tokens": 1}, Detail.FULL),
    ],
)
def test_it_asks_for_no_more_detail_than_the_request_needs(sampling: dict, detail: Detail) -> None:
    params = SamplingParams(**sampling)
    assert Sampler(params, [], vocab_size=VOCAB, end_ids=(5,)).detail is detail
    more = Sampler(params, [], vocab_size=VOCAB, end_ids=(5,), with_logprobs=True)
    assert more.detail is max(detail, Detail.TOP)


def test_an_end_token_may_come_once_there_is_enough_and_less_detail_does_again() -> None:
    logits = np.zeros(VOCAB, np.float32)
    logits[5] = 9.0
    sampler = Sampler(SamplingParams(min_new_tokens=2), [], vocab_size=VOCAB, end_ids=(5,))
    assert [choose(sampler, logits).token for _ in range(3)] == [0, 0, 5]
    assert sampler.detail is Detail.GREEDY


def test_too_little_detail_changes_nothing_but_what_is_asked_for() -> None:
    flat = np.zeros(VOCAB, np.float32)
    params = SamplingParams(temperature=1.0, seed=4)
    sampler, other = (Sampler(params, [], vocab_size=VOCAB) for _ in range(2))
    misses = 0
    for _ in range(200):
        choice = sampler.choose(shown(flat, sampler.detail))
        if choice is None:
            misses += 1
            assert sampler.detail is Detail.FULL
            choice = sampler.choose(shown(flat, Detail.FULL))
        assert choice == other.choose(shown(flat, Detail.FULL))
    assert 0 < misses < 6  # candidates settle 8 of 50 draws here: it soon stops trying


def test_the_place_in_the_completion_decides_the_draw_and_nothing_else() -> None:
    params = SamplingParams(temperature=1.0, seed=11)
    alone = [choice.token for choice in run(params)]
    one = Sampler(params, [3, 4], vocab_size=VOCAB)
    neighbour = Sampler(SamplingParams(temperature=1.0, seed=12), [], vocab_size=VOCAB)
    together = []
    for i in range(40):
        choose(neighbour, logits_of(i))
        together.append(choose(one, logits_of(i)).token)
    assert together == alone
    assert len(set(alone)) > 5
    assert alone != [choice.token for choice in run(SamplingParams(temperature=1.0, seed=12))]


def test_without_a_seed_two_requests_differ() -> None:
    params = SamplingParams(temperature=1.0)
    assert run(params) != run(params)


def test_greedy_is_the_argmax_and_a_penalty_breaks_its_repetition() -> None:
    logits = np.array([1.0, 2.0, 1.9], np.float32)
    assert Sampler(SamplingParams(), [], vocab_size=3).choose(full(logits)) == Choice(1)
    penal = Sampler(SamplingParams(repetition_penalty=1.5), [], vocab_size=3)
    assert [choose(penal, logits).token for _ in range(3)] == [1, 2, 1]


def test_the_repetition_penalty_covers_the_prompt_and_leaves_the_logits_as_they_were() -> None:
    logits = np.array([3.0, 2.9], np.float32)
    assert choose(Sampler(SamplingParams(repetition_penalty=2.0), [0, 7], vocab_size=2), logits).token == 1
    assert logits.tolist() == pytest.approx([3.0, 2.9])


@given(
    frequency=st.floats(-2, 2),
    presence=st.floats(-2, 2),
    repetition=st.sampled_from([1.0, 1.2, 0.9]),
    bias=st.dictionaries(st.integers(0, VOCAB - 1), st.sampled_from([-100.0, -1.0, 2.5]), max_size=5),
)
@settings(max_examples=100, deadline=None)
def test_penalties_and_bias_are_those_that_openai_defines(frequency, presence, repetition, bias) -> None:
    """mu[j] - c[j] * frequency - (c[j] > 0) * presence + bias[j], c over the completion."""
    params = SamplingParams(
        frequency_penalty=frequency, presence_penalty=presence, repetition_penalty=repetition, logit_bias=bias
    )
    sampler = Sampler(params, [3, 4], vocab_size=VOCAB)
    said: list[int] = []
    for step in range(12):
        logits = logits_of(step) * 0.3
        expected = logits.astype(np.float64)
        for token in range(VOCAB):
            if token in {3, 4, *said}:
                expected[token] *= repetition if expected[token] < 0 else 1 / repetition
            expected[token] -= said.count(token) * frequency + (token in said) * presence
            expected[token] += -np.inf if bias.get(token) == -100.0 else bias.get(token, 0.0)
        token = choose(sampler, logits).token
        assert expected[token] >= expected.max() - 1e-5
        said.append(token)


def test_a_penalty_remembers_every_token_of_a_long_answer() -> None:
    size = 300
    sampler = Sampler(SamplingParams(presence_penalty=2.0), [], vocab_size=size)
    assert [choose(sampler, np.zeros(size, np.float32)).token for _ in range(size)] == list(range(size))


def test_a_banned_token_never_comes_however_hot() -> None:
    logits = np.array([50.0, 0.0, 0.0], np.float32)
    sampler = Sampler(SamplingParams(temperature=100.0, logit_bias={0: -100.0}, seed=1), [], vocab_size=3)
    assert {choose(sampler, logits).token for _ in range(300)} == {1, 2}


def test_a_bias_on_a_token_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValidationError, match="token 3 of 3") as caught:
        Sampler(SamplingParams(logit_bias={3: 1.0}), [], vocab_size=3)
    assert caught.value.field == "logit_bias"


def test_when_every_token_is_banned_it_says_so() -> None:
    sampler = Sampler(SamplingParams(logit_bias={0: -100, 1: -100}), [], vocab_size=2)
    with pytest.raises(ValidationError, match="no token"):
        choose(sampler, np.zeros(2, np.float32))


@pytest.mark.parametrize("detail", [Detail.TOP, Detail.FULL])
def test_log_probabilities_are_of_the_unchanged_logits_and_the_likeliest_stand_beside(detail: Detail) -> None:
    logits = logits_of(1)
    params = SamplingParams(temperature=0.1, top_k=3, seed=0, logprobs=4)
    choice = choose(Sampler(params, [2], vocab_size=VOCAB, with_logprobs=True), logits, always=detail)
    expected = logits - np.log(np.exp(logits.astype(np.float64)).sum())
    assert choice.logprob == pytest.approx(expected[choice.token], abs=1e-5)
    assert [token for token, _ in choice.top] == np.argsort(-logits)[:4].tolist()
    assert [logprob for _, logprob in choice.top] == pytest.approx(np.sort(expected)[::-1][:4], abs=1e-5)


def test_more_likeliest_tokens_than_candidates_ask_for_all_logits() -> None:
    sampler = Sampler(SamplingParams(logprobs=12), [], vocab_size=VOCAB, with_logprobs=True)
    assert sampler.choose(shown(logits_of(0), Detail.TOP, candidates=8)) is None
    assert sampler.detail is Detail.FULL
    assert len(choose(sampler, logits_of(0)).top) == 12


def test_extreme_settings_stay_finite() -> None:
    logits = (logits_of(2) * 1e4).astype(np.float32)
    for temperature in (1e-300, 1e-6, 1e-5, 100.0):
        params = SamplingParams(temperature=temperature, top_p=1e-9, seed=0)
        assert choose(Sampler(params, [], vocab_size=VOCAB), logits).token == int(logits.argmax())
