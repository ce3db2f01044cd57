"""Weights in the layout that `weir.Product` and `weir.Embedding` read (services/weir/engine/kernels/kernels.h).

Rounded once, symmetrically: 8 bits with one scale per output column, 4 bits with one scale per column and group. Where
it is known what a product reads, an error of 4 bits is made up for in the weights that are rounded after it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TILE = 16
PAIR = 32
_LEAST = 1e-8  # the scale of a column of zeros
_DAMPING = 0.1  # of the moments' mean: what was read is a sample

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


def pack4(weight: Matrix, group: int, moment: Matrix | None = None) -> Packed:
    """Pack `weight`, shape (columns, inner), inner a multiple of `group`, group a multiple of 32.

    The scale's sign follows the largest value, so that it becomes -8, the end with one step more.

    Args:
        weight: what the product multiplies by.
        group: how many weights of a column share a scale.
        moment: mean of x x' over what the product reads, shape (inner, inner); None: each weight is rounded by itself.
    """
    weight = padded(weight)
    values, scales = _nearest(weight, group) if moment is None else _fed_back(weight, group, moment)
    return Packed(_nibbles((values + 8).astype(np.uint8)), _scale_tiles(scales), len(weight), 4, group)


def _nearest(weight: Matrix, group: int) -> tuple[Matrix, NDArray[np.float16]]:
    columns, inner = weight.shape
    grouped = weight.reshape(columns, inner // group, group)
    scales = scales4(grouped)
    return _steps(grouped, scales[:, :, None].astype(np.float32)).reshape(columns, inner), scales


def _fed_back(weight: Matrix, group: int, moment: Matrix) -> tuple[Matrix, NDArray[np.float16]]:
    """Round inner by inner; what each rounding does to the product is taken back by the inners that follow.

    Source: GPTQ, Frantar et al. 2022, arXiv:2210.17323; a group's scale is chosen when its turn comes.
    """
    root = _inverse_root(moment)
    rest = weight.T.copy()  # rows are worked on
    values, scales = np.empty_like(rest), np.empty((rest.shape[1], len(rest) // group), np.float16)
    for first in range(0, len(rest), group):
        span = slice(first, first + group)
        part, within = rest[span], root[span, span]
        worth = np.diagonal(within) ** -2.0  # of an error that those that follow cannot take back
        scale = scales[:, first // group] = scales4(part.T, worth)
        wide, errors = scale.astype(np.float32), np.empty_like(part)
        for k in range(group):
            values[first + k] = _steps(part[k], wide)
            errors[k] = (part[k] - values[first + k] * wide) / within[k, k]
            part[k + 1 :] -= within[k, k + 1 :, None] * errors[k]
        rest[first + group :] -= root[span, first + group :].T @ errors
    return values.T, scales


def _inverse_root(moment: Matrix) -> Matrix:
    """Return the upper triangular U with U'U the inverse of `moment`, its diagonal raised by a part of its mean."""
    import torch

    unit = torch.eye(len(moment))
    damped = torch.from_numpy(moment) + unit * (_DAMPING * float(moment.diagonal().mean()) or 1.0)
    lower = torch.linalg.cholesky(damped.flip(0, 1))
    root: Matrix = torch.linalg.solve_triangular(lower, unit, upper=False).flip(0, 1).numpy()
    return np.ascontiguousarray(root)


def _steps(weight: Matrix, scale: Matrix) -> Matrix:
    steps: Matrix = np.clip(np.rint(weight / scale), -8, 7)
    return steps


def scales4(grouped: Matrix, worth: NDArray[np.float32] | None = None) -> NDArray[np.float16]:
    """Return the scale with the least squared error among a few, for the groups along the last axis.

    `worth`, shape (group,), is what the square of each error counts; None: all the same.
    """
    at = np.abs(grouped).argmax(axis=-1)
    extreme = np.take_along_axis(grouped, at[..., None], axis=-1)[..., 0]
    best = np.full(extreme.shape, np.inf, np.float32)
    chosen = np.full(extreme.shape, _LEAST, np.float16)
    for steps in (8.0, 7.75, 7.5, 7.25, 7.0, 6.5):
        scales = np.where(extreme == 0, np.float32(6e-5), -extreme / steps).astype(np.float16)
        scales = np.where(scales == 0, np.float16(6e-5), scales)
        wide = scales.astype(np.float32)[..., None]
        error = np.square(_steps(grouped, wide) * wide - grouped)
        error = error.sum(axis=-1) if worth is None else error @ worth
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
