"""What a trained classifier is worth: calibration, graph, parity, threshold, and figures on rows that it never saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weir.contracts.classifier import GoldenText, ScoreParity, Threshold
from weir.contracts.errors import CheckFailedError
from weir.engine.classifier import Scorer
from weir.guard.input import InputFilter
from weir.guard.policy import parse_policy
from weir.guard.rules import Action
from weir_training.classifier.fit import read_texts, reader, windows_of
from weir_training.classifier.graph import write_graph
from weir_training.classifier.measure import (
    Figures,
    Flags,
    Values,
    calibrated,
    figures,
    figures_of_finds,
    groups,
    threshold_at,
)
from weir_training.classifier.network import Network
from weir_training.classifier.recipe import ClassifierRecipe
from weir_training.classifier.rows import Labelled, Split

_GOLDEN = 6
Table = dict[str, Figures]  # by group of rows


@dataclass(frozen=True, slots=True)
class Measured:
    """`heldout` and `rules` are by group; `rules` are by what of the packs counts as a find, too."""

    threshold: Threshold
    parity: ScoreParity
    golden: tuple[GoldenText, ...]
    validation: Table
    heldout: Table
    rules: dict[str, Table]

    def evaluation(self) -> dict[str, float]:
        """Return the figures that a manifest names; what could not be measured is not among them."""
        named = {"validation": self.validation, "heldout": self.heldout}
        named |= {f"heldout_rules_{what}": table for what, table in self.rules.items()}
        return {
            _key(prefix, group, name): value
            for prefix, table in named.items()
            for group, found in table.items()
            for name, value in found.as_json().items()
            if value is not None
        }


def _key(prefix: str, group: str, name: str) -> str:
    return f"{prefix}_{name}" if group == "all" else f"{prefix}_{group}_{name}"


def measured(network: Network, recipe: ClassifierRecipe, split: Split, graph: Path) -> Measured:
    """Write the calibrated graph to `graph` and measure it.

    Raises:
        CheckFailedError: its scores are not the checkpoint's, or it does not tell the validation rows apart.
    """
    cut, read = windows_of(recipe), reader(network)
    logits = read_texts(read, cut, [row.text for row in split.validation])
    a, b = calibrated(logits, _sought(split.validation))
    weights = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    write_graph(weights, a=a, b=b, columns=cut.ngrams.columns, path=graph)
    scorer = Scorer(graph, cut.ngrams.columns)

    def scored(rows: Sequence[Labelled]) -> Values:
        return read_texts(scorer, cut, [row.text for row in rows], nothing=0.0)

    scores, heldout = scored(split.validation), scored(split.heldout)
    expected = np.concatenate([logits, read_texts(read, cut, [row.text for row in split.heldout])])
    gap = np.abs(_sigmoid(a * expected.astype(np.float64) + b) - np.concatenate([scores, heldout]))
    threshold = threshold_at(scores, _sought(split.validation), recipe.false_positive_rate)
    validation = _table(split.validation, scores, threshold)
    parity = _parity(float(gap.max()), len(gap), graph, recipe)
    _refuse(recipe, validation["all"], parity)
    return Measured(
        threshold=_threshold(threshold, validation["all"]),
        parity=parity,
        golden=_golden(split.validation, scores),
        validation=validation,
        heldout=_table(split.heldout, heldout, threshold),
        rules=_rules(recipe.beside, split.heldout),
    )


def _refuse(recipe: ClassifierRecipe, found: Figures, parity: ScoreParity) -> None:
    reasons = list(parity.reasons)
    if not found.auc >= recipe.gate.auc:
        reasons.append(f"area under the curve {found.auc:.4f} < {recipe.gate.auc} on {found.rows} validation rows")
    if reasons:
        raise CheckFailedError(f"{recipe.name}: not published: {'; '.join(reasons)}")


def _parity(gap: float, rows: int, graph: Path, recipe: ClassifierRecipe) -> ScoreParity:
    passed = gap <= recipe.gate.max_abs
    reasons = () if passed else (f"scores differ from the checkpoint's by {gap:.2g} > {recipe.gate.max_abs:.2g}",)
    return ScoreParity(max_abs=gap, rows=rows, bytes=graph.stat().st_size, passed=passed, reasons=reasons)


def _threshold(score: float, found: Figures) -> Threshold:
    return Threshold(
        score=min(1.0, score),
        false_positive_rate=found.false_positive_rate,
        recall=found.recall,
        fine_rows=found.rows - found.sought,
        rows=found.rows,
    )


def _golden(rows: Sequence[Labelled], scores: Values) -> tuple[GoldenText, ...]:
    """Return texts from the lowest score to the highest."""
    order = np.argsort(scores, kind="stable")
    chosen = dict.fromkeys(order[np.linspace(0, len(order) - 1, _GOLDEN).round().astype(int)].tolist())
    return tuple(GoldenText(text=rows[at].text, score=float(scores[at])) for at in chosen)


def _table(rows: Sequence[Labelled], scores: Values, threshold: float) -> Table:
    sought = _sought(rows)
    named = groups([row.group for row in rows]) if rows else {}
    return {name: figures(scores[who], sought[who], threshold) for name, who in named.items()}


def _rules(packs: Sequence[str], rows: Sequence[Labelled]) -> dict[str, Table]:
    """Measure guard packs on the same rows: what they block, and what they find at all."""
    if not packs or not rows:
        return {}
    policy = parse_policy(f"{{version: 1, id: beside, packs: [{', '.join(packs)}]}}", "recipe: beside")
    screen = InputFilter(policy.base)
    verdicts = [screen.check(row.text).verdict for row in rows]
    sought, named = _sought(rows), groups([row.group for row in rows])
    found = {
        "block": np.array([verdict.action is Action.BLOCK for verdict in verdicts]),
        "any": np.array([bool(verdict.rules) for verdict in verdicts]),
    }
    return {
        what: {name: figures_of_finds(flags[who], sought[who]) for name, who in named.items()}
        for what, flags in found.items()
    }


def _sought(rows: Sequence[Labelled]) -> Flags:
    return np.array([row.is_sought for row in rows], bool)


def _sigmoid(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return 1 / (1 + np.exp(-values))
