"""Weir without its scheduler: rows into the graph, the likeliest token of each out."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weir.engine.session import Graph, GraphSession
from weir_training.benching.workers.lines import serve


class Rows:
    """A graph with one slot per user; remembers which prompt a slot holds, so that it is read once only."""

    def __init__(self, graph: str, *, slots: int, context_tokens: int, threads: int) -> None:
        self._session = GraphSession(Graph(Path(graph), threads=threads), slots=slots, context_tokens=context_tokens)
        self._held: dict[int, list[int]] = {}

    def read(self, slot: int, prompt: list[int]) -> int:
        """Read a whole prompt at once; return the likeliest next token."""
        logits = self._session.run(np.array([prompt], np.int64), [0], first_slot=slot)
        self._held[slot] = prompt
        return int(logits[0].argmax())

    def hold(self, prompts: Sequence[list[int]]) -> None:
        for slot, prompt in enumerate(prompts):
            if self._held.get(slot) != prompt:
                self.read(slot, prompt)

    def step(self, tokens: Sequence[int], past: Sequence[int]) -> list[int]:
        """Append one token to each of the first slots; return the likeliest next ones."""
        logits = self._session.run(np.array(tokens, np.int64)[:, None], past, first_slot=0)
        return [int(token) for token in logits.argmax(axis=-1)]


def main() -> None:
    opened: list[Rows] = []

    def load(**how: Any) -> dict[str, Any]:
        opened.append(Rows(**how))
        return {}

    def prefill(prompt: list[int]) -> dict[str, Any]:
        began = time.perf_counter()
        opened[0].read(0, prompt)
        return {"tokens": len(prompt), "seconds": time.perf_counter() - began}

    def decode(prompts: list[list[int]], steps: int) -> dict[str, Any]:
        rows = opened[0]
        rows.hold(prompts)
        tokens = [prompt[-1] for prompt in prompts]
        began = time.perf_counter()
        for step in range(steps):
            tokens = rows.step(tokens, [len(prompt) + step for prompt in prompts])
        return {"tokens": len(prompts) * steps, "seconds": time.perf_counter() - began}

    serve({"load": load, "prefill": prefill, "decode": decode})


if __name__ == "__main__":
    main()
