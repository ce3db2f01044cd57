"""The committed dashboards and rules: generated, complete, documented, tested by promtool."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.prometheus import promtool
from tests.support.queries import (
    GRAFANA,
    ROOT,
    Question,
    dashboard_questions,
    panels_of,
    rule_questions,
    rules,
    taken_apart,
)
from tools.dashboards.__main__ import FOLDER
from tools.dashboards.boards import boards
from tools.dashboards.grafana import rendered
from tools.dashboards.objectives import read_objectives

from weir.telemetry import metrics

BOARDS = sorted(FOLDER.glob("*.json"))
ALERTS = sorted({rule["alert"] for rule in rules() if "alert" in rule})
RUNBOOK = ROOT / "docs" / "runbook.md"
PROMTOOLS = sorted((GRAFANA / "tests").glob("*.yaml"))


def loaded(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_the_files_are_what_the_code_writes() -> None:
    """Else: make dashboards."""
    assert {path.name: path.read_text(encoding="utf-8") for path in BOARDS} == {
        f"{board.uid}.json": rendered(board) for board in boards()
    }


def test_there_are_seven_and_they_lead_to_each_other() -> None:
    assert len(BOARDS) == 7
    for board in map(loaded, BOARDS):
        assert board["tags"] == ["weir"]
        assert board["links"][0]["tags"] == ["weir"]
        assert board["uid"] == f"weir-{board['uid'].removeprefix('weir-')}"
    assert len({loaded(path)["uid"] for path in BOARDS}) == 7


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_fits_a_config_map_and_names_no_data_source(path: Path) -> None:
    board = loaded(path)
    assert path.stat().st_size < 250_000
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert board["templating"]["list"][0]["type"] == "datasource"
    sources = [panel["datasource"]["uid"] for panel in panels_of(board)]
    sources += [menu["datasource"]["uid"] for menu in board["templating"]["list"] if menu["type"] == "query"]
    assert set(sources) == {"${datasource}"}


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_panel_says_what_it_shows_and_in_which_unit(path: Path) -> None:
    for panel in panels_of(loaded(path)):
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for target in panel["targets"]:
            uses_window = re.search(r"\[(\d+[smhd]|\$__rate_interval)", target["expr"])
            assert "rate(" not in target["expr"] or uses_window, panel["title"]


def test_every_query_stays_in_the_namespace_that_was_chosen() -> None:
    for question in dashboard_questions():
        if "mark" in question.where or "menu" in question.where:
            continue
        for selector in taken_apart(question.plain)[0]:
            if selector.metric.startswith(("weir_", "node:", "nv_", "vllm:")):
                assert "namespace" in {name for name, _, _ in selector.matchers}, f"{question.where}: {selector.metric}"


def test_ratios_are_never_added_up() -> None:
    for question in dashboard_questions() + rule_questions():
        assert not re.search(r"sum[^(]*\((?:[a-z:_]+usage[a-z:_]*|nv_gpu_utilization)", question.expr), question.where


def test_objectives_are_bucket_bounds_and_can_be_missed() -> None:
    """A limit between two bounds would count what it does not say; a burn factor above all failures never fires."""
    objectives = read_objectives()
    assert objectives.first_token_s in metrics._FIRST_TOKEN_S
    assert objectives.output_token_s in metrics._TOKEN_GAP_S
    text = (GRAFANA / "rules" / "objectives.yaml").read_text(encoding="utf-8")
    assert re.findall(r'le="([^"]+)"', text) == [str(float(objectives.first_token_s))]
    assert 14.4 * (1 - objectives.availability) < 0.99
    assert 14.4 * (1 - objectives.first_token) < 0.99


def test_rules_are_sound() -> None:
    done = promtool(
        "check", "rules", "--lint=all", "--lint-fatal", *map(str, sorted((GRAFANA / "rules").glob("*.yaml")))
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", PROMTOOLS, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_silent(path: Path) -> None:
    done = promtool("test", "rules", path.name, cwd=path.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_that_it_fires_and_one_that_it_stays_silent() -> None:
    fires, silent = set(), set()
    for path in PROMTOOLS:
        for one in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for check in one["promql_expr_test"]:
                if found := re.search(r'ALERTS\{alertname="(\w+)"', check["expr"]):
                    (fires if check["exp_samples"] else silent).add(found[1])
    assert sorted(fires) == ALERTS
    assert sorted(silent) == ALERTS


def test_a_burn_alert_of_a_lower_objective_still_can_fire(tmp_path: Path) -> None:
    """14.4 times 10 % is more than everything: the rule is cut at 99 %."""
    text = (GRAFANA / "rules" / "objectives.yaml").read_text(encoding="utf-8")
    (tmp_path / "objectives.yaml").write_text(text.replace("vector(0.995)", "vector(0.9)"), encoding="utf-8")
    (tmp_path / "slo.yaml").write_text((GRAFANA / "rules" / "slo.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    fires = 'count(ALERTS{alertname="WeirRequestsFail",window="1h",alertstate="firing"})'
    series = {"series": 'weir_gateway_requests_total{code="503"}', "values": "0+600x80"}
    check = {"expr": fires, "eval_time": "75m", "exp_samples": [{"labels": "{}", "value": 1}]}
    test = {"interval": "1m", "input_series": [series], "promql_expr_test": [check]}
    files = {"rule_files": ["objectives.yaml", "slo.yaml"], "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(files), encoding="utf-8")
    done = promtool("test", "rules", "test.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_leads_to_a_section_of_the_runbook(alert: str) -> None:
    section = re.search(
        rf"^### {alert}\n(.*?)(?=^##|\Z)", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert section, f"docs/runbook.md has no section {alert}"
    for part in ("**Means.**", "**Look.**", "**Do.**"):
        assert part in section[1], f"{alert}: {part}"
    for rule in rules():
        if rule.get("alert") == alert:
            assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{alert.lower()}"
            assert rule["labels"]["severity"] in {"page", "ticket"}
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["description"]


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    named = re.findall(r"^### (Weir\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == ALERTS


def test_expressions_in_the_runbook_can_be_parsed() -> None:
    for block in re.findall(r"^```promql\n(.*?)^```", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.strip().splitlines():
            taken_apart(Question("runbook", line).plain)


def test_the_scrape_configurations_are_sound() -> None:
    for path in sorted((ROOT / "deploy" / "prometheus").glob("*.yaml")):
        done = promtool("check", "config", "--syntax-only", str(path))
        assert done.returncode == 0, done.stdout + done.stderr
        jobs = {job["job_name"] for job in yaml.safe_load(path.read_text(encoding="utf-8"))["scrape_configs"]}
        assert jobs <= {"weir-gateway", "weir-node", "weir-triton", "weir-vllm", "prometheus"}, (
            "alerts know these names"
        )
