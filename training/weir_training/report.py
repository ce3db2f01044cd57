"""`report.html` of a run: one file, no script, nothing fetched. Sections appear when their figures exist."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from weir.release.hashing import sha256_file
from weir_training import events
from weir_training.atomic import write_text
from weir_training.charts import Curve, line_chart
from weir_training.rundir import RunDirectory
from weir_training.strict import load_yaml

_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1c2733; --soft: #64748b; --line: #dde3ea; --page: #f6f8fa; --card: #fff; --accent: #0f766e; --second: #b45309;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e5eaf0; --soft: #94a3b8; --line: #2c3744; --page: #11171e; --card: #1a222c; --accent: #2dd4bf;
    --second: #fbbf24;
  }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, "Noto Sans SC", sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem }
h1 { font-size: 1.6rem; margin: 0 }
h2 { font-size: 1.05rem; margin: 0 0 .7rem }
code { font: 13px ui-monospace, monospace }
.sub { color: var(--soft); margin: .2rem 0 1.4rem }
section, .tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.2rem }
section { margin: 1rem 0; overflow-x: auto }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem }
.tile b { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums }
.tile span { color: var(--soft); font-size: .85rem }
table { border-collapse: collapse; width: 100% }
td, th { padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; border-top: 1px solid var(--line) }
tr:first-child > * { border-top: 0 }
th { font-weight: 500; color: var(--soft) }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
svg { width: 100%; height: auto; display: block }
svg text { fill: var(--soft); font-size: 11px }
.grid { stroke: var(--line) }
.c0, .c1 { fill: none; stroke: var(--accent); stroke-width: 2 }
.c1 { stroke: var(--second) }
.two { display: grid; gap: 1rem; grid-template-columns: 1fr 1fr }
@media (max-width: 44rem) { .two { grid-template-columns: 1fr } }
"""
_SUBJECTS = ("base", "adapter", "merged")


def write_report(run: RunDirectory) -> Path:
    """Write the report from what lies in the run directory; return its path."""
    stages = run.manifest()["stages"]
    recipe = load_yaml(run.root / "recipe.resolved.yaml")
    evaluations = {name: tree for name in _SUBJECTS if (tree := _json(run.root / "eval" / f"{name}.json"))}
    parts = [
        _heading(run, recipe),
        _tiles(stages, evaluations),
        _curves(run),
        _evaluation(evaluations),
        _examples(evaluations),
        _parity(_json(run.root / "parity.json")),
        _table("Training", (stages.get("train") or {}).get("metrics")),
        _table("Merge", (stages.get("merge") or {}).get("metrics")),
        _table("Data", _data(recipe)),
        _table("Recipe", dict(_flat(recipe))),
        _lineage(stages),
    ]
    title = escape(str(recipe["name"]))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    page = f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head><body><main>{''.join(parts)}</main>"
    path = run.root / "report.html"
    write_text(path, page + "</body></html>\n")
    return path


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    tree = json.loads(path.read_text(encoding="utf-8"))
    return tree if isinstance(tree, dict) else None


def _heading(run: RunDirectory, recipe: dict[str, Any]) -> str:
    base = escape(str(_without_folders(recipe["model"]["base"])))
    return f"<h1>{escape(str(recipe['name']))}</h1><p class=sub>{base} · run <code>{escape(run.root.name)}</code></p>"


