"""What `weir eval` measured on a run, in the form a release carries."""

import json
from typing import Any, Final

from weir_training.rundir import RunDirectory

_FIGURES: Final = ("exact_match", "nll", "stopped", "rows")
_PARTS: Final = ("trained", "heldout")
# Which measured subjects are before and after; the first that was measured counts.
_WHEN: Final = {"before": ("base",), "after": ("merged", "adapter")}


def evaluation_of(run: RunDirectory) -> dict[str, float]:
    """Return figures such as `exact_match_trained_before`; empty when nothing was evaluated."""
    figures: dict[str, float] = {}
    measured = run.metrics("eval") or {}
    for when, subjects in _WHEN.items():
        metrics: dict[str, Any] = next((measured[subject] for subject in subjects if subject in measured), {})
        names = [f"{figure}_{part}" for part in _PARTS for figure in _FIGURES]
        figures |= {f"{name}_{when}": float(metrics[name]) for name in names if name in metrics}
    return figures


def reports_of(run: RunDirectory) -> dict[str, Any]:
    """Return the eval reports by subject, without the rows that were answered wrong: those are the run's own data."""
    found = sorted((run.root / "eval").glob("*.json"))
    return {path.stem: _without_rows(json.loads(path.read_text(encoding="utf-8"))) for path in found}


def _without_rows(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: _without_rows(v) if isinstance(v, dict) else v for key, v in tree.items() if key != "mismatches"}
