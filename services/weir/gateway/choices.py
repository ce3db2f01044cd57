"""Which version of a model an operator had nodes load last: the one that a gateway speaks for, also when it is old."""

import os
from contextlib import suppress
from pathlib import Path

from weir.release.reader import COMPLETE, newest_version


class Choices:
    """Kept below a gateway's home, a file for each model, so that workers and restarts find them."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "chosen"

    def choose(self, versions: Path, version: int) -> None:
        """Remember a choice among `versions`, a folder of them; it holds until a newer version comes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / versions.name
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(f"{version} {newest_version(versions).name}\n")
        temporary.replace(path)

    def of(self, versions: Path) -> Path:
        """Return the chosen version's folder, or the newest one's.

        Raises:
            ReleaseError: there is no complete one.
        """
        newest = newest_version(versions)
        with suppress(OSError, ValueError):
            chosen, newest_then = map(int, (self._folder / versions.name).read_text().split())
            root = versions / str(chosen)
            if int(newest.name) <= newest_then and (root / COMPLETE).is_file():
                return root
        return newest
