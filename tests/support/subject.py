"""A backend under test: how to tell it what to say, and whether it works on anything."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.gateway import answer, running
from tests.support.oip_node import OipNode
from weir.backends.base import Backend
from weir.backends.http_node import HttpNode
from weir.contracts.errors import WeirError
from weir.contracts.events import Finished, FinishReason, GenerationEvent, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams

DONE = Finished(FinishReason.EOS, Usage(5, 1))
LONG = 256  # tokens: far more than is generated before a test closes the stream


@dataclass
class Subject:
    """A backend, how to tell it what to say (scripted ones), and whether it works on anything now."""

    backend: Backend
    play: Callable[[Sequence[Any]], None] | None
    is_working: Callable[[], bool]


def request(*, tokens: int = 6, return_tokens: bool = False, prompt: str = "怎么退货？") -> GenerateRequest:
    sampling = SamplingParams(max_new_tokens=tokens, ignore_eos=True)
    return GenerateRequest(id="r1", prompt=prompt, sampling=sampling, return_tokens=return_tokens)


def counting(asked: GenerateRequest) -> Sequence[Any]:
    """Say as many tokens as may be said, with a pause where an engine would work."""
    count = asked.sampling.max_new_tokens or 1
    *chunks, finished = answer(*(f"字{i} " for i in range(count)), reason=FinishReason.LENGTH)(asked)
    return [*[step for chunk in chunks for step in (chunk, 0.005)], finished]


@asynccontextmanager
async def over_http() -> AsyncIterator[Subject]:
    """A backend over a node that plays a script, on a real connection."""
    node = OipNode(counting)
    with running(node) as port:
        backend = HttpNode("http", f"http://127.0.0.1:{port}", "tiny")
        yield Subject(backend, lambda steps: setattr(node, "script", steps), lambda: not node.closed_at)
        await backend.aclose()


def played(step: Any) -> dict[str, Any]:
    """Return a step as `tests/support/triton_models/played.py` reads it."""
    match step:
        case TokenChunk(text=text, token_count=count):
            return {"text": text, "count": count}
        case Finished(reason=reason, usage=usage):
            return {"finish": reason.value, "prompt": usage.prompt_tokens}
        case WeirError():
            return {"error": f"{step.code}: {step}"}
        case _:
            return {"wait": step}


async def events_of(backend: Backend, asked: GenerateRequest, timeout_s: float = 5.0) -> list[GenerationEvent]:
    async with aclosing(backend.generate(asked, timeout_s=timeout_s)) as events:
        return [event async for event in events]


def joined(events: Sequence[GenerationEvent]) -> TokenChunk:
    """All chunks as one; the prompt's tokens stand in the first alone."""
    chunks = [event for event in events if isinstance(event, TokenChunk)]
    assert all(chunk.prompt == () for chunk in chunks[1:])
    tokens = tuple(token for chunk in chunks for token in chunk.tokens)
    return TokenChunk(texts(events), sum(chunk.token_count for chunk in chunks), tokens, chunks[0].prompt)


def texts(events: Sequence[GenerationEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TokenChunk))
