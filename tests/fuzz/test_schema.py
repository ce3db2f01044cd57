"""Requests made from the OpenAPI document, right ones and wrong ones (schemathesis, in an environment of its own)."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients.environments import Environment, environment
from tests.fuzz.conftest import SCHEMA_SHARE, Target

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]
HERE = Path(__file__).parent
SYSTEMATIC = 2_000  # that many cases are worth all corner cases of every field, some five thousand
DEADLINE_S = 15


def test_requests_made_from_the_openapi_document_meet_no_fault(target: Target, tmp_path: Path) -> None:
    place = environment("schemathesis").made()
    wanted = int(target.cases * SCHEMA_SHARE)
    target.dice("requests from the schema")
    generated, turn = 0, 0
    while generated < wanted:
        report = _run(place, target, target.seed + turn, wanted - generated, tmp_path / f"{turn}.json")
        generated += report["test_cases"]["generated"]
        turn += 1
        assert report["failures"] == [], report["failures"]
        assert report["operations"]["tested"] > 10
    print(f"{generated} requests from the schema in {turn} runs")
    target.check()


def _run(place: Environment, target: Target, seed: int, wanted: int, path: Path) -> dict[str, Any]:
    """One run; `failures` are answers that must not be, what took too long included."""
    is_systematic = wanted >= SYSTEMATIC
    each = max(wanted // (40 if is_systematic else 8), 2)
    phases = "coverage,fuzzing" if is_systematic else "fuzzing"
    command = [str(place.python), "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"]
    command += [f"{target.server.url}/openapi.json", "--checks", "not_a_server_error", "--phases", phases]
    command += ["--max-examples", str(each), "--seed", str(seed % 2**32), "--continue-on-failure"]
    command += ["--request-timeout", str(DEADLINE_S), "--report", "json", "--report-json-path", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False, cwd=path.parent)
    assert done.returncode == 0, done.stdout[-6000:]
    report: dict[str, Any] = json.loads(path.read_text())
    return report
