"""Opens an exported graph as the engine would, to measure it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from weir.contracts.manifest import is_packed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from weir.engine.adapters import Adapter
    from weir.engine.step import Model

GRAPH: Final = "model.onnx"


def open_graph(
    folder: Path, *, rows: int, context_tokens: int, threads: int, adapters: "Sequence[Adapter]" = ()
) -> "Model":
    """Return a flavour's graph with room for `rows` sequences of `context_tokens` tokens.

    Raises:
        ReleaseError: the graph does not load.
    """
    if is_packed(folder.name):
        from weir.engine.packed_call import BLOCK_TOKENS
        from weir.engine.packed_model import PackedGraph, PackedModel

        packed = PackedGraph(folder / GRAPH, threads=threads)
        blocks = rows * -(-context_tokens // BLOCK_TOKENS)
        return PackedModel(packed, blocks=blocks, context_tokens=context_tokens, adapters=adapters)
    from weir.engine.session import Graph, GraphSession
    from weir.engine.slot_model import SlotModel

    return SlotModel(GraphSession(Graph(folder / GRAPH, threads=threads), slots=rows, context_tokens=context_tokens))


def output_tokens(model: "Model") -> "NDArray[np.int32] | None":
    """Return the tokens that a graph with a cut output layer can say, ascending; None: all."""
    from weir.engine.packed_model import PackedModel

    return model.graph.kept if isinstance(model, PackedModel) else None
