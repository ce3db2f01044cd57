"""`weir check`: everything that can be known about a training run before a model is loaded."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import typer

from weir.contracts.errors import CheckFailedError
from weir_training import options
from weir_training.data import Data, Row, listed, read_data
from weir_training.encode import Encoded, Templates, encode, find_templates, load_tokenizer
from weir_training.guard_filter import GuardReport, without_refused
from weir_training.options import AsJson, Base, DataFiles, GuardPolicy, HeldoutFile, RecipeName, Sets
from weir_training.quiet import calm_threads, quiet_libraries
from weir_training.recipe import Recipe
from weir_training.resolve import eos_ids, read_config, refuse_quantised, resolve_base

app = typer.Typer(add_completion=False)
_PLACES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class DataReport:
    """What `weir check` says; lengths are in tokens."""

    recipe: str
    base: str
    template: str
    rows: int
    heldout_rows: int
    dropped: tuple[str, ...]
    warnings: tuple[str, ...]
    shortest: int
    median: int
    longest: int
    tokens: int
    supervised_tokens: int
    preview: str = field(repr=False)
    guard: GuardReport | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked run: what training needs besides the weights."""

    base: Path
    tokenizer: Any
    templates: Templates
    rows: tuple[Encoded, ...]
    data: Data
    report: DataReport


def check_data(recipe: Recipe) -> DataReport:
    """Check recipe, data, base, template and tokens.

    Raises:
        UsageError: bad rows, a missing file or base.
        CheckFailedError: a row would teach nothing, or not to stop, or does not fit, or the guard policy refuses it.
    """
    return prepare(recipe).report


def prepare(recipe: Recipe) -> Prepared:
    """As `check_data`, and keep what was made on the way."""
    data, guard = without_refused(read_data(recipe.data), recipe.data)
    base = resolve_base(recipe.model)
    refuse_quantised(base, recipe.model.base)

    calm_threads()
    with quiet_libraries():
        tokenizer = load_tokenizer(base)
        templates = find_templates(recipe, base, tokenizer, data.train)
        encoded = encode(data.train, tokenizer, templates.training)
    _refuse_control_tokens((*data.train, *data.heldout), tokenizer)
    limit = _limit(recipe, base)
    rows, dropped = _fitting(encoded, limit, recipe.data.truncation)
    _refuse_faulty(rows, eos_ids(base, tokenizer))
    report = _report(recipe, data, templates, rows)
    report = replace(
        report, dropped=tuple(row.row.place for row in dropped), preview=_preview(rows[0], tokenizer), guard=guard
    )
    return Prepared(base, tokenizer, templates, tuple(rows), data, report)


def _limit(recipe: Recipe, base: Path) -> int:
    config = read_config(base)
    context = config.get("max_position_embeddings") or config.get("n_positions")
    return min(recipe.data.max_length, context) if isinstance(context, int) else recipe.data.max_length


def _refuse_control_tokens(rows: Sequence[Row], tokenizer: Any) -> None:
    """A control token inside a turn would end it, or open another: the mask and the stop would be wrong."""
    control = tuple(tokenizer.all_special_tokens)
    faults = [
        f"{row.place}: holds the control token {found!r}; remove it from the text"
        for row in rows
        if (found := next((t for t in control for turn in row.turns if t in turn.content), None))
    ]
    if faults:
        raise CheckFailedError(listed(faults))


def _fitting(rows: Sequence[Encoded], limit: int, truncation: str) -> tuple[list[Encoded], list[Encoded]]:
    kept = [row for row in rows if len(row.ids) <= limit]
    long = [row for row in rows if len(row.ids) > limit]
    if long and truncation == "error":
        places = [f"{row.row.place}: {len(row.ids)} tokens, {limit} fit" for row in long]
        raise CheckFailedError(f"{listed(places)}\nraise data.max_length, shorten them, or set data.truncation: drop")
    if not kept:
        raise CheckFailedError(f"no row fits {limit} tokens: raise data.max_length")
    return kept, long


