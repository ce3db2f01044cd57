"""Probes on schedule, asked from the machine's namespace as the kubelet does."""

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.cluster.network import connect
from tests.support.cluster.objects import Object, port_number


@dataclass(slots=True)
class Probe:
    """Counts what one probe says; `is_good` is its state, `has_failed` that its failures are enough."""

    spec: Object | None
    ask: Callable[[Object], bool]
    began: float = field(default_factory=time.monotonic)
    is_good: bool = False
    has_failed: bool = False
    _next: float = 0.0
    _in_a_row: int = 0

    def tick(self) -> None:
        """Ask if it is time to."""
        now = time.monotonic()
        if self.spec is None:
            self.is_good = True
            return
        if now < max(self._next, self.began + self.spec.get("initialDelaySeconds", 0)):
            return
        self._next = now + self.spec.get("periodSeconds", 10)
        said = self.ask(self.spec)
        self._in_a_row = max(self._in_a_row, 0) + 1 if said else min(self._in_a_row, 0) - 1
        if self._in_a_row >= self.spec.get("successThreshold", 1):
            self.is_good, self.has_failed = True, False
        if -self._in_a_row >= self.spec.get("failureThreshold", 3):
            self.is_good, self.has_failed = False, True


def asks_over_http(machine: str, address: str, pod_spec: Object, container: Object) -> Callable[[Object], bool]:
    """Return how to ask httpGet and tcpSocket probes of one container; exec probes are the container's matter."""

    def ask(spec: Object) -> bool:
        what = spec.get("httpGet") or spec.get("tcpSocket")
        if what is None:
            raise ValueError(f"this cluster knows no such probe: {sorted(spec)}")
        port = port_number(pod_spec, what["port"], container)
        if port is None:
            return False
        timeout_s = spec.get("timeoutSeconds", 1)
        try:
            wire = connect(machine, (address, port), timeout_s)
        except OSError:
            return False
        with wire:
            return True if "tcpSocket" in spec else _get(wire, what, timeout_s)

    return ask


def _get(wire: object, what: Object, timeout_s: float) -> bool:
    connection = http.client.HTTPConnection("pod", timeout=timeout_s)
    connection.sock = wire
    headers = {each["name"]: each["value"] for each in what.get("httpHeaders") or []}
    try:
        connection.request("GET", what.get("path", "/"), headers=headers)
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
