"""Removes what a killed process left half-written."""

import os
import re
import shutil
from pathlib import Path

_TEMPORARY = re.compile(r"^\..+\.(\d+)\.(?:tmp|old)$")  # as weir_training.atomic names them: the pid is in it


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files and folders directly below `folder` whose process is gone."""
    for path in folder.glob(".*") if folder.is_dir() else ():
        found = _TEMPORARY.match(path.name)
        if found and not _is_alive(int(found[1])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
