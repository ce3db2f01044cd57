"""Renders helm/weir with the real helm, each case once per run."""

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.support.cluster_tools import ROOT, UnavailableError, helm
from tests.support.kubernetes_schemas import problems_of
from tests.support.manifests import Manifests, Thing

CHART: Final = ROOT / "helm" / "weir"
CASES: Final = (*sorted((CHART / "ci").glob("*.yaml")), CHART / "values-cpu.yaml")
VERSIONS: Final = ("1.31.0", "1.36.0")
RELEASE, NAMESPACE = "weir", "serving"


@dataclass(frozen=True)
class Done:
    """How a helm command ended."""

    code: int
    output: str
    errors: str

    @property
    def things(self) -> list[Thing]:
        assert self.code == 0, self.errors
        return [thing for thing in yaml.load_all(self.output, Loader=yaml.CSafeLoader) if thing]


def run_helm(*words: str | Path, major: int = 4, env: dict[str, str] | None = None, cwd: Path | None = None) -> Done:
    """Run helm; a machine that cannot have it skips the test and says why."""
    try:
        program = helm(major)
    except UnavailableError as reason:
        pytest.skip(f"no helm {major}: {reason}")
    done = subprocess.run(
        [program, *map(str, words)], capture_output=True, text=True, check=False, env=env, cwd=cwd, timeout=120
    )
    return Done(done.returncode, done.stdout, done.stderr)


def render(
    *files: Path, sets: tuple[str, ...] = (), major: int = 4, version: str = VERSIONS[-1], chart: Path = CHART
) -> Done:
    """Return what `helm template` makes of the chart; `sets` are words such as `gateway.replicas=3`."""
    values = [word for file in files for word in ("--values", str(file))]
    words = [word for one in sets for word in ("--set-json" if one[-1:] in "]}" else "--set", one)]
    return run_helm(
        "template", RELEASE, chart, "--namespace", NAMESPACE, "--kube-version", version, *values, *words, major=major
    )


@cache
def rendered(case: Path, major: int = 4, version: str = VERSIONS[-1]) -> Done:
    """As `render`, once per run: what comes back is shared, so do not change it."""
    return render(case, major=major, version=version)


def manifests_of(case: Path) -> Manifests:
    return Manifests(rendered(case).things, NAMESPACE)


def schema_problems(thing: Thing, version: str) -> list[str]:
    """As `problems_of`; a machine that cannot have the schemas skips the test and says why."""
    try:
        return problems_of(thing, version)
    except UnavailableError as reason:
        pytest.skip(f"no schemas: {reason}")
