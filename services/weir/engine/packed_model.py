"""A graph over the packed tokens of many sequences (see `weir_training.packed_graph`), with its key/value blocks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from weir.contracts.errors import ReleaseError
from weir.engine.adapters import Adapter, adapted_products, laid_out
from weir.engine.kernels.library import operators
from weir.engine.step import Detail, Logits, PositionLogits, Row

BLOCK_TOKENS = 16
_INPUTS = frozenset({"input_ids", "cache", "sequences", "table", "wanted", "wants", "adapters", "adapter_of"})
_QUIET = 3  # errors only


class PackedGraph:
    """An onnxruntime session on CPU with Weir's operators.

    Raises:
        ReleaseError: the operators are not built on this machine, or the file is no such graph.
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        library = operators()
        if library is None:
            raise ReleaseError(f"{path.parent.name}: this machine has no built operators; take another flavour")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        options.enable_mem_pattern = False  # no two steps have the same shapes
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.register_custom_ops_library(str(library))
        try:
            self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise ReleaseError(f"{path.name}: onnxruntime does not load this graph: {error}") from error
        inputs = {i.name: i for i in self.session.get_inputs()}
        outputs = {o.name: o for o in self.session.get_outputs()}
        if set(inputs) != _INPUTS:
            raise ReleaseError(f"{path.name}: not a packed decoder graph (inputs: {sorted(inputs)})")
        self.cache_shape: tuple[int, ...] = tuple(int(n) for n in inputs["cache"].shape[1:])
        self.vocab_size = int(outputs["logits"].shape[1])
        self.candidates = int(outputs["ids"].shape[1])
        self.adapted = adapted_products(self.session.get_modelmeta().custom_metadata_map)

    @property
    def block_bytes(self) -> int:
        return int(np.prod(self.cache_shape)) * 2


class PackedModel:
    """Implements `weir.engine.step.Model`. Keys and values are float16, 16 positions of all layers in a block."""

    def __init__(
        self, graph: PackedGraph, *, blocks: int, context_tokens: int, adapters: Sequence[Adapter] = ()
    ) -> None:
        self.graph = graph
        self.blocks = blocks
        self.context_tokens = context_tokens
        self.vocab_size = graph.vocab_size
        self.candidates = graph.candidates
        self._cache = np.zeros((blocks, *graph.cache_shape), np.float16)  # the system gives pages when they are used
        self._full: Logits = np.zeros((0, graph.vocab_size), np.float32)
        self._binding: Any = graph.session.io_binding()
        _bind(self._binding.bind_input, "cache", self._cache)
        self._adapters = laid_out(adapters, graph.adapted)
        _bind(self._binding.bind_input, "adapters", self._adapters)

    @property
    def block_tokens(self) -> int:
        return BLOCK_TOKENS

    @property
    def block_bytes(self) -> int:
        return self.graph.block_bytes

    @property
    def is_exact(self) -> bool:
        return True

    def run(self, rows: Sequence[Row]) -> list[list[PositionLogits]]:
        """As `Model.run`; all rows in one run of the graph."""
        ids = np.array([token for row in rows for token in row.tokens], np.int64)
        counts = [len(row.tokens) for row in rows]
        firsts = np.cumsum([0, *counts[:-1]])
        sequences = np.array([firsts, counts, [row.past for row in rows]], np.int32).T.copy()
        wanted, wants = _wanted(rows, counts)
        adapter_of = np.repeat(np.array([row.adapter for row in rows], np.int32), counts)
        bind = self._binding.bind_input
        table = _table(rows, counts)
        for name, array in (("input_ids", ids), ("sequences", sequences), ("table", table)):
            _bind(bind, name, array)
        _bind(bind, "wanted", wanted)
        _bind(bind, "wants", wants)
        _bind(bind, "adapter_of", adapter_of)
        top = self._outputs(len(wanted), is_full=any(row.detail == Detail.FULL and row.wanted for row in rows))
        self.graph.session.run_with_iobinding(self._binding)
        return self._split(rows, *top)

    def _outputs(self, count: int, *, is_full: bool) -> tuple[NDArray[np.int32], Logits, Logits]:
        self._binding.clear_binding_outputs()
        shape = (count, self.candidates)
        ids, values, logsumexp = np.empty(shape, np.int32), np.empty(shape, np.float32), np.empty(count, np.float32)
        for name, array in (("ids", ids), ("values", values), ("logsumexp", logsumexp)):
            _bind(self._binding.bind_output, name, array)
        if is_full:
            if len(self._full) < count:
                self._full = np.empty((count, self.vocab_size), np.float32)
            _bind(self._binding.bind_output, "logits", self._full[:count])
        return ids, values, logsumexp

    def _split(
        self, rows: Sequence[Row], ids: NDArray[np.int32], values: Logits, logsumexp: Logits
    ) -> list[list[PositionLogits]]:
        best, at, result = ids[:, 0].tolist(), 0, []
        for row in rows:
            span = range(at, at + row.wanted)
            if row.detail == Detail.GREEDY:
                result.append([PositionLogits(best[i]) for i in span])
            else:
                full = self._full if row.detail == Detail.FULL else None
                result.append(
                    [
                        PositionLogits(
                            best[i], ids[i], values[i], float(logsumexp[i]), None if full is None else full[i]
                        )
                        for i in span
                    ]
                )
            at += row.wanted
        return result


def _table(rows: Sequence[Row], counts: Sequence[int]) -> NDArray[np.int32]:
    used = [-(-(row.past + count) // BLOCK_TOKENS) for row, count in zip(rows, counts, strict=True)]
    table = np.zeros((len(rows), max(used, default=1)), np.int32)
    for line, row, count in zip(table, rows, used, strict=True):
        line[:count] = row.blocks[:count]
    return table


def _wanted(rows: Sequence[Row], counts: Sequence[int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    wanted: list[int] = []
    wants: list[int] = []
    end = 0
    for row, count in zip(rows, counts, strict=True):
        end += count
        wanted.extend(range(end - row.wanted, end))
        wants.extend([int(row.detail > Detail.GREEDY)] * row.wanted)
    return np.array(wanted, np.int32), np.array(wants, np.int32)


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    """Bind an array's own memory; the caller keeps it alive until the run is over."""
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
