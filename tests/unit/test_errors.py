import errno

from weir.contracts.errors import disk_full


def test_a_full_disk_is_found_behind_whatever_a_library_made_of_it() -> None:
    error = RuntimeError("could not serialise")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert disk_full(error) is not None
    assert disk_full(RuntimeError("I/O error: No space left on device (os error 28)")) is not None


def test_other_errors_are_not_a_full_disk() -> None:
    assert disk_full(OSError(errno.EACCES, "Permission denied")) is None
    assert disk_full(ValueError("full")) is None
