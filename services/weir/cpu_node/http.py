"""The little HTTP that a raw ASGI application needs: bodies, answers, and noticing that the client went away."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from weir.contracts.errors import RequestRejectedError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"


class BodyTooLargeError(RequestRejectedError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "body_too_large"


class ClientGoneError(Exception):
    """The client closed its connection; nobody reads an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


async def send_answer(send: Send, answer: Answer) -> None:
    length = str(len(answer.body)).encode()
    headers = [(b"content-type", answer.content_type), (b"content-length", length), *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def start_events(send: Send) -> None:
    headers = [(b"content-type", EVENTS), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def send_part(send: Send, body: bytes, *, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def read_body(receive: Receive, *, max_bytes: int) -> bytes:
    """Return the request's body.

    Raises:
        BodyTooLargeError: it has more than `max_bytes`.
        ClientGoneError: the client left before it was complete.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise BodyTooLargeError(f"the body has more than {max_bytes} bytes")
        if not message.get("more_body", False):
            return bytes(body)


@asynccontextmanager
async def client_watched(receive: Receive) -> AsyncGenerator[None, None]:
    """Run the block; as soon as the client disconnects, cancel it and raise `ClientGoneError` here.

    The request's body must have been read.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  an ASGI application always runs in one
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientGoneError from None
        raise
    finally:
        watcher.cancel()
