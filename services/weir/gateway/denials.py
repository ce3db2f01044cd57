"""How a caller is told that its key may not: in words that name no key and no model."""

from http import HTTPStatus
from typing import Final

from weir.contracts.errors import (
    BackendUnavailableError,
    OverloadedError,
    RequestRejectedError,
    UnknownModelError,
    WeirError,
)

Headers = list[tuple[bytes, bytes]]

# OpenAI's clients repeat every 429 unless this says not to.
_DO_NOT_RETRY: Final[Headers] = [(b"x-should-retry", b"false")]
_LIMIT_NAMES: Final = {"requests": "requests per minute", "tokens": "tokens per minute"}


class KeyRefusedError(RequestRejectedError):
    """No key, or none that this gateway takes; code and words are those of OpenAI."""

    status = HTTPStatus.UNAUTHORIZED
    code = "invalid_api_key"


class NoKeyError(KeyRefusedError):
    def __init__(self) -> None:
        super().__init__("You didn't provide an API key; send it as `Authorization: Bearer KEY`")


class WrongKeyError(KeyRefusedError):
    """`reason` is what the caller may know: he has seen the key, others have not."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Incorrect API key provided: {reason}")


class KeysAwayError(BackendUnavailableError):
    """Whether the key is good cannot be found out now."""

    code = "keys_unavailable"

    def __init__(self) -> None:
        super().__init__("keys and limits cannot be checked at the moment")


class ModelNotAllowedError(UnknownModelError):
    def __init__(self) -> None:
        super().__init__("the model that was asked for does not exist or your key does not have access to it")


class LimitReachedError(OverloadedError):
    """A limit of the key. `is_final`: the same request will never fit."""

    code = "rate_limit_exceeded"

    def __init__(self, limit: str, retry_after_s: float, *, is_final: bool = False) -> None:
        what = _LIMIT_NAMES.get(limit, limit)
        if is_final:
            words = f"Request too large: it may use more than your key's {what}; ask for fewer tokens"
        else:
            words = f"Rate limit reached: your key's {what}. Please try again in {max(retry_after_s, 1):.0f}s"
        WeirError.__init__(self, words)
        self.retry_after_s = retry_after_s
        self.is_final = is_final


class BudgetExhaustedError(OverloadedError):
    """The key's tokens of this month are used up, or this request could use more than what is left."""

    code = "insufficient_quota"

    def __init__(self, retry_after_s: float) -> None:
        WeirError.__init__(self, "You exceeded your key's monthly token budget; it is renewed on the first day (UTC)")
        self.retry_after_s = retry_after_s


def headers_of(error: WeirError) -> Headers:
    """Return the headers that a refusal needs on every surface, beside `Retry-After`."""
    if isinstance(error, KeyRefusedError):
        return [(b"www-authenticate", b"Bearer")]
    is_final = isinstance(error, BudgetExhaustedError) or (isinstance(error, LimitReachedError) and error.is_final)
    return _DO_NOT_RETRY if is_final else []
