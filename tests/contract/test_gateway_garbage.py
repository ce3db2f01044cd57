"""Requests leave nothing behind that only the garbage collector finds: it would hold up every stream at once."""

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import Stage, answer, build_app
from tests.support.prompt_release import make_prompt_release

from weir.gateway.app import GatewayApp

_REQUESTS = 30
_TGI = {"inputs": "hello", "parameters": {"max_new_tokens": 4}}
_CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", _TGI),
        ("/generate_stream", _TGI),
        ("/v1/chat/completions", _CHAT),
        ("/v1/chat/completions", _CHAT | {"stream": True}),
    ],
)
async def test_an_answer_leaves_no_ring_of_references(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    stage = Stage()
    stage.script = answer("all", " is", " well", ".")
    app = build_app(make_prompt_release(tmp_path), [stage.backend])
    await app.service.router.start()
    for _ in range(3):
        await _asked(app, path, body)
    gc.collect()
    gc.disable()
    try:
        for _ in range(_REQUESTS):
            await _asked(app, path, body)
        left = gc.collect()
    finally:
        gc.enable()
        await app.service.router.aclose()

    assert left < _REQUESTS


async def _asked(app: GatewayApp, path: str, body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "headers": []}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    assert b"well" in b"".join(message["body"] for message in sent[1:])
