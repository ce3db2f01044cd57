"""Every failure a caller can see.

WeirError                          500
├── RequestRejectedError           400  the caller must change the request
│   ├── ValidationError            422  a field is missing, of the wrong type or out of bounds
│   └── PromptBlockedError         422  an input rule matched
├── UnknownModelError              404
├── OverloadedError                429  try again after `retry_after_s`
├── DeadlineExceededError          504  the caller's own deadline passed
├── BackendError                   502
│   ├── BackendTimeoutError        504
│   └── BackendUnavailableError    503  another node may answer
│       └── NodeUnreachableError   503  the node never had the request
├── ReleaseError                   500  a release is incomplete, altered or not allowed to load
└── JobError                       -    a verb of the command line failed (exit code 1)
    ├── DiskFullError              -    (exit code 1)
    ├── UsageError                 -    the command or its input is wrong (exit code 2)
    └── CheckFailedError           -    a check or gate said no (exit code 3)
"""

import errno
import shutil
from http import HTTPStatus
from pathlib import Path
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


class DeadlineExceededError(WeirError):
    """The request was given up because its `deadline_s` passed; no node is to blame."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    code = "deadline_exceeded"

    def __init__(self) -> None:
        super().__init__("the request's deadline has passed")


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


class NodeUnreachableError(BackendUnavailableError):
    """The request did not get to the node at all."""


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


class SettingError(UsageError):
    """A setting is wrong or missing; `setting` is its dotted name."""

    def __init__(self, message: str, setting: str, *, is_missing: bool = False) -> None:
        super().__init__(message)
        self.setting = setting
        self.is_missing = is_missing


class CheckFailedError(JobError):
    """A check or a gate said no; the message names the number."""

    code = "check_failed"
    exit_code = 3


class DiskFullError(JobError):
    code = "disk_full"

    def __init__(self) -> None:
        super().__init__("the disk is full; nothing finished was lost: free some space and run the same command again")


_FULL_BYTES = 1 << 20


def disk_full(error: BaseException, folder: Path | None = None) -> DiskFullError | None:
    """Say whether a full disk is behind `error`, which happened while writing below `folder`.

    Native writers (safetensors, onnx) tell it in their words only; torch does not tell it at all, so the disk is asked.
    """
    if folder is not None and folder.is_dir() and shutil.disk_usage(folder).free < _FULL_BYTES:
        return DiskFullError()
    if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or "No space left on device" in str(error):
        return DiskFullError()
    behind = error.__cause__ or error.__context__
    return None if behind is None else disk_full(behind)
