"""Dashboards, rules and documents ask for metrics, labels and values that real processes show, and for all of them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.contract_of_names import faults, unused
from tests.support.queries import (
    GRAFANA,
    ROOT,
    Question,
    Shown,
    dashboard_questions,
    document_names,
    rule_questions,
    rules,
    taken_apart,
)
from tests.support.watched import declared

from weir.telemetry.label_values import GATEWAY, UPSTREAM_REASONS

pytestmark = pytest.mark.e2e
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "model_repository" / "README.md"]


@pytest.fixture(scope="session")
def everything(shown: Shown) -> Shown:
    """With what others show, as grafana/metrics.yaml declares it."""
    both = Shown()
    both.series.update({name: list(series) for name, series in shown.series.items()})
    both.read("\n".join(one["like"] for one in declared()["foreign"]) + "\n")
    for name in declared()["prometheus"]:
        labels = {
            "alertname": "WeirNodeDown",
            "alertstate": "firing",
            "severity": "page",
            "node": "a",
            "job": "weir-node",
        }
        both.series[name] = [{**labels, "backend": "cpu", "model": "m"}]
    return both


def recorded(folder: Path = GRAFANA / "rules") -> dict[str, set[str]]:
    """The labels that recording rules leave: what they group by, and what they add."""
    found: dict[str, set[str]] = {}
    for rule in rules(folder):
        if "record" in rule:
            groupings = taken_apart(Question("", rule["expr"]).plain)[1]
            labels = {label for one in groupings for label in one.labels} | set(rule.get("labels", {}))
            found.setdefault(rule["record"], set()).update(labels)
    return found


def test_every_query_of_dashboards_and_rules_asks_for_what_is_there(everything: Shown) -> None:
    assert faults(dashboard_questions() + rule_questions(), everything, recorded()) == []


def test_every_metric_that_is_shown_is_used_or_excused(shown: Shown) -> None:
    excused = declared()["unused"]
    assert unused(dashboard_questions() + rule_questions(), shown, [one["name"] for one in excused]) == []
    assert all(one["reason"] for one in excused)


def test_nothing_is_declared_that_nobody_uses(shown: Shown) -> None:
    asked = {one.metric for q in dashboard_questions() + rule_questions() for one in taken_apart(q.plain)[0]}
    names = {one["like"].partition("{")[0] for one in declared()["foreign"]} | set(declared()["prometheus"])
    assert names - asked == set()
    assert names & shown.families == set()


def test_every_metric_that_a_document_names_is_there(shown: Shown) -> None:
    known = {*shown.series, *shown.families, *recorded(), "weir_gateway_guard_"}
    wrong = {name: page for name, page in document_names(DOCUMENTS).items() if name not in known}
    assert wrong == {}


@pytest.mark.parametrize("metric", sorted(GATEWAY))
def test_labels_of_closed_sets_have_no_other_values(shown: Shown, metric: str) -> None:
    (label,) = shown.labels(f"weir_gateway_{metric}")
    assert {one[label] for one in shown.series[f"weir_gateway_{metric}"]} == set(GATEWAY[metric])


def test_reasons_of_failed_attempts_are_the_declared_ones(shown: Shown) -> None:
    assert {one["reason"] for one in shown.series["weir_gateway_upstream_errors_total"]} == set(UPSTREAM_REASONS)


def test_a_process_shows_fewer_than_five_thousand_series(shown: Shown) -> None:
    ours = sum(len(series) for name, series in shown.series.items() if name.startswith("weir_gateway_"))
    assert ours < 5000


def test_no_label_holds_what_a_caller_sent(shown: Shown) -> None:
    values = {value for series in shown.series.values() for one in series for value in one.values()}
    for told in ("watermelon", "nonsense", "How do I return", "Bearer", "wk_"):
        assert not [value for value in values if told in value]


def _renamed(text: str) -> str:
    return text.replace("weir_gateway_queue_depth", "weir_gateway_queue_length")


def _wrong_label(text: str) -> str:
    return text.replace("sum by (route)", "sum by (rout)")


def _wrong_matcher(text: str) -> str:
    return text.replace('phase=\\"input\\"', 'fase=\\"input\\"').replace('phase="input"', 'fase="input"')


def _wrong_value(text: str) -> str:
    return text.replace('verdict=\\"block\\"', 'verdict=\\"blocked\\"').replace('verdict="block"', 'verdict="blocked"')


@pytest.mark.parametrize("spoil", [_renamed, _wrong_label, _wrong_matcher, _wrong_value])
def test_a_spoilt_dashboard_would_be_noticed(everything: Shown, tmp_path: Path, spoil: Callable[[str], str]) -> None:
    shutil.copytree(GRAFANA / "dashboards", tmp_path / "dashboards")
    for path in (tmp_path / "dashboards").glob("*.json"):
        path.write_text(spoil(path.read_text()))
    assert faults(dashboard_questions(tmp_path / "dashboards"), everything, recorded()) != []


@pytest.mark.parametrize("spoil", [_wrong_matcher, _wrong_value])
def test_a_spoilt_rule_would_be_noticed(everything: Shown, tmp_path: Path, spoil: Callable[[str], str]) -> None:
    shutil.copytree(GRAFANA / "rules", tmp_path / "rules")
    for path in (tmp_path / "rules").glob("*.yaml"):
        path.write_text(spoil(path.read_text()))
    assert faults(rule_questions(tmp_path / "rules"), everything, recorded(tmp_path / "rules")) != []


def test_a_metric_that_is_renamed_in_the_code_would_be_noticed(everything: Shown, shown: Shown) -> None:
    """The same metric under another name: asked for and gone, shown and not used."""
    name, other = "weir_gateway_queue_depth", "weir_gateway_queue_length"
    changed = Shown({other if n == name else n: s for n, s in everything.series.items()}, everything.families)
    assert any(name in fault for fault in faults(dashboard_questions(), changed, recorded()))
    families = Shown(shown.series, {other if n == name else n for n in shown.families})
    excused = [one["name"] for one in declared()["unused"]]
    assert unused(dashboard_questions() + rule_questions(), families, excused) == [other]
