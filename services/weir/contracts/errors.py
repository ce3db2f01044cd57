"""Every failure a caller can see.

WeirError                          500
├── RequestRejectedError           400  the caller must change the request
│   ├── ValidationError            422  a field is missing, of the wrong type or out of bounds
│   └── PromptBlockedError         422  an input rule matched
├── UnknownModelError              404
├── OverloadedError                429  try again after `retry_after_s`
├── BackendError                   502
│   ├── BackendTimeoutError        504
│   └── BackendUnavailableError    503  another node may answer
├── ReleaseError                   500  a release is incomplete, altered or not allowed to load
└── JobError                       -    a verb of the command line failed (exit code 1)
    ├── UsageError                 -    the command or its input is wrong (exit code 2)
    └── CheckFailedError           -    a check or gate said no (exit code 3)
"""

from http import HTTPStatus
from typing import ClassVar


class WeirError(Exception):
    """Base class; `str(error)` is safe to show to a caller: it never holds a prompt or an answer."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class RequestRejectedError(WeirError):
    status = HTTPStatus.BAD_REQUEST
    code = "request_rejected"


class ValidationError(RequestRejectedError):
    """A field of the request is missing, of the wrong type or out of bounds.

    `field` is the dotted path as the caller wrote it, e.g. `parameters.temperature`.
    """

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "validation"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class PromptBlockedError(RequestRejectedError):
    """An input rule matched. Carries the rule's id, never the text it matched."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "prompt_blocked"

    def __init__(self, rule: str) -> None:
        super().__init__(f"the prompt was blocked by rule {rule!r}")
        self.rule = rule


class UnknownModelError(WeirError):
    status = HTTPStatus.NOT_FOUND
    code = "unknown_model"


class OverloadedError(WeirError):
    """No node may take the request now."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "overloaded"
    retryable = True

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"Model is overloaded; retry in {max(retry_after_s, 1):.0f} s")
        self.retry_after_s = retry_after_s


class BackendError(WeirError):
    status = HTTPStatus.BAD_GATEWAY
    code = "backend_error"


class BackendTimeoutError(BackendError):
    status = HTTPStatus.GATEWAY_TIMEOUT
    code = "backend_timeout"


class BackendUnavailableError(BackendError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "backend_unavailable"
    retryable = True


class ReleaseError(WeirError):
    """A release is incomplete, altered, of another schema or not allowed to load."""

    code = "release_refused"


class JobError(WeirError):
    """A verb of the command line failed; the message says where and what to do."""

    code = "job_failed"


class UsageError(JobError):
    """The command, the recipe or the data is wrong: nothing was started."""

    code = "usage"
    exit_code = 2


class CheckFailedError(JobError):
    """A check or a gate said no; the message names the number."""

    code = "check_failed"
    exit_code = 3
