"""From a list of nodes that says how to find them to the nodes that there are."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

_DNS: Final = "dns+"

Resolve = Callable[[str], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node, or with a `dns+` URL one at each address of a name.

    `flavour`: what it runs, if it does not say; `metrics_port`: where Triton has its metrics.
    """

    name: str
    url: str
    pool: str = "cpu"
    flavour: str | None = None
    metrics_port: int | None = None

    @property
    def host(self) -> str | None:
        """The name to look up; none: this is one node."""
        return urlsplit(self.url.removeprefix(_DNS)).hostname if self.url.startswith(_DNS) else None

    def at(self, address: str) -> "NodeSpec":
        """Return the node at one address of the name; it is called after it, as a pod is by its address."""
        parts = urlsplit(self.url.removeprefix(_DNS))
        host = f"[{address}]" if ":" in address else address
        name = f"{self.name}-{address.replace('.', '-').replace(':', '-')}"
        return replace(self, name=name, url=f"{parts.scheme}://{host}:{parts.port}")


async def addresses(host: str) -> Sequence[str]:
    """Return all A and AAAA records of a name, in a stable order.

    Raises:
        OSError: it cannot be looked up.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found}, key=lambda text: (ip_address(text).version, text))


class Finder:
    """Turns specs into nodes. A name that cannot be looked up keeps the addresses that it had."""

    def __init__(self, resolve: Resolve = addresses) -> None:
        self._resolve = resolve
        self._known: dict[str, Sequence[str]] = {}
        self.failures: list[str] = []

    async def found(self, specs: Sequence[NodeSpec]) -> list[NodeSpec]:
        """Return the nodes there are now; `failures` then holds the names that could not be looked up."""
        self.failures = []
        hosts = {spec.host for spec in specs}
        await asyncio.gather(*(self._look_up(host) for host in hosts if host is not None))
        nodes: dict[str, NodeSpec] = {}
        for spec in specs:
            host = spec.host
            for one in [spec] if host is None else [spec.at(address) for address in self._known.get(host, ())]:
                nodes.setdefault(one.name, one)
        return list(nodes.values())

    async def _look_up(self, host: str) -> None:
        try:
            self._known[host] = await self._resolve(host)
        except OSError:
            self.failures.append(host)
