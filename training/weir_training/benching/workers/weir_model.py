"""Weir without its scheduler: rows into the graph, the likeliest token of each out."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weir.engine.step import Detail, Row
from weir_training.benching.workers.divergence import Divergence
from weir_training.benching.workers.lines import serve
from weir_training.graph_models import open_graph


class Rows:
    """A graph with blocks for each user; remembers which prompt a user's hold, so that it is read once only."""

    def __init__(self, graph: str, *, slots: int, context_tokens: int, threads: int) -> None:
        self._model = open_graph(Path(graph).parent, rows=slots, context_tokens=context_tokens, threads=threads)
        each = self._model.blocks // slots
        self._blocks = [range(user * each, (user + 1) * each) for user in range(slots)]
        self._held: dict[int, list[int]] = {}

    def read(self, user: int, prompt: list[int]) -> int:
        """Read a whole prompt at once; return the likeliest next token."""
        [[position]] = self._model.run([Row(self._blocks[user], prompt, 0)])
        self._held[user] = prompt
        return position.best

    def hold(self, prompts: Sequence[list[int]]) -> None:
        for user, prompt in enumerate(prompts):
            if self._held.get(user) != prompt:
                self.read(user, prompt)

    def logits(self, text: list[int]) -> Any:
        """Return the logits after every token of a text, shape (tokens, vocabulary)."""
        [positions] = self._model.run([Row(self._blocks[0], text, 0, len(text), Detail.FULL)])
        self._held.pop(0, None)
        return np.stack([position.full for position in positions if position.full is not None])

    def step(self, tokens: Sequence[int], past: Sequence[int]) -> list[int]:
        """Append one token for each of the first users; return the likeliest next ones."""
        rows = [Row(self._blocks[user], [token], past[user]) for user, token in enumerate(tokens)]
        return [position.best for [position] in self._model.run(rows)]


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

    def divergence(texts: list[list[int]], reference: str) -> dict[str, Any]:
        found = Divergence(reference)
        for number, text in enumerate(texts):
            found.add(number, opened[0].logits(text))
        return found.figures()

    serve({"load": load, "prefill": prefill, "decode": decode, "divergence": divergence})


if __name__ == "__main__":
    main()
