"""Which suites there are, in which environments they run, and what their reports say."""

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.e2e.clients.environments import HERE, Environment

SUITES = HERE / "suites"
_NODE_TEST = re.compile(r'^test\("([^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """`passed`, `failed`, `skipped` or `missing`, and what was said about it."""

    result: str
    text: str = ""


@dataclass(frozen=True)
class Suite:
    """One file of tests, run whole by pytest or by Node's own runner inside a client's environment."""

    file: str
    environment: str

    @property
    def id(self) -> str:
        return f"{self.environment}-{self.file.split('.')[0].removeprefix('test_')}"

    @property
    def path(self) -> Path:
        return SUITES / self.file

    def tests(self) -> list[str]:
        """The names of its tests, read without importing what is not installed here."""
        text = self.path.read_text(encoding="utf-8")
        if self.path.suffix == ".mjs":
            return _NODE_TEST.findall(text)
        functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
        return [function.name for function in functions if function.name.startswith("test_")]

    def command(self, place: Environment, report: Path) -> list[str]:
        if self.path.suffix == ".mjs":
            reporter = ["--test-reporter=junit", f"--test-reporter-destination={report}"]
            return [str(place.node), "--test", *reporter, str(place.folder / self.file)]
        options = ["-c", "/dev/null", "--rootdir", str(SUITES), "--confcutdir", str(SUITES), "-p", "no:cacheprovider"]
        return [str(place.python), "-m", "pytest", "-q", *options, f"--junitxml={report}", str(self.path)]

    def cwd(self, place: Environment) -> Path:
        """Where it runs. A module is found beside `node_modules`, so that is where a Node suite is copied to."""
        if self.path.suffix == ".mjs":
            (place.folder / self.file).write_bytes(self.path.read_bytes())
        return place.folder


def outcomes(report: Path, said: str) -> dict[str, Outcome]:
    """Read a JUnit report; a test with parameters passed if all of its cases did."""
    if not report.exists():
        raise AssertionError(f"the suite did not run:\n{said}")
    cases: dict[str, list[Outcome]] = defaultdict(list)
    for case in ElementTree.parse(report).iter("testcase"):  # our own runner's file
        name = case.get("name", "").partition("[")[0]
        cases[name].append(_outcome(case))
    return {name: _worst(found) for name, found in cases.items()}


def _outcome(case: ElementTree.Element) -> Outcome:
    for kind in ("failure", "error", "skipped"):
        if (found := case.find(kind)) is not None:
            text = f"{case.get('name')}: {found.get('message') or ''}\n{found.text or ''}"
            return Outcome("skipped" if kind == "skipped" else "failed", text)
    return Outcome("passed")


def _worst(found: list[Outcome]) -> Outcome:
    order = ("failed", "skipped", "passed")
    return min(found, key=lambda outcome: order.index(outcome.result))
