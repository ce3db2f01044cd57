"""The gateway's own HTTP client, against a node that says any bytes at any moment."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weir.backends.http_node import HttpNode
from weir.contracts.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    NodeUnreachableError,
    OverloadedError,
)
from weir.contracts.events import Finished, FinishReason, GenerationEvent, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams

ASKED = GenerateRequest(id="r", prompt="?", sampling=SamplingParams(max_new_tokens=4))
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
ONE = b'data: {"text_output":"a","num_output_tokens":1}\n\n'
END = b'data: {"text_output":"","finish_reason":"length","num_input_tokens":5,"num_output_tokens":0}\n\n'
DONE = Finished(FinishReason.LENGTH, Usage(5, 1))
Step = bytes | float | None  # bytes to send, seconds to wait, none: end the connection


def chunked(*parts: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def sized(body: bytes) -> bytes:
    return HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body)


class RawNode:
    """Plays one list of steps per request. `connections` counts them; `closed` says when one was closed on it."""

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self.scripts = list(scripts)
        self.connections = 0
        self.requests: list[bytes] = []
        self.closed = asyncio.Event()
        self.sent_bytes = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                if not await self._play(script, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
        finally:
            writer.close()

    async def _play(self, script: Sequence[Step], writer: asyncio.StreamWriter) -> bool:
        for step in script:
            if step is None:
                return False
            if isinstance(step, bytes):
                writer.write(step)
                self.sent_bytes += len(step)
                await writer.drain()
            else:
                await asyncio.sleep(step)
        return True


@asynccontextmanager
async def asking(*scripts: Sequence[Step]) -> AsyncIterator[tuple[RawNode, HttpNode]]:
    node = RawNode(*scripts)
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    backend = HttpNode("raw", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "m")
    try:
        yield node, backend
    finally:
        await backend.aclose()
        server.close()


async def answer_of(backend: HttpNode, timeout_s: float = 5) -> list[GenerationEvent]:
    async with aclosing(backend.generate(ASKED, timeout_s=timeout_s)) as events:
        return [event async for event in events]


@pytest.mark.parametrize(
    "reply",
    [
        [chunked(ONE, END)],
        [chunked(ONE + END)],
        [sized(ONE + END)],
        [HEAD + b"\r\n" + ONE + END, None],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + chunked(ONE, END)],
    ],
    ids=["chunked", "one chunk", "content-length", "until the end", "after a 100"],
)
async def test_every_framing_of_a_body_is_understood(reply: list[Step]) -> None:
    async with asking(reply) as (_, backend):
        assert [e for e in await answer_of(backend) if isinstance(e, Finished)] == [DONE]


@pytest.mark.timed
@given(cuts=st.lists(st.integers(1, 200), max_size=30))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_how_the_bytes_are_cut_makes_no_difference(cuts: list[int]) -> None:
    whole = chunked(ONE, b": a comment\n\n" + ONE, END)
    edges = sorted({cut for cut in cuts if cut < len(whole)})
    pieces = [whole[a:b] for a, b in zip([0, *edges], [*edges, len(whole)], strict=True)]

    async def ask() -> list[GenerationEvent]:
        async with asking([step for piece in pieces for step in (piece, 0.0)]) as (_, backend):
            return await answer_of(backend)

    *chunks, last = asyncio.run(ask())
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, TokenChunk)) == "aa"
    assert last == Finished(FinishReason.LENGTH, Usage(5, 2))


async def test_a_connection_is_used_again_also_when_its_last_bytes_come_late() -> None:
    late = chunked(ONE, END)
    async with asking([late[:-5], 0.02, late[-5:]]) as (node, backend):
        for _ in range(3):
            await answer_of(backend)
            await asyncio.sleep(0.05)
        assert (node.connections, len(node.requests)) == (1, 3)


async def test_requests_at_once_have_a_connection_each() -> None:
    async with asking([0.02, chunked(ONE, END)]) as (node, backend):
        await asyncio.gather(*(answer_of(backend) for _ in range(4)))
        assert node.connections == 4
        await asyncio.gather(*(answer_of(backend) for _ in range(4)))
        assert node.connections == 4


@pytest.mark.parametrize(
    "reply", [[chunked(ONE, END).replace(b"\r\n", b"\r\nconnection: close\r\n", 1), None], [chunked(ONE, END), None]]
)
async def test_a_connection_that_the_node_ends_is_not_used_again(reply: list[Step]) -> None:
    async with asking(reply) as (node, backend):
        for _ in range(2):
            assert (await answer_of(backend))[-1] == DONE
            await asyncio.sleep(0.02)
        assert node.connections == 2


async def test_a_kept_connection_that_the_node_ends_as_it_is_asked_is_replaced() -> None:
    async with asking([sized(ONE + END)], [None], [sized(ONE + END)]) as (node, backend):
        assert await answer_of(backend) == [TokenChunk("a"), DONE]
        assert await answer_of(backend) == [TokenChunk("a"), DONE]
        assert (node.connections, len(node.requests)) == (2, 3)


async def test_a_new_connection_that_the_node_ends_as_it_is_asked_is_a_node_that_went_away() -> None:
    async with asking([None]) as (node, backend):
        with pytest.raises(BackendUnavailableError, match="raw went away"):
            await answer_of(backend)
        assert node.connections == 1


async def test_a_node_that_nobody_listens_for_never_had_the_request() -> None:
    backend = HttpNode("raw", "http://127.0.0.1:9", "m")
    with pytest.raises(NodeUnreachableError):
        await answer_of(backend)


async def test_a_refusal_is_read_and_its_connection_kept() -> None:
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}"
    async with asking([refusal]) as (node, backend):
        for _ in range(2):
            with pytest.raises(OverloadedError) as caught:
                await answer_of(backend)
            assert caught.value.retry_after_s == 7
        assert node.connections == 1


@pytest.mark.timed
async def test_closing_in_the_middle_closes_the_connection_at_once() -> None:
    async with asking([HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(ONE), ONE), 5.0]) as (
        node,
        backend,
    ):
        node.scripts[0] = [*node.scripts[0][:1], *([0.001, b"1\r\n\n\r\n"] * 1000)]
        events = backend.generate(ASKED, timeout_s=5)
        await anext(events)
        began = time.monotonic()
        await events.aclose()
        async with asyncio.timeout(1):
            await node.closed.wait()
        assert time.monotonic() - began < 0.2


@pytest.mark.parametrize(
    "reply",
    [
        [b"SSH-2.0-OpenSSH_9.2\r\n"],
        [HEAD + b"x: " + b"y" * (128 << 10)],
        [chunked(b"data: " + b"x" * (2 << 20))],
        [HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
        [b"HTTP/1.1 500 No\r\ncontent-length: 4000000\r\n\r\n" + b"x" * 4_000_000],
    ],
    ids=["no HTTP", "endless head", "endless event", "bad chunk", "upgrade", "endless refusal"],
)
async def test_what_is_not_http_or_has_no_end_is_an_error(reply: list[Step]) -> None:
    async with asking([*reply, 1.0]) as (_, backend):
        with pytest.raises(BackendError) as caught:
            await answer_of(backend)
        assert type(caught.value) is BackendError


async def test_a_node_that_falls_silent_before_its_head_is_late() -> None:
    async with asking([HEAD, 5.0]) as (_, backend):
        began = time.monotonic()
        with pytest.raises(BackendTimeoutError):
            await answer_of(backend, timeout_s=0.1)
        assert 0.1 <= time.monotonic() - began < 4


@pytest.mark.timed
async def test_every_word_gives_the_node_time_anew() -> None:
    slow = [step for piece in (ONE, ONE, ONE, END) for step in (0.1, b"%x\r\n%b\r\n" % (len(piece), piece))]
    async with asking([HEAD + b"transfer-encoding: chunked\r\n\r\n", *slow, b"0\r\n\r\n"]) as (_, backend):
        assert (await answer_of(backend, timeout_s=0.25))[-1] == Finished(FinishReason.LENGTH, Usage(5, 3))


async def test_a_node_that_ends_without_the_last_event_went_away() -> None:
    for reply in ([chunked(ONE)], [chunked(ONE)[:-5], None], [None]):
        async with asking(reply) as (_, backend):
            with pytest.raises(BackendUnavailableError):
                await answer_of(backend)


@pytest.mark.timed
async def test_a_reader_that_is_slow_makes_the_node_wait() -> None:
    event = b'data: {"text_output":"%b"}\n\n' % (b"a" * 10_000)
    part = b"%x\r\n%b\r\n" % (len(event), event)
    async with asking([HEAD + b"transfer-encoding: chunked\r\n\r\n", *[part] * 3_000]) as (node, backend):
        events = backend.generate(ASKED, timeout_s=5)
        await anext(events)
        await asyncio.sleep(0.3)
        held = node.sent_bytes
        await asyncio.sleep(0.2)
        assert node.sent_bytes == held < 20_000_000  # the kernel's buffers on both sides, and ours
        await anext(events)
        await events.aclose()
