"""`weir bench gpu`: tokens per second of Weir's two GPU engines and of transformers, on one GPU, in the same rounds."""

import asyncio
import gc
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Protocol

import typer

from weir.contracts.errors import WeirError
from weir.contracts.events import TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir_training.atomic import write_json
from weir_training.benching.closed_loop import parse_concurrencies
from weir_training.benching.environments import installed
from weir_training.benching.prompts import Prompt
from weir_training.benching.target import Target, open_target
from weir_training.options import DEFAULT_HOME, AsJson, Home
from weir_training.progress import Progress, Tick, bar

_FLAVOURS: Final = ("cuda-fp16", "cuda-int4", "cuda-int4-paged")
_KV_BUDGET: Final = 24 << 30
_LIBRARIES: Final = ("torch", "transformers", "onnxruntime-gpu", "onnxruntime", "onnxruntime-genai-cuda")


class Contestant(Protocol):
    """Answers many prompts at once, each with exactly `tokens` tokens; returns how many came in all."""

    async def run(self, prompts: Sequence[Prompt], tokens: int) -> int: ...
    async def close(self) -> None: ...


@dataclass(slots=True)
class Seen:
    """Tokens per second of each round, by number of requests; `failed` says why there are none."""

    name: str
    speeds: dict[int, list[float]] = field(default_factory=dict)
    failed: str | None = None


class EngineContestant:
    """Weir's engine for a flavour: `ort` for cuda-fp16 and cuda-int4, `genai-paged` for cuda-int4-paged."""

    def __init__(self, target: Target, flavour: str, *, users: int, room: int, device: Literal["auto", "cpu"]) -> None:
        from weir.engine.loading import load_engine
        from weir.engine.settings import EngineSettings

        settings = EngineSettings(
            max_running=users,
            max_waiting=users,
            kv_budget_bytes=_KV_BUDGET,
            max_context_tokens=room,
            device=device,
        )
        self._engine = load_engine(target.release, flavour, settings)
        self._engine.start()

    async def run(self, prompts: Sequence[Prompt], tokens: int) -> int:
        return sum(await asyncio.gather(*(self._one(prompt, tokens) for prompt in prompts)))

    async def _one(self, prompt: Prompt, tokens: int) -> int:
        sampling = SamplingParams(max_new_tokens=tokens, ignore_eos=True)
        request = GenerateRequest(id="bench", prompt=prompt.text, prompt_ids=prompt.ids, sampling=sampling)
        return sum([e.token_count async for e in self._engine.generate(request) if isinstance(e, TokenChunk)])

    async def close(self) -> None:
        await self._engine.stop()


class TransformersContestant:
    """`generate` over a batch of equal lengths, in float16 on a GPU."""

    def __init__(self, checkpoint: Path, device: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self._torch, self._device = torch, device
        dtype = torch.float16 if device == "cuda" else torch.float32
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype, local_files_only=True)
        self._model: Any = model.to(device).eval()

    async def run(self, prompts: Sequence[Prompt], tokens: int) -> int:
        return await asyncio.to_thread(self._generate, prompts, tokens)

    def _generate(self, prompts: Sequence[Prompt], tokens: int) -> int:
        shortest = min(len(prompt.ids) for prompt in prompts)
        ids = self._torch.tensor([prompt.ids[:shortest] for prompt in prompts], device=self._device)
        with self._torch.inference_mode():
            said = self._model.generate(
                input_ids=ids,
                attention_mask=self._torch.ones_like(ids),
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
            )
        return int(said[:, shortest:].numel())

    async def close(self) -> None:
        self._model = None
        gc.collect()
        if self._device == "cuda":
            self._torch.cuda.empty_cache()


