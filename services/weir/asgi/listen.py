"""A listening socket, or a word that a person understands."""

import errno
import socket

from weir.contracts.errors import UsageError

_BACKLOG = 2048


def listen(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """Listen on `host:port` (0: any free port); asked for before anything costly starts.

    Raises:
        UsageError: it cannot be had; a taken port is answered with the `option` that moves it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} on {host} is in use; choose another one with {option}") from None
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}") from None


def require_free(host: str, port: int, *, option: str) -> None:
    """Raise UsageError when something already listens on `host:port`."""
    listen(host, port, option=option).close()
