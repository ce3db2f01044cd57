"""`weir bench gateway`: figures that add up, and scripted nodes that real clients understand."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from weir import cli
from weir.backends.base import Backend
from weir.backends.grpc_node import GrpcNode
from weir.backends.http_node import HttpNode
from weir.contracts.events import Finished, FinishReason, TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.guard.compiled import CompiledGuard
from weir.guard.policy import default_policy
from weir.release.prompts import load_prompt_builder
from weir_training.benching.gateway.load import Target, latency, paced, rate
from weir_training.benching.gateway.measures import Figures, Plan
from weir_training.benching.gateway.prompt_release import make_release
from weir_training.benching.gateway.report import draw, ratio, rows, table, value
from weir_training.benching.gateway.script import TEXT, mark, moment, order, under_way_s, word

PLAN = Plan(rounds=2, seconds=1.0, requests=50, streams=(8, 16))


@pytest.fixture(scope="module")
def node_port() -> Iterator[Callable[[str], int]]:
    """Start scripted nodes, each once."""
    running: dict[str, tuple[int, subprocess.Popen[bytes]]] = {}

    def port_of(module: str) -> int:
        if module not in running:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                port = listener.getsockname()[1]
            name = f"weir_training.benching.gateway.{module}"
            running[module] = (port, subprocess.Popen([sys.executable, "-m", name, str(port)]))
            _await_port(port)
        return running[module][0]

    yield port_of
    for _, process in running.values():
        process.terminate()
        process.wait()


def _await_port(port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            with closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the node did not start")


@pytest.fixture(params=["fast_node", "fast_grpc_node"])
async def backend(request: pytest.FixtureRequest, node_port: Callable[[str], int]) -> AsyncIterator[Backend]:
    port = node_port(request.param)
    made: Backend
    if request.param == "fast_node":
        made = HttpNode("fast", f"http://127.0.0.1:{port}", "bench")
    else:
        made = GrpcNode("fast", f"127.0.0.1:{port}", "bench")
    yield made
    await made.aclose()


@pytest.mark.parametrize("interval_s", [0.0, 0.02])
async def test_the_scripted_nodes_say_what_the_gateways_clients_understand(backend: Backend, interval_s: float) -> None:
    asked = GenerateRequest(
        id="r", prompt=f"{mark(interval_s)} hi", sampling=SamplingParams(max_new_tokens=5), return_tokens=True
    )
    began, began_s = moment(), time.monotonic()
    async with aclosing(backend.generate(asked, timeout_s=5)) as events:
        *chunks, last = [event async for event in events]

    assert await backend.ready()
    assert isinstance(last, Finished)
    assert (last.reason, last.usage.completion_tokens) == (FinishReason.LENGTH, 5)
    tokens = [token for chunk in chunks if isinstance(chunk, TokenChunk) for token in chunk.tokens]
    assert [token.text for token in tokens] == [word(number) for number in range(5)]
    assert all(under_way_s(began, token.id) <= under_way_s(began, moment()) < 60 for token in tokens)
    assert time.monotonic() - began_s >= 5 * interval_s


def test_the_load_generator_measures_a_node_itself(node_port: Callable[[str], int]) -> None:
    root = f"http://127.0.0.1:{node_port('fast_node')}"
    node = Target("direct", f"{root}/v2/models/bench/generate_stream", "oip")
    chat = Target("chat", f"{root}/v1/chat/completions", "openai")

    taken = asyncio.run(latency([node, chat], requests=20, tokens=4, size=256, stream=True))
    done = asyncio.run(rate(chat, seconds=0.2, users=2, tokens=4, size=256, stream=False))
    streams = asyncio.run(paced(node, streams=3, seconds=0.5, fps=48, size=256))

    assert 0 < taken["direct"]["p50"] <= taken["direct"]["p99"] <= taken["direct"]["max"]
    assert done["requests"] > 2
    assert done["seconds"] >= 0.2
    assert (streams["tokens"], streams["failed"], streams["stalled"]) == (3 * 24, 0, 0)
    assert 0 < streams["under_way"]["p50"] < 1000


def test_what_the_scripted_nodes_say_is_held_by_no_rule_of_the_packaged_policy() -> None:
    stream = CompiledGuard.build(default_policy()).chosen("/generate", None, None).output.stream()
    held = []
    for number in range(len(TEXT.split())):
        stream.feed(word(number))
        held.append(stream.held_chars)

    assert held == [0] * len(TEXT.split())


def test_a_token_is_under_way_also_while_moments_begin_anew() -> None:
    assert under_way_s(2**31 - 500_000, 500_000) == 1.0


def test_a_pace_survives_whatever_is_put_around_it() -> None:
    assert order(f"<|user|>{mark(1 / 48)}text", 7) == (7, pytest.approx(1 / 48, abs=1e-6))
    assert order("nothing", 7) == (7, 0.0)


def test_the_benchs_release_is_one_that_a_gateway_takes(tmp_path: Path) -> None:
    prompts = load_prompt_builder(make_release(tmp_path))

    assert prompts.count(" the cat") == 2
    assert prompts.from_text("hi").startswith("<|im_start|>user\nhi")


def test_figures_are_medians_and_memory_a_slope() -> None:
    figures = Figures()
    for number in (3.0, 1.0, 2.0):
        figures.add("weir", rps_openai_1k=1000 * number)
        figures.add("litellm", rps_openai_1k=100.0)
    figures.memory["weir"] = [(60.0 * minute, 100_000_000 + 2_000_000 * minute) for minute in range(8)]

    assert value(figures, "weir", "rps_openai_1k") == 2000
    assert value(figures, "weir", "rss_slope") == pytest.approx(2.0)
    assert value(figures, "litellm", "rss_slope") is None
    assert ratio(figures, "weir", "litellm") == 20
    assert ratio(figures, "weir", "nobody") is None


def test_the_table_has_what_was_measured_beside_the_goals(tmp_path: Path) -> None:
    figures = Figures()
    figures.add("weir", added_latency_1k_p50=0.41, stalled_16=0.0)
    text = table(figures, ["direct", "weir"], PLAN)

    assert [line.split()[-4:] for line in text.splitlines() if "1 KB, p50" in line] == [["-", "0.41", "<=", "0.5"]]
    assert "stalled streams" in text
    assert "16 KB" not in text
    assert len({row.figure for row in rows(PLAN)}) == len(rows(PLAN))
    assert draw(figures, ["weir"], PLAN, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_an_unknown_peer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "gateway", "--peer", "nginx"]) == 2
    assert "litellm" in capsys.readouterr().err
