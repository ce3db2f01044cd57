"""What a connection may cost before any route is known, and how it is refused."""

from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

from weir.contracts.errors import RequestRejectedError

_LINGER_S = 1.0


class Wait(Enum):
    """What a connection waits for."""

    FIRST_BYTE = 1
    HEAD = 2
    BODY = 3
    NEXT_REQUEST = 4
    APPLICATION = 5
    CLOSE = 6  # the last response is sent; the client may still be sending


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one connection. Sizes count request line and header fields together, per request.

    Attributes:
        head_timeout_s: from a request's first byte to the end of its head; also for a new connection that is silent.
        body_timeout_s: from the end of the head to the end of the body, while the application reads.
        idle_timeout_s: between two requests.
        write_timeout_s: a client that does not read for so long is cut off.
        pipelined: requests that may wait behind the one being answered.
    """

    head_bytes: int = 16 << 10
    head_fields: int = 100
    head_timeout_s: float = 5.0
    body_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    write_timeout_s: float = 30.0
    pipelined: int = 16

    def patience_s(self, wait: Wait) -> float | None:
        """None: the application takes as long as it takes."""
        match wait:
            case Wait.FIRST_BYTE | Wait.HEAD:
                return self.head_timeout_s
            case Wait.BODY:
                return self.body_timeout_s
            case Wait.NEXT_REQUEST:
                return self.idle_timeout_s
            case Wait.CLOSE:
                return _LINGER_S
            case Wait.APPLICATION:
                return None


class MalformedRequestError(RequestRejectedError):
    """No HTTP, or HTTP that two readers could understand differently (lengths that contradict each other)."""

    code = "malformed_request"

    def __init__(self, reason: str) -> None:
        super().__init__(f"malformed HTTP request: {reason}")


class HeadTooLargeError(RequestRejectedError):
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    code = "headers_too_large"

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__(
            f"the request's headers are larger than {limits.head_bytes} bytes or more than {limits.head_fields}"
        )


class HeadTooSlowError(RequestRejectedError):
    status = HTTPStatus.REQUEST_TIMEOUT
    code = "headers_too_slow"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"the request's headers did not arrive within {timeout_s:g} s")
