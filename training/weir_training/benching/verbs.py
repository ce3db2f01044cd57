"""`weir bench`: tokens per second and latencies, of an engine in this process or of a gateway on this machine."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from weir.contracts.errors import JobError, UsageError
from weir.contracts.events import TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.release.reader import read_manifest
from weir_training.benching.closed_loop import Ask, Figures, Plan, Sample, as_dicts, measure, parse_concurrencies, table
from weir_training.benching.gateway.verb import gateway
from weir_training.benching.gpu import gpu
from weir_training.benching.guard.verb import guard
from weir_training.benching.route.verb import route
from weir_training.benching.target import find_release
from weir_training.benching.verbs_engine import engine
from weir_training.options import DEFAULT_HOME, AsJson, Home

if TYPE_CHECKING:
    import aiohttp

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Measure tokens per second and latencies.")

Concurrency = Annotated[str, typer.Option("--concurrency", help="How many at once, e.g. 1,4,8.")]
Tokens = Annotated[int, typer.Option("--tokens", min=1, max=4096, help="New tokens per answer at most.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, max=100, help="Each concurrency once per round.")]
Requests = Annotated[int, typer.Option("--requests", min=1, max=10_000, help="Answers per round and concurrency.")]

_LOOPBACK: Final = {"127.0.0.1", "localhost", "::1"}
_TIMEOUT_S: Final = 300.0
app.command("engine")(engine)
app.command("gateway")(gateway)
app.command("gpu")(gpu)
app.command("guard")(guard)
app.command("route")(route)
app.command("shape", hidden=True)(engine)  # its former name

_QUESTIONS: Final = ("怎么退货？", "How do I return an order?", "快递几天能到？", "When will it arrive?")


@app.command()
def answers(  # noqa: PLR0913 — a command line's options are its arguments
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="MODEL (its newest), MODEL/VERSION or a folder.")],
    flavour: Annotated[str | None, typer.Option("--flavour", help="Default: the one the release serves.")] = None,
    concurrency: Concurrency = "1,4,8",
    tokens: Tokens = 64,
    rounds: Rounds = 3,
    requests: Requests = 16,
    threads: Annotated[int, typer.Option("--threads", min=0, help="0: as many as this process may use.")] = 0,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Run the engine in this process on a release's golden prompts; end-of-sequence does not end an answer."""
    plan = Plan(parse_concurrencies(concurrency), rounds, requests)
    root = find_release(release, home)
    figures = asyncio.run(_bench_engine(root, flavour, plan, tokens=tokens, threads=threads))
    name = flavour or read_manifest(root).serve_flavour
    _show({"release": str(root), "flavour": name, "max_new_tokens": tokens}, figures, as_json=as_json)


@app.command()
def served(  # noqa: PLR0913 — a command line's options are its arguments
    url: Annotated[str, typer.Option("--url", help="A gateway on this machine.")] = "http://127.0.0.1:8080",
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="What to ask; may be repeated.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="API key, where the gateway wants one.")] = None,
    concurrency: Concurrency = "1,4,8",
    tokens: Tokens = 64,
    rounds: Rounds = 3,
    requests: Requests = 16,
    as_json: AsJson = False,
) -> None:
    """Ask a running gateway over HTTP (`/generate_stream`); answers end where the model ends them."""
    plan = Plan(parse_concurrencies(concurrency), rounds, requests)
    target = _loopback(url)
    figures = asyncio.run(_bench_gateway(target, tuple(prompt or _QUESTIONS), key, plan, tokens=tokens))
    _show({"url": target, "max_new_tokens": tokens}, figures, as_json=as_json)


def _show(what: dict[str, Any], figures: Sequence[Figures], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**what, "figures": as_dicts(figures)}))
    else:
        typer.echo("  ".join(f"{name} {value}" for name, value in what.items()) + "\n" + table(figures))


def _loopback(url: str) -> str:
    """A load test of somebody else's machine is not what this is for."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK:
        raise UsageError(f"--url {url}: expected http:// on {', '.join(sorted(_LOOPBACK))}")
    return url.rstrip("/")


async def _bench_engine(root: Path, flavour: str | None, plan: Plan, *, tokens: int, threads: int) -> list[Figures]:
    from weir.engine.loading import load_engine
    from weir.engine.settings import EngineSettings

    manifest = read_manifest(root)
    prompts = [golden.prompt for golden in manifest.golden]
    room = manifest.context_tokens - max(len(golden.prompt_ids) for golden in manifest.golden)
    sampling = SamplingParams(max_new_tokens=min(tokens, room), ignore_eos=True)
    most = max(plan.concurrencies)
    running = load_engine(
        root, flavour, EngineSettings(threads=threads, max_running=most, max_waiting=most, max_draft_tokens=0)
    )
    running.start()

    async def ask(number: int) -> Sample:
        prompt = prompts[number % len(prompts)]
        began, first, count = time.perf_counter(), 0.0, 0
        async for event in running.generate(GenerateRequest(id=f"bench-{number}", prompt=prompt, sampling=sampling)):
            first = first or time.perf_counter() - began
            count += event.token_count if isinstance(event, TokenChunk) else 0
        return Sample(first, time.perf_counter() - began, count)

    try:
        return await measure(plan, ask)
    finally:
        await running.stop()


async def _bench_gateway(
    url: str, prompts: Sequence[str], key: str | None, plan: Plan, *, tokens: int
) -> list[Figures]:
    async with _client(url, key) as session:
        return await measure(plan, _gateway_ask(session, prompts, tokens))


@asynccontextmanager
async def _client(url: str, key: str | None) -> "AsyncGenerator[aiohttp.ClientSession, None]":
    import aiohttp

    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(url, headers=headers, timeout=timeout, connector=connector) as session:
            yield session
    except (aiohttp.ClientError, TimeoutError) as error:
        raise JobError(f"{url}: {str(error) or 'no answer in time'}") from error


def _gateway_ask(session: "aiohttp.ClientSession", prompts: Sequence[str], tokens: int) -> Ask:
    async def ask(number: int) -> Sample:
        body = {"inputs": prompts[number % len(prompts)], "parameters": {"max_new_tokens": tokens, "details": True}}
        began, first, count = time.perf_counter(), 0.0, 0
        async with session.post("/generate_stream", json=body) as response:
            if response.status != 200:
                raise JobError(f"the gateway answered {response.status}: {(await response.text())[:300]}")
            async for line in response.content:
                if line.startswith(b"data:"):
                    first = first or time.perf_counter() - began
                    count = _tokens_after(json.loads(line[5:]), count)
        return Sample(first, time.perf_counter() - began, count)

    return ask


def _tokens_after(event: dict[str, Any], count: int) -> int:
    """The last event's details count exactly; until then, one event is one token.

    Raises:
        JobError: the gateway ended the stream with an error.
    """
    if "error" in event:
        raise JobError(f"the gateway ended a stream: {event['error']}")
    details = event.get("details")
    return int(details["generated_tokens"]) if details else count + 1