def _tiles(stages: dict[str, Any], evaluations: dict[str, Any]) -> str:
    tiles: list[tuple[str, str]] = []
    if "train" in stages:
        metrics = stages["train"]["metrics"]
        tiles += [
            ("steps", f"{metrics['steps']}"),
            ("training time", f"{metrics['seconds']:.0f} s"),
            ("loss", f"{metrics['first_loss']:.2f} → {metrics['last_loss']:.2f}"),
            ("trained parameters", f"{metrics['trainable_percent']:.1f} %"),
        ]
    for part, name in (("trained", "exact match, trained"), ("heldout", "exact match, held out")):
        figures = [f"{e[part]['exact_match']:.0%}" for e in _before_after(evaluations) if e.get(part)]
        if figures:
            tiles.append((name, " → ".join(figures)))
    cells = "".join(f"<div class=tile><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in tiles)
    return f"<div class=tiles>{cells}</div>" if cells else ""


def _before_after(evaluations: dict[str, Any]) -> list[dict[str, Any]]:
    after = evaluations.get("merged") or evaluations.get("adapter")
    return [e for e in (evaluations.get("base"), after) if e]


def _curves(run: RunDirectory) -> str:
    logged = events.read(run.events)
    if len(logged) < 2:
        return ""
    loss = Curve("loss", "c0", tuple((e.step, e.loss) for e in logged))
    rate = Curve("learning rate", "c1", tuple((e.step, e.lr) for e in logged))
    charts = f"<div><h2>Loss</h2>{line_chart(loss)}</div><div><h2>Learning rate</h2>{line_chart(rate)}</div>"
    return f"<section class=two>{charts}</section>"


def _evaluation(evaluations: dict[str, Any]) -> str:
    if not evaluations:
        return ""
    rows = [["", "rows", "exact match", "stopped", "nll per token"]]
    for what, tree in evaluations.items():
        for part, words in (("trained", "trained"), ("heldout", "held out")):
            figures = tree.get(part)
            if figures:
                numbers = [f"{figures[name]:.3f}" for name in ("exact_match", "stopped", "nll")]
                rows.append([f"{what}, {words}", str(figures["rows"]), *numbers])
    return _section("Evaluation, greedy", _grid(rows))


def _examples(evaluations: dict[str, Any]) -> str:
    trees = _before_after(evaluations)
    if not trees:
        return ""
    wrong = [m for part in ("trained", "heldout") for m in (trees[-1].get(part) or {}).get("mismatches", [])[:5]]
    rows = [["question", "expected", "said"], *([m["question"], m["expected"], m["answer"]] for m in wrong)]
    return _section("Answers that differ", _grid(rows)) if wrong else ""


def _parity(tree: dict[str, Any] | None) -> str:
    """Show the gate's figures of every flavour in `parity.json`."""
    flavours = {name: value["parity"] for name, value in (tree or {}).get("flavours", {}).items()}
    if not flavours:
        return ""
    names = list(dict.fromkeys(name for figures in flavours.values() for name in figures))
    rows = [["", *flavours], *([name, *(_word(figures.get(name)) for figures in flavours.values())] for name in names)]
    return _section("Parity with the checkpoint", _grid(rows))


def _data(recipe: dict[str, Any]) -> dict[str, Any]:
    files = [*recipe["data"]["train"], *filter(None, [recipe["data"]["heldout"]])]
    return {Path(name).name: f"sha256 {sha256_file(Path(name))}" for name in files if Path(name).is_file()}


def _lineage(stages: dict[str, Any]) -> str:
    rows = [["stage", "seconds", "outputs"]]
    for name, record in stages.items():
        outputs = "; ".join(f"{path} {str(digest)[:12]}" for path, digest in record["outputs"].items())
        rows.append([name, f"{record['seconds']:.1f}", outputs])
    return _section("Lineage", _grid(rows)) if stages else ""


def _table(title: str, values: dict[str, Any] | None) -> str:
    if not values:
        return ""
    rows = "".join(f"<tr><th>{escape(key)}<td>{escape(_word(value))}" for key, value in values.items())
    return _section(title, f"<table>{rows}</table>")


def _grid(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [
        "".join(f"<{'th' if first else 'td'}>{escape(cell)}" for cell in row) for first, row in _marked(rows)
    ]
    return f"<table><tr>{head}{''.join(f'<tr>{row}' for row in body)}</table>"


def _marked(rows: Sequence[Sequence[str]]) -> Iterable[tuple[bool, Sequence[str]]]:
    return ((at == 0, row) for at, row in enumerate(rows))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _without_folders(value)


def _without_folders(value: Any) -> Any:
    """The report travels with the release: where its author's files lie is nobody's business."""
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_word, value))
    return "–" if value is None else str(value)
