"""A packed graph may have output rows for some tokens only; its metadata says which."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from weir.contracts.errors import ReleaseError

_KEPT: Final = "weir.output_tokens"
_VOCABULARY: Final = "weir.vocabulary"


def written(kept: Sequence[int], vocabulary: int) -> dict[str, str]:
    """Return the metadata of a graph whose n-th logit is of the n-th `kept` token; ids ascend."""
    return {_VOCABULARY: str(vocabulary), _KEPT: " ".join(map(str, kept))}


def read(metadata: Mapping[str, str], outputs: int) -> tuple[int, NDArray[np.int32] | None]:
    """Return the size of the vocabulary and the ids of the graph's `outputs` logits; None: all tokens, in order.

    Raises:
        ReleaseError: not as many ascending ids of the vocabulary as the graph has logits.
    """
    if _KEPT not in metadata:
        return outputs, None
    try:
        size, kept = int(metadata[_VOCABULARY]), np.array(metadata[_KEPT].split(), np.int32)
    except (KeyError, ValueError, OverflowError) as error:
        raise ReleaseError(f"a graph's output tokens cannot be read: {error!r}") from error
    if len(kept) != outputs or outputs == 0 or (np.diff(kept) <= 0).any() or kept[0] < 0 or kept[-1] >= size:
        raise ReleaseError(f"a graph's output tokens are not {outputs} ascending ids below {size}")
    return size, kept
