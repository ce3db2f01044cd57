"""The card of a classifier's release, from what was measured."""

from collections.abc import Mapping

from weir.contracts.classifier import ClassifierManifest
from weir_training.classifier.measure import Figures
from weir_training.classifier.scoring import Measured

_HEAD = "| rows | what | rows | precision | recall | false positives | AUC |\n|---|---|---|---|---|---|---|"


def classifier_card(manifest: ClassifierManifest, measured: Measured) -> str:
    """Return MODEL_CARD.md."""
    chosen, made = manifest.threshold, manifest.lineage
    lines = [_HEAD, *_rows("validation", "classifier", measured.validation)]
    lines += _rows("held out", "classifier", measured.heldout)
    for what, table in measured.rules.items():
        lines += _rows("held out", f"rules ({what})", table)
    data = ", ".join(f"{name} `{digest[:12]}`" for name, digest in sorted(made.data_sha256.items()))
    sections = (
        "---\npipeline_tag: text-classification\nlibrary_name: onnx\ntags: [weir, onnx]\n---",
        f"# {manifest.model}",
        f"Scores how likely a text is `{manifest.labels[1]}` rather than `{manifest.labels[0]}`. Trained by Weir from "
        "random weights, exported to ONNX and compared with the checkpoint score by score "
        f"(largest difference {measured.parity.max_abs:.2g} over {measured.parity.rows} texts).",
        f"Found from {chosen.score:.4f} on: chosen on {chosen.rows} validation rows, where "
        f"{chosen.false_positive_rate:.2%} of the {chosen.fine_rows} that are fine reach it.",
        "## Measured\n\n" + "\n".join(lines),
        "Rules: what guard packs block, and what they find at all (flags included), on the same rows.",
        f"## Lineage\n\nRecipe `{made.recipe_sha256[:12]}`, seed {made.seed}, Weir {made.code_version}; {data}.",
        "## Limits\n\nA small network that knows the wordings it was shown and what resembles them. Validation rows "
        "are of the same kind as the trained ones: the held-out rows say more. Somebody who tries to get past it will; "
        "it stands behind the rules, never in their place.",
    )
    return "\n\n".join(sections) + "\n"


def _rows(rows: str, what: str, table: Mapping[str, Figures]) -> list[str]:
    return [
        f"| {rows}, {group} | {what} | {found.rows} | {found.precision:.3f} | {found.recall:.3f} | "
        f"{found.false_positive_rate:.2%} | {found.auc:.4f} |".replace(" nan ", " - ")
        for group, found in table.items()
    ]
