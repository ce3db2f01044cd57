"""What guessing ahead brings on a release's own traffic: `python -m tests.bench.speculation RELEASE DATA.jsonl ...`.

Two engines on the same flavour, one that guesses and one that does not, take turns within every round; both must give
the same tokens. Prints Markdown.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from weir.contracts.events import TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.engine import Engine
from weir.engine.loading import load_engine
from weir.engine.settings import EngineSettings
from weir.release.prompts import load_prompt_builder
from weir.telemetry.step_report import StepReport
from weir_training.data import read_rows

_COLUMNS = (
    *("data", "flavour", "users", "tokens/s without", "with", "ratio", "CPU µs/token without", "with"),
    *("TTFT p50 ms without", "with", "steps", "accepted"),
)


@dataclass
class Counter:
    """An engine's observer: steps, guesses, and how many came true."""

    steps: int = 0
    drafted: int = 0
    accepted: int = 0

    def stepped(self, report: StepReport) -> None:
        self.steps += 1
        self.drafted += report.drafted
        self.accepted += report.accepted

    def ended(self, outcome: str, *, prompt_tokens: int, generated_tokens: int) -> None: ...


@dataclass
class Side:
    """One of the two engines and what it did."""

    engine: Engine
    counter: Counter
    speeds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--flavours", default="cpu-packed8,cpu-packed4")
    parser.add_argument("--users", default="1,4,16")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as this process may use.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--requests", type=int, default=48, help="Per round, taken in turn from the data.")
    options = parser.parse_args()
    print("| " + " | ".join(_COLUMNS) + " |\n" + "|---" * len(_COLUMNS) + "|")
    for flavour in options.flavours.split(","):
        asyncio.run(_flavour(options, flavour))


async def _flavour(options: argparse.Namespace, flavour: str) -> None:
    users = [int(number) for number in options.users.split(",")]
    for data in options.data:
        requests = _requests(options.release, data, options.temperature)
        sides = [_side(options, flavour, drafts) for drafts in (0, None)]
        for turn, number in enumerate(users):
            await _compare(sides, requests, number, turn * options.rounds * options.requests, options)
            print(f"| {data.stem} | {flavour} | {number} | {_row(sides)} |", flush=True)
        for side in sides:
            await side.engine.stop()


def _side(options: argparse.Namespace, flavour: str, drafts: int | None) -> Side:
    settings = EngineSettings(threads=options.threads)
    settings = settings if drafts is None else replace(settings, max_draft_tokens=drafts)
    counter = Counter()
    engine = load_engine(options.release, flavour, settings, observer=counter)
    engine.start()
    return Side(engine, counter)


def _requests(release: Path, data: Path, temperature: float) -> list[GenerateRequest]:
    builder = load_prompt_builder(release)
    sampling = SamplingParams(max_new_tokens=64, temperature=temperature, seed=7)
    prompts = (builder.from_messages(row.question) for row in read_rows(data))
    return [GenerateRequest(id=str(n), prompt=prompt, sampling=sampling) for n, prompt in enumerate(prompts)]


def _turn(requests: Sequence[GenerateRequest], start: int, count: int) -> list[GenerateRequest]:
    """The next ones; each time that all were asked, another tenant asks: answers given lately would flatter."""
    places = range(start, start + count)
    return [requests[n % len(requests)].model_copy(update={"cache_salt": str(n // len(requests))}) for n in places]


async def _compare(
    sides: Sequence[Side], requests: Sequence[GenerateRequest], users: int, asked: int, options: argparse.Namespace
) -> None:
    for side in sides:
        await _round(side, [r.model_copy(update={"cache_salt": "warm-up"}) for r in requests[:users]], users)
        side.speeds, side.cpu, side.firsts = [], [], []
        side.counter.steps = side.counter.drafted = side.counter.accepted = 0
    for number in range(options.rounds):
        turn = _turn(requests, asked + number * options.requests, options.requests)
        order = sides if number % 2 else sides[::-1]
        said = {id(side): await _round(side, turn, users) for side in order}
        assert len({tuple(answers) for answers in said.values()}) == 1, "guessing changed an answer"


async def _round(side: Side, requests: Sequence[GenerateRequest], users: int) -> list[str]:
    """Let so many clients work the requests off; note tokens per second; return the answers in order."""
    answers, tokens = [""] * len(requests), 0
    numbers = iter(range(len(requests)))

    async def client() -> None:
        nonlocal tokens
        for number in numbers:
            began, first = time.perf_counter(), 0.0
            async for event in side.engine.generate(requests[number]):
                if isinstance(event, TokenChunk):
                    first = first or time.perf_counter() - began
                    tokens += event.token_count
                    answers[number] += event.text
            side.firsts.append(first)

    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(users)))
    side.speeds.append(tokens / (time.perf_counter() - began))
    side.cpu.append((time.process_time() - used) / tokens)
    return answers


def _row(sides: Sequence[Side]) -> str:
    without, with_ = sides
    ratio = median(b / a for a, b in zip(without.speeds, with_.speeds, strict=True))
    cpu = " | ".join(f"{median(side.cpu) * 1e6:.0f}" for side in sides)
    firsts = " | ".join(f"{median(side.firsts) * 1e3:.2f}" for side in sides)
    steps = f"{without.counter.steps} → {with_.counter.steps}"
    share = with_.counter.accepted / max(with_.counter.drafted, 1)
    accepted = f"{with_.counter.accepted} of {with_.counter.drafted} ({share:.0%})"
    speeds = f"{median(without.speeds):.0f} | {median(with_.speeds):.0f} | {ratio:.2f}"
    return f"{speeds} | {cpu} | {firsts} | {steps} | {accepted}"


if __name__ == "__main__":
    main()
