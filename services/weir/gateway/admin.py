"""What an operator asks: metrics, and things to do. On a port of its own, which clients never see."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from weir.asgi.cycle import Response
from weir.asgi.types import App, Receive, Scope, Send
from weir.telemetry.exposition import CONTENT_TYPE, Exposition

_log = logging.getLogger(__name__)

Handler = Callable[[], Awaitable[Response]]
Routes = Mapping[tuple[str, str], Handler]


class AdminApp:
    """The ASGI app of the admin port: `routes` by method and path; `rest` answers everything else below `/admin/`.

    Whatever changes something is only done for whom `may` lets; `rest` sees to that itself.
    """

    def __init__(
        self, exposition: Exposition, routes: Routes, rest: App | None = None, may: Callable[[Scope], bool] = bool
    ) -> None:
        self._exposition = exposition
        self._routes: Routes = {("GET", "/metrics"): self._metrics, ("GET", "/livez"): _live, **routes}
        self._rest = rest
        self._may = may

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        handler = self._routes.get((method, path))
        if method not in {"GET", "HEAD"} and any(name == b"origin" for name, _ in scope["headers"]):
            await send_response(send, answer(403, error="no web page may do this", error_type="forbidden"))
        elif handler is not None and method not in {"GET", "HEAD"} and not self._may(scope):
            await send_response(send, answer(401, error="this needs the admin token", error_type="forbidden"))
        elif handler is not None:
            await send_response(send, await handler())
        elif self._rest is not None and path.startswith("/admin/"):
            await self._rest(scope, receive, send)
        else:
            await send_response(send, answer(404, error=f"nothing at {method} on this path", error_type="not_found"))

    async def _metrics(self) -> Response:
        return Response(200, [(b"content-type", CONTENT_TYPE.encode())], await self._exposition.rendered())


def answer(code: int, /, **body: str) -> Response:
    return Response(code, [(b"content-type", b"application/json")], json.dumps(body).encode())


def answer_with(body: Any) -> Response:
    return Response(200, [(b"content-type", b"application/json")], json.dumps(body).encode())


async def _live() -> Response:
    return answer(200, status="live")


async def send_response(send: Send, response: Response) -> None:
    headers = [*response.headers, (b"content-length", b"%d" % len(response.body))]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
