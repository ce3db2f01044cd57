"""Drawing a token: the right distribution, and the same token however much of the logits is shown."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from weir.contracts.request import SamplingParams
from weir.engine.draw import Shortlist, distribution, draw, shortlist_of, top_ids, uniform
from weir.engine.logprobs import log_sum_exp

VOCAB = 700


def logits_of(seed: int, spread: float = 3.0, size: int = VOCAB, *, levels: int = 0) -> np.ndarray:
    """Random logits; with `levels`, many are equal."""
    logits = np.random.default_rng(seed).normal(0, spread, size)
    return (np.round(logits * levels) / levels if levels else logits).astype(np.float32)


def shown(logits: np.ndarray, candidates: int, *, full: bool) -> Shortlist:
    """What a model shows of a position in `Detail.TOP` or `Detail.FULL`."""
    ids = top_ids(logits, candidates).astype(np.int32)
    logsumexp = float(np.float32(log_sum_exp(logits)))
    return Shortlist(ids, logits[ids], len(logits), logsumexp, logits if full else None)


temperatures = st.sampled_from([1e-4, 0.05, 0.3, 0.7, 1.0, 1.3, 2.0, 100.0])
cuts = st.fixed_dictionaries(
    {
        "top_k": st.sampled_from([0, 1, 5, 16, 17, 64, 699, 5_000]),
        "top_p": st.sampled_from([1e-6, 0.05, 0.5, 0.9, 0.99, 1.0]),
        "min_p": st.sampled_from([0.0, 1e-4, 0.02, 0.5, 1.0]),
    }
)


@given(
    seed=st.integers(0, 500),
    spread=st.sampled_from([0.0, 0.1, 1.0, 3.0, 8.0, 60.0]),
    levels=st.sampled_from([0, 2]),
    candidates=st.sampled_from([1, 16, 64, VOCAB]),
    temperature=temperatures,
    cut=cuts,
    number=st.floats(0.0, 1.0 - 2.0**-52),
)
@settings(max_examples=1_500, deadline=None)
def test_candidates_settle_a_draw_as_all_logits_do_or_not_at_all(
    seed, spread, levels, candidates, temperature, cut, number
) -> None:
    params = SamplingParams(temperature=temperature, **cut)
    logits = logits_of(seed, spread, levels=levels)
    token = draw(shown(logits, candidates, full=True), params, number)
    assert token is not None
    assert draw(shown(logits, candidates, full=False), params, number) in {None, token}
    assert token in distribution(logits, params)[0]


@given(seed=st.integers(0, 300), cut=cuts, temperature=temperatures, at=st.integers(0, 15), ulps=st.integers(-2, 2))
@settings(max_examples=600, deadline=None)
def test_at_the_very_border_between_two_tokens_too(seed, cut, temperature, at, ulps) -> None:
    params = SamplingParams(temperature=temperature, **cut)
    logits = logits_of(seed)
    ids, probabilities = distribution(logits, params)
    order = np.argsort(-probabilities, kind="stable")
    border = float(np.cumsum(probabilities[order])[min(at, len(ids) - 1)]) + ulps * 2.0**-50
    number = min(max(border, 0.0), 1.0 - 2.0**-52)
    token = draw(shown(logits, 16, full=True), params, number)
    assert draw(shown(logits, 16, full=False), params, number) in {None, token}


@pytest.mark.parametrize(
    ("cut", "least"),
    [
        ({"temperature": 1.0}, 0.9),
        ({"temperature": 0.7}, 0.8),
        ({"top_p": 0.9}, 0.95),
        ({"min_p": 0.05}, 1.0),
        ({"top_k": 50}, 1.0),
    ],
)
def test_most_draws_are_settled_by_64_candidates(cut: dict, least: float) -> None:
    params = SamplingParams(**({"temperature": 1.0} | cut))
    settled = [draw(shown(logits_of(i, 3.0), 64, full=False), params, uniform(3, i)) for i in range(400)]
    assert sum(token is not None for token in settled) / len(settled) >= least


def their_distribution(logits: np.ndarray, params: SamplingParams) -> np.ndarray:
    import torch
    from transformers.generation import logits_process as hf

    chain = hf.LogitsProcessorList([hf.TemperatureLogitsWarper(params.temperature)])
    if params.top_k:
        chain.append(hf.TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        chain.append(hf.TopPLogitsWarper(params.top_p))
    if params.min_p > 0.0:
        chain.append(hf.MinPLogitsWarper(params.min_p))
    if params.typical_p < 1.0:
        chain.append(hf.TypicalLogitsWarper(params.typical_p))
    return torch.softmax(chain(torch.tensor([[0]]), torch.tensor(logits[None])), -1)[0].numpy()


def _nearly(params: SamplingParams) -> list[SamplingParams]:
    """The same with cuts moved by a hundred thousandth: where that changes the kept tokens, float32 decides."""
    cuts = {name: value for name in ("top_p", "min_p", "typical_p") if 0.0 < (value := getattr(params, name)) < 1.0}
    changes = [{name: value * (1 + shift)} for name, value in cuts.items() for shift in (-1e-5, 1e-5)]
    return [params.model_copy(update=change) for change in changes]


def _level_at_the_typical_border(logits: np.ndarray, params: SamplingParams) -> bool:
    """Whether the last token kept and the first one cut are equally typical in float32, which keeps both."""
    _, p = distribution(logits, params.model_copy(update={"typical_p": 1.0}))
    logs = np.log(np.maximum(p, 1e-300))
    far = np.abs(-logs - float(-(p * logs).sum()))
    order = np.argsort(far)
    last = int(np.searchsorted(np.cumsum(p[order]), params.typical_p))
    return params.typical_p < 1.0 and last + 1 < len(p) and far[order[last + 1]] - far[order[last]] < 1e-4


@given(
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.2, 0.7, 1.0, 1.9]),
    top_k=st.sampled_from([0, 1, 5, 49, 800]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.01, 0.3]),
    typical_p=st.sampled_from([0.2, 0.9, 1.0]),
)
@settings(max_examples=200, deadline=None)
def test_the_distribution_is_that_of_transformers(seed, temperature, top_k, top_p, min_p, typical_p) -> None:
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p)
    logits = logits_of(seed)
    ids, probabilities = distribution(logits, params)
    assume(all(set(distribution(logits, near)[0]) == set(ids) for near in _nearly(params)))
    assume(not _level_at_the_typical_border(logits, params))
    ours = np.zeros(VOCAB)
    ours[ids] = probabilities
    np.testing.assert_allclose(ours, their_distribution(logits, params), atol=3e-6)


@pytest.mark.parametrize(
    "cut",
    [{}, {"temperature": 3.0}, {"temperature": 0.5}, {"top_k": 7}, {"top_p": 0.8}, {"min_p": 0.1}, {"typical_p": 0.6}],
)
@pytest.mark.parametrize("candidates", [2, 32])
def test_draws_follow_the_distribution(cut: dict, candidates: int) -> None:
    """Pearson's chi-square with fixed seeds; 1e-4 of right samplers would fail."""
    params = SamplingParams(**({"temperature": 1.0} | cut))
    logits = logits_of(11, 2.0, 60)
    position = shown(logits, candidates, full=True)
    count = 30_000
    drawn = np.bincount([draw(position, params, uniform(5, i)) for i in range(count)], minlength=60)
    ids, probabilities = distribution(logits, params)
    expected = np.zeros(60)
    expected[ids] = probabilities * count
    assert drawn[expected == 0].sum() == 0
    often = expected >= 5
    bins, wanted = np.append(drawn[often], drawn[~often].sum()), np.append(expected[often], expected[~often].sum())
    kept = wanted > 0
    statistic = float(((bins[kept] - wanted[kept]) ** 2 / wanted[kept]).sum())
    freedom = int(kept.sum()) - 1
    assert statistic < freedom + 4.3 * (2 * freedom) ** 0.5 + 10  # Wilson and Hilferty's tail, a little above


