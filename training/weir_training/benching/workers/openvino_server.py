"""OpenVINO GenAI behind the smallest server that streams: one thread steps the pipeline, aiohttp sends its tokens.

    python -m weir_training.benching.workers.openvino_server PORT '<load as JSON>'

`POST /generate {"ids": [...], "new_tokens": n}` answers server-sent events `{"tokens": k}`, one per step with news.
"""

import asyncio
import json
import queue
import sys
import threading
from typing import Any

from aiohttp import web

from weir_training.benching.workers.openvino import Pipeline, read


class Stepper(threading.Thread):
    """Owns the pipeline. `ask` may be called from the event loop; what comes is put into the given queue there."""

    def __init__(self, load: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(daemon=True)
        self._pipeline = Pipeline(**load)
        self._loop = loop
        self._inbox: queue.SimpleQueue[tuple[list[int], int, asyncio.Queue[int]]] = queue.SimpleQueue()

    def ask(self, ids: list[int], new_tokens: int) -> "asyncio.Queue[int]":
        news: asyncio.Queue[int] = asyncio.Queue()
        self._inbox.put((ids, new_tokens, news))
        return news

    def run(self) -> None:
        live: list[tuple[Any, asyncio.Queue[int]]] = []
        while True:
            while not self._inbox.empty() or not live:
                ids, new_tokens, news = self._inbox.get()
                live.append((self._pipeline.add(ids, new_tokens), news))
            if not self._pipeline.step():
                live.clear()
                continue
            for handle, news in live:
                if got := read(handle):
                    self._loop.call_soon_threadsafe(news.put_nowait, got)


async def app(load: dict[str, Any]) -> web.Application:
    stepper = Stepper(load, asyncio.get_running_loop())
    stepper.start()

    async def generate(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        news = stepper.ask(body["ids"], body["new_tokens"])
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        left = body["new_tokens"]
        while left > 0:
            got = await news.get()
            left -= got
            await response.write(b"data: " + json.dumps({"tokens": got}).encode() + b"\n\n")
        await response.write_eof()
        return response

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ready")

    made = web.Application(client_max_size=4 << 20)
    made.add_routes([web.post("/generate", generate), web.get("/health", health)])
    return made


if __name__ == "__main__":
    web.run_app(app(json.loads(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), print=None)
