"""Opens an exported graph as the engine would, to measure it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from weir.contracts.manifest import is_packed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from weir.engine.adapters import Adapter
    from weir.engine.session import Graph
    from weir.engine.step import Model

_log = logging.getLogger("weir.verify")
GRAPH: Final = "model.onnx"
WEIGHTS: Final = "model.onnx.data"
PAGED: Final = "cuda-int4-paged"
TWIN: Final = "cuda-int4"


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
    from weir.engine.session import GraphSession
    from weir.engine.slot_model import SlotModel

    return SlotModel(GraphSession(_graph(folder, threads=threads), slots=rows, context_tokens=context_tokens))


def _graph(folder: Path, *, threads: int) -> "Graph":
    """A CUDA flavour is measured where it will run; on a machine without a GPU, its graph runs on the CPU."""
    from weir.engine.device import Device, DeviceMissingError, choose_device
    from weir.engine.session import Graph

    try:
        return Graph(folder / GRAPH, threads=threads, device=choose_device(folder.name, "auto"))
    except DeviceMissingError as error:
        _log.info("%s is measured on the CPU: %s", folder.name, error)
        return Graph(folder / GRAPH, threads=threads, device=Device.CPU)


def device_of(model: "Model") -> Literal["cpu", "cuda"]:
    """Where a model runs."""
    from weir.engine.slot_model import SlotModel

    return "cuda" if isinstance(model, SlotModel) and model.device == "cuda" else "cpu"


def output_tokens(model: "Model") -> "NDArray[np.int32] | None":
    """Return the tokens that a graph with a cut output layer can say, ascending; None: all."""
    from weir.engine.packed_model import PackedModel

    return model.graph.kept if isinstance(model, PackedModel) else None
