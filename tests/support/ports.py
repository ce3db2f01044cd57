"""Ports of this machine for servers that tests start."""

import fcntl
import os
import socket
import tempfile
from functools import cache
from pathlib import Path

_FIRST, _BLOCK, _BLOCKS = 20_000, 200, 40  # below the ports that Linux and macOS give to clients


def free_port() -> int:
    """Return a port that nobody listens on now, and that no client and no other test run will be given.

    A port of the kernel's own choice would be free only until somebody else is given it, between our asking and the
    start of the server that it is for.
    """
    return _ports().next()


class _Ports:
    """A block of ports that belongs to this process until it ends."""

    def __init__(self) -> None:
        self._first = self._reserved()
        self._given = 0

    def next(self) -> int:
        for _ in range(_BLOCK):
            port = self._first + self._given % _BLOCK
            self._given += 1
            if _is_free(port):
                return port
        raise AssertionError(f"no free port from {self._first} to {self._first + _BLOCK - 1}")

    def _reserved(self) -> int:
        folder = Path(tempfile.gettempdir()) / f"weir-test-ports-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        for number in range(_BLOCKS):
            lock = (folder / str(number)).open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            self._lock = lock
            return _FIRST + number * _BLOCK
        raise AssertionError(f"{_BLOCKS} test runs have all ports")


@cache
def _ports() -> _Ports:
    return _Ports()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
