"""ASGI: an app called without a server, so that a test can say where the caller is; and how an app starts and ends."""

import json
from typing import Any


async def ask(
    app: Any, method: str, path: str, body: Any, headers: dict[str, str], *, client: str = "127.0.0.1"
) -> tuple[int, Any]:
    """Return the status and the JSON body."""
    raw = b"" if body is None else json.dumps(body).encode()
    path, _, query = path.partition("?")
    given = {"content-type": "application/json", **headers}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": (client, 1), "server": ("127.0.0.1", 8081),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


async def live(receive: Any, send: Any) -> None:
    """Start and end at once, for an app that has nothing to prepare."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
