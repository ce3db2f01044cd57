"""Hugging Face transformers' generate on a static batch, timed step by step."""

import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList

from weir_training.benching.workers.divergence import Divergence
from weir_training.benching.workers.lines import serve


class Clock(LogitsProcessor):  # type: ignore[misc]  # untyped here
    """Notes when each step's logits were there; changes nothing."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002  the library's signature
        self.times.append(time.perf_counter())
        return scores


def main() -> None:
    opened: list[Any] = []

    def load(folder: str, threads: int, dtype: str) -> dict[str, Any]:
        torch.set_num_threads(threads)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True)
        opened.append(model.eval())
        return {}

    def run(prompts: list[list[int]], tokens: int) -> tuple[float, list[float]]:
        shortest = min(map(len, prompts))
        ids = torch.tensor([prompt[:shortest] for prompt in prompts])
        clock = Clock()
        began = time.perf_counter()
        opened[0].generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
            do_sample=False, logits_processor=LogitsProcessorList([clock]),
        )  # fmt: skip
        return clock.times[0] - began, clock.times

    def prefill(prompt: list[int]) -> dict[str, Any]:
        return {"tokens": len(prompt), "seconds": run([prompt], 1)[0]}

    def decode(prompts: list[list[int]], steps: int, most: int) -> dict[str, Any]:  # noqa: ARG001
        times = run(prompts, steps + 1)[1]
        return {"tokens": len(prompts) * steps, "seconds": times[-1] - times[0]}

    def divergence(texts: list[list[int]], reference: str) -> dict[str, Any]:
        found = Divergence(reference)
        for number, text in enumerate(texts):
            with torch.inference_mode():
                found.add(number, opened[0](input_ids=torch.tensor([text])).logits[0].float().numpy())
        return found.figures()

    serve({"load": load, "prefill": prefill, "decode": decode, "divergence": divergence})


if __name__ == "__main__":
    main()
