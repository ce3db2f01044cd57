"""What a checkpoint's products read: second moments of their inputs, which say how much a weight's error matters."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Moment = NDArray[np.float32]

_BUDGET_BYTES: Final = 3 << 30  # a 0.5B model in one go
# By product of a packed graph, a module that has the same input.
_READERS: Final = {"qkv": "self_attn.q_proj", "o": "self_attn.o_proj", "up": "mlp.gate_proj", "down": "mlp.down_proj"}


@dataclass(frozen=True, slots=True)
class Calibration:
    """Token ids of sequences that a checkpoint is read with, and the threads to do it with."""

    sequences: Sequence[Sequence[int]]
    threads: int


class Moments:
    """Mean of x x' over the tokens that a product reads, float32, shape (inner, inner), layer by layer.

    Sequences are read again for each group of layers whose moments fit into 3 GiB.
    """

    def __init__(self, checkpoint: Path, calibration: Calibration) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(calibration.threads)
        self._torch = torch
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
        ).eval()
        self._sequences = sorted(calibration.sequences, key=len)
        self._known: dict[int, dict[str, Any]] = {}

    def of(self, layer: int) -> "dict[str, Moment]":
        """Return a layer's, by product: qkv, o, up, down."""
        if layer not in self._known:
            self._known = self._read(range(layer, min(layer + self._layers_at_once(), len(self._model.model.layers))))
        return {name: sums.numpy() for name, sums in self._known[layer].items()}

    def _layers_at_once(self) -> int:
        sizes = [int(self._module(0, path).in_features) for path in _READERS.values()]
        return max(1, _BUDGET_BYTES // sum(4 * size * size for size in sizes))

    def _module(self, layer: int, path: str) -> Any:
        return self._model.model.layers[layer].get_submodule(path)

    def _read(self, layers: range) -> dict[int, dict[str, Any]]:
        torch = self._torch
        sums: dict[int, dict[str, Any]] = {layer: {} for layer in layers}
        hooks = []
        for layer in layers:
            for name, path in _READERS.items():
                module = self._module(layer, path)
                sums[layer][name] = torch.zeros(module.in_features, module.in_features)
                hooks.append(module.register_forward_pre_hook(self._adder(sums[layer][name])))
        try:
            with torch.inference_mode():
                for sequence in self._sequences:
                    self._model.model(input_ids=torch.tensor([list(sequence)]), use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        count = sum(map(len, self._sequences))
        return {layer: {name: total / count for name, total in found.items()} for layer, found in sums.items()}

    def _adder(self, total: Any) -> Any:
        def add(_: Any, inputs: tuple[Any, ...]) -> None:
            x = inputs[0].reshape(-1, total.shape[0])
            total.addmm_(x.T, x)

        return add
