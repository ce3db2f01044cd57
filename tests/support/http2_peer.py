"""A server that says any HTTP/2 at any moment, for tests of the client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import ngh2
from ngh2 import Role

OK_HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]
OK_END = [(b"grpc-status", b"0")]


def message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


class Peer(asyncio.Protocol):
    """One connection. `play` is called for each request once all of it is there, with the peer and its stream."""

    def __init__(self, house: "House") -> None:
        self.house = house
        self.h2 = ngh2.Connection(Role.SERVER)
        self.headers: dict[int, dict[bytes, bytes]] = {}
        self.bodies: dict[int, bytes] = {}
        self.resets: dict[int, int] = {}
        self.is_lost = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.house.peers.append(self)
        if self.house.is_mute:
            return
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self.house.is_mute:
            return
        self.h2.receive_data(data)
        for event in self.h2.events():
            match event:
                case ngh2.RequestReceived(stream, headers, _):
                    self.headers[stream], self.bodies[stream] = dict(headers), b""
                case ngh2.DataReceived(stream, body, is_end):
                    self.bodies[stream] += body
                    if is_end:
                        self.house.play(self, stream)
                case ngh2.StreamReset(stream, code):
                    self.resets[stream] = code
                case _:
                    pass
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost.set()

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.transport.write(data)

    def begin(self, stream: int) -> None:
        self.h2.send_response(stream, OK_HEAD)

    def say(self, stream: int, data: bytes) -> None:
        self.h2.send_data(stream, data)
        self.flush()

    def end(self, stream: int, trailers: list[tuple[bytes, bytes]] = OK_END) -> None:
        self.h2.send_trailers(stream, trailers)
        self.flush()

    def answer(self, stream: int, *messages: bytes) -> None:
        self.begin(stream)
        for one in messages:
            self.say(stream, message(one))
        self.end(stream)


class House:
    """Where peers are made; `is_mute`: they take connections and say nothing."""

    def __init__(self, play: Callable[[Peer, int], None], *, is_mute: bool = False) -> None:
        self.play = play
        self.is_mute = is_mute
        self.peers: list[Peer] = []


@asynccontextmanager
async def listening(house: House) -> AsyncIterator[str]:
    """Yield the address."""
    server = await asyncio.get_running_loop().create_server(lambda: Peer(house), "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for peer in house.peers:
            peer.transport.abort()
