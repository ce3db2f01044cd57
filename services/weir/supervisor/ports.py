"""Is this port free? Asked before minutes of training, not after."""

import socket

from weir.contracts.errors import UsageError


def require_free(host: str, port: int, *, option: str) -> None:
    """Raise UsageError when something already listens on `host:port`; `option` is what moves it."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"port {port} on {host} is in use ({error.strerror}); choose another with {option}"
            ) from error
