"""A scripted node over HTTP, in a process of its own: the Open Inference Protocol, and OpenAI's for LiteLLM.

`python -m weir_training.benching.gateway.fast_node PORT`
"""

import asyncio
import sys
from typing import Any, Final, cast

import httptools
import orjson
import uvloop

from weir_training.benching.gateway.script import Order, moment, order, word

_STREAM_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_READY: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_PROMPT_TOKENS: Final = 5


class Oip:
    """Frames of `generate_stream`."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.order = order(body["text_input"], body["sampling_parameters"]["max_tokens"])
        self.is_stream = True
        self._with_tokens = body.get("return_tokens", False)

    def token(self, number: int) -> bytes:
        text = word(number).encode()
        if not self._with_tokens:
            return b'data: {"text_output":"%b","num_output_tokens":1}\n\n' % text
        token = b'{"id":%d,"text":"%b","logprob":-0.5,"special":false}' % (moment(), text)
        return b'data: {"text_output":"%b","num_output_tokens":1,"tokens":[%b]}\n\n' % (text, token)

    def end(self) -> bytes:
        counts = b'"num_input_tokens":%d,"num_output_tokens":0' % _PROMPT_TOKENS
        return b'data: {"text_output":"","finish_reason":"length",%b}\n\n' % counts


class OpenAi:
    """Frames of `/v1/chat/completions`."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.order = order(body["messages"][-1]["content"], body.get("max_tokens", 16))
        self.is_stream = bool(body.get("stream"))

    def token(self, number: int) -> bytes:
        return self._chunk(b'{"content":"%b%d "}' % (word(number).encode(), moment()), b"null")

    def end(self) -> bytes:
        return self._chunk(b"{}", b'"length"') + b"data: [DONE]\n\n"

    def whole(self) -> bytes:
        message = {"role": "assistant", "content": "".join(map(word, range(self.order.tokens)))}
        tokens = self.order.tokens
        usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        head = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
        return orjson.dumps(head | {"choices": [choice], "usage": usage})

    def _chunk(self, delta: bytes, reason: bytes) -> bytes:
        return (
            b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":'
            b'[{"index":0,"delta":%b,"finish_reason":%b}]}\n\n' % (delta, reason)
        )


class FastNode(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._playing: asyncio.Task[None] | None = None
        self._url, self._body = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast("asyncio.Transport", transport).write  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._playing is not None:
            self._playing.cancel()

    def on_url(self, url: bytes) -> None:
        self._url, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self._body:
            self._write(_READY)
            return
        body = orjson.loads(self._body)
        frames = OpenAi(body) if self._url.startswith(b"/v1/") else Oip(body)
        if isinstance(frames, OpenAi) and not frames.is_stream:
            whole = frames.whole()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(whole)
            self._write(head + whole)
            return
        self._write(_STREAM_HEAD)
        if frames.order.interval_s:
            self._playing = asyncio.create_task(self._play(frames, frames.order))
        else:
            self._frame(frames.token(0))
            rest = [frames.token(number) for number in range(1, frames.order.tokens)]
            self._frame(b"".join(rest) + frames.end())
            self._write(b"0\r\n\r\n")

    async def _play(self, frames: Oip | OpenAi, asked: Order) -> None:
        """Send one token per tick; ticks that were missed are not made up for."""
        clock = asyncio.get_running_loop().time
        tick = clock() + asked.interval_s
        for number in range(asked.tokens):
            await asyncio.sleep(tick - clock())
            tick += asked.interval_s
            self._frame(frames.token(number))
        self._frame(frames.end())
        self._write(b"0\r\n\r\n")
        self._playing = None

    def _frame(self, data: bytes) -> None:
        self._write(b"%x\r\n%b\r\n" % (len(data), data))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(FastNode, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
