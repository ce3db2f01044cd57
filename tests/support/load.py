"""Clients that keep asking while a test does something to whom they ask."""

import http.client
import threading
from collections.abc import Callable
from typing import Any, Protocol


class Answered(Protocol):
    """Anything with a status."""

    @property
    def status(self) -> int: ...


class Load:
    """`clients` threads call `ask` again and again; `wrong` is everything but a 200, `done` how many came."""

    def __init__(self, ask: Callable[[], Answered], clients: int = 4) -> None:
        self._ask = ask
        self._stop = threading.Event()
        self.done = 0
        self.wrong: list[Any] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                reply = self._ask()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(error)
                continue
            if reply.status == 200:
                self.done += 1
            else:
                self.wrong.append(reply)
