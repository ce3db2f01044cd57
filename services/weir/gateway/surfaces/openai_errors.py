"""OpenAI's error objects, and the statuses they come with."""

from typing import Any

import orjson

from weir.asgi.body import BodyTooLargeError
from weir.contracts.errors import (
    BackendError,
    PromptBlockedError,
    UnknownModelError,
    ValidationError,
    WeirError,
)
from weir.gateway.refusals import ContextTooLongError, LoneSurrogateError, UnreadableBodyError
from weir.gateway.surfaces.base import JSON_HEADERS, Reply, retry_after


def error_reply(error: WeirError) -> Reply:
    return Reply(status_of(error), JSON_HEADERS + retry_after(error), orjson.dumps(error_object(error)))


def error_event(error: WeirError) -> bytes:
    """Frame a failure of a stream that has begun; nothing follows it, not even `[DONE]`."""
    return b"data: %b\n\n" % orjson.dumps(error_object(error))


def error_object(error: WeirError) -> dict[str, Any]:
    return {"error": {"message": _message(error), "type": _type(error), "param": _param(error), "code": _code(error)}}


def status_of(error: WeirError) -> int:
    """OpenAI says 400 to what is no JSON and to a wrong field.

    A blocked prompt and half a character (JSON, but no text) are 422 on every surface of Weir.
    """
    if isinstance(error, ValidationError) and not isinstance(error, LoneSurrogateError):
        return 400
    return error.status.value


def _message(error: WeirError) -> str:
    """Clients look for OpenAI's own words about the context, to cut their input and ask again."""
    if not isinstance(error, ContextTooLongError):
        return str(error)
    asked = f"{error.prompt_tokens} in the input"
    if error.max_new_tokens is not None:
        asked += f", {error.max_new_tokens} for the completion"
    total = error.prompt_tokens + (error.max_new_tokens or 0)
    most = f"This model's maximum context length is {error.context_tokens} tokens."
    return f"{most} However, you requested {total} tokens ({asked}). Please reduce the length of either."


def _param(error: WeirError) -> str | None:
    if isinstance(error, ContextTooLongError):
        return None  # it is called `messages`, `prompt` or `input`
    if isinstance(error, UnknownModelError):
        return "model"  # an adapter is named there too
    field: str | None = getattr(error, "field", None)
    return "response_format" if field == "grammar" else field


def _type(error: WeirError) -> str:
    status = error.status.value
    if status == 429:
        return "rate_limit_error"
    if status < 500:
        return "invalid_request_error"
    return "upstream_error" if isinstance(error, BackendError) else "server_error"


def _code(error: WeirError) -> str | None:
    match error:
        case PromptBlockedError():
            return "content_filter"
        case UnknownModelError():
            return "model_not_found"
        case UnreadableBodyError() | BodyTooLargeError():
            return error.code
        case ValidationError():
            return error.code if error.code != ValidationError.code else "invalid_value"
        case _:
            return error.code
