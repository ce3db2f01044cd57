"""Weights in the layout that `weir.Product` and `weir.Embedding` read (services/weir/engine/kernels/kernels.h).

Rounded once, symmetrically: 8 bits with one scale per output column, 4 bits with one scale per column and group.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TILE = 16
PAIR = 32
_LEAST = 1e-8  # the scale of a column of zeros

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Packed:
    """`weights` is flat uint8; `scales` flat float32 (8 bits) or float16 (4 bits); `columns` is padded to 32."""

    weights: NDArray[np.uint8]
    scales: NDArray[Any]
    columns: int
    bits: int
    group: int


def padded(weight: Matrix) -> Matrix:
    """Add columns of zeros up to a multiple of 32; `weight` has shape (columns, inner)."""
    missing = -len(weight) % PAIR
    return np.pad(weight, ((0, missing), (0, 0))) if missing else weight


def gated(gate: Matrix, up: Matrix) -> Matrix:
    """Lay 16 gate columns beside the 16 up columns that they gate; both have shape (columns, inner).

    Raises:
        ValueError: their columns are no multiple of 16.
    """
    if len(gate) % TILE or gate.shape != up.shape:
        raise ValueError(f"gate and up must have equal shapes and a multiple of {TILE} columns, not {gate.shape}")
    inner = gate.shape[1]
    return np.stack([gate.reshape(-1, TILE, inner), up.reshape(-1, TILE, inner)], axis=1).reshape(-1, inner)


def pack8(weight: Matrix) -> Packed:
    """Pack `weight`, shape (columns, inner), inner a multiple of 4."""
    weight = padded(weight)
    scales = np.maximum(np.abs(weight).max(axis=1) / 127, _LEAST).astype(np.float32)
    values = np.clip(np.rint(weight / scales[:, None]), -127, 127).astype(np.int16) + 128
    columns, inner = weight.shape
    tiles = values.astype(np.uint8).reshape(columns // TILE, TILE, inner // 4, 4).transpose(0, 2, 1, 3)
    return Packed(np.ascontiguousarray(tiles).reshape(-1), scales, columns, 8, 0)


def pack4(weight: Matrix, group: int) -> Packed:
    """Pack `weight`, shape (columns, inner), inner a multiple of `group`, group a multiple of 32.

    The scale's sign follows the largest value, so that it becomes -8, the end with one step more.
    """
    weight = padded(weight)
    columns, inner = weight.shape
    grouped = weight.reshape(columns, inner // group, group)
    scales = scales4(grouped)
    values = np.clip(np.rint(grouped / scales[:, :, None].astype(np.float32)), -8, 7).astype(np.int8) + 8
    return Packed(_nibbles(values.astype(np.uint8).reshape(columns, inner)), _scale_tiles(scales), columns, 4, group)


def scales4(grouped: Matrix) -> NDArray[np.float16]:
    """Return the scale with the least squared error among a few, per column and group of shape (.., .., group)."""
    at = np.abs(grouped).argmax(axis=-1)
    extreme = np.take_along_axis(grouped, at[..., None], axis=-1)[..., 0]
    best = np.full(extreme.shape, np.inf, np.float32)
    chosen = np.full(extreme.shape, _LEAST, np.float16)
    for steps in (8.0, 7.75, 7.5, 7.25, 7.0, 6.5):
        scales = np.where(extreme == 0, np.float32(6e-5), -extreme / steps).astype(np.float16)
        scales = np.where(scales == 0, np.float16(6e-5), scales)
        wide = scales.astype(np.float32)[..., None]
        error = np.square(np.clip(np.rint(grouped / wide), -8, 7) * wide - grouped).sum(axis=-1)
        better = error < best
        best, chosen = np.where(better, error, best), np.where(better, scales, chosen)
    return chosen


def _nibbles(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    columns, inner = values.shape
    tiles = values.reshape(columns // TILE, TILE, inner // 32, 2, 4, 4).transpose(0, 2, 3, 4, 1, 5)
    low, high = tiles[:, :, 0], tiles[:, :, 1]
    return np.ascontiguousarray(low | (high << 4)).reshape(-1)


def _scale_tiles(scales: NDArray[np.float16]) -> NDArray[np.float16]:
    columns, groups = scales.shape
    return np.ascontiguousarray(scales.reshape(columns // TILE, TILE, groups).transpose(0, 2, 1)).reshape(-1)
