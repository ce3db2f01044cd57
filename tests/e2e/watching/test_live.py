"""On a real Prometheus that scrapes real processes: dashboards have something to show, and an alert arrives."""

import json
from pathlib import Path

import pytest
from tests.e2e.watching.conftest import Killed
from tests.support.drawing import draw
from tests.support.processes import eventually
from tests.support.prometheus import ROOT, Prometheus, promtool
from tests.support.queries import GRAFANA, Question, dashboard_questions, panels_of, rules
from tests.support.watched import Watched, Webhook

pytestmark = pytest.mark.e2e
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
PICTURES = ROOT / ".weir" / "pictures"
SEEN_S = 600.0
IN_DOCS = (  # docs/dashboards.png: copied by hand from PICTURES
    "Requests by status",
    "Requests by route",
    "Tokens",
    "Burn rate, 1 hour",
    "Waiting for the first token",
    "Callers by key",
)


def test_the_node_is_killed_last(killed: Killed) -> None:
    """Named so that what follows shows the loss too; the alert is waited for at the end."""
    assert killed.name == "cpu-1"


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_panel_has_something_to_show_and_is_drawn(prometheus: Prometheus, killed: Killed, path: Path) -> None:
    board = json.loads(path.read_text(encoding="utf-8"))
    answers = {}
    empty = []
    for panel in panels_of(board):
        found = [
            (
                target.get("legendFormat", ""),
                prometheus.history(Question("", target["expr"]).plain, seconds=SEEN_S, step_s=2),
            )
            for target in panel["targets"]
        ]
        empty += [panel["title"] for _, series in found if not series]
        answers[panel["id"]] = found
    assert empty == []
    PICTURES.mkdir(parents=True, exist_ok=True)
    draw(board, answers, PICTURES / f"{path.stem}.png")
    assert (PICTURES / f"{path.stem}.png").stat().st_size > 10_000
    if path.stem == "weir-overview":
        draw(board, answers, PICTURES / "panels.png", only=IN_DOCS, dpi=60)


def test_marks_and_menus_can_be_asked(prometheus: Prometheus) -> None:
    for question in dashboard_questions():
        if "mark" in question.where or "menu" in question.where:
            prometheus.value(question.plain)


def test_no_rule_fails(prometheus: Prometheus) -> None:
    groups = prometheus.ask("rules")["groups"]
    assert sum(len(group["rules"]) for group in groups) == len(rules())
    assert [rule for group in groups for rule in group["rules"] if rule["health"] == "err"] == []


def test_our_metrics_pass_promtools_check(watched: Watched) -> None:
    for server in (*watched.gateways.values(), watched.nodes["cpu-0"]):
        done = promtool("check", "metrics", text=server.metrics().body.decode())
        ours = [line for line in done.stderr.splitlines() if line.startswith("weir_")]
        assert ours == []


def test_what_came_in_is_what_prometheus_counts(prometheus: Prometheus, watched: Watched) -> None:
    """Scraped from two gateways and summed, as the dashboards do."""
    admin = [one.metrics().body.decode() for one in watched.gateways.values()]
    lines = [line for text in admin for line in text.splitlines() if line.startswith("weir_gateway_incoming_requests")]
    total = sum(float(line.rpartition(" ")[2]) for line in lines)
    prometheus.eventually(
        lambda: float(prometheus.value("sum(weir_gateway_incoming_requests_total)")[0]["value"][1]) == total,
        "the counts agree",
    )


def test_an_alert_for_a_killed_node_reaches_the_webhook_within_a_minute(
    killed: Killed, webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    def has_come() -> bool:
        return all(
            webhook.first(name, **labels) is not None
            for name, labels in (
                ("WeirNodeDown", {"node": killed.name}),
                ("WeirNoHealthyNode", {"backend": killed.pool}),
            )
        )

    eventually(has_come, within_s=90, what="both alerts at the webhook")
    came = webhook.first("WeirNodeDown", node=killed.name)
    assert came is not None
    with capsys.disabled():
        print(f"\nkilled node at the webhook after {came - killed.at:.1f} s")
    assert came - killed.at < 60
    (alert,) = [one for _, one in webhook.alerts if one["labels"]["alertname"] == "WeirNodeDown"][:1]
    assert killed.name in alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"].endswith("#weirnodedown")
    assert webhook.first("WeirNoHealthyNode", backend="gpu") is None