def _refuse_faulty(rows: Sequence[Encoded], ends: set[int]) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        fault = fault_of(row, ends)
        if fault is not None:
            places[fault].append(row.row.place)
    if places:
        raise CheckFailedError("\n".join(f"{fault}: {_named(where)}" for fault, where in places.items()))


def _named(places: Sequence[str]) -> str:
    more = len(places) - _PLACES_SHOWN
    return ", ".join(places[:_PLACES_SHOWN]) + (f" and {more} more rows" if more > 0 else "")


def fault_of(row: Encoded, ends: set[int]) -> str | None:
    """Say why this row must not be trained on, or None.

    The answer must be learnt whole, from the token where a server would let the model begin to the end token.
    """
    if not any(row.supervised):
        return "no token would be learnt (the template marks none as the assistant's)"
    start = len(row.prompt_ids)
    if row.ids[:start] != row.prompt_ids:
        return (
            "the prompt that a server would send is not how the training text begins (template, or an answer that "
            "starts with white space)"
        )
    end = next((at for at in range(start, len(row.ids)) if row.ids[at] in ends), None)
    if end is None:
        return "the answer has no end token; the model would never stop"
    if not row.supervised[end]:
        return "the end token lies outside the learnt span; the model would never stop"
    if not all(row.supervised[start:end]):
        return "a part of the answer lies outside the learnt span"
    return None


def _report(recipe: Recipe, data: Data, templates: Templates, rows: Sequence[Encoded]) -> DataReport:
    lengths = [len(row.ids) for row in rows]
    return DataReport(
        recipe=recipe.name,
        base=recipe.model.base,
        template=templates.origin,
        rows=len(rows),
        heldout_rows=len(data.heldout),
        dropped=(),
        warnings=data.warnings,
        shortest=min(lengths),
        median=int(median(lengths)),
        longest=max(lengths),
        tokens=sum(lengths),
        supervised_tokens=sum(sum(row.supervised) for row in rows),
        preview="",
    )


def _preview(row: Encoded, tokenizer: Any) -> str:
    """Return the row's text with what is learnt between ⟦ and ⟧."""
    parts, run = [], [0]
    for at in range(1, len(row.ids) + 1):
        if at < len(row.ids) and row.supervised[at] == row.supervised[run[0]]:
            run.append(at)
            continue
        text = tokenizer.decode([row.ids[i] for i in run], skip_special_tokens=False)
        parts.append(f"⟦{text}⟧" if row.supervised[run[0]] else text)
        run = [at]
    return "".join(parts)


@app.command()
def check(  # noqa: PLR0913 - a command line's options are its arguments
    recipe: RecipeName,
    data: DataFiles = None,
    heldout: HeldoutFile = None,
    base: Base = None,
    guard: GuardPolicy = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Check a recipe, its data and its base; train nothing."""
    report = check_data(options.guarded(options.read_recipe(recipe, data, heldout, base, sets), guard))
    if as_json:
        typer.echo(json.dumps(asdict(report), ensure_ascii=False))
    else:
        typer.echo(_in_words(report))


def _in_words(report: DataReport) -> str:
    share = report.supervised_tokens / report.tokens
    lines = [
        f"recipe     {report.recipe} on {report.base}",
        f"rows       {report.rows} to train on, {report.heldout_rows} held out, {len(report.dropped)} dropped",
        f"length     {report.shortest} to {report.longest} tokens, median {report.median}",
        f"learnt     {report.supervised_tokens} of {report.tokens} tokens ({share:.0%}), every answer to its end token",
        f"template   {report.template}",
        "",
        "one row, with what is learnt between ⟦ and ⟧:",
        report.preview,
    ]
    if report.guard is not None:
        found = report.guard.in_words()
        lines += ["", f"guard      {report.guard.policy}: {len(found)} rules found something", listed(found, 10)]
    if report.warnings:
        lines += ["", f"warnings   {len(report.warnings)}", listed(report.warnings, 10)]
    return "\n".join(lines)
