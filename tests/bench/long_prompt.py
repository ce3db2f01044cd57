"""What running streams feel of a long prompt: `python -m tests.bench.long_prompt RELEASE`.

Some streams run; then one prompt of many tokens arrives, again and again. Compared are the gaps between two tokens of
the streams before it came and while it was read. Prints Markdown.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from weir.contracts.events import TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.engine import Engine
from weir.engine.loading import load_engine
from weir.engine.settings import EngineSettings
from weir.release.prompts import load_prompt_builder

_COLUMNS = (
    "flavour",
    "streams",
    "prompt",
    "read in s",
    "p50 ms before",
    "while",
    "ratio",
    "p99 before",
    "while",
    "ratio",
)
_WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "wizards", "mix", "strong", "potions")
_CALM_S = 4.0


@dataclass
class Gaps:
    """Seconds between two tokens of one stream, and when each gap ended."""

    ended: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def within(self, spans: Sequence[tuple[float, float]]) -> list[float]:
        both = zip(self.ended, self.seconds, strict=True)
        return [gap for end, gap in both if any(begin < end < finish for begin, finish in spans)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path)
    parser.add_argument("--flavours", default="cpu-packed8,cpu-packed4")
    parser.add_argument("--streams", default="1,4,8,15")
    parser.add_argument("--prompt-tokens", type=int, default=2000)
    parser.add_argument("--prompts", type=int, default=3, help="One after the other.")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as this process may use.")
    options = parser.parse_args()
    print("| " + " | ".join(_COLUMNS) + " |\n" + "|---" * len(_COLUMNS) + "|")
    for flavour in options.flavours.split(","):
        for streams in map(int, options.streams.split(",")):
            print(f"| {flavour} | {streams} | {asyncio.run(_measured(options, flavour, streams))} |", flush=True)


async def _measured(options: argparse.Namespace, flavour: str, streams: int) -> str:
    settings = EngineSettings(threads=options.threads, max_draft_tokens=0)
    engine = load_engine(options.release, flavour, settings)
    engine.start()
    gaps = Gaps()
    running = [asyncio.create_task(_stream(engine, number, gaps)) for number in range(streams)]
    try:
        return await _row(engine, options, gaps)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await engine.stop()


async def _row(engine: Engine, options: argparse.Namespace, gaps: Gaps) -> str:
    await asyncio.sleep(_CALM_S)
    await _read(engine, _text(99, 300))  # what steps with prompts cost is learned
    calm, busy, tokens = [], [], 0
    for number in range(options.prompts):
        prompt, tokens = _long_text(options.release, number, options.prompt_tokens)
        began = time.perf_counter()
        await asyncio.sleep(_CALM_S)
        calm.append((began + 0.5, time.perf_counter()))
        busy.append((time.perf_counter(), await _read(engine, prompt)))
    before, during = gaps.within(calm), gaps.within(busy)
    cells = [f"{tokens}", f"{np.mean([end - begin for begin, end in busy]):.1f}"]
    for percentile in (50, 99):
        one, other = np.percentile(before, percentile) * 1e3, np.percentile(during, percentile) * 1e3
        cells += [f"{one:.1f}", f"{other:.1f}", f"{other / one:.2f}"]
    return " | ".join(cells)


async def _stream(engine: Engine, number: int, gaps: Gaps) -> None:
    sampling = SamplingParams(max_new_tokens=1500, ignore_eos=True)
    while True:
        last = 0.0
        async for event in engine.generate(GenerateRequest(id="s", prompt=_text(number, 40), sampling=sampling)):
            now = time.perf_counter()
            if last and isinstance(event, TokenChunk):
                gaps.ended.append(now)
                gaps.seconds.append((now - last) / max(event.token_count, 1))
            last = now


async def _read(engine: Engine, prompt: str) -> float:
    """Read a prompt and return when its first token came."""
    sampling = SamplingParams(max_new_tokens=1, ignore_eos=True)
    async for _ in engine.generate(GenerateRequest(id="long", prompt=prompt, sampling=sampling)):
        pass
    return time.perf_counter()


def _long_text(release: Path, seed: int, tokens: int) -> tuple[str, int]:
    """Return a text of about so many tokens that shares no beginning with others, and how many it has."""
    tokenizer = load_prompt_builder(release).tokenizer
    words = int(tokens * 1000 / len(tokenizer.encode(_text(seed, 1000))))
    text = _text(seed, words)
    return text, len(tokenizer.encode(text))


def _text(seed: int, words: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(_WORDS, words))


if __name__ == "__main__":
    main()
