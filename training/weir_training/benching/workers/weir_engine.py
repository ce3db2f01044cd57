"""Weir's engine as a node runs it: scheduler, sampling, detokenising and streams, without HTTP."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weir.contracts.events import TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.loading import load_engine
from weir.engine.serving import ServingEngine
from weir.engine.settings import EngineSettings
from weir_training.benching.workers.lines import serve
from weir_training.benching.workers.pace import Answer, at_their_times
from weir_training.benching.workers.window import Window


def main() -> None:
    with asyncio.Runner() as runner:
        opened: list[ServingEngine] = []

        def load(release: str, flavour: str, **bounds: Any) -> dict[str, Any]:
            engine = load_engine(Path(release), flavour, EngineSettings(**bounds))
            engine.start()
            opened.append(engine)
            return {}

        def prefill(prompt: str) -> dict[str, Any]:
            began = time.perf_counter()
            runner.run(_answer(opened[0], prompt, 1))
            return {"seconds": time.perf_counter() - began}

        def decode(prompts: list[str], steps: int, most: int) -> dict[str, Any]:
            return runner.run(_decode(opened[0], prompts, Window(len(prompts), steps), most))

        def trace(requests: list[dict[str, Any]], at_once: int | None) -> dict[str, Any]:
            engine = opened[0]
            answers = runner.run(
                at_their_times(requests, lambda r: _answer(engine, r["text"], r["new_tokens"]), at_once=at_once)
            )
            return {"answers": answers}

        serve({"load": load, "prefill": prefill, "decode": decode, "trace": trace})
        if opened:
            runner.run(opened[0].stop())


def _request(prompt: str, new_tokens: int) -> GenerateRequest:
    return GenerateRequest(
        id="bench", prompt=prompt, sampling=SamplingParams(max_new_tokens=new_tokens, ignore_eos=True)
    )


async def _answer(engine: ServingEngine, prompt: str, new_tokens: int) -> Answer:
    began, first, tokens = time.perf_counter(), 0.0, 0
    async for event in engine.generate(_request(prompt, new_tokens)):
        first = first or time.perf_counter() - began
        tokens += event.token_count if isinstance(event, TokenChunk) else 0
    return Answer(first, time.perf_counter() - began, tokens)


async def _decode(engine: ServingEngine, prompts: Sequence[str], window: Window, most: int) -> dict[str, Any]:
    """Let all prompts be answered until the window is over, then leave."""
    over = asyncio.Event()

    async def stream(user: int, prompt: str) -> None:
        events = engine.generate(_request(prompt, most))
        try:
            async for event in events:
                if isinstance(event, TokenChunk):
                    window.add(user, event.token_count, time.perf_counter())
                    window.close_step(time.perf_counter())
                if window.is_over or not isinstance(event, TokenChunk):
                    over.set()
        finally:
            await events.aclose()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stream(number, prompt)) for number, prompt in enumerate(prompts)]
        await over.wait()
        for task in tasks:
            task.cancel()
    return dict(window.figures())


if __name__ == "__main__":
    main()
