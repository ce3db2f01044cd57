"""Under which names a server on loopback answers."""

import ipaddress
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

from weir.contracts.errors import RequestRejectedError

_LOCALHOST: Final = "localhost"
_OF_NOBODY: Final = (".localhost", ".internal")  # RFC 6761; ICANN keeps the other one free for private use
_MOST_KNOWN: Final = 256


class MisdirectedError(RequestRejectedError):
    """The request names another server than this one."""

    status = HTTPStatus.MISDIRECTED_REQUEST
    code = "misdirected_request"

    def __init__(self, cure: str) -> None:
        super().__init__(
            "this server is for its own machine alone and does not answer under the name that the request gives in "
            f"`Host`: use localhost or an IP address, or {cure}"
        )


class Hosts:
    """Names that no stranger can make his own: IP addresses, `localhost`, this machine's name, and those told here.

    A page whose owner points his own name at 127.0.0.1 (DNS rebinding) is of one origin with a server there, so that
    no browser holds it back. It can be told by nothing but its name.
    """

    def __init__(self, names: Iterable[str], *, cure: str, hold: Callable[[], bool] = lambda: True) -> None:
        """`cure` tells a caller what else would let him in; `hold` says whether names matter now."""
        self._names = {name.lower() for name in (_LOCALHOST, socket.gethostname(), *names)}
        self.cure = cure
        self._hold = hold
        self._known: set[bytes] = set()

    def has(self, host: bytes) -> bool:
        """Whether a `Host` header names this machine; nearly always it is one that was seen before."""
        return host in self._known or not self._hold() or self._learn(host)

    def _learn(self, host: bytes) -> bool:
        is_own = self._is_own(_name_in(host))
        if is_own and len(self._known) < _MOST_KNOWN:
            self._known.add(host)
        return is_own

    def _is_own(self, name: str) -> bool:
        return not name or name in self._names or name.endswith(_OF_NOBODY) or _address(name) is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name that is not `localhost` may mean anything."""
    address = _address(host.strip("[]"))
    return host == _LOCALHOST if address is None else address.is_loopback


def _name_in(host: bytes) -> str:
    """Return the name or address without its port; what is neither comes back as it is."""
    text = host.decode("latin-1").strip().lower()
    name, colon, port = text.rpartition(":")
    if colon and (port.isdigit() or not port) and not text.endswith("]"):
        text = name
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1]
    return text.removesuffix(".")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
