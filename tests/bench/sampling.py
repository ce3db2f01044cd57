"""What choosing one token costs the engine's thread: `python -m tests.bench.sampling`. Prints Markdown.

A vocabulary of 151,936 logits whose probabilities fall as rank ** -s (s = 2: sure of itself; 1.2: open), shown as a
model with 128 candidates shows them: TOP, or all of them (FULL). With `--fresh`, malloc gives pages back at every turn.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator

import numpy as np

from tests.bench.grammar_masks import large_tokenizer
from weir.contracts.grammar import JsonObject
from weir.contracts.request import SamplingParams
from weir.engine.constraints import Constraints
from weir.engine.draw import top_ids
from weir.engine.logprobs import log_sum_exp
from weir.engine.sampler import Sampler
from weir.engine.step import Detail, PositionLogits
from weir.release.tokenizer import ReleaseTokenizer

VOCAB, CANDIDATES, DRAWS = 151_936, 128, 400
CASES: dict[str, dict[str, object]] = {
    "greedy": {},
    "greedy, log-probabilities": {"logprobs": 5},
    "temperature 1": {"temperature": 1.0},
    "temperature 0.7": {"temperature": 0.7},
    "temperature 0.7, top-p 0.9": {"temperature": 0.7, "top_p": 0.9},
    "temperature 1, top-p 0.95": {"temperature": 1.0, "top_p": 0.95},
    "temperature 1, top-k 50": {"temperature": 1.0, "top_k": 50},
    "temperature 1, min-p 0.05": {"temperature": 1.0, "min_p": 0.05},
    "temperature 1, typical-p 0.9": {"temperature": 1.0, "typical_p": 0.9},
    "temperature 0.7, repetition and presence penalty": {
        "temperature": 0.7,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.5,
    },
    "greedy, 300 biases": {"logit_bias": dict.fromkeys(range(300), 1.0)},
}


def positions(exponent: float, *, full: bool) -> Iterator[PositionLogits]:
    dice = np.random.default_rng(1)
    ranked = (-exponent * np.log(np.arange(1, VOCAB + 1))).astype(np.float32)
    made = []
    for _ in range(8):
        logits = dice.permutation(ranked)
        ids = top_ids(logits, CANDIDATES).astype(np.int32)
        shown = (ids, logits[ids], log_sum_exp(logits))
        made.append(PositionLogits(int(ids[0]), *shown, logits if full else None))
    return itertools.cycle(made)


def figures(exponent: float, sampling: dict[str, object], *, full: bool) -> tuple[np.ndarray, float]:
    """Microseconds of each choice, and the share that was settled."""
    params = SamplingParams.model_validate({"seed": 1} | sampling)
    sampler = Sampler(params, list(range(2_000)), vocab_size=VOCAB, with_logprobs="logprobs" in sampling)
    times, settled = [], 0
    for position in itertools.islice(positions(exponent, full=full), DRAWS):
        began = time.perf_counter()
        choice = sampler.choose(position)
        times.append((time.perf_counter() - began) * 1e6)
        settled += choice is not None
        if choice is None:
            sampler.choose(next(positions(exponent, full=True)))
    return np.array(times), settled / DRAWS


def mask_figures() -> np.ndarray:
    """Microseconds to compute a JSON mask over the large vocabulary and lay it over a row of logits."""
    tokenizer = ReleaseTokenizer(large_tokenizer())
    constraints = Constraints(tokenizer, vocab_size=VOCAB, eos_ids=(0,))
    constraint = asyncio.run(constraints.start(JsonObject()))
    times = []
    for token in tokenizer.encode(
        '{"name": "Ann Lee", "note": "请放门口", "tags": [1, 2, {"deep": null}], "done": true}'
    ):
        scores = np.zeros(VOCAB, np.float32)
        began = time.perf_counter()
        constraint.apply(scores)
        times.append((time.perf_counter() - began) * 1e6)
        constraint.advance(token)
    constraints.close()
    return np.array(times)


def main() -> None:
    if "--fresh" not in sys.argv:
        np.ones(3 << 20)  # freed at once: malloc keeps as much from then on, as in an engine that has loaded a model
    print("| sampling | s | TOP us p50 / p90 | settled by TOP | FULL us p50 / p90 |\n|---|---|---|---|---|")
    for (name, sampling), exponent in itertools.product(CASES.items(), (2.0, 1.2)):
        cells = [name, str(exponent)]
        asks = Sampler(SamplingParams.model_validate(sampling), [], vocab_size=VOCAB).detail
        if asks < Detail.FULL:
            times, share = figures(exponent, sampling, full=False)
            cells += [_percentiles(times), f"{share:.1%}"]
        else:
            cells += ["", ""]
        cells.append(_percentiles(figures(exponent, sampling, full=True)[0]))
        print("| " + " | ".join(cells) + " |")
    print(f"\nA JSON mask laid over a row of {VOCAB} logits: {_percentiles(mask_figures())} us (p50 / p90)")


def _percentiles(times: np.ndarray) -> str:
    p50, p90 = np.percentile(times, [50, 90])
    return f"{p50:.0f} / {p90:.0f}"


if __name__ == "__main__":
    main()
