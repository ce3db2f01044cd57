"""The documents are true: commands run, names exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric
from tests.support.commands import commands, fault

from weir.cli import VERBS
from weir.cpu_node.settings import NodeSettings
from weir.gateway.settings import GatewaySettings
from weir.gateway.settings_access import AccessSettings
from weir.gateway.settings_edge import EdgeSettings
from weir.telemetry.metrics import GatewayMetrics
from weir.telemetry.node_metrics import NodeMetrics

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ROOT / "docs" / "guides" / "clients.md"  # its snippets need a gateway: tests/e2e/clients/test_guide.py
GUIDES = sorted(path for path in (ROOT / "docs" / "guides").glob("*.md") if path != CLIENTS)
PAGES = [ROOT / "README.md", ROOT / "helm" / "weir" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+) (file|run)(?:=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda p: p.stem)
def test_a_guides_commands_do_what_it_says(guide: Path, tmp_path: Path) -> None:
    blocks = _BLOCK.findall(guide.read_text(encoding="utf-8"))
    assert blocks, "a guide without a command that runs"
    for _, kind, argument, text in blocks:
        if kind == "file":
            (tmp_path / argument).write_text(text, encoding="utf-8")
            continue
        script = f'weir() {{ "{sys.executable}" -m weir "$@"; }}\n{text}'
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == int(argument or 0), done.stdout + done.stderr


def test_the_readme_names_only_verbs_and_targets_that_exist() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "README.md", CLIENTS, *GUIDES))
    verbs = set(re.findall(r"(?:^|`|bin/)weir ([a-z]+)", text, re.MULTILINE))
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert verbs <= set(VERBS)
    assert targets <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_document_has_the_verb_and_flags_that_it_is_shown_with(page: Path) -> None:
    assert [found for words in commands(page.read_text(encoding="utf-8")) if (found := fault(words))] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("weir serf --node x", "no verb serf"),
        ("weir keys mint a", "has no mint"),
        ("weir keys create a --request-per-min 1", "takes no --request-per-min"),
        ("weir serve \\\n  --nodes x", "takes no --nodes"),
        ("see `weir up --no-serv`", "takes no --no-serv"),
    ],
)
def test_a_command_that_is_not_there_would_be_noticed(line: str, words: str) -> None:
    (found,) = commands(line)
    assert words in str(fault(found))


def test_decisions_are_numbered_one_by_one() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for number, page in enumerate(pages, 1):
        assert page.read_text(encoding="utf-8").startswith(f"# {number}. "), page.name


def test_every_file_that_a_document_links_to_exists() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_verb_has_a_module_and_help() -> None:
    for name, verb in VERBS.items():
        done = subprocess.run(
            [sys.executable, "-m", "weir", name, "--help"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{name} ({verb.module}): {done.stderr}"
        assert "--help" in done.stdout


def test_every_metric_and_setting_is_documented() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    registry = CollectorRegistry()
    GatewayMetrics(registry)
    NodeMetrics(registry)
    wanted = {_series(metric) for metric in registry.collect()}
    wanted |= {*GatewaySettings.model_fields, *NodeSettings.model_fields, *AccessSettings.model_fields}
    wanted |= {f"edge.{name}" for name in EdgeSettings.model_fields}
    wanted -= {"edge"}
    assert {name for name in wanted if f"`{name}`" not in text} == set()


def _series(metric: Metric) -> str:
    suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
    return str(metric.name) + suffix
