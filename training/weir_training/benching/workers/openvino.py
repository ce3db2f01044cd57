"""OpenVINO GenAI's ContinuousBatchingPipeline: scheduler, greedy sampling and its own KV cache."""

import time
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from weir_training.benching.workers.divergence import Divergence
from weir_training.benching.workers.lines import serve
from weir_training.benching.workers.window import Window


class Pipeline:
    """One pipeline; requests are numbered. Nothing else touches it."""

    def __init__(
        self, folder: str, *, threads: int, slots: int, cache_gb: int, prefix_caching: bool, batch_tokens: int
    ) -> None:
        config = genai.SchedulerConfig()
        config.cache_size = cache_gb
        config.max_num_seqs = slots
        config.max_num_batched_tokens = batch_tokens
        config.dynamic_split_fuse = True
        config.enable_prefix_caching = prefix_caching
        self.pipe = genai.ContinuousBatchingPipeline(folder, config, "CPU", {"INFERENCE_NUM_THREADS": threads})
        self._next = 0

    def add(self, prompt: list[int], new_tokens: int) -> Any:
        """Return the handle of a greedy answer of exactly `new_tokens` tokens."""
        wanted = genai.GenerationConfig()
        wanted.max_new_tokens = wanted.min_new_tokens = new_tokens
        wanted.ignore_eos = True
        wanted.do_sample = False
        self._next += 1
        return self.pipe.add_request(self._next, ov.Tensor(np.array([prompt], np.int64)), wanted)

    def step(self) -> bool:
        """Take a step if there is something to do; say whether there was."""
        if not self.pipe.has_non_finished_requests():
            return False
        self.pipe.step()
        return True


def read(handle: Any) -> int:
    """How many tokens came since the last call."""
    return sum(len(out.generated_ids) for out in handle.read().values()) if handle.can_read() else 0


def decode(pipeline: Pipeline, prompts: list[list[int]], steps: int, most: int) -> dict[str, Any]:
    window = Window(len(prompts), steps)
    handles = [pipeline.add(prompt, most) for prompt in prompts]
    counts = [0] * len(handles)
    while not window.is_over and pipeline.step():
        now = time.perf_counter()
        for user, handle in enumerate(handles):
            if got := read(handle):
                counts[user] += got
                window.add(user, got, now)
        window.close_step(now)
        if max(counts) >= most:
            break
    for handle in handles:
        handle.cancel()
    while pipeline.step():
        pass
    return dict(window.figures())


def prefill(pipeline: Pipeline, prompt: list[int]) -> dict[str, Any]:
    began = time.perf_counter()
    handle = pipeline.add(prompt, 1)
    while pipeline.step() and not handle.can_read():
        pass
    return {"tokens": len(prompt), "seconds": time.perf_counter() - began}


def trace(pipeline: Pipeline, requests: list[dict[str, Any]], at_once: int | None) -> dict[str, Any]:
    """Serve requests at their times; or, with `at_once`, as soon as fewer than that are being answered."""
    waiting = sorted(range(len(requests)), key=lambda n: requests[n]["arrival_s"])
    began = time.perf_counter()
    live: dict[int, Any] = {}
    since, answers = [0.0] * len(requests), [[0.0, 0.0, 0, 0.0] for _ in requests]
    while waiting or live:
        while waiting and _is_due(requests[waiting[0]], time.perf_counter() - began, len(live), at_once):
            number = waiting.pop(0)
            since[number] = time.perf_counter() if at_once else began + requests[number]["arrival_s"]
            live[number] = pipeline.add(requests[number]["ids"], requests[number]["new_tokens"])
        if not pipeline.step():
            time.sleep(0.001)
        _collect(live, since, answers, [r["new_tokens"] for r in requests], began)
    return {"answers": answers}


def _is_due(request: dict[str, Any], now: float, running: int, at_once: int | None) -> bool:
    return request["arrival_s"] <= now and (at_once is None or running < at_once)


def _collect(
    live: dict[int, Any], since: list[float], answers: list[list[Any]], wanted: list[int], began: float
) -> None:
    """Note what the last step brought; forget those that have all their tokens."""
    now = time.perf_counter()
    for number in list(live):
        if got := read(live[number]):
            first, _, tokens, _ = answers[number]
            answers[number] = [first or now - since[number], now - since[number], tokens + got, now - began]
        if answers[number][2] >= wanted[number]:
            del live[number]


def divergence(folder: str, threads: int, texts: list[list[int]], reference: str) -> dict[str, Any]:
    """Run the same converted graph without the pipeline, which gives no logits away."""
    model = ov.Core().compile_model(f"{folder}/openvino_model.xml", "CPU", {"INFERENCE_NUM_THREADS": threads})
    found = Divergence(reference)
    for number, text in enumerate(texts):
        ids = np.array([text], np.int64)
        inputs = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "position_ids": np.arange(len(text), dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        run = model.create_infer_request()  # a new one has an empty cache
        names = {name for port in model.inputs for name in port.names}
        found.add(number, run.infer({k: v for k, v in inputs.items() if k in names})["logits"][0])
    return found.figures()


def main() -> None:
    opened: list[Pipeline] = []
    given: dict[str, Any] = {}

    def load(folder: str, **how: Any) -> dict[str, Any]:
        opened.append(Pipeline(folder, **how))
        given.update(folder=folder, threads=how["threads"])
        return {}

    serve(
        {
            "load": load,
            "prefill": lambda prompt: prefill(opened[0], prompt),
            "decode": lambda prompts, steps, most: decode(opened[0], prompts, steps, most),
            "divergence": lambda texts, reference: divergence(given["folder"], given["threads"], texts, reference),
            "trace": lambda requests, at_once: trace(opened[0], requests, at_once),
        }
    )


if __name__ == "__main__":
    main()
