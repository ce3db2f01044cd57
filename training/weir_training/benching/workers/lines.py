"""The protocol of a worker: one JSON object per line in, one out; `op` names what to do. Ends with its input."""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Handler = Callable[..., dict[str, Any]]


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answer every line until the input ends. An exception is answered as `error`; what libraries print goes to stderr.

    Every answer carries `rss_bytes`, the memory that this process holds.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks also ends us
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = handlers[message.pop("op")](**message)
        except Exception as error:  # noqa: BLE001  it belongs to whoever asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps({**answer, "rss_bytes": rss_bytes()}) + "\n")
        answers.flush()


def rss_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process; 0 where /proc does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