@given(
    seed=st.integers(0, 200),
    size=st.sampled_from([1, 63, 64, 65, 1000, 9000]),
    count=st.integers(1, 200),
    levels=st.sampled_from([0, 1]),
    banned=st.sampled_from([0.0, 0.5, 0.99]),
)
@settings(max_examples=300, deadline=None)
def test_the_highest_are_found_in_order_and_none_that_is_banned(seed, size, count, levels, banned) -> None:
    scores = logits_of(seed, 2.0, size, levels=levels)
    scores[np.random.default_rng(seed + 1).random(size) < banned] = -np.inf
    expected = [i for i in np.argsort(-scores, kind="stable") if scores[i] > -np.inf][:count]
    assert top_ids(scores, count).tolist() == expected
    assert shortlist_of(scores, count).others == (0 if len(expected) < count else size - count)


def test_numbers_are_uniform_and_independent_of_each_other() -> None:
    numbers = np.array([[uniform(seed, i) for i in range(200)] for seed in range(200)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.bincount((numbers.reshape(-1) * 100).astype(int), minlength=100)
    assert ((counts - 400) ** 2 / 400).sum() < 160  # chi-square, 99 degrees of freedom
    for one, other in ((numbers[:, :-1], numbers[:, 1:]), (numbers[:-1], numbers[1:])):
        assert abs(np.corrcoef(one.reshape(-1), other.reshape(-1))[0, 1]) < 0.02
    assert uniform(2**64 - 1, 5) == uniform(2**64 - 1, 5) != uniform(2**64 - 1, 6)
