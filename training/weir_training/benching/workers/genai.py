"""onnxruntime-genai's Generator on a static batch: what it offers on CPU beyond one user."""

import json
import time
from typing import Any

import numpy as np
import onnxruntime_genai as genai

from weir_training.benching.workers.lines import serve


class Model:
    def __init__(self, folder: str, threads: int) -> None:
        config = genai.Config(folder)
        config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
        self._model = genai.Model(config)

    def start(self, prompts: list[list[int]], most: int) -> tuple[Any, float]:
        """Read prompts of equal length and choose a token for each; return the generator and the seconds."""
        options = genai.GeneratorParams(self._model)
        length = len(prompts[0]) + most
        options.set_search_options(max_length=length, min_length=length, batch_size=len(prompts), do_sample=False)
        generator = genai.Generator(self._model, options)
        began = time.perf_counter()
        generator.append_tokens(np.array(prompts, np.int32))
        generator.generate_next_token()
        return generator, time.perf_counter() - began


def main() -> None:
    opened: list[Model] = []

    def load(folder: str, threads: int) -> dict[str, Any]:
        opened.append(Model(folder, threads))
        return {}

    def prefill(prompt: list[int]) -> dict[str, Any]:
        return {"tokens": len(prompt), "seconds": opened[0].start([prompt], 2)[1]}

    def decode(prompts: list[list[int]], steps: int, most: int) -> dict[str, Any]:
        shortest = min(map(len, prompts))
        generator, _ = opened[0].start([prompt[:shortest] for prompt in prompts], max(most, steps + 2))
        began = time.perf_counter()
        for _ in range(steps):
            generator.generate_next_token()
        return {"tokens": len(prompts) * steps, "seconds": time.perf_counter() - began}

    serve({"load": load, "prefill": prefill, "decode": decode})


if __name__ == "__main__":
    main()
