"""What a request says outside its body, read in one pass over the raw headers."""

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

from weir.contracts.errors import ValidationError
from weir.contracts.trace import HEADER, read_traceparent
from weir.gateway.generation import RequestContext
from weir.gateway.keyring import Keyring
from weir.gateway.surfaces.base import new_request_id

_READ: Final = frozenset(
    {
        b"x-request-id",
        b"authorization",
        b"x-api-key",  # Anthropic's clients
        b"api-key",  # Azure's
        b"idempotency-key",
        b"x-request-timeout",
        b"x-request-timeout-ms",
        b"x-envoy-expected-rq-timeout-ms",
        b"grpc-timeout",
        b"x-priority",
        HEADER,
    }
)
_ID_CHARACTERS: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_LONGEST_ID: Final = 128
_LONGEST_IDEMPOTENCY_KEY: Final = 255
_PRIORITIES: Final = range(-10, 11)
_GRPC_UNITS_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_LONGEST_S: Final = 86_400.0

Said = dict[bytes, bytes]


def picked(headers: Iterable[tuple[bytes, bytes]]) -> Said:
    """Return the headers that mean something here; names are in lower case, as ASGI has them."""
    return {name: value for name, value in headers if name in _READ}


def request_id_of(said: Said) -> str:
    """Return the caller's `x-request-id` if it is harmless, else a new one."""
    value = said.get(b"x-request-id")
    if value is not None and 0 < len(value) <= _LONGEST_ID and _ID_CHARACTERS.issuperset(value):
        return value.decode()
    return new_request_id()


class ContextReader:
    """Identifies the caller and reads what else he wants of his request."""

    def __init__(self, keyring: Keyring, clock: Callable[[], float] = monotonic) -> None:
        self._keyring = keyring
        self._clock = clock

    def context(self, said: Said, request_id: str) -> RequestContext:
        """Build the context.

        Raises:
            KeyRefusedError: the gateway has keys, and this is none of them.
            KeysAwayError: it may be one, but that cannot be found out now.
            ValidationError: a header cannot be understood; it is named, not quoted.
        """
        caller = self._keyring.identify(_key(said))
        if not said or (len(said) == 1 and b"authorization" in said):  # nearly every request
            return RequestContext(request_id, caller)
        return RequestContext(
            id=request_id,
            caller=caller,
            deadline=self._deadline(said),
            priority=_priority(said),
            idempotency_key=_idempotency_key(said),
            traceparent=read_traceparent(said.get(HEADER)),
        )

    def _deadline(self, said: Said) -> float | None:
        """Return the earliest of the deadlines that were given; the clock starts now."""
        limits = [
            _milliseconds(said[name], name)
            for name in (b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms")
            if name in said
        ]
        if b"x-request-timeout" in said:
            limits.append(_seconds(said[b"x-request-timeout"], b"x-request-timeout"))
        if b"grpc-timeout" in said:
            limits.append(_grpc_timeout_s(said[b"grpc-timeout"]))
        return self._clock() + min(limits) if limits else None


def _key(said: Said) -> bytes | None:
    value = said.get(b"authorization")
    if value is not None:
        scheme, _, key = value.partition(b" ")
        if scheme.lower() == b"bearer" and key.strip():
            return key.strip()
    return said.get(b"x-api-key") or said.get(b"api-key") or None


def _milliseconds(value: bytes, name: bytes) -> float:
    if not (value.isdigit() and len(value) <= 9 and int(value) > 0):
        raise ValidationError(f"the header {name.decode()} is not a whole number of milliseconds", name.decode())
    return min(int(value) / 1000, _LONGEST_S)


def _seconds(value: bytes, name: bytes) -> float:
    whole, _, fraction = value.partition(b".")
    if not (whole.isdigit() and len(value) <= 9 and (fraction.isdigit() or not fraction) and float(value) > 0):
        raise ValidationError(f"the header {name.decode()} is not a number of seconds", name.decode())
    return min(float(value), _LONGEST_S)


def _grpc_timeout_s(value: bytes) -> float:
    """Read gRPC's form: up to eight digits and a unit, e.g. `1500m` or `5S`."""
    digits, unit = value[:-1], value[-1:]
    if not (digits.isdigit() and len(digits) <= 8 and unit in _GRPC_UNITS_S):
        raise ValidationError("the header grpc-timeout is not digits and one of H, M, S, m, u, n", "grpc-timeout")
    return min(int(digits) * _GRPC_UNITS_S[unit], _LONGEST_S)


def _priority(said: Said) -> int | None:
    value = said.get(b"x-priority")
    if value is None:
        return None
    if not (len(value) <= 3 and value.removeprefix(b"-").isdigit() and int(value) in _PRIORITIES):
        raise ValidationError("the header x-priority is not a whole number from -10 to 10", "x-priority")
    return int(value)


def _idempotency_key(said: Said) -> str | None:
    value = said.get(b"idempotency-key")
    if value is None:
        return None
    if not (0 < len(value) <= _LONGEST_IDEMPOTENCY_KEY and all(32 < byte < 127 for byte in value)):
        message = f"the header idempotency-key is not 1 to {_LONGEST_IDEMPOTENCY_KEY} visible ASCII characters"
        raise ValidationError(message, "idempotency-key")
    return value.decode("ascii")
