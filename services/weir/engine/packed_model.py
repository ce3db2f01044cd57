"""A graph over the packed tokens of many sequences (see `weir_training.packed_graph`), with its key/value blocks."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from weir.contracts.errors import ReleaseError
from weir.engine import output_tokens
from weir.engine.adapters import Adapter, Arranged, adapted_products, arranged
from weir.engine.kernels.library import operators
from weir.engine.packed_call import BLOCK_TOKENS, CallShape, PackedCall, Results, bind, shape_of
from weir.engine.step import Detail, Logits, PositionLogits, Row

_MOST_CALLS = 64
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
            hint = "if it names an operator of domain weir, the operators are older than the graph: install Weir again"
            raise ReleaseError(f"{path.name}: onnxruntime does not load this graph ({hint}): {error}") from error
        inputs = {i.name: i for i in self.session.get_inputs()}
        outputs = {o.name: o for o in self.session.get_outputs()}
        if set(inputs) != _INPUTS:
            raise ReleaseError(f"{path.name}: not a packed decoder graph (inputs: {sorted(inputs)})")
        self.cache_shape: tuple[int, ...] = tuple(int(n) for n in inputs["cache"].shape[1:])
        self.outputs = int(outputs["logits"].shape[1])
        self.candidates = int(outputs["ids"].shape[1])
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.vocab_size, self.kept = output_tokens.read(metadata, self.outputs)
        self.adapted = adapted_products(metadata)

    @property
    def block_bytes(self) -> int:
        return int(np.prod(self.cache_shape)) * 2


class PackedModel:
    """Implements `weir.engine.step.Model`. Keys and values are float16, 16 positions of all layers in a block.

    Of a graph that keeps some tokens' output rows, the logits of all others are -inf.
    """

    def __init__(
        self, graph: PackedGraph, *, blocks: int, context_tokens: int, adapters: Sequence[Adapter] = ()
    ) -> None:
        self.graph = graph
        self.blocks = blocks
        self.context_tokens = context_tokens
        self.vocab_size = graph.vocab_size
        self.candidates = graph.candidates
        self._cache = np.zeros((blocks, *graph.cache_shape), np.float16)  # the system gives pages when they are used
        self._scattered: Logits = np.zeros((0, graph.vocab_size), np.float32)  # columns of cut tokens stay -inf
        self._adapters = arranged(dict(enumerate(adapters)), graph.adapted)
        self._calls: dict[CallShape, PackedCall] = {}

    @property
    def block_tokens(self) -> int:
        return BLOCK_TOKENS

    @property
    def block_bytes(self) -> int:
        return self.graph.block_bytes

    @property
    def is_exact(self) -> bool:
        return True

    def arranged(self, *, add: Mapping[int, Adapter] | None = None, remove: Collection[int] = ()) -> Arranged:
        """Return the adapters of now, more of them or fewer, for `use`; from any thread.

        Raises:
            ReleaseError: one does not fit this graph.
        """
        kept = {number: found for number, found in self._adapters.adapters.items() if number not in remove}
        return arranged({**kept, **(add or {})}, self.graph.adapted, self._adapters)

    def use(self, adapters: Arranged) -> None:
        """Run with these from now on; on the thread that runs the model."""
        self._adapters = adapters
        self._calls = {}  # they are bound to the memory of the ones before

    def run(self, rows: Sequence[Row]) -> list[list[PositionLogits]]:
        """As `Model.run`; all rows in one run of the graph."""
        shape = shape_of(rows)
        call = self._calls.get(shape) or self._new_call(shape)
        call.fill(rows, self._adapters.rows)
        self.graph.session.run_with_iobinding(call.binding)
        return self._split(rows, call.results)

    def _new_call(self, shape: CallShape) -> PackedCall:
        """Bind a shape; the last ones are kept, of those with all logits only one, which may be large."""
        binding = self.graph.session.io_binding()
        bind(binding.bind_input, "cache", self._cache)
        bind(binding.bind_input, "adapters", self._adapters.matrix)
        call = PackedCall(binding, shape, candidates=self.candidates, columns=self.graph.outputs)
        if len(self._calls) >= _MOST_CALLS:
            del self._calls[next(iter(self._calls))]
        if shape.is_full:
            self._calls = {known: found for known, found in self._calls.items() if not known.is_full}
        self._calls[shape] = call
        return call

    def _split(self, rows: Sequence[Row], results: Results) -> list[list[PositionLogits]]:
        if all(row.detail == Detail.GREEDY for row in rows):
            best = self._as_tokens(results.ids[:, 0]).tolist()
            found = iter([PositionLogits(token) for token in best])
            return [list(islice(found, row.wanted)) for row in rows]
        ids, at, split = self._as_tokens(results.ids), 0, []
        for row in rows:
            split.append(self._positions(row, at, ids, results))
            at += row.wanted
        return split

    def _positions(self, row: Row, at: int, ids: NDArray[np.int32], results: Results) -> list[PositionLogits]:
        span = range(at, at + row.wanted)
        if row.detail == Detail.GREEDY:
            return [PositionLogits(int(ids[i, 0])) for i in span]
        full = self._wide(results.logits, at, row.wanted) if row.detail == Detail.FULL else None
        return [
            PositionLogits(
                int(ids[i, 0]),
                ids[i],
                results.values[i],
                float(results.logsumexp[i]),
                None if full is None else full[i - at],
            )
            for i in span
        ]

    def _as_tokens(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        return ids if self.graph.kept is None else self.graph.kept[ids]

    def _wide(self, logits: Logits | None, at: int, count: int) -> Logits | None:
        """Return `count` rows of logits from the `at`-th, shape (count, vocabulary)."""
        if logits is None or self.graph.kept is None:
            return None if logits is None else logits[at : at + count]
        if len(self._scattered) < at + count:
            self._scattered = np.full((len(logits), self.vocab_size), -np.inf, np.float32)
        self._scattered[at : at + count, self.graph.kept] = logits[at : at + count]
        return self._scattered[at : at + count]
