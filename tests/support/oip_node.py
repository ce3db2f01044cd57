"""A node without a model: plays a script in the Open Inference Protocol, over real HTTP."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from tests.support.asgi import live
from weir.contracts.errors import OverloadedError, WeirError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams

CUT = "cut"  # a step: drop the connection


def until(told: threading.Event) -> Iterator[float]:
    """Return steps that wait until a test has seen enough."""
    while not told.is_set():
        yield 0.02


class OipNode:
    """An ASGI app. A script is a sequence of events, waits in seconds, errors, raw bytes and `CUT`."""

    def __init__(self, script: Any = ()) -> None:
        self.script: Iterable[Any] | Callable[[GenerateRequest], Iterable[Any]] = script
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []  # of each generate request
        self.is_ready = True
        self.flavours: dict[str, str] | None = None  # of each model that it says to serve; none: it says nothing
        self.closed_at: list[float] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
        elif scope["method"] == "GET":
            await self._describe(scope["path"], send)
        elif scope["path"].endswith("/load"):
            self.paths.append(scope["path"])
            is_known = json.loads(await body_of(receive))["parameters"]["version"] == 2
            await reply(send, 200 if is_known else 404, b'{"error":"there is no release 9","code":"unknown_model"}')
        else:
            self.paths.append(scope["path"])
            self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
            await self._generate(receive, send)

    async def _describe(self, path: str, send: Any) -> None:
        if self.flavours is None or path.endswith("/ready"):
            await reply(send, 200 if self.is_ready else 503)
        elif (flavour := self.flavours.get(path.removeprefix("/v2/models/"))) is None:
            await reply(send, 404, b'{"error":"no such model","code":"unknown_model"}')
        else:
            await reply(send, 200, json.dumps({"versions": ["1"], "parameters": {"flavour": flavour}}).encode())

    async def _generate(self, receive: Any, send: Any) -> None:
        body = json.loads(await body_of(receive))
        self.bodies.append(body)
        playing = asyncio.create_task(self._play(body, send))
        gone = asyncio.create_task(_disconnected(receive))
        await asyncio.wait({playing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            self.closed_at.append(time.monotonic())
            playing.cancel()
        gone.cancel()
        results = await asyncio.gather(playing, gone, return_exceptions=True)
        if isinstance(results[0], ConnectionAbortedError):
            raise results[0]

    async def _play(self, body: dict[str, Any], send: Any) -> None:
        is_started = False
        for step in self._steps(body):
            if isinstance(step, int | float):
                await asyncio.sleep(step)
                continue
            if step == CUT:
                raise ConnectionAbortedError
            if isinstance(step, WeirError) and not is_started:
                seconds = step.retry_after_s if isinstance(step, OverloadedError) else 1
                raw = json.dumps({"error": str(step), "code": step.code}).encode()
                await reply(send, step.status.value, raw, (b"retry-after", b"%d" % seconds))
                return
            if not is_started:
                is_started = True
                head = [(b"content-type", b"text/event-stream")]
                await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": _frame(step, body), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _steps(self, body: dict[str, Any]) -> Iterable[Any]:
        if not callable(self.script):
            return self.script
        request = GenerateRequest(
            id=body["id"],
            prompt=body["text_input"],
            sampling=SamplingParams(max_new_tokens=body["sampling_parameters"]["max_tokens"]),
            return_tokens=body["return_tokens"],
        )
        return self.script(request)


def _frame(step: Any, body: dict[str, Any]) -> bytes:
    match step:
        case bytes():
            return step
        case TokenChunk(text=text, token_count=count, tokens=tokens):
            event: dict[str, Any] = {"text_output": text, "num_output_tokens": count}
            if body["return_tokens"]:
                event["tokens"] = [
                    {"id": t.id, "text": t.text, "logprob": t.logprob, "special": t.special} for t in tokens
                ]
        case Finished(reason=reason, usage=usage):
            counts = {"num_input_tokens": usage.prompt_tokens, "num_output_tokens": 0}
            event = {"text_output": "", "finish_reason": reason.value, **counts}
        case WeirError():
            event = {"error": str(step), "code": step.code}
        case _:
            raise TypeError(step)
    return b"data: " + json.dumps(event).encode() + b"\n\n"


async def body_of(receive: Any) -> bytes:
    parts = b""
    while True:
        message = await receive()
        parts += message.get("body", b"")
        if not message.get("more_body"):
            return parts


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def reply(send: Any, status: int, body: bytes = b"", *headers: tuple[bytes, bytes]) -> None:
    start = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


def words_until(told: threading.Event) -> Callable[[object], Iterable[object]]:
    """Return a script that says some words, more than the guard holds back, and the last one when it is told to."""
    end = Finished(FinishReason.EOS, Usage(5, 40))
    return lambda _: chain([TokenChunk("一 ")] * 20, until(told), [TokenChunk("二 "), end])
