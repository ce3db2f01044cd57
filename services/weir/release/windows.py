"""How a classifier reads a text of any length, and how many windows become one batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from weir.release.ngrams import Ids, Ngrams, normalised


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of `chars` characters, one every `stride`; the last one ends with the text."""

    ngrams: Ngrams
    chars: int
    stride: int

    def each(self, text: str) -> Iterator[Ids]:
        """Yield the ids of a text's windows; none for a text without anything to read."""
        text = normalised(text)
        last = max(0, len(text) - self.chars)
        for start in (*range(0, last, self.stride), last) if text else ():
            yield self.ngrams.ids(text[start : start + self.chars])


def padded(windows: Sequence[Ids], *, multiple: int = 32) -> Ids:
    """Return one array of shape (windows, places, columns), with zeros behind the shorter ones."""
    places = -(-max(map(len, windows)) // multiple) * multiple
    batch = np.zeros((len(windows), places, windows[0].shape[1]), np.int32)
    for row, window in enumerate(windows):
        batch[row, : len(window)] = window
    return batch
