"""Weir's model under a real Triton server beside the CPU node, the same release: `python -m tests.bench.triton_node`.

Prints Markdown. Both are processes of their own, one thread each for the model, asked in turn by closed-loop callers of
this process through the gateway's own backends. A tiny random model: what is measured is the way to it. Without
`--release` it is the tests' own.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from tests.support import processes
from tests.support.tiny_release import make_tiny_release
from tests.support.triton_server import Triton, set_parameters
from weir.backends.grpc_node import GrpcNode
from weir.backends.http_node import HttpNode
from weir.contracts.events import TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir_training.linking import link_release

PROMPT = "How do I return an order that I placed last week?"
Node = GrpcNode | HttpNode


@dataclass
class Figures:
    """Of one node with one number of callers; seconds."""

    took: float = 0.0
    firsts: list[float] = field(default_factory=list)
    wholes: list[float] = field(default_factory=list)
    chunks: int = 0
    tokens: int = 0

    def row(self, what: str, callers: int) -> str:
        firsts, wholes = _ms(self.firsts), _ms(self.wholes)
        rate, tokens = len(self.wholes) / self.took, self.tokens / self.took
        per = self.chunks / len(self.wholes)
        return f"| {what} | {callers} | {rate:.0f} | {tokens:,.0f} | {firsts} | {wholes} | {per:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path)
    parser.add_argument("--callers", default="1,4,16")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print("| node | callers | answers/s | tokens/s | first token p50 / p99, ms | answer p50 / p99, ms | chunks |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="weir-triton-") as name, nodes(given.release, Path(name)) as urls:
        asyncio.run(measured(urls, given))


@contextmanager
def nodes(release: Path | None, folder: Path) -> Iterator[tuple[str, str, str]]:
    """The model's name, the CPU node's URL and Triton's address."""
    root = release or make_tiny_release(folder / "releases", precisions=("packed8",))
    model = root.resolve().parent.name
    link_release(root, folder / "repository")
    set_parameters(folder / "repository" / model, threads=1)
    triton = Triton(folder / "repository", (model,), folder / "triton.log")
    cpu = processes.node(root, folder / "node.log", threads="1", home=str(folder))
    try:
        cpu.start()
        triton.start()
        yield model, cpu.url, f"127.0.0.1:{triton.grpc_port}"
    finally:
        cpu.stop()
        triton.stop()


async def measured(urls: tuple[str, str, str], given: argparse.Namespace) -> None:
    model, cpu, triton = urls
    both: dict[str, Node] = {"CPU node": HttpNode("cpu", cpu, model), "Triton": GrpcNode("triton", triton, model)}
    for callers in map(int, given.callers.split(",")):
        found = {what: Figures() for what in both}
        for _ in range(given.rounds):
            for what, node in both.items():
                await one_round(node, found[what], callers, given)
        for what, figures in found.items():
            print(figures.row(what, callers), flush=True)
    for node in both.values():
        await node.aclose()


async def one_round(node: Node, figures: Figures, callers: int, given: argparse.Namespace) -> None:
    sampling = SamplingParams(max_new_tokens=given.tokens, ignore_eos=True)
    asked = GenerateRequest(id="r", prompt=PROMPT, sampling=sampling)
    for _ in range(5):
        await answered(node, asked, Figures())
    began = time.perf_counter()

    async def keep_asking() -> None:
        while time.perf_counter() - began < given.seconds:
            await answered(node, asked, figures)

    await asyncio.gather(*(keep_asking() for _ in range(callers)))
    figures.took += time.perf_counter() - began


async def answered(node: Node, asked: GenerateRequest, figures: Figures) -> None:
    began, first = time.perf_counter(), 0.0
    async with aclosing(node.generate(asked, timeout_s=30)) as events:
        async for event in events:
            if isinstance(event, TokenChunk):
                first = first or time.perf_counter() - began
                figures.chunks += 1
                figures.tokens += event.token_count
    figures.firsts.append(first)
    figures.wholes.append(time.perf_counter() - began)


def _ms(seconds: list[float]) -> str:
    return f"{1000 * median(seconds):.1f} / {1000 * quantiles(seconds, n=100)[98]:.1f}"


if __name__ == "__main__":
    main()
