"""Draws one token from logits, from as few of them as settle the draw.

The inverse of the cumulative distribution is taken in a fixed order: the likeliest candidates first, the others by id.
A model that gives its candidates and the log of the sum over all thus settles most draws without the other logits. What
the others weigh at a temperature follows within bounds from the sum at temperature 1. A draw on which the bounds do not
agree is not settled, and the caller shows all logits; whichever way it is settled, the token is the same.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weir.contracts.request import SamplingParams

Logits = NDArray[np.float32]
Ids = NDArray[np.int64]
Weights = NDArray[np.float64]

OWN_CANDIDATES = 128  # kept where the model gives logits alone
_SLACK = 1e-4  # relative; far more than a kernel's float32 sum is off
_MASK = (1 << 64) - 1
_BLOCK = 64
_NEVER = np.float32(-1e4)  # a scaled logit that weighs nothing
_BINS, _NEVER_NEAR = 8_192, 64.0  # tokens are sorted by distance within one bin only


def uniform(seed: int, position: int) -> float:
    """Return the number in [0, 1) for the completion's token `position`; how often it is asked for changes nothing.

    Source: splitmix64, Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
    """
    state = _mixed(seed ^ 0x5851F42D4C957F2D) + (position + 1) * 0x9E3779B97F4A7C15
    return (_mixed(state & _MASK) >> 12) * 2.0**-52  # 52 bits: times a weight, it stays below that weight


def _mixed(state: int) -> int:
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def top_ids(scores: Logits, count: int) -> Ids:
    """Return the ids of the `count` highest scores, highest first, ascending among equals; never one of -inf.

    At most about 0.1 ms for 150k scores: elements below the `count`-th highest maximum of disjoint groups cannot be
    among the highest, so only the few others are sorted.
    """
    pool = np.flatnonzero(scores >= _threshold(scores, count))
    pool = pool[scores[pool] > -np.inf]
    order = np.argsort(-scores[pool], kind="stable")[:count]
    return pool[order]


def _threshold(scores: Logits, count: int) -> float:
    groups = len(scores) // _BLOCK
    if groups > count:
        maxima = scores[: groups * _BLOCK].reshape(_BLOCK, groups).max(axis=0)
        return float(np.partition(maxima, groups - count)[groups - count])
    if count < len(scores):
        return float(np.partition(scores, len(scores) - count)[len(scores) - count])
    return -math.inf


@dataclass(frozen=True, slots=True)
class Shortlist:
    """The likeliest candidates of a position, and what is known of the others.

    Attributes:
        ids: candidates, likeliest first, ascending among equals.
        logits: theirs; float32, finite.
        size: how many tokens could come at all, at least `len(ids)`.
        logsumexp: over all of them at temperature 1; None: unknown.
        scores: all logits, float32, -inf where a token may not come; None: unknown.
    """

    ids: NDArray[np.integer]
    logits: Logits
    size: int
    logsumexp: float | None = None
    scores: Logits | None = None

    @property
    def others(self) -> int:
        return self.size - len(self.ids)


def shortlist_of(scores: Logits, count: int = OWN_CANDIDATES) -> Shortlist:
    """Return the best `count` of all logits; fewer only if the others may not come."""
    ids = top_ids(scores, count)
    size = len(scores) if len(ids) == count else len(ids)
    return Shortlist(ids, scores[ids], size, None, scores)


def draw(shortlist: Shortlist, params: SamplingParams, number: float) -> int | None:
    """Return the token at `number` (in [0, 1)) of the distribution that `params` make of the logits.

    None: not settled, which happens only without `scores`.
    """
    scores = shortlist.scores
    if params.typical_p < 1.0:
        return None if scores is None else _draw_typical(scores, params, number)
    if scores is None:
        return _attempt(shortlist, params, number, _bounds(shortlist, params.temperature))
    if params.top_k > len(shortlist.ids):
        shortlist = shortlist_of(scores, params.top_k)
    rest = 0.0 if params.top_k else _weight_of_others(shortlist, scores, params.temperature)
    token = _attempt(shortlist, params, number, (rest, rest))
    return _draw_of_all(shortlist, scores, params, number) if token is None else token


def _cuts(params: SamplingParams) -> bool:
    return params.top_k > 0 or params.top_p < 1.0 or params.min_p > 0.0


def _attempt(shortlist: Shortlist, params: SamplingParams, number: float, rest: tuple[float, float]) -> int | None:
    """Draw among the candidates, if all weights of the others within `rest` lead to the same one."""
    weights = _weights(shortlist.logits, params.temperature)
    edges = np.cumsum(weights)
    if 0 < params.top_k <= len(edges):
        weights, edges, rest = weights[: params.top_k], edges[: params.top_k], (0.0, 0.0)
    elif params.top_k:
        rest = (0.0, rest[1])  # some of the others may come, not all
    elif shortlist.others == 0:
        rest = (0.0, 0.0)
    least, most = (_mass(weights, edges, params, bound) for bound in rest)
    first, last = (int(np.searchsorted(edges, number * mass, side="right")) for mass in (least[0], most[1]))
    if first != last or (first == len(edges) and rest[1] > 0.0):
        return None
    return int(shortlist.ids[min(first, len(edges) - 1)])


def _mass(weights: Weights, edges: Weights, params: SamplingParams, rest: float) -> tuple[float, float]:
    """Return bounds of what all tokens that may be drawn weigh, if the tokens that are no candidates weigh `rest`."""
    total = float(edges[-1]) + rest
    kept, beyond = len(edges), rest > 0.0
    low, high = total, total
    if params.min_p > 0.0:
        likely = int(np.count_nonzero(weights >= params.min_p))
        if likely < len(edges):
            kept, beyond = likely, False
        else:
            low = float(edges[-1])
    if params.top_p < 1.0:
        nucleus = int(np.searchsorted(edges, params.top_p * total, side="left")) + 1
        if nucleus <= kept:
            kept, beyond = nucleus, False
        elif beyond:
            low = max(min(low, params.top_p * total), float(edges[-1]))
            high = min(high, params.top_p * total + float(weights[-1]))
    exact = float(edges[kept - 1])
    return (low, high) if beyond else (exact, exact)


def _weights(logits: Logits, temperature: float) -> Weights:
    """Return exp(logit / T), the likeliest at 1; `logits` are in descending order."""
    scaled = logits.astype(np.float64)
    weights: Weights = np.exp((scaled - scaled[0]) / temperature)
    return weights


def _weight_of_others(shortlist: Shortlist, scores: Logits, temperature: float) -> float:
    if shortlist.others == 0:
        return 0.0
    return float(_other_weights(shortlist, scores, temperature).sum(dtype=np.float64))


def _other_weights(shortlist: Shortlist, scores: Logits, temperature: float) -> NDArray[np.float32]:
    """Return exp(logit / T) by id, 0 at the candidates; their likeliest would be at 1."""
    others = _scaled(scores, shortlist.logits[0], temperature)
    np.exp(others, out=others)
    others[shortlist.ids] = 0.0
    return others


def _scaled(logits: Logits, likeliest: np.float32, temperature: float) -> Logits:
    scaled: Logits = logits - likeliest
    scaled *= np.float32(1.0 / temperature)
    return scaled


def _draw_of_all(shortlist: Shortlist, scores: Logits, params: SamplingParams, number: float) -> int:
    """Draw where more may come than the candidates; no top-k is left to keep."""
    others = _other_weights(shortlist, scores, params.temperature)
    edges = np.cumsum(_weights(shortlist.logits, params.temperature))
    if params.top_p < 1.0:
        missing = params.top_p * (float(edges[-1]) + float(others.sum(dtype=np.float64))) - float(edges[-1])
        _keep_nearest(-_scaled(scores, shortlist.logits[0], params.temperature), others, missing)
    if params.min_p > 0.0:
        others[others < params.min_p] = 0.0
    target = number * (float(edges[-1]) + float(others.sum(dtype=np.float64)))
    at = int(np.searchsorted(edges, target, side="right"))
    return int(shortlist.ids[at]) if at < len(edges) else _at(others, target - float(edges[-1]))


def _at(weights: NDArray[np.float32], target: float) -> int:
    """Return the index at which the running sum of weights exceeds `target`; never one of weight 0."""
    starts = np.arange(0, len(weights), _BLOCK)
    sums = np.add.reduceat(weights, starts, dtype=np.float64)
    edges = np.cumsum(sums)
    block = int(np.searchsorted(edges, max(target, 0.0), side="right"))
    if block == len(edges):  # rounding
        return int(np.flatnonzero(weights)[-1])
    inside = weights[starts[block] : starts[block] + _BLOCK]
    at = int(np.searchsorted(np.cumsum(inside, dtype=np.float64), target - (edges[block] - sums[block]), side="right"))
    return int(starts[block] + min(at, int(np.flatnonzero(inside)[-1])))


def _bounds(shortlist: Shortlist, temperature: float) -> tuple[float, float]:
    """Bound what the others weigh at a temperature, knowing what they weigh at 1 and that the last candidate is above.

    With x = exp(logit) / exp(likeliest logit) <= x_K, n others, p = 1/T and M the sum of x over the others, the sum of
    x^p lies between M x_K^(p-1) and n^(1-p) M^p (power means), whichever is the greater.
    """
    n, power = shortlist.others, 1.0 / temperature
    if n == 0:
        return 0.0, 0.0
    span = float(shortlist.logits[-1]) - float(shortlist.logits[0])
    largest = n * math.exp(span * power)
    if shortlist.logsumexp is None:
        return 0.0, largest
    every = math.exp(shortlist.logsumexp - float(shortlist.logits[0]))
    mass = every - float(_weights(shortlist.logits, 1.0).sum())
    slack = _SLACK * every
    low = min(_powers(mass - slack, n, power, span))
    high = max(_powers(mass + slack, n, power, span))
    return low * (1.0 - _SLACK), min(high * (1.0 + _SLACK), largest)


def _powers(mass: float, n: int, power: float, span: float) -> tuple[float, float]:
    if mass <= 0.0:
        return 0.0, 0.0
    one, other = math.log(mass) + span * (power - 1.0), (1.0 - power) * math.log(n) + power * math.log(mass)
    return math.exp(min(one, 700.0)), math.exp(min(other, 700.0))


def distribution(scores: Logits, params: SamplingParams) -> tuple[NDArray[np.integer], Weights]:
    """Return every id that may be drawn, and its probability."""
    ids, weights = _allowed(scores, params)
    kept = np.flatnonzero(weights)
    probabilities = weights[kept].astype(np.float64)
    return kept if ids is None else ids[kept], probabilities / probabilities.sum()


def _draw_typical(scores: Logits, params: SamplingParams, number: float) -> int:
    ids, weights = _allowed(scores, params)
    at = _at(weights, number * float(weights.sum(dtype=np.float64)))
    return at if ids is None else int(ids[at])


def _allowed(scores: Logits, params: SamplingParams) -> tuple[NDArray[np.integer] | None, NDArray[np.float32]]:
    """Return ids (None: all, in order), among them all that may be drawn, and what each weighs, 0 if it may not."""
    cut = _cut(scores, params) if _cuts(params) else None
    logits = scores if cut is None else cut.logits
    scaled = _scaled(logits, logits.max(), params.temperature)
    weights = np.exp(scaled)
    if params.typical_p < 1.0:
        _keep_typical(scaled, weights, params.typical_p)
    return None if cut is None else cut.ids, weights


def _cut(scores: Logits, params: SamplingParams) -> Shortlist:
    """Return what top-k, top-p and min-p leave."""
    count = params.top_k or OWN_CANDIDATES
    while True:
        shortlist = shortlist_of(scores, count)
        edges = np.cumsum(_weights(shortlist.logits, params.temperature))
        rest = 0.0 if params.top_k else _weight_of_others(shortlist, scores, params.temperature)
        least, most = _mass(_weights(shortlist.logits, params.temperature), edges, params, rest)
        if least == most or rest == 0.0:
            kept = int(np.searchsorted(edges, most, side="left")) + 1
            return Shortlist(shortlist.ids[:kept], shortlist.logits[:kept], min(kept, len(edges)))
        count *= 8


def _keep_typical(scaled: Logits, weights: NDArray[np.float32], mass: float) -> None:
    """Give weight 0, in place, to all but the tokens whose surprise is nearest to the expected one, `mass` of them.

    `scaled` is written over. Surprise less its expectation is the expected scaled logit less the token's own.
    Source: Meister et al. 2022, "Locally typical sampling", arXiv:2202.00666.
    """
    total = float(weights.sum(dtype=np.float64))
    np.maximum(scaled, _NEVER, out=scaled)
    distance = weights * scaled  # at first another use of the memory: fresh pages cost more than the sums
    expected = float(distance.sum(dtype=np.float64)) / total  # no dot: BLAS would start threads of its own
    np.abs(np.subtract(scaled, np.float32(expected), out=distance), out=distance)
    _keep_nearest(distance, weights, mass * total)


def _keep_nearest(distance: Logits, weights: NDArray[np.float32], mass: float) -> None:
    """Give weight 0, in place, to all but the nearest, so many that they weigh `mass`; ascending among equals.

    Sorted is only within the bin in which the last of them lies.
    """
    bins = np.minimum(distance * np.float32(_BINS / _NEVER_NEAR), _BINS - 1).astype(np.int32)
    edges = np.cumsum(np.bincount(bins, weights, minlength=_BINS))
    last = min(int(np.searchsorted(edges, mass, side="left")), _BINS - 1)
    inside = np.flatnonzero(bins == last)
    order = inside[np.argsort(distance[inside], kind="stable")]
    before = float(edges[last - 1]) if last else 0.0
    kept = int(np.searchsorted(before + np.cumsum(weights[order], dtype=np.float64), mass, side="left")) + 1
    weights[bins > last] = 0.0
    weights[order[kept:]] = 0.0
