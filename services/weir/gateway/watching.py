"""Notices that files have changed: by looking, as no kind of mount tells of every change."""

from collections.abc import Iterable, Mapping
from pathlib import Path

Look = Mapping[Path, tuple[int, ...] | None]


def look(paths: Iterable[Path]) -> Look:
    """Return what tells one version of each file from another; none: it is not there.

    Links are followed: Kubernetes replaces a mounted ConfigMap by turning a link to another folder.
    """
    return {path: _look(path) for path in paths}


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


class Watch:
    """Compares one look with the next; a change counts once the files have come to rest."""

    def __init__(self) -> None:
        self._known: Look = {}
        self._last: Look = {}

    def settle(self, before: Look, after: Look) -> None:
        """What was seen `before` the files were read is known now; those in `after` are looked at from now on."""
        self._known = {path: before.get(path, seen) for path, seen in after.items()}
        self._last = self._known

    def is_changed(self, now: Look) -> bool:
        """Whether `now` is news, and was so at the last look as well."""
        rests, self._last = now == self._last, now
        return rests and now != self._known
