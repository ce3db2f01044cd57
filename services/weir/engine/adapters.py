"""LoRA adapters (Hu et al. 2021, arXiv:2106.09685) beside a packed graph: PEFT's own files, laid out for the products.

An adapter becomes one vector. For every product of the graph, in order, it holds A, [rank][inner], then B times the
adapter's scale, [columns/32][rank][32]. A product that stands for several modules (q, k, v; gate, up) has their A's
below each other and B's that are zero in the others' columns, so its rank is a multiple of the adapter's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from weir.contracts.errors import ReleaseError

ADAPTED: Final = "weir.adapted"
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_TILE, _PAIR = 16, 32
_MOST_RANK: Final = 256

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Adapted:
    """One product: the modules that it stands for with their widths, in the order of its columns.

    `columns` is padded; those of a gated product alternate, 16 of the first module and 16 of the second.
    """

    modules: Mapping[str, int]
    inner: int
    columns: int
    gated: bool

    def size(self, rank: int) -> int:
        return rank * len(self.modules) * (self.inner + self.columns)


@dataclass(frozen=True, slots=True)
class Adapter:
    """By module name A, shape (rank, inner), and B times the scale, shape (width, rank)."""

    name: str
    rank: int
    matrices: Mapping[str, tuple[Matrix, Matrix]]


def adapted_products(metadata: Mapping[str, str]) -> tuple[Adapted, ...]:
    """Read a packed graph's metadata; empty for a graph without adapters' inputs."""
    return tuple(
        Adapted(part["modules"], part["inner"], part["columns"], part["gated"])
        for part in json.loads(metadata.get(ADAPTED, "[]"))
    )


def read_adapter(folder: Path) -> Adapter:
    """Read a folder that PEFT wrote; its name is the adapter's.

    Raises:
        ReleaseError: no LoRA adapter, or of a kind that is not served (DoRA, biases, whole modules).
    """
    try:
        config: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        tensors = _tensors(folder / _WEIGHTS)
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"adapter {folder.name}: not a LoRA adapter of PEFT: {error}") from error
    _refuse_other_kinds(folder.name, config, rank)
    scale = alpha / rank**0.5 if config.get("use_rslora") else alpha / rank
    return Adapter(folder.name, rank, _matrices(folder.name, tensors, scale))


def _tensors(path: Path) -> dict[str, Matrix]:
    from safetensors.numpy import load_file

    return {name: np.asarray(value, np.float32) for name, value in load_file(path).items()}


def _refuse_other_kinds(name: str, config: Mapping[str, Any], rank: int) -> None:
    faults = [
        (config.get("peft_type") != "LORA", f"kind {config.get('peft_type')}"),
        (bool(config.get("use_dora")), "DoRA"),
        (config.get("bias", "none") != "none", "trained biases"),
        (bool(config.get("modules_to_save")), "whole modules"),
        (bool(config.get("rank_pattern") or config.get("alpha_pattern")), "ranks by module"),
        (not 1 <= rank <= _MOST_RANK, f"rank {rank}"),
    ]
    if found := [words for fault, words in faults if fault]:
        raise ReleaseError(f"adapter {name}: not served: {', '.join(found)}")


def _matrices(name: str, tensors: Mapping[str, Matrix], scale: float) -> dict[str, tuple[Matrix, Matrix]]:
    found = {}
    for key, a in tensors.items():
        if key.endswith(".lora_A.weight"):
            module = key.removesuffix(".lora_A.weight")
            b = tensors.get(f"{module}.lora_B.weight")
            if b is None:
                raise ReleaseError(f"adapter {name}: {module} has an A and no B")
            found[module.removeprefix(_PREFIX)] = (a, b * np.float32(scale))
    if not found or len(found) * 2 != len(tensors):
        raise ReleaseError(f"adapter {name}: holds tensors that are not LoRA's A and B")
    return found


@dataclass(frozen=True, slots=True)
class Arranged:
    """Adapters as a packed graph takes them: `matrix`, a row each, and which row is whose, by the adapters' numbers."""

    adapters: Mapping[int, Adapter]
    rows: Mapping[int, int]
    matrix: Matrix

    @property
    def rank(self) -> int:
        return max((adapter.rank for adapter in self.adapters.values()), default=0)


NONE_ARRANGED: Final = Arranged({}, {}, np.zeros((0, 0), np.float32))


def arranged(
    adapters: Mapping[int, Adapter], products: Sequence[Adapted], before: Arranged = NONE_ARRANGED
) -> Arranged:
    """Lay adapters out, lower ranks padded; rows that `before` holds in the same rank are taken from there.

    Raises:
        ReleaseError: the graph has no such module, or one of another shape.
    """
    if not adapters:
        return NONE_ARRANGED
    rank = max(adapter.rank for adapter in adapters.values())
    known = before.rows if before.rank == rank else {}
    matrix = np.stack(
        [
            before.matrix[known[number]] if number in known else _vector(adapter, products, rank)
            for number, adapter in adapters.items()
        ]
    )
    return Arranged(dict(adapters), {number: row for row, number in enumerate(adapters)}, matrix)


def _vector(adapter: Adapter, products: Sequence[Adapted], rank: int) -> Matrix:
    known = {module for product in products for module in product.modules}
    if unknown := set(adapter.matrices) - known:
        raise ReleaseError(f"adapter {adapter.name}: this model has no module {min(unknown)}")
    return np.concatenate([part for product in products for part in _product_parts(adapter, product, rank)])


def _product_parts(adapter: Adapter, product: Adapted, rank: int) -> tuple[Matrix, Matrix]:
    count = len(product.modules)
    low = np.zeros((count * rank, product.inner), np.float32)
    high = np.zeros((product.columns, count * rank), np.float32)
    first = 0
    for number, (module, width) in enumerate(product.modules.items()):
        pair = adapter.matrices.get(module)
        if pair is not None:
            a, b = pair
            if a.shape[1] != product.inner or b.shape[0] != width:
                raise ReleaseError(f"adapter {adapter.name}: {module} has another shape than this model's")
            rows = slice(number * rank, number * rank + len(a))
            low[rows] = a
            high[_columns(product, number, first, width), rows] = b
        first += width
    tiled = high.reshape(product.columns // _PAIR, _PAIR, count * rank).transpose(0, 2, 1)
    return low.reshape(-1), np.ascontiguousarray(tiled).reshape(-1)


def _columns(product: Adapted, number: int, first: int, width: int) -> Any:
    """Which columns of the product are a module's."""
    if not product.gated:
        return slice(first, first + width)
    columns = np.arange(width)
    return columns // _TILE * _PAIR + number * _TILE + columns % _TILE
