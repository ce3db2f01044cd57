"""Failures that only a gateway knows."""

from http import HTTPStatus

from weir.contracts.errors import (
    BackendUnavailableError,
    OverloadedError,
    RequestRejectedError,
    UnknownModelError,
    ValidationError,
    WeirError,
)


class UnreadableBodyError(ValidationError):
    """The body is no JSON that can be represented: malformed, not UTF-8, a lone surrogate, NaN or infinity."""

    code = "unreadable_body"


class LoneSurrogateError(UnreadableBodyError):
    """The body is JSON, but a string in it escapes half a character: there is no such text."""


class UnsupportedError(RequestRejectedError):
    """The request is well-formed, but asks for something that Weir does not do."""

    code = "unsupported"

    def __init__(self, field: str, message: str | None = None) -> None:
        super().__init__(message or f"`{field}` is not supported yet")
        self.field = field


class UnknownAdapterError(UnknownModelError):
    """The release has no such adapter; on surfaces where one is a field of its own, that field is wrong."""

    code = "unknown_adapter"

    def __init__(self) -> None:
        super().__init__("adapter: this model has no adapter of that name")
        self.field = "adapter"


class ModelNotSupportedError(RequestRejectedError):
    """The models are there, but do not do this."""

    code = "model_not_supported"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.field = "model"


class ContextTooLongError(ValidationError):
    """Prompt and answer do not fit into the model's context. The wording is TGI's."""

    code = "context_length_exceeded"

    def __init__(self, context_tokens: int, prompt_tokens: int, max_new_tokens: int | None) -> None:
        if max_new_tokens is None:
            message = f"`inputs` must have less than {context_tokens} tokens. Given: {prompt_tokens}"
        else:
            message = (
                f"`inputs` tokens + `max_new_tokens` must be <= {context_tokens}. "
                f"Given: {prompt_tokens} `inputs` tokens and {max_new_tokens} `max_new_tokens`"
            )
        super().__init__(message, "inputs")
        self.context_tokens = context_tokens
        self.prompt_tokens = prompt_tokens
        self.max_new_tokens = max_new_tokens


class DrainingError(BackendUnavailableError):
    code = "draining"

    def __init__(self) -> None:
        super().__init__("this gateway is shutting down")


class KeyBusyError(OverloadedError):
    """The caller's key waits with all that it may: others are served."""

    code = "rate_limited"


class SaturatedError(OverloadedError):
    """The whole system has as much to do as it can do in time."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class AttemptRunningError(WeirError):
    """An attempt with the same idempotency key is being answered as a stream, which cannot be joined."""

    status = HTTPStatus.CONFLICT
    code = "attempt_running"
    retryable = True

    def __init__(self) -> None:
        super().__init__("a request with this Idempotency-Key is still being answered")


class KeyReusedError(RequestRejectedError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used with another request")
