"""The gateway's own gRPC client, against a server that says any HTTP/2 at any moment."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.http2_peer import OK_END, OK_HEAD, House, Peer, listening, message

from weir.backends import grpc_call, grpc_wire
from weir.backends.grpc_call import Call, Code, RpcError, SilenceError
from weir.backends.grpc_wire import Channel, NotConnectedError

PATH = "/inference.GRPCInferenceService/ModelStreamInfer"
Play = Callable[[Peer, int], None]


@asynccontextmanager
async def asking(play: Play, *, is_mute: bool = False) -> AsyncIterator[tuple[House, Channel]]:
    house = House(play, is_mute=is_mute)
    async with listening(house) as address:
        channel = Channel(address, connect_timeout_s=2)
        try:
            yield house, channel
        finally:
            await channel.aclose()


async def called(channel: Channel, data: bytes = b"ask", **given: Any) -> Call:
    return (await channel.connection()).call(PATH, data, **given)


async def all_of(call: Call, timeout_s: float = 5) -> list[bytes]:
    found = []
    while (one := await call.read(timeout_s)) is not None:
        found.append(one)
    return found


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


async def test_a_request_has_grpcs_form_and_its_metadata() -> None:
    async with asking(lambda peer, stream: peer.answer(stream, b"a", b"", b"ccc")) as (house, channel):
        call = await called(channel, b"ask", metadata=[("traceparent", "00-1")])
        assert await all_of(call) == [b"a", b"", b"ccc"]

        (peer,) = house.peers
        assert peer.bodies == {1: message(b"ask")}
        expected = {b":method": b"POST", b":path": PATH.encode(), b"te": b"trailers", b"traceparent": b"00-1"}
        assert expected.items() <= peer.headers[1].items()
        assert peer.headers[1][b"content-type"] == b"application/grpc"


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
async def test_how_messages_are_cut_into_frames_makes_no_difference(size: int) -> None:
    data = message(b"one") + message(b"x" * 900) + message(b"three")

    def play(peer: Peer, stream: int) -> None:
        peer.begin(stream)
        for at in range(0, len(data), size):
            peer.say(stream, data[at : at + size])
        peer.end(stream)

    async with asking(play) as (_, channel):
        assert await all_of(await called(channel)) == [b"one", b"x" * 900, b"three"]


async def test_calls_at_once_share_one_connection_and_so_do_those_who_wait_for_it() -> None:
    async with asking(lambda peer, stream: peer.answer(stream, peer.bodies[stream][5:])) as (house, channel):
        said = await asyncio.gather(*(channel.unary(PATH, b"%d" % n, timeout_s=5) for n in range(300)))
        assert said == [b"%d" % n for n in range(300)]
        assert len(house.peers) == 1


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        ([(b"grpc-status", b"14"), (b"grpc-message", b"not%20healthy %E4%BD%A0")], 14, "not healthy 你"),
        ([(b"grpc-status", b"99")], 99, "^$"),
        ([(b"grpc-status", b"what")], 2, "^$"),
        ([(b"other", b"1")], 2, "without a status"),
    ],
)
async def test_an_error_comes_behind_the_messages_before_it(
    end: list[tuple[bytes, bytes]], code: int, words: str
) -> None:
    def play(peer: Peer, stream: int) -> None:
        peer.begin(stream)
        peer.say(stream, message(b"a"))
        peer.end(stream, end)

    async with asking(play) as (_, channel):
        call = await called(channel)
        assert await call.read(5) == b"a"
        with pytest.raises(RpcError, match=words) as caught:
            await call.read(5)
        assert caught.value.code == code
        assert caught.value.name


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ([*OK_HEAD, (b"grpc-status", b"8"), (b"grpc-message", b"full")], Code.RESOURCE_EXHAUSTED),
        ([(b":status", b"503")], Code.UNAVAILABLE),
        ([(b":status", b"404")], Code.UNIMPLEMENTED),
        ([(b":status", b"400")], Code.UNKNOWN),
    ],
)
async def test_a_head_alone_may_be_the_whole_answer(head: list[tuple[bytes, bytes]], code: Code) -> None:
    def play(peer: Peer, stream: int) -> None:
        peer.h2.send_response(stream, head, end_stream=True)

    async with asking(play) as (_, channel):
        with pytest.raises(RpcError) as caught:
            await channel.unary(PATH, b"", timeout_s=5)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("reset", "code"), [(7, Code.UNAVAILABLE), (8, Code.CANCELLED), (11, Code.RESOURCE_EXHAUSTED), (2, Code.INTERNAL)]
)
async def test_a_stream_that_is_reset_says_why(reset: int, code: Code) -> None:
    async with asking(lambda peer, stream: peer.h2.reset_stream(stream, reset)) as (_, channel):
        with pytest.raises(RpcError) as caught:
            await channel.unary(PATH, b"", timeout_s=5)
        assert caught.value.code == code


async def test_cancelling_resets_one_call_and_leaves_the_others() -> None:
    def play(peer: Peer, stream: int) -> None:
        peer.begin(stream)
        peer.say(stream, message(b"a"))

    async with asking(play) as (house, channel):
        first, second = await called(channel), await called(channel)
        assert (await first.read(5), await second.read(5)) == (b"a", b"a")
        first.cancel()
        first.cancel()
        await until(lambda: house.peers[0].resets == {1: 8})
        house.peers[0].end(3)
        assert await second.read(5) is None


async def test_a_reader_that_is_cancelled_leaves_a_call_that_can_be_cancelled() -> None:
    async with asking(lambda peer, stream: peer.begin(stream)) as (house, channel):
        call = await called(channel)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await call.read(5)
        call.cancel()
        await until(lambda: house.peers[0].resets == {1: 8})


async def test_a_call_that_nobody_reads_on_is_left_to_end_and_cancelled_if_it_does_not(monkeypatch: Any) -> None:
    monkeypatch.setattr(grpc_call, "_END_S", 0.2)

    def play(peer: Peer, stream: int) -> None:
        peer.begin(stream)
        peer.say(stream, message(b"last"))

    async with asking(play) as (house, channel):
        calls = [await called(channel) for _ in range(2)]
        for call in calls:
            assert await call.read(5) == b"last"
            call.release()
        house.peers[0].end(1)
        await until(lambda: bool(house.peers[0].resets))
        assert house.peers[0].resets == {3: 8}


async def test_silence_is_noticed_and_every_message_gives_time_anew() -> None:
    def play(peer: Peer, stream: int) -> None:
        peer.begin(stream)
        for number in range(3):
            asyncio.get_running_loop().call_later(0.2 * number, peer.say, stream, message(b"a"))

    async with asking(play) as (_, channel):
        call = await called(channel)
        assert [await call.read(0.4) for _ in range(3)] == [b"a"] * 3
        began = time.monotonic()
        with pytest.raises(SilenceError):
            await call.read(0.4)
        assert 0.4 <= time.monotonic() - began < 2
        call.cancel()


async def test_a_lost_connection_fails_all_calls_and_the_next_one_makes_another() -> None:
    async with asking(lambda peer, stream: peer.begin(stream)) as (house, channel):
        calls = [await called(channel) for _ in range(3)]
        await until(lambda: bool(house.peers) and len(house.peers[0].bodies) == 3)
        house.peers[0].transport.abort()
        for call in calls:
            with pytest.raises(RpcError) as caught:
                await call.read(5)
            assert caught.value.code == Code.UNAVAILABLE
        house.play = lambda peer, stream: peer.answer(stream, b"back")
        assert await channel.unary(PATH, b"", timeout_s=5) == b"back"
        assert len(house.peers) == 2


async def test_a_server_that_says_goodbye_ends_what_it_has_and_gets_nothing_more() -> None:
    async with asking(lambda peer, stream: peer.begin(stream)) as (house, channel):
        call = await called(channel)
        connection = await channel.connection()
        await until(lambda: bool(house.peers) and 1 in house.peers[0].bodies)
        house.peers[0].h2.send_goaway(0, last_stream_id=1)
        house.peers[0].flush()
        await until(lambda: not connection.is_usable)

        house.play = lambda peer, stream: peer.answer(stream, b"elsewhere")
        assert await channel.unary(PATH, b"", timeout_s=5) == b"elsewhere"
        house.peers[0].say(1, message(b"last words"))
        house.peers[0].end(1)
        assert await all_of(call) == [b"last words"]
        async with asyncio.timeout(5):
            await house.peers[0].is_lost.wait()


async def test_a_slow_reader_makes_the_node_wait_and_no_other_call() -> None:
    part = message(b"x" * 60_000)

    def play(peer: Peer, stream: int) -> None:
        peer.begin(stream)
        for _ in range(40):
            peer.h2.send_data(stream, part)
        peer.h2.send_trailers(stream, OK_END)

    async with asking(play) as (house, channel):
        slow = await called(channel)
        assert await slow.read(5) == b"x" * 60_000
        for _ in range(3):
            assert len(await all_of(await called(channel))) == 40
        assert house.peers[0].h2.queued_body_size(1) > 1_500_000
        assert len(await all_of(slow)) == 39


async def test_calls_that_are_given_up_unread_do_not_use_up_the_window(monkeypatch: Any) -> None:
    monkeypatch.setattr(grpc_wire, "_CONNECTION_WINDOW", 1 << 19)

    def play(peer: Peer, stream: int) -> None:
        peer.begin(stream)
        peer.h2.send_data(stream, message(b"x" * 200_000))
        if peer.bodies[stream] == message(b"end"):
            peer.h2.send_trailers(stream, OK_END)

    async with asking(play) as (_, channel):
        for number in range(20):
            call = await called(channel, b"end" if number % 2 else b"go on")
            assert await call.read(5) == b"x" * 200_000
            call.cancel()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\1\0\0\0\1a", Code.UNIMPLEMENTED),
        (b"\0\x7f\0\0\0a", Code.RESOURCE_EXHAUSTED),
        (b"\0\0\0\0\5ab", Code.INTERNAL),
    ],
)
async def test_what_is_no_message_ends_the_call(data: bytes, code: Code) -> None:
    def play(peer: Peer, stream: int) -> None:
        peer.begin(stream)
        peer.say(stream, data)
        peer.end(stream)

    async with asking(play) as (_, channel):
        with pytest.raises(RpcError) as caught:
            await channel.unary(PATH, b"", timeout_s=5)
        assert caught.value.code == code


async def test_who_does_not_speak_http2_has_lost_its_calls() -> None:
    async with asking(lambda peer, stream: peer.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)) as (
        _,
        channel,
    ):
        with pytest.raises(RpcError) as caught:
            await channel.unary(PATH, b"", timeout_s=5)
        assert caught.value.code == Code.UNAVAILABLE


async def test_a_node_that_answers_no_ping_is_gone(monkeypatch: Any) -> None:
    monkeypatch.setattr(grpc_wire, "_KEEPALIVE_S", 0.1)
    monkeypatch.setattr(grpc_wire, "_KEEPALIVE_WAIT_S", 0.2)
    async with asking(lambda peer, stream: None, is_mute=True) as (_, channel):
        with pytest.raises(RpcError) as caught:
            await channel.unary(PATH, b"", timeout_s=5)
        assert caught.value.code == Code.UNAVAILABLE


async def test_a_quiet_node_that_answers_pings_is_not_asked_for_ever(monkeypatch: Any) -> None:
    monkeypatch.setattr(grpc_wire, "_KEEPALIVE_S", 0.1)
    async with asking(lambda peer, stream: peer.begin(stream)) as (house, channel):
        call = await called(channel)
        await asyncio.sleep(1.0)
        house.peers[0].say(1, message(b"still here"))
        assert await call.read(5) == b"still here"
        call.cancel()


async def test_a_node_that_is_not_there_is_told_apart_from_one_that_takes_no_connection() -> None:
    channel = Channel("127.0.0.1:9", connect_timeout_s=2)
    with pytest.raises(NotConnectedError, match="cannot be reached"):
        await channel.connection()
    await channel.aclose()


async def test_a_caller_that_leaves_while_a_connection_is_made_spoils_it_for_nobody() -> None:
    async with asking(lambda peer, stream: peer.answer(stream, b"a")) as (house, channel):
        asked = [asyncio.create_task(channel.unary(PATH, b"", timeout_s=5)) for _ in range(3)]
        await asyncio.sleep(0)
        asked[0].cancel()
        assert await asyncio.gather(*asked[1:]) == [b"a", b"a"]
        assert len(house.peers) == 1
