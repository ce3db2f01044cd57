"""What keeps a request out of an engine."""

from weir.contracts.errors import BackendError, BackendUnavailableError, OverloadedError
from weir.engine.speed import SpeedMeter


def check_entrance(failure: BackendError | None, speed: SpeedMeter, *, is_open: bool, is_full: bool) -> None:
    """Raise what a caller is to hear.

    Raises:
        BackendError: the engine failed.
        BackendUnavailableError: the engine is stopping.
        OverloadedError: it is full; `retry_after_s` is computed from the speed measured so far.
    """
    if failure is not None:
        raise BackendError(str(failure))
    if not is_open:
        raise BackendUnavailableError("the engine is stopping")
    if is_full:
        raise OverloadedError(speed.retry_after_s())
