"""Embedders without a model: one that answers as a test says, and a node that speaks as if it had one."""

import asyncio
import base64
import json
import struct
from collections.abc import Sequence
from typing import Any

from tests.support.asgi import live
from tests.support.oip_node import body_of, reply
from tests.support.scripted import Scripted
from weir.oip.embed import Embedded


class ScriptedEmbedder(Scripted):
    """A vector whose first number is the row's length, `delay_s` after it was asked, or `error`."""

    def __init__(self, dimensions: int = 48) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.is_ready = True
        self.asked: list[tuple[tuple[int, ...], ...]] = []

    async def embedded(self, rows: Sequence[Sequence[int]], *, timeout_s: float) -> Embedded:
        del timeout_s
        self.asked.append(tuple(map(tuple, rows)))
        await self.waited()
        return Embedded(tuple(packed(len(row), self.dimensions) for row in rows), self.dimensions)

    async def ready(self) -> bool:
        return self.is_ready

    async def aclose(self) -> None: ...


def packed(first: float, dimensions: int) -> str:
    """A vector as nodes send it: `first`, and zeros."""
    return base64.b64encode(struct.pack(f"<{dimensions}f", first, *[0.0] * (dimensions - 1))).decode()


class EmbedderPeer:
    """An ASGI app that speaks as a node with an embedder, without one; the first number of a vector is its `mark`."""

    def __init__(self, mark: float, dimensions: int = 48) -> None:
        self.mark = mark
        self.dimensions = dimensions
        self.is_ready = True
        self.is_broken = False  # it says that it is ready, and fails
        self.delay_s = 0.0
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
        elif scope["method"] == "GET":
            await reply(send, 200 if self.is_ready else 503)
        else:
            lengths = json.loads(await body_of(receive))["inputs"][1]["data"]
            self.asked += 1
            await asyncio.sleep(self.delay_s)
            rows = [packed(self.mark, self.dimensions) for _ in lengths]
            output = {"name": "embedding", "datatype": "FP32", "shape": [len(rows), self.dimensions], "data": rows}
            status = 500 if self.is_broken else 200 if self.is_ready else 503
            await reply(send, status, json.dumps({"outputs": [output]}).encode())
