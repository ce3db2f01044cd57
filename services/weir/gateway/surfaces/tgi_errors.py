"""TGI's errors: `{"error", "error_type"}`. `error_type` is what clients pick their exception by."""

import orjson

from weir.asgi.body import BodyTooLargeError, BodyTooSlowError
from weir.asgi.hosts import MisdirectedError
from weir.asgi.limits import HeadTooLargeError, HeadTooSlowError, MalformedRequestError
from weir.contracts.errors import (
    BackendError,
    BackendUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    RequestRejectedError,
    UnknownModelError,
    WeirError,
)
from weir.gateway.denials import KeyRefusedError
from weir.gateway.refusals import AttemptRunningError, UnknownAdapterError
from weir.gateway.surfaces.base import JSON_HEADERS, Reply, retry_after

# The first that fits. Never 400, which huggingface_hub takes for another kind of server.
_STATUSES: tuple[tuple[type[WeirError], int, str], ...] = (
    (BodyTooLargeError, 413, "validation"),
    (BodyTooSlowError, 408, "validation"),
    (KeyRefusedError, 401, "authentication"),
    (MalformedRequestError, 400, "validation"),  # no client of TGI makes such a request
    (MisdirectedError, 421, "validation"),
    (HeadTooLargeError, 431, "validation"),
    (HeadTooSlowError, 408, "validation"),
    (UnknownAdapterError, 422, "validation"),
    (UnknownModelError, 404, "validation"),
    (RequestRejectedError, 422, "validation"),
    (AttemptRunningError, 409, "conflict"),
    (DeadlineExceededError, 504, "deadline_exceeded"),
    (BackendUnavailableError, 503, "overloaded"),
    (BackendError, 424, "generation"),
)
# What other parts call a field, and what it is called here.
_FIELDS = {"grammar": "parameters.grammar", "adapter": "parameters.adapter_id"}
_LATE_KINDS = frozenset({"overloaded", "validation"})


def error_reply(error: WeirError) -> Reply:
    status, kind = _status_and_kind(error)
    return Reply(status, JSON_HEADERS + retry_after(error), _body(error, kind))


def error_event(error: WeirError) -> bytes:
    """Frame a failure of a stream that has begun."""
    _, kind = _status_and_kind(error)
    is_known = kind in _LATE_KINDS and not isinstance(error, BackendError)
    return b"data:%b\n\n" % _body(error, kind if is_known else "generation")


def _body(error: WeirError, kind: str) -> bytes:
    return orjson.dumps({"error": _words(error), "error_type": kind})


def _words(error: WeirError) -> str:
    """Return the message with the field named as the caller wrote it."""
    field, colon, rest = str(error).partition(": ")
    return f"`{_FIELDS[field]}`: {rest}" if colon and field in _FIELDS else str(error)


def _status_and_kind(error: WeirError) -> tuple[int, str]:
    status = error.status.value
    if isinstance(error, OverloadedError):  # of the whole system, or of one key: the error says which
        return status, "overloaded"
    other = "internal" if status == 500 else "validation" if status < 500 else "generation"
    return next(((status, name) for kind, status, name in _STATUSES if isinstance(error, kind)), (status, other))
