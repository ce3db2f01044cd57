"""One exported decoder graph and its key/value buffers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from weir.contracts.errors import ReleaseError
from weir.engine.device import Buffer, Device, DeviceMissingError, open_session

Ids = NDArray[np.int64]
Logits = NDArray[np.float32]

_PAST = "past_key_values"
_PRESENT = "present"
_KNOWN_INPUTS = frozenset({"input_ids", "attention_mask"})
_QUIET = 3  # errors only: the graph optimiser's warnings say nothing to an operator
_TYPES: Final[dict[str, type[np.floating[Any]]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_SHORT: Final = ("top_ids", "top_logits", "logsumexp")


@dataclass(frozen=True, slots=True)
class CacheShape:
    """One layer's key or value buffer is [slots, kv_heads, context, head_size]."""

    layers: int
    kv_heads: int
    head_size: int
    dtype: type[np.floating[Any]] = np.float32

    def bytes_per_slot(self, context_tokens: int) -> int:
        return self.layers * 2 * self.kv_heads * context_tokens * self.head_size * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Shortlists:
    """What a graph that chooses candidates itself says of each row; views are valid until the next run.

    Attributes:
        ids: int32, shape (rows, candidates), likeliest first, ascending among equals.
        logits: float32, theirs.
        logsumexp: float32, shape (rows, 1), over the whole vocabulary.
    """

    ids: NDArray[np.int32]
    logits: Logits
    logsumexp: Logits


