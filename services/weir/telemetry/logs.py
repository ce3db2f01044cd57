"""JSON logs on stderr: one object per line.

`log.info("model_loaded", extra={"model": "faq"})` gives time, level, service, logger, event and the extra fields.
An exception is logged by type and place, never by its words: they may quote a prompt.
"""

import asyncio
import logging
import sys
import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from time import time_ns
from typing import Any

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

_MOST_LINES, _LONGEST_S = 256, 0.02


class JsonFormatter(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        self._second, self._prefix = 0, ""

    def line(self, logger: str, event: str, fields: Mapping[str, Any]) -> str:
        """Return what `format` makes of an event of level info, without a record."""
        now = time_ns()
        time = self._time(now // 10**9, now // 10**6 % 1000)
        head = {"time": time, "level": "info", "service": self._service, "logger": logger, "event": event}
        return orjson.dumps({**head, **fields}, default=str).decode()

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self._time(int(record.created), int(record.msecs)),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["trace"] = _places(record.exc_info[2])
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()

    def _time(self, second: int, milliseconds: int) -> str:
        """Build the text anew only once a second: it is most of a line's cost."""
        if second != self._second:
            self._second, self._prefix = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._prefix}{milliseconds:03d}+00:00"


class BatchedHandler(logging.StreamHandler[Any]):
    """Writes what one turn of a busy event loop logs at once: a write costs more than a line.

    Warnings and errors are written at once; a process that is killed loses what it logged in its last moment.
    """

    def __init__(self, stream: Any, formatter: JsonFormatter) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self._lines: list[str] = []
        self._line = formatter.line

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._add(self.format(record), is_urgent=record.levelno >= logging.WARNING)
        except Exception:  # noqa: BLE001 - as every handler of logging
            self.handleError(record)

    def emit_event(self, logger: str, event: str, fields: Mapping[str, Any]) -> None:
        """As a record of level info would be."""
        with self.lock or nullcontext():
            self._add(self._line(logger, event, fields), is_urgent=False)

    def _add(self, line: str, *, is_urgent: bool) -> None:
        self._lines.append(line)
        if is_urgent or len(self._lines) >= _MOST_LINES:
            self.flush()
        elif len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_later(_LONGEST_S, self.flush)
            except RuntimeError:
                self.flush()  # no loop runs here: a thread, or the start

    def flush(self) -> None:
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("\n".join(lines) + "\n")
            super().flush()


def log_event(logger: logging.Logger, event: str, fields: Mapping[str, Any]) -> None:
    """Log at level info, for what is logged with every request: the machinery of logging costs three times the line.

    Where other handlers listen as well, it is an ordinary record.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    handlers = logging.root.handlers
    if len(handlers) == 1 and isinstance(handlers[0], BatchedHandler):
        handlers[0].emit_event(logger.name, event, fields)
    else:
        logger.info(event, extra=dict(fields))


def configure_logs(service: str, level: str = "info") -> None:
    """Send all logging to stderr as JSON; `level` is debug, info, warning or error. Called once, in main."""
    handler = BatchedHandler(sys.stderr, JsonFormatter(service))
    # Nothing of this is in a line, and finding it out costs more than writing one.
    logging._srcfile = None  # noqa: SLF001  the documented switch
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "alembic"):
        logging.getLogger(chatty).handlers.clear()
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _places(trace: Any) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
