"""Reading a request's body, within bounds."""

import asyncio
from http import HTTPStatus

from weir.asgi.caller import CallerGoneError
from weir.asgi.types import Message, Receive, Scope
from weir.contracts.errors import RequestRejectedError


class BodyTooLargeError(RequestRejectedError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the request body is larger than {limit_bytes} bytes")


class BodyTooSlowError(RequestRejectedError):
    status = HTTPStatus.REQUEST_TIMEOUT
    code = "body_too_slow"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"the request body did not arrive within {timeout_s:g} s")


async def read_body(scope: Scope, receive: Receive, *, max_bytes: int, timeout_s: float) -> bytes:
    """Return the whole body.

    Raises:
        BodyTooLargeError: it is larger than the limit, by its header or as it arrives.
        BodyTooSlowError: it was not complete in time.
        CallerGoneError: the caller left before it was.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > max_bytes:
            raise BodyTooLargeError(max_bytes)
    first = await receive()  # most bodies come whole; for one that does not begin, the connection's own limit holds
    if first["type"] == "http.request" and not first.get("more_body", False):
        body: bytes = first.get("body", b"")
        if len(body) > max_bytes:
            raise BodyTooLargeError(max_bytes)
        return body
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_on(first, receive, max_bytes)
    except TimeoutError:
        raise BodyTooSlowError(timeout_s) from None


async def _read_on(message: Message, receive: Receive, max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise CallerGoneError
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise BodyTooLargeError(max_bytes)
        if not message.get("more_body", False):
            return bytes(body)
        message = await receive()
