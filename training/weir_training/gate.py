"""Decides from measured numbers whether a flavour may be served. No files, no tensors."""

import math
from dataclasses import dataclass
from typing import Literal

from weir.contracts.manifest import Parity
from weir_training.recipe import ExportPart, GatePart

REFERENCE = "cpu-fp32"
_WORST = 1.0e9  # stands for infinity and not-a-number, which JSON does not know


@dataclass(frozen=True, slots=True)
class Measured:
    """One flavour beside the fp32 checkpoint, teacher-forced on the task's rows.

    `max_abs` (logits), `argmax_agreement` and `mean_kl` (nats) are over every position, stepped through the past
    and read at once; `nll` (nats per token) and `exact_match` are over the answers. `greedy_equal` compares
    freely generated tokens. Of a flavour that cannot say every token: `kept_tokens` says how many it can,
    `lost_mass` what share of an answer's probability the others had (`mean_kl` holds its price, see
    `weir_training.cut_cost`), `heldout_cut` how many tokens of held-out answers are among them.
    """

    max_abs: float
    argmax_agreement: float
    mean_kl: float
    nll: float
    nll_reference: float
    greedy_equal: bool
    exact_match: float
    exact_match_reference: float
    bytes: int
    lost_mass: float = 0.0
    kept_tokens: int | None = None
    heldout_cut: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"


def judge(flavour: str, measured: Measured, export: ExportPart) -> tuple[str, ...]:
    """Return each number that is out of bounds, in words; empty when the flavour passed.

    fp32 is the same model in another format, so it is held to logits and greedy tokens. A quantised one is
    another model: held to distribution and task, never to max abs or greedy equality, which say nothing of it.
    """
    return _same(measured, export) if flavour == REFERENCE else _close(measured, bounds(flavour, export))


def bounds(flavour: str, export: ExportPart) -> GatePart:
    """Return a quantised flavour's limits: eight bits are held to more than four."""
    by_flavour = {
        "cpu-w8a8": export.w8a8,
        "cpu-int8": export.int8,
        "cpu-int4": export.int4,
        "cpu-packed8": export.int8,
        "cpu-packed4": export.int4,
        "cuda-fp16": export.fp16,
        "cuda-int4": export.int4,
        "cuda-int4-paged": export.int4,
        "modelopt-fp8": export.fp8,
        "modelopt-int4_awq": export.int4,
    }
    return by_flavour[flavour]


def parity(flavour: str, measured: Measured, export: ExportPart) -> Parity:
    """Return the manifest's record of a measured flavour, verdict included."""
    reasons = judge(flavour, measured, export)
    return Parity(
        max_abs=finite(measured.max_abs),
        argmax_agreement=measured.argmax_agreement,
        mean_kl=finite(measured.mean_kl),
        nll=finite(measured.nll),
        nll_reference=finite(measured.nll_reference),
        greedy_equal=measured.greedy_equal,
        exact_match=measured.exact_match,
        exact_match_reference=measured.exact_match_reference,
        bytes=measured.bytes,
        lost_mass=min(1.0, measured.lost_mass),
        kept_tokens=measured.kept_tokens,
        heldout_cut=measured.heldout_cut,
        device=measured.device,
        passed=not reasons,
        reasons=reasons,
    )


def _same(measured: Measured, export: ExportPart) -> tuple[str, ...]:
    reasons = _above("max abs", measured.max_abs, export.fp32_max_abs)
    if not measured.greedy_equal:
        reasons += (f"{export.greedy_tokens} greedy tokens differ from the checkpoint's",)
    return reasons


def _close(measured: Measured, bounds: GatePart) -> tuple[str, ...]:
    drop = measured.exact_match_reference - measured.exact_match
    return (
        *_above("mean KL", measured.mean_kl, bounds.kl),
        *_below("argmax agreement", measured.argmax_agreement, bounds.argmax),
        *_above("NLL rise", measured.nll - measured.nll_reference, bounds.nll_rise),
        *_above("exact match drop", drop, bounds.exact_match_drop),
    )


def _above(name: str, value: float, limit: float) -> tuple[str, ...]:
    return () if value <= limit + _slack(limit) else (f"{name} {_shown(value)} > {_shown(limit)}",)


def _below(name: str, value: float, limit: float) -> tuple[str, ...]:
    return () if value >= limit - _slack(limit) else (f"{name} {_shown(value)} < {_shown(limit)}",)


def _slack(limit: float) -> float:
    """1.0 - 0.98 is a little more than 0.02; a limit is meant as it is written."""
    return abs(limit) * 1e-9


def _shown(value: float) -> str:
    return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0.0 else f"{value:.1e}"


def finite(value: float) -> float:
    """JSON has no infinity and no not-a-number; neither is ever within a limit."""
    return value if math.isfinite(value) else _WORST
