"""What the chain tells the person who watches it: one line per finding, figures first."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weir_training.check import DataReport
    from weir_training.data import Data
    from weir_training.evaluate import Evaluation, Measured
    from weir_training.parity_report import ParityReport
    from weir_training.publish import Publication
    from weir_training.recipe import Recipe
    from weir_training.rundir import RunDirectory

Say = Callable[[str], None]


def opening(recipe: "Recipe", run: "RunDirectory", data: "Data") -> Iterator[str]:
    """What goes in."""
    heldout = f", {len(data.heldout)} held out" if data.heldout else ""
    yield f"{recipe.name}: {len(data.train)} examples{heldout}; base {recipe.model.base}"
    yield f"run      {run.root}"


def checked(report: "DataReport") -> str:
    return (
        f"check    {report.rows} rows of {report.shortest} to {report.longest} tokens, "
        f"{report.supervised_tokens} of {report.tokens} learnt"
    )


def trained(run: "RunDirectory") -> str:
    m = run.metrics("train") or {}
    return (
        f"train    {m['steps']} steps, loss {m['first_loss']:.2f} to {m['last_loss']:.3f}, "
        f"{m['trainable_percent']:.1f} % of {m['parameters'] / 1e6:.1f} M parameters"
    )


def evaluated(before: "Evaluation", after: "Evaluation") -> str:
    heldout = ""
    if before.heldout is not None and after.heldout is not None:
        heldout = f"; held-out phrasings {_change(before.heldout, after.heldout)}"
    return f"eval     exact match on trained phrasings {_change(before.trained, after.trained)}{heldout}"


def _change(before: "Measured", after: "Measured") -> str:
    return f"{before.exact_match:.2f} to {after.exact_match:.2f}"


def merged(run: "RunDirectory") -> str:
    m = run.metrics("merge") or {}
    return f"merge    reloaded checkpoint within {m['max_abs']:.1e} of base + adapter, same best token everywhere"


def exported(run: "RunDirectory") -> str:
    flavours = run.metrics("export") or {}
    sizes = ", ".join(f"{name} {found['bytes'] / 1e6:.1f} MB" for name, found in flavours.items())
    cut = next((found for found in flavours.values() if "kept_tokens" in found), None)
    kept = "" if cut is None else f"; packed say {cut['kept_tokens']:,} of {cut['of_tokens']:,} tokens"
    return f"export   {sizes}{kept}"


def verified(report: "ParityReport") -> Iterator[str]:
    for name, found in report.flavours.items():
        p = found.parity
        match = "" if p.exact_match is None else f", exact match {p.exact_match:.2f}"
        verdict = "pass" if p.passed else "FAIL (" + "; ".join(p.reasons) + ")"
        figures = f"max abs {p.max_abs:.1e}, argmax {p.argmax_agreement:.3f}, KL {p.mean_kl:.1e}, NLL {p.nll:.3f}"
        yield f"verify   {name:<12} {figures}{match}: {verdict}"


def published(made: "Publication") -> str:
    state = "" if made.is_new else ", unchanged"
    return (
        f"publish  {made.manifest.model} version {made.manifest.version}, serves {made.manifest.serve_flavour}{state}"
    )
