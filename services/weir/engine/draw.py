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
    while (token := _attempt(shortlist, params, number, (rest, rest))) is None:
        if not _cuts(params):
            return _draw_other(shortlist, scores, params.temperature, number)
        shortlist = shortlist_of(scores, len(shortlist.ids) * 8)
        rest = _weight_of_others(shortlist, scores, params.temperature)
    return token


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
    others: Logits = scores - shortlist.logits[0]
    others *= np.float32(1.0 / temperature)
    np.exp(others, out=others)
    others[shortlist.ids] = 0.0
    return others


def _draw_other(shortlist: Shortlist, scores: Logits, temperature: float, number: float) -> int:
    """Draw a token that is no candidate; `number` is known to fall on one."""
    others = _other_weights(shortlist, scores, temperature)
    candidates = float(np.cumsum(_weights(shortlist.logits, temperature))[-1])
    total = float(others.sum(dtype=np.float64))
    target = max(number * (candidates + total) - candidates, 0.0)
    starts = np.arange(0, len(others), _BLOCK)
    sums = np.add.reduceat(others, starts, dtype=np.float64)
    edges = np.cumsum(sums)
    block = int(np.searchsorted(edges, target, side="right"))
    if block == len(edges):  # rounding
        return int(np.flatnonzero(others)[-1])
    inside = np.cumsum(others[starts[block] : starts[block] + _BLOCK], dtype=np.float64)
    at = int(np.searchsorted(inside, target - (edges[block] - sums[block]), side="right"))
    drawable = np.flatnonzero(others[starts[block] : starts[block] + _BLOCK])
    return int(starts[block] + min(at, int(drawable[-1])))


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


def allowed(scores: Logits, params: SamplingParams) -> tuple[NDArray[np.integer], Weights]:
    """Return every id that top-k, top-p and min-p leave, and exp(logit / T) of each."""
    if not _cuts(params):
        ids = np.flatnonzero(scores > -np.inf)
        scaled = (scores[ids] - scores.max()).astype(np.float64)
        return ids, np.exp(scaled / params.temperature)
    count = params.top_k or OWN_CANDIDATES
    while True:
        shortlist = shortlist_of(scores, count)
        weights = _weights(shortlist.logits, params.temperature)
        rest = 0.0 if params.top_k else _weight_of_others(shortlist, scores, params.temperature)
        least, most = _mass(weights, np.cumsum(weights), params, rest)
        if least == most or rest == 0.0:
            kept = int(np.searchsorted(np.cumsum(weights), most, side="left")) + 1
            return shortlist.ids[:kept], weights[:kept]
        count *= 8


def distribution(scores: Logits, params: SamplingParams) -> tuple[NDArray[np.integer], Weights]:
    """Return every id that may be drawn, and its probability; slow where nothing is cut."""
    ids, weights = allowed(scores, params)
    probabilities = weights / weights.sum()
    return (ids, probabilities) if params.typical_p == 1.0 else _typical(ids, probabilities, params.typical_p)


def _typical(ids: NDArray[np.integer], probabilities: Weights, mass: float) -> tuple[NDArray[np.integer], Weights]:
    """Keep the tokens whose surprise is nearest to the expected one: Meister et al. 2022, arXiv:2202.00666."""
    surprise = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    nearness = -np.abs(surprise - probabilities @ surprise).astype(np.float32)
    count, kept = OWN_CANDIDATES, 0
    while True:
        order = top_ids(nearness, count)
        edges = np.cumsum(probabilities[order])
        kept = int(np.searchsorted(edges, mass, side="left")) + 1
        if kept <= len(edges) or len(order) == len(ids):
            break
        count *= 8
    order, edges = order[:kept], edges[:kept]
    return ids[order], probabilities[order] / edges[-1]


def _draw_typical(scores: Logits, params: SamplingParams, number: float) -> int:
    ids, probabilities = distribution(scores, params)
    edges = np.cumsum(probabilities)
    return int(ids[int(np.searchsorted(edges, number * edges[-1], side="right"))])
