"""`weir doctor`: what is wrong with this installation, and what to do about it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from weir.contracts.errors import CheckFailedError
from weir.contracts.finding import Finding, Place, warn
from weir.supervisor.checks.machine import machine
from weir.supervisor.checks.packages import packages
from weir.supervisor.checks.ports import ports

app = typer.Typer(add_completion=False)
_MARKS: Final = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
_HOME: Final = Path(".weir")

Config = Annotated[Path | None, typer.Option(help="settings of the gateway (YAML), as for `weir serve`")]
NodeConfig = Annotated[Path | None, typer.Option(help="settings of a node (YAML), as for `weir node`")]
Nodes = Annotated[list[str] | None, typer.Option("--node", help="URL of a node; repeat for more")]
Releases = Annotated[list[Path] | None, typer.Option("--release", help="a release, or a model's folder")]
Guard = Annotated[Path | None, typer.Option(help="guard policy (YAML)")]
Home = Annotated[Path | None, typer.Option(help="where releases, keys and logs live  [default: .weir]")]
AsJson = Annotated[bool, typer.Option("--json", help="for scripts")]


@app.command()
def doctor(  # noqa: PLR0913 - a command line's options are its arguments
    config: Config = None,
    node_config: NodeConfig = None,
    nodes: Nodes = None,
    releases: Releases = None,
    guard: Guard = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine, settings, database, policy, ports and nodes, and say what to mend. Changes nothing.

    Exit code 0: nothing is wrong (there may be warnings); 3: something is.
    """
    given = {
        "nodes": [{"name": f"node-{number}", "url": url} for number, url in enumerate(nodes or ())] or None,
        "releases": releases or None,
        "guard": guard,
        "home": home,
    }
    findings = list(examined({name: value for name, value in given.items() if value is not None}, config, node_config))
    typer.echo(_as_json(findings) if as_json else "\n".join(_lines(findings)))
    wrong = sum(finding.level == "fail" for finding in findings)
    if wrong:
        raise CheckFailedError(f"{wrong} of {len(findings)} checks failed")


def examined(flags: Mapping[str, Any], config: Path | None, node_config: Path | None) -> Iterator[Finding]:
    """Yield what each check found; `flags` as the gateway's `load_settings` takes them."""
    yield from packages()
    try:
        from weir.supervisor.checks.gateway import gateway, home_of  # here: a node's machine has no gateway
    except ModuleNotFoundError as error:
        yield from machine(flags.get("home", _HOME))
        yield warn("gateway", f"not installed here ({error.name} is missing)")
    else:
        yield from machine(home_of(flags, config))
        yield from gateway(flags, config)
    if node_config is not None:
        yield from _node(flags, node_config)


def _node(flags: Mapping[str, Any], config: Path) -> Iterator[Finding]:
    from weir.cpu_node.settings import load_node_settings  # here: a gateway's machine has no node
    from weir.supervisor.checks.settings import read

    said = read("node settings", load_node_settings, {"home": flags.get("home")}, config)
    yield said.finding
    if said.settings is not None:
        yield from ports([Place("node", said.settings.host, said.settings.port)])


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        yield f"{_MARKS[finding.level]}  {finding.check:<{width}}  {finding.says}"
        if finding.do is not None:
            yield f"{'':<6}{'':<{width}}  -> {finding.do}"


def _as_json(findings: Sequence[Finding]) -> str:
    counted = {level: sum(finding.level == level for finding in findings) for level in _MARKS}
    return json.dumps({**counted, "findings": [asdict(finding) for finding in findings]}, ensure_ascii=False)
