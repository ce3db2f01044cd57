"""MODEL_CARD.md, written from a manifest and nothing else."""

from weir.contracts.manifest import Format, ReleaseManifest

_ANSWERS = (
    "## Training answers inside\n\n"
    "`drafts/answers.npz` holds the answers of the training data as token ids, which anybody who has this folder can "
    "read, and of the questions a digest of 64 bits each. An engine guesses from it to answer faster; what it answers "
    "does not depend on it. Without: `export.drafts: false` in the recipe."
)


def model_card(manifest: ReleaseManifest, *, with_answers: bool = False) -> str:
    """Return the card: Hugging Face front matter, what was measured, where it came from, what it is not.

    `with_answers`: the release holds the answers it was trained on.
    """
    sections = (
        _front_matter(manifest),
        f"# {manifest.model}",
        f"Fine-tuned from `{manifest.lineage.base}` with LoRA, merged, exported to ONNX and compared with the merged "
        "checkpoint number by number. Made by Weir.",
        _parity(manifest),
        _evaluation(manifest),
        _lineage(manifest),
        _ANSWERS if with_answers else "",
        "## Limits\n\n"
        "It answers in the manner of its examples; off them it says what its base would. The exact-match figures on "
        "trained rows are of memory, not of understanding. The base's licence and limits apply.",
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(manifest: ReleaseManifest) -> str:
    base = manifest.lineage.base
    lines = ["---", "pipeline_tag: text-generation", "library_name: transformers"]
    if not base.startswith("builtin:") and "/" in base:
        lines.append(f"base_model: {base}")
    return "\n".join([*lines, "tags: [weir, lora, onnx]", "---"])


def _parity(manifest: ReleaseManifest) -> str:
    head = (
        "## Flavours\n\n"
        "Against the fp32 checkpoint, teacher-forced on the task's rows; served by default: "
        f"`{manifest.serve_flavour}`.\n\n"
        "| flavour | MB | max abs | argmax | mean KL | NLL (checkpoint) | exact match (checkpoint) |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(_row(found) for found in manifest.formats)


def _row(found: Format) -> str:
    p = found.parity
    exact = "-" if p.exact_match is None else f"{p.exact_match:.3f} ({p.exact_match_reference:.3f})"
    return (
        f"| {found.flavour} | {p.bytes / 1e6:.2f} | {p.max_abs:.2g} | {p.argmax_agreement:.4f} | {p.mean_kl:.2g} | "
        f"{p.nll:.4f} ({p.nll_reference:.4f}) | {exact} |"
    )


def _evaluation(manifest: ReleaseManifest) -> str:
    if not manifest.evaluation:
        return ""
    lines = [f"| {name} | {value:.4f} |" for name, value in sorted(manifest.evaluation.items())]
    return "\n".join(["## Evaluation\n", "| measure | value |", "|---|---|", *lines])


def _lineage(manifest: ReleaseManifest) -> str:
    made = manifest.lineage
    data = "\n".join(f"| {name} | `{digest}` |" for name, digest in sorted(made.data_sha256.items()))
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(made.libraries.items()))
    return (
        "## Lineage\n\n"
        "| what | sha256 |\n|---|---|\n"
        f"| base `{made.base}` | `{made.base_sha256}` |\n"
        f"| recipe | `{made.recipe_sha256}` |\n{data}\n\n"
        f"Run `{made.run}`, seed {made.seed}, Weir {made.code_version}, {libraries}.\n\n"
        "The same again: `weir up --recipe RECIPE` with this recipe and data."
    )
