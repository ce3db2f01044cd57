"""What a backend over HTTP does beside what every backend promises: odd bytes, lost connections, loads."""

from collections.abc import AsyncIterator

import pytest
from tests.support.gateway import running
from tests.support.oip_node import CUT, OipNode
from tests.support.subject import DONE, Subject, events_of, over_http, request, texts

from weir.backends.base import NodeReport
from weir.backends.http_node import HttpNode
from weir.contracts.errors import (
    BackendError,
    BackendUnavailableError,
    OverloadedError,
    ReleaseError,
)
from weir.contracts.events import Finished, TokenChunk, Usage


@pytest.fixture
async def http() -> AsyncIterator[Subject]:
    async with over_http() as subject:
        yield subject


async def test_what_says_nothing_of_itself_is_ready_all_the_same(http: Subject) -> None:
    assert await http.backend.ready()
    assert http.backend.report == NodeReport()


async def test_an_early_retry_after_is_kept(http: Subject) -> None:
    assert http.play is not None
    http.play([OverloadedError(7)])

    with pytest.raises(OverloadedError) as caught:
        await events_of(http.backend, request())
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_node_that_drops_the_connection_is_unavailable(http: Subject, is_late: bool) -> None:
    assert http.play is not None
    http.play([TokenChunk("一"), 0.01, CUT] if is_late else [CUT])

    with pytest.raises(BackendError) as caught:
        await events_of(http.backend, request())
    assert isinstance(caught.value, BackendUnavailableError) == is_late  # an early drop is uvicorn's own 500


@pytest.mark.parametrize(
    "garbage",
    [
        b"data: {not json}\n\n",
        b"data: []\n\n",
        b'data: {"tokens":[{"id":"x"}]}\n\n',
        b'data: {"finish_reason":"tired"}\n\n',
        b"data: " + b"x" * (2 << 20),
    ],
)
async def test_what_is_not_the_protocol_is_an_error(http: Subject, garbage: bytes) -> None:
    assert http.play is not None
    http.play([garbage])

    with pytest.raises(BackendError):
        await events_of(http.backend, request())


async def test_events_that_arrive_together_are_one_chunk(http: Subject) -> None:
    assert http.play is not None
    frames = b"".join(b'data: {"text_output": "%b", "num_output_tokens": 1}\n\n' % text for text in (b"a", b"b", b"c"))
    http.play([frames + b": a comment\n\n" + b'data: {"text_out', 0.02, b'put": "d"}\n\n', DONE])

    events = await events_of(http.backend, request())

    chunks = [(e.text, e.token_count) for e in events if isinstance(e, TokenChunk)]
    assert chunks[0] == ("abc", 3)
    assert texts(events) == "abcd"
    assert isinstance(events[-1], Finished)
    assert events[-1].usage == Usage(5, 4)


async def test_an_unreachable_node_is_not_ready_and_unavailable() -> None:
    backend = HttpNode("nobody", "http://127.0.0.1:9", "tiny")

    assert not await backend.ready()
    with pytest.raises(BackendUnavailableError):
        await events_of(backend, request())
    await backend.aclose()


async def test_a_load_that_fails_says_why() -> None:
    node = OipNode()
    with running(node) as port:
        backend = HttpNode("http", f"http://127.0.0.1:{port}", "tiny")
        await backend.load("tiny", 2)
        with pytest.raises(ReleaseError, match="there is no release 9"):
            await backend.load("tiny", 9)
        await backend.aclose()

    assert node.paths[0] == "/v2/repository/models/tiny/load"
