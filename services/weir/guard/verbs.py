"""`weir guard`: check a policy, try texts on it, see why; nothing is served."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from weir.contracts.errors import CheckFailedError, UsageError
from weir.guard.cases import Judged, cases_in, judged
from weir.guard.compiled import Chosen, CompiledGuard
from weir.guard.explaining import input_lines, output_lines
from weir.guard.policy import PolicyError, PolicySet, default_policy, load_policy
from weir.guard.policy.errors import nearest
from weir.guard.policy.loading import pack_names
from weir.guard.policy.resolving import BASE
from weir.guard.policy.schema import policy_json_schema
from weir.guard.summary import Summary, summary_of
from weir.guard.validators import VALIDATORS

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Check a guard policy, try texts on it, see why.",
    epilog="And: weir guard bench, which measures the guard beside others (weir guard bench --help).",
)

DEFAULT = Path("default")
PolicyPath = Annotated[Path, typer.Argument(metavar="POLICY", help="a policy file; default: the packaged policy")]
Profile = Annotated[str, typer.Option(help="as callers with this profile get it")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout, nothing else")]


@app.command()
def check(policy: PolicyPath = DEFAULT, as_json: AsJson = False) -> None:
    """Load a policy as the gateway does, try every rule's examples, and say what it holds."""
    try:
        loaded = _loaded(policy)
        CompiledGuard.build(loaded)
    except PolicyError as error:
        if as_json:
            typer.echo(json.dumps({"ok": False, "faults": error.faults}, ensure_ascii=False))
        else:
            for fault in error.faults:
                typer.echo(fault, err=True)
        raise typer.Exit(error.exit_code) from None
    summary = summary_of(loaded)
    if as_json:
        typer.echo(json.dumps({"ok": True, **asdict(summary)}, ensure_ascii=False))
    else:
        for line in _summary_lines(summary):
            typer.echo(line)


@app.command(name="test")
def judge(
    policy: PolicyPath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="texts, one a line; -: standard input")] = Path("-"),
    direction: Annotated[Literal["input", "output"], typer.Option(help="of lines that do not say")] = "input",
    profile: Profile = BASE,
    as_json: AsJson = False,
) -> None:
    """Judge texts. A line is one, or JSON: {"text": …, "direction": …, "expect": ACTION, "rules": [ID]}.

    Exit code 3: a line was judged otherwise than it expects. Texts are not printed, only their line numbers.
    """
    chosen = _chosen(policy, profile)
    results = [judged(case, chosen) for case in cases_in(_lines(file), str(file), direction)]
    for one in results:
        typer.echo(json.dumps(_facts(one)) if as_json else _verdict_line(one))
    wrong = sum(not one.is_expected for one in results)
    if wrong:
        raise CheckFailedError(f"{wrong} of {len(results)} lines were judged otherwise than expected")
    if not as_json:
        typer.echo(f"{len(results)} lines, all as expected" if results else "no lines")


@app.command()
def explain(
    policy: PolicyPath,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="-: standard input")],
    direction: Annotated[Literal["input", "output", "both"], typer.Option(help="as a prompt or an answer")] = "both",
    profile: Profile = BASE,
) -> None:
    """Show which rules find what in a text, where and in which view, what is sent, and what a stream holds back."""
    chosen = _chosen(policy, profile)
    text = sys.stdin.read().removesuffix("\n") if text == "-" else text
    if direction != "output":
        _print(input_lines(chosen.input, text))
    if direction != "input":
        _print(output_lines(chosen.output, text))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a policy, for editors: `# yaml-language-server: $schema=guard.schema.json`."""
    typer.echo(json.dumps(policy_json_schema(pack_names(), sorted(VALIDATORS)), indent=2, ensure_ascii=False))


def _loaded(path: Path) -> PolicySet:
    return default_policy() if path == DEFAULT else load_policy(path)


def _chosen(path: Path, profile: str) -> Chosen:
    policy = _loaded(path)
    if profile not in policy.rule_sets:
        raise UsageError(f"--profile {profile}: no such profile{nearest(profile, policy.rule_sets)}")
    return CompiledGuard.build(policy).profile(profile)


def _lines(file: Path) -> Iterator[str]:
    if file == Path("-"):
        yield from sys.stdin
        return
    try:
        with file.open(encoding="utf-8") as lines:
            yield from lines
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from error


def _facts(one: Judged) -> dict[str, object]:
    return {
        "line": one.case.line,
        "direction": one.case.direction,
        "action": one.action,
        "rules": one.rules,
        "expected": one.is_expected,
    }


def _verdict_line(one: Judged) -> str:
    line = f"line {one.case.line}: {one.case.direction}: {one.action} {', '.join(one.rules)}".rstrip()
    if one.is_expected:
        return line
    wanted = [*([one.case.expect] if one.case.expect else []), *one.case.rules]
    return f"{line}  <- expected {', '.join(wanted)}"


def _summary_lines(summary: Summary) -> Iterator[str]:
    yield f"{summary.id}, version {summary.version}, sha256 {summary.sha256}"
    yield f"profiles: {', '.join(summary.profiles)}"
    yield ""
    yield from _table(
        ["pack", "rules", "input", "output", "terms", "regexes", "secret"],
        [[str(value) for value in asdict(pack).values()] for pack in summary.packs],
    )
    yield ""
    yield "regexes: " + (", ".join(f"{count} {form}" for form, count in summary.forms.items()) or "none")
    length, rule = summary.longest_hold
    yield f"longest find that a stream waits for: {length} characters ({rule})" if rule else "no regex holds a stream"
    yield f"examples: {summary.hits} hits and {summary.misses} misses, all as they say"
    for warning in summary.warnings:
        yield f"warning: {warning}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        first, *rest = (
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *rest])


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        typer.echo(line)