class Graph:
    """An onnxruntime session for a graph made by onnxruntime-genai's model builder.

    `candidates`: how many of the likeliest tokens the graph itself picks out (`weir_training.sampling_head`), so that a
    GPU need not send whole rows of logits; 0: it does not.

    Raises:
        DeviceMissingError: there is no such device.
        ReleaseError: the file is no such graph.
    """

    def __init__(self, path: Path, *, threads: int, device: Device = Device.CPU) -> None:
        options = ort.SessionOptions()
        # Without VNNI a product of int8 saturates in onnxruntime's quick kernel; this takes the exact one there.
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        self.device = device
        try:
            self.session = open_session(str(path), options, device)
        except DeviceMissingError:
            raise
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise ReleaseError(f"{path.name}: onnxruntime does not load this graph: {error}") from error
        self.past_names = [i.name for i in self.session.get_inputs() if i.name.startswith(_PAST)]
        self.cache = self._cache_shape(path)
        self._outputs = {o.name: o for o in self.session.get_outputs()}
        self.vocab_size, self.is_pruned = self._logits_shape(path)
        self.logits_dtype = _TYPES[self._outputs["logits"].type]
        self.candidates = self._candidates()

    def _cache_shape(self, path: Path) -> CacheShape:
        inputs = {i.name: i for i in self.session.get_inputs()}
        unknown = set(inputs) - _KNOWN_INPUTS - set(self.past_names)
        if unknown or not self.past_names or not set(inputs) >= _KNOWN_INPUTS:
            raise ReleaseError(f"{path.name}: not a decoder graph with past and present (inputs: {sorted(inputs)})")
        first = inputs[self.past_names[0]]
        if first.type not in _TYPES:
            raise ReleaseError(f"{path.name}: keys and values are {first.type}; they must be float or float16")
        kv_heads, head_size = first.shape[1], first.shape[3]
        if not isinstance(kv_heads, int):
            raise ReleaseError(f"{path.name}: the number of key/value heads is not in the graph")
        if not isinstance(head_size, int):
            head_size = _head_size(path)
        return CacheShape(len(self.past_names) // 2, kv_heads, head_size, _TYPES[first.type])

    def _logits_shape(self, path: Path) -> tuple[int, bool]:
        logits = self._outputs.get("logits")
        if logits is None or not isinstance(logits.shape[-1], int) or logits.type not in _TYPES:
            raise ReleaseError(f"{path.name}: no output `logits` with a fixed vocabulary")
        return int(logits.shape[-1]), logits.shape[1] == 1

    def _candidates(self) -> int:
        if not self.is_pruned or not set(_SHORT) <= set(self._outputs):
            return 0
        return int(self._outputs["top_ids"].shape[-1])


def _head_size(graph: Path) -> int:
    """The builder leaves this one number out of the graph's shapes; it writes it next to the graph."""
    try:
        config = json.loads((graph.parent / "genai_config.json").read_text(encoding="utf-8"))
        return int(config["model"]["decoder"]["head_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"{graph.parent.name}/genai_config.json: no head_size of the model: {error}") from error


class GraphSession:
    """A graph with room for `slots` sequences of up to `context_tokens` tokens. Not thread-safe.

    Past and present are bound to the same memory, on the graph's device, so GroupQueryAttention appends in place. It
    takes one token for each of many rows at different lengths, or many tokens for one row, and nothing between.
    """

    def __init__(self, graph: Graph, *, slots: int, context_tokens: int) -> None:
        self.graph = graph
        self.slots = slots
        self.context_tokens = context_tokens
        shape = (slots, graph.cache.kv_heads, context_tokens, graph.cache.head_size)
        self._cache = {name: Buffer(shape, graph.cache.dtype, graph.device) for name in graph.past_names}
        self._bindings: dict[tuple[int, int, bool], Any] = {}
        self._logits = np.zeros((slots, 1, graph.vocab_size), graph.logits_dtype)
        self._top_ids = np.zeros((slots, 1, graph.candidates), np.int32)
        self._top_logits = np.zeros((slots, 1, graph.candidates), np.float32)
        self._sums = np.zeros((slots, 1, 1), np.float32)

    @property
    def can_swap(self) -> bool:
        """Whether `swap` works: memory of a GPU is nothing that Python copies."""
        return self.graph.device is Device.CPU

    def run(self, ids: Ids, past: Sequence[int], *, first_slot: int) -> Logits:
        """Append tokens to consecutive slots and return the logits after the last one of each.

        Args:
            ids: shape (rows, new), int64; new > 1 for one row only.
            past: per row, how many tokens its slot holds; a smaller number than before rewinds it.
            first_slot: the slot of row 0; row r lies in slot `first_slot + r`.

        Returns:
            shape (rows, vocabulary), float32; the memory is written over by the next call.
        """
        rows, new = ids.shape
        whole = (rows, new, self.graph.vocab_size)
        logits = self._logits[:rows] if self._fits(new) else np.empty(whole, self.graph.logits_dtype)
        self._run(ids, past, first_slot, {"logits": logits}, is_short=False)
        return logits[:, -1].astype(np.float32, copy=False)

    def shortlists(self, ids: Ids, past: Sequence[int], *, first_slot: int) -> Shortlists:
        """As `run`, of a graph with `candidates`: only these leave the device."""
        tops, logits, sums = self._top_ids[: len(ids)], self._top_logits[: len(ids)], self._sums[: len(ids)]
        self._run(ids, past, first_slot, dict(zip(_SHORT, (tops, logits, sums), strict=True)), is_short=True)
        return Shortlists(tops[:, 0], logits[:, 0], sums[:, 0])

    def _run(
        self, ids: Ids, past: Sequence[int], first_slot: int, outputs: dict[str, NDArray[Any]], *, is_short: bool
    ) -> None:
        totals = np.asarray(past, np.int64) + ids.shape[1]
        mask = (np.arange(int(totals.max())) < totals[:, None]).astype(np.int64)
        tokens = np.ascontiguousarray(ids, np.int64)
        binding = self._binding(first_slot, len(ids), is_short=is_short)
        _bind(binding.bind_input, "input_ids", tokens)
        _bind(binding.bind_input, "attention_mask", mask)
        for name, array in outputs.items():
            _bind(binding.bind_output, name, array)
        self.graph.session.run_with_iobinding(binding)

    def swap(self, one: int, other: int, *, lengths: tuple[int, int]) -> None:
        """Exchange what two slots hold: the first positions of each, `lengths` of `one` and `other`."""
        in_one, in_other = lengths
        for buffer in self._cache.values():
            if buffer.host is None:
                raise RuntimeError("slots of a GPU are not swapped")
            kept = buffer.host[other, :, :in_other].copy()
            buffer.host[other, :, :in_one] = buffer.host[one, :, :in_one]
            buffer.host[one, :, :in_other] = kept

    def _fits(self, new: int) -> bool:
        return self.graph.is_pruned or new == 1

    def _binding(self, first_slot: int, rows: int, *, is_short: bool) -> Any:
        """Bindings are kept: making one names every layer's buffers again (about a millisecond for 30 layers)."""
        found = self._bindings.get((first_slot, rows, is_short))
        if found is None:
            found = self.graph.session.io_binding()
            for name, buffer in self._cache.items():
                buffer.bind(found.bind_input, name, first_slot, rows)
                buffer.bind(found.bind_output, name.replace(_PAST, _PRESENT), first_slot, rows)
            self._bindings[first_slot, rows, is_short] = found
        return found


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    """Bind an array's own memory; the caller keeps it alive until the run is over."""
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
