"""Metric values in memory that processes share: one process writes, any process reads, at no cost to the writer.

A worker that is killed leaves its counts behind, and a scrape never has to ask a busy event loop for them.
"""

import json
import mmap
import struct
from collections.abc import Iterator
from functools import partial
from threading import Lock
from typing import Any, Final, NamedTuple

from prometheus_client import values

_HEADER: Final = struct.Struct("=QQQQ")  # keys, bytes of keys, generation, is_up
_LENGTH: Final = struct.Struct("=I")
_VALUES: Final = 20_000
_KEY_BYTES: Final = 8 << 20  # untouched pages cost nothing


class Key(NamedTuple):
    """What a value is. `mode` says how gauges of several processes become one: sum, min or max."""

    kind: str
    family: str
    text: str
    sample: str
    labels: tuple[tuple[str, str], ...]
    mode: str


class Cells:
    """Keys are appended, values change in place. `mmap` memory without a file is inherited by forked processes."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _HEADER.size + 8 * _VALUES + _KEY_BYTES)
        view = memoryview(self._memory)
        self._header = view[: _HEADER.size].cast("Q")
        self.values = view[_HEADER.size : _HEADER.size + 8 * _VALUES].cast("d")
        self._keys = view[_HEADER.size + 8 * _VALUES :]
        self._index: dict[Key, int] = {}

    def cell(self, key: Key) -> int | None:
        """Return the place of `key`'s value; none when there is no room left (labels come from closed sets)."""
        place = self._index.get(key)
        if place is None:
            place = self._append(key)
        return place

    def _append(self, key: Key) -> int | None:
        record = json.dumps(key, separators=(",", ":")).encode()
        count, used = self._header[0], self._header[1]
        if count == _VALUES or used + _LENGTH.size + len(record) > _KEY_BYTES:
            return None
        self._keys[used : used + _LENGTH.size + len(record)] = _LENGTH.pack(len(record)) + record
        self.values[count] = 0.0
        self._header[1] = used + _LENGTH.size + len(record)
        self._header[0] = count + 1  # last: a reader sees whole keys only
        self._index[key] = count
        return count

    def keys(self, start: int, offset: int) -> Iterator[tuple[Key, int]]:
        """Yield keys from number `start` on, each with the offset behind it."""
        for _ in range(start, self.count):
            (length,) = _LENGTH.unpack_from(self._keys, offset)
            offset += _LENGTH.size + length
            kind, family, text, sample, labels, mode = json.loads(bytes(self._keys[offset - length : offset]))
            yield Key(kind, family, text, sample, tuple((k, v) for k, v in labels), mode), offset

    @property
    def count(self) -> int:
        return self._header[0]

    @property
    def generation(self) -> int:
        """Changes whenever what was read before no longer holds."""
        return self._header[2]

    @property
    def is_up(self) -> bool:
        """The process that writes here serves."""
        return bool(self._header[3])

    @is_up.setter
    def is_up(self, value: bool) -> None:
        self._header[3] = value

    def touch(self) -> None:
        self._header[2] += 1

    def clear(self) -> None:
        """Forget everything; only when nobody writes any more."""
        self._header[0] = self._header[1] = self._header[3] = 0
        self._index.clear()
        self.touch()


def keep_values_in(cells: Cells) -> None:
    """Make every metric that this process creates from now on keep its values in `cells`.

    prometheus_client chooses this class itself when it is imported: a float behind a lock, or, by an environment
    variable, files that cost three times as much to write and a second to merge.
    """
    values.ValueClass = partial(_SharedValue, cells)


class _SharedValue:
    """prometheus_client's interface of a value."""

    _multiprocess = False

    def __init__(  # noqa: PLR0913  prometheus_client's signature
        self,
        cells: Cells,
        typ: str | None,
        metric_name: str,
        name: str,
        labelnames: Any,
        labelvalues: Any,
        help_text: str,
        **options: Any,
    ) -> None:
        mode = str(options.get("multiprocess_mode", "sum")).removeprefix("live")
        labels = tuple(zip(labelnames, labelvalues, strict=True))
        self._lock = Lock()
        place = cells.cell(Key(typ or "gauge", metric_name, help_text, name, labels, mode))
        self._values = [0.0] if place is None else cells.values
        self._place = place or 0

    def inc(self, amount: float) -> None:
        with self._lock:
            self._values[self._place] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        del timestamp
        self._values[self._place] = value

    def get(self) -> float:
        return self._values[self._place]

    def set_exemplar(self, exemplar: Any) -> None:
        """Exemplars are not kept."""

    def get_exemplar(self) -> None:
        return None
