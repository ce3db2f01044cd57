"""Clients that never rest: streams over new connections to one address, every outcome kept."""

import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from tests.support.cluster.network import connect

_REQUEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it began and ended (monotonic seconds), its status, its last event or why it failed."""

    began: float
    ended: float
    status: int
    tokens: int
    error: str = ""


class Streams:
    """Keeps `count` streams open through a service until stopped. A stream is whole when its last event says so."""

    def __init__(self, space: str, address: tuple[str, int], count: int, *, tokens: int, pause_s: float = 0.0) -> None:
        self.outcomes: list[Outcome] = []
        self._space, self._address, self._pause_s = space, address, pause_s
        parameters = {"max_new_tokens": tokens, "ignore_eos_token": True, "temperature": 1.0, "do_sample": True}
        self._body = json.dumps({"inputs": "How do I return an order?", "parameters": parameters}).encode()
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def __enter__(self) -> "Streams":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let every stream end, then return."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(2 * _REQUEST_S)

    @property
    def failures(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.error]

    def whole_since(self, moment: float) -> int:
        return sum(each.began >= moment and not each.error for each in list(self.outcomes))

    def _run(self) -> None:
        while not self._is_over.is_set():
            self.outcomes.append(self._ask())
            self._is_over.wait(self._pause_s)

    def _ask(self) -> Outcome:
        began, status = time.monotonic(), 0
        try:
            with connect(self._space, self._address, 10) as wire:
                wire.settimeout(_REQUEST_S)
                answer = self._asked(wire)
                status, body = answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return Outcome(began, time.monotonic(), status, 0, repr(error))
        try:
            events = [json.loads(line[5:]) for line in body.split("\n") if line.startswith("data:")]
        except ValueError:
            return Outcome(began, time.monotonic(), status, body.count("data:"), "cut in the middle of an event")
        return Outcome(began, time.monotonic(), status, len(events), _complaint(status, body, events))

    def _asked(self, wire: socket.socket) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._address[0], timeout=_REQUEST_S)
        connection.sock = wire
        headers = {"content-type": "application/json", "connection": "close"}
        connection.request("POST", "/generate_stream", self._body, headers)
        return connection.getresponse()


def _complaint(status: int, body: str, events: list[dict[str, Any]]) -> str:
    if status != 200:
        return f"{status}: {body[:200]}"
    if not events or events[-1].get("generated_text") is None:
        return f"cut: {json.dumps(events[-1])[:200] if events else 'no event'}"
    return ""