def gpu(  # noqa: PLR0913  a command line's options are its arguments
    name: Annotated[str, typer.Argument(metavar="SHAPE|RELEASE", help="As of `weir bench engine`.")] = "qwen2.5-0.5b",
    flavours: Annotated[str, typer.Option("--flavours", help="Comma-separated.")] = ",".join(_FLAVOURS),
    users: Annotated[str, typer.Option("--users", help="Requests at once, e.g. 1,8,32,128.")] = "1,8,32,128",
    tokens: Annotated[int, typer.Option("--tokens", min=2, max=1024, help="New tokens per answer.")] = 128,
    prompt_tokens: Annotated[int, typer.Option("--prompt-tokens", min=1, max=1024)] = 128,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=20)] = 3,
    device: Annotated[str, typer.Option("--device", help="cuda; or cpu, to try it without a GPU.")] = "cuda",
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the figures.")] = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Tokens/s at several numbers of requests: engines `ort` and `genai-paged` beside transformers, on one GPU.

    Prints a table for docs/benchmarks.md. Who cannot run is listed with the reason.
    """
    asked = tuple(dict.fromkeys(flavours.split(",")))
    counts = parse_concurrencies(users, "--users")
    with bar() as progress:
        target = open_target(name, asked, home, progress)
        seen = asyncio.run(_measured(target, asked, counts, _Plan(tokens, prompt_tokens, rounds, device), progress))
    text = table(target.name, seen, counts, tokens=tokens, prompt_tokens=prompt_tokens, rounds=rounds, device=device)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    found = {one.name: one.speeds if one.failed is None else one.failed for one in seen}
    result = {"target": target.name, "device": device, "tokens": tokens, "machine": machine(device), "found": found}
    path = (out or home / "bench" / "results") / f"gpu-{target.name.replace('/', '-')}-{stamp}.json"
    write_json(path, result)
    typer.echo(path.read_text(encoding="utf-8") if as_json else f"{text}\n\nfigures: {path}")


@dataclass(frozen=True, slots=True)
class _Plan:
    tokens: int
    prompt_tokens: int
    rounds: int
    device: str


async def _measured(
    target: Target, flavours: Sequence[str], counts: Sequence[int], plan: _Plan, progress: Progress
) -> list[Seen]:
    """Open everyone, then take turns: a GPU that slows down slows them all."""
    prompts = [target.prompts.make(seed, plan.prompt_tokens) for seed in range(max(counts))]
    room = max(len(prompt.ids) for prompt in prompts) + plan.tokens + 8
    seen: list[tuple[Seen, Contestant]] = []
    missing: list[Seen] = []
    async with AsyncExitStack() as stack:
        for name in (*flavours, "transformers"):
            progress(Tick("open", len(seen), len(flavours) + 1, name))
            try:
                contestant = await asyncio.to_thread(_opened, target, name, max(counts), room, plan.device)
            except (WeirError, RuntimeError, OSError) as error:
                missing.append(Seen(name, failed=str(error)))
                continue
            stack.push_async_callback(contestant.close)
            seen.append((Seen(name), contestant))
        for number in range(plan.rounds + 1):
            await _round(seen, prompts, counts, plan, is_counted=number > 0)
            progress(Tick("rounds", number, plan.rounds, ""))
    return [*(one for one, _ in seen), *missing]


def _opened(target: Target, name: str, users: int, room: int, device: str) -> Contestant:
    if name == "transformers":
        return TransformersContestant(target.checkpoint, device)
    return EngineContestant(target, name, users=users, room=room, device="cpu" if device == "cpu" else "auto")


async def _round(
    seen: Sequence[tuple[Seen, Contestant]],
    prompts: Sequence[Prompt],
    counts: Sequence[int],
    plan: _Plan,
    *,
    is_counted: bool,
) -> None:
    for count in counts:
        for one, contestant in seen:
            if one.failed is not None:
                continue
            began = time.perf_counter()
            try:
                made = await contestant.run(prompts[:count], plan.tokens if is_counted else 2)
            except (WeirError, RuntimeError) as error:
                one.failed = str(error)
                continue
            if is_counted:
                one.speeds.setdefault(count, []).append(made / (time.perf_counter() - began))


def table(  # noqa: PLR0913  what a reader must know of it
    name: str,
    seen: Sequence[Seen],
    counts: Sequence[int],
    *,
    tokens: int,
    prompt_tokens: int,
    rounds: int,
    device: str,
) -> str:
    """Return it in Markdown: medians of the rounds, and half of what lies between the least and the most."""
    when = datetime.now(UTC).date().isoformat()
    libraries = ", ".join(f"{lib} {found}" for lib in _LIBRARIES if (found := installed(lib)))
    command = " ".join(["weir", *sys.argv[1:]])
    head = [
        f"### {name} on a GPU ({when}): `{command}`",
        "",
        f"{machine(device)}; {libraries}. Prompts of {prompt_tokens} tokens, answers of {tokens}, greedy; tokens/s of "
        f"all requests together, medians of {rounds} interleaved rounds.",
        "",
        "| requests at once | " + " | ".join(map(str, counts)) + " |",
        "|---|" + "---|" * len(counts),
    ]
    rows = [f"| {label(one.name)} | " + " | ".join(_cell(one, count) for count in counts) + " |" for one in seen]
    notes = [f"{label(one.name)}: not measured: {' '.join(one.failed.split())}" for one in seen if one.failed]
    return "\n".join([*head, *rows, *([""] if notes else []), *notes])


def label(name: str) -> str:
    """Name the engine with the flavour."""
    if name == "transformers":
        return name
    return f"{'genai-paged' if name.endswith('-paged') else 'ort'}, {name}"


def _cell(one: Seen, count: int) -> str:
    values = one.speeds.get(count)
    if not values:
        return "-"
    middle = statistics.median(values)
    return f"{middle:.0f} ±{(max(values) - min(values)) / 2 / middle:.0%}"


def machine(device: str) -> str:
    """Name the GPU and its driver, or the CPU that stood in for one."""
    if device == "cpu":
        return f"no GPU: the CPU in its place ({platform.machine()})"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "an unknown GPU"
