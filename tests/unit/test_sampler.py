"""Choosing the next token, compared with transformers' own processors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.contracts.request import SamplingParams
from weir.engine.sampler import Sampler, filtered, log_probability, penalised

VOCAB = 50


def logits_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, VOCAB).astype(np.float32)


def our_distribution(logits: np.ndarray, params: SamplingParams, seen: list[int]) -> np.ndarray:
    mask = np.zeros(VOCAB, np.bool_)
    mask[seen] = True
    ids, probabilities = filtered(penalised(logits, mask, params.repetition_penalty), params)
    full = np.zeros(VOCAB)
    full[ids] = probabilities
    return full


def their_distribution(logits: np.ndarray, params: SamplingParams, seen: list[int]) -> np.ndarray:
    import torch
    from transformers.generation import logits_process as hf

    chain = hf.LogitsProcessorList()
    if params.repetition_penalty != 1.0:
        chain.append(hf.RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    chain.append(hf.TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        chain.append(hf.TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        chain.append(hf.TopPLogitsWarper(params.top_p))
    return torch.softmax(chain(torch.tensor([seen]), torch.tensor(logits[None])), -1)[0].numpy()


@given(
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.2, 0.7, 1.0, 1.9]),
    top_k=st.sampled_from([0, 1, 5, 49, 80]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
    penalty=st.sampled_from([1.0, 1.3, 0.8]),
    seen=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=8),
)
@settings(max_examples=150, deadline=None)
def test_the_distribution_is_transformers(seed, temperature, top_k, top_p, penalty, seen) -> None:
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=penalty)
    logits = logits_of(seed)
    np.testing.assert_allclose(
        our_distribution(logits, params, seen), their_distribution(logits, params, seen), atol=2e-6
    )


def test_draws_follow_the_distribution() -> None:
    params = SamplingParams(temperature=1.0, top_k=4, seed=5)
    logits = logits_of(3)
    sampler = Sampler(params, [], vocab_size=VOCAB)
    drawn = np.bincount([sampler.choose(logits).token for _ in range(20_000)], minlength=VOCAB) / 20_000
    np.testing.assert_allclose(drawn, our_distribution(logits, params, []), atol=0.015)


def test_a_seed_gives_the_same_draws_whoever_draws_between() -> None:
    params = SamplingParams(temperature=1.0, seed=11)
    rows = [logits_of(i) for i in range(30)]
    one, other = Sampler(params, [], vocab_size=VOCAB), Sampler(params, [], vocab_size=VOCAB)
    neighbour = Sampler(SamplingParams(temperature=1.0, seed=12), [], vocab_size=VOCAB)
    first = [one.choose(row).token for row in rows]
    second = []
    for row in rows:
        neighbour.choose(row)
        second.append(other.choose(row).token)
    assert first == second
    assert len(set(first)) > 5


def test_greedy_is_the_argmax_and_a_penalty_breaks_its_repetition() -> None:
    logits = np.array([1.0, 2.0, 1.9], np.float32)
    assert Sampler(SamplingParams(), [], vocab_size=3).choose(logits).token == 1
    penal = Sampler(SamplingParams(repetition_penalty=1.5), [], vocab_size=3)
    assert [penal.choose(logits).token for _ in range(3)] == [1, 2, 1]


def test_the_penalty_covers_the_prompt_and_leaves_the_logits_as_they_were() -> None:
    logits = np.array([3.0, 2.9], np.float32)
    assert Sampler(SamplingParams(repetition_penalty=2.0), [0], vocab_size=2).choose(logits).token == 1
    assert logits.tolist() == pytest.approx([3.0, 2.9])


def test_the_log_probability_is_of_the_unchanged_logits() -> None:
    logits = logits_of(1)
    params = SamplingParams(temperature=0.1, top_k=3, repetition_penalty=1.4, seed=0)
    choice = Sampler(params, [2], vocab_size=VOCAB, with_logprobs=True).choose(logits)
    expected = logits - np.log(np.exp(logits.astype(np.float64)).sum())
    assert choice.logprob == pytest.approx(expected[choice.token], abs=1e-6)
    assert log_probability(logits * 1000, int(logits.argmax())) <= 0


def test_extreme_settings_stay_finite() -> None:
    logits = (logits_of(2) * 1e4).astype(np.float32)
    for temperature in (1e-6, 100.0):
        params = SamplingParams(temperature=temperature, top_p=1e-9, seed=0)
        assert Sampler(params, [], vocab_size=VOCAB).choose(logits).token == int(logits.argmax())
