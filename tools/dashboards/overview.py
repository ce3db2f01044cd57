"""Is Weir well, and does it keep its promises?"""

from collections.abc import Sequence
from typing import Final

from tools.dashboards.objectives import Objectives
from tools.dashboards.spec import Board, Limit, Panel, Query, Row, quantile, rate

_BURNING: Final = (Limit(1, "yellow"), Limit(3, "orange"), Limit(14.4))  # as grafana/rules/slo.yaml

_WELL: Final = (
    "min(sum by (pod, instance) (weir_gateway_node_healthy * on (namespace, pod, instance, node) "
    'weir_gateway_node_info{backend!="embedder"}))'
)

_STATE: Final = (
    Panel(
        "Nodes that are well",
        "Nodes that generate and answered their last probe, as the gateway that sees the fewest sees them.",
        "short",
        [Query(_WELL)],
        kind="stat",
        width=4,
        height=4,
        start="red",
        limits=[Limit(1, "green")],
    ),
    Panel(
        "Waiting",
        "Requests that wait in gateways for a node.",
        "short",
        [Query("sum(weir_gateway_queue_depth)")],
        kind="stat",
        width=4,
        height=4,
        limits=[Limit(20, "orange"), Limit(200)],
    ),
    Panel(
        "Alerts",
        "Alerts of Weir that fire now. Each has a section in the runbook.",
        "short",
        [Query('count(ALERTS{alertname=~"Weir.*",alertstate="firing"}) or vector(0)')],
        kind="stat",
        width=4,
        height=4,
        limits=[Limit(1)],
    ),
    Panel(
        "Alerts that fire",
        "What fires, how grave it is, and where. The runbook (docs/runbook.md) says what to do.",
        "short",
        [
            Query(
                'max by (alertname, severity, instance, node, backend, model) (ALERTS{alertname=~"Weir.*",'
                'alertstate="firing"}) or on () label_replace(vector(0), "alertname", "none", "", "")'
            )
        ],
        kind="table",
        width=24,
        height=5,
    ),
)

_BURN: Final = (
    Panel(
        "Error budget left, 30 days",
        "1: no failure yet. 0: the objective is just kept. Below: it is missed.",
        "percentunit",
        [Query("weir:slo_budget_left:ratio", "{{slo}}")],
        kind="stat",
        start="red",
        limits=[Limit(0, "orange"), Limit(0.25, "green")],
    ),
    Panel(
        "Burn rate, 1 hour",
        "How many times faster than allowed the budget burns; 14.4 wakes somebody.",
        "short",
        [
            Query("weir:slo_errors:ratio_rate1h / on (slo) group_left () (1 - weir:slo_objective:ratio)", "{{slo}} 1h"),
            Query("weir:slo_errors:ratio_rate5m / on (slo) group_left () (1 - weir:slo_objective:ratio)", "{{slo}} 5m"),
        ],
        limits=_BURNING,
    ),
    Panel(
        "Burn rate, 6 hours",
        "The same over 6 hours and 30 minutes; 6 wakes somebody.",
        "short",
        [
            Query("weir:slo_errors:ratio_rate6h / on (slo) group_left () (1 - weir:slo_objective:ratio)", "{{slo}} 6h"),
            Query(
                "weir:slo_errors:ratio_rate30m / on (slo) group_left () (1 - weir:slo_objective:ratio)",
                "{{slo}} 30m",
            ),
        ],
        limits=_BURNING,
    ),
)

_TRAFFIC: Final = (
    Panel(
        "Requests by status",
        "499: the caller hung up. 422: refused by validation or by the guard. 429: too many at once.",
        "reqps",
        [Query(rate("weir_gateway_requests_total", "code"), "{{code}}")],
        kind="bars",
    ),
    Panel(
        "Requests by route",
        "Which surface callers use.",
        "reqps",
        [Query(rate("weir_gateway_requests_total", "route"), "{{route}}")],
        kind="bars",
    ),
    Panel(
        "Tokens",
        "Read from prompts, written in answers, and written for nobody.",
        "short",
        [
            Query(rate("weir_gateway_prompt_tokens_total"), "read/s"),
            Query(rate("weir_gateway_generated_tokens_total"), "written/s"),
            Query(rate("weir_gateway_wasted_tokens_total"), "wasted/s"),
        ],
    ),
    Panel(
        "In flight",
        "Requests being worked on, by route.",
        "short",
        [Query("sum by (route) (weir_gateway_requests_in_flight)", "{{route}}")],
        kind="bars",
    ),
    Panel(
        "Callers by key",
        "key: a good key. unknown, expired, malformed, missing: refused. away: the database could not be asked.",
        "reqps",
        [Query(rate("weir_gateway_auth_total", "result"), "{{result}}")],
        kind="bars",
    ),
    Panel(
        "Refused by a limit of their key",
        "Requests or tokens per minute, or the month's budget.",
        "reqps",
        [Query(rate("weir_gateway_limited_total", "limit"), "{{limit}}")],
        kind="bars",
    ),
)

_PROCESSES: Final = (
    Panel(
        "Gateway memory",
        "Resident memory of all workers of one gateway.",
        "bytes",
        [Query("sum by (pod, instance) (weir_gateway_resident_memory_bytes)", "{{instance}}")],
    ),
    Panel(
        "Gateway processors",
        "Processors in use; one worker can use one.",
        "short",
        [
            Query(rate("weir_gateway_cpu_seconds_total", "pod, instance"), "{{instance}}"),
            Query("sum by (pod, instance) (weir_gateway_processes)", "{{instance}} workers"),
        ],
    ),
    Panel(
        "Open files and connections",
        "Of all workers of one gateway.",
        "short",
        [Query("sum by (pod, instance) (weir_gateway_open_files)", "{{instance}}")],
    ),
    Panel(
        "Lateness of event loops, p99",
        "What every token of that gateway waits in addition. Above 10 ms its processor is short.",
        "s",
        [Query(quantile(0.99, "weir_gateway_loop_delay_seconds", "pod, instance"), "{{instance}}")],
        limits=[Limit(0.01, "orange"), Limit(0.1)],
    ),
    Panel(
        "Database and store of limits",
        "1: reachable. While 0, usage and audit wait in memory, and new keys are not known.",
        "short",
        [Query("min by (store) (weir_gateway_store_up)", "{{store}}")],
        kind="states",
        states=((0, "away", "red"), (1, "up", "green")),
    ),
    Panel(
        "Usage and audit",
        "Rows that wait to be written, and those that were given up; the time that writing a batch takes.",
        "short",
        [
            Query("sum(weir_gateway_audit_rows_waiting)", "waiting"),
            Query("sum(increase(weir_gateway_audit_dropped_total[$__rate_interval]))", "given up"),
            Query(quantile(0.95, "weir_gateway_store_write_seconds"), "batch p95 (s)"),
        ],
    ),
)


def board(objectives: Objectives) -> Board:
    return Board(
        uid="weir-overview",
        title="Weir / Overview",
        about="Is Weir well, and does it keep its promises? Start here; the other boards say why.",
        rows=(
            Row("Now", _now(objectives)),
            Row("Promises", _promises(objectives)),
            Row("Traffic", _TRAFFIC),
            Row("Processes", _PROCESSES),
        ),
        span="now-6h",
    )


def _now(objectives: Objectives) -> Sequence[Panel]:
    return (
        Panel(
            "Answered",
            "Requests of the last 5 minutes that did not fail because of Weir. Objective: the first colour change.",
            "percentunit",
            [Query('1 - weir:slo_errors:ratio_rate5m{slo="availability"}')],
            kind="stat",
            width=4,
            height=4,
            start="red",
            limits=[Limit(objectives.availability, "green")],
        ),
        Panel(
            "First token, p95",
            "How long 95 of 100 callers wait at most until they see something.",
            "s",
            [Query(quantile(0.95, "weir_gateway_time_to_first_token_seconds"))],
            kind="stat",
            width=4,
            height=4,
            limits=[Limit(objectives.first_token_s)],
        ),
        Panel(
            "Each token, p95",
            "Mean time per token after the first, of 95 of 100 answers at most. A reader follows 10 tokens a second.",
            "s",
            [Query(quantile(0.95, "weir_gateway_time_per_output_token_seconds"))],
            kind="stat",
            width=4,
            height=4,
            limits=[Limit(objectives.output_token_s)],
        ),
        *_STATE,
    )


def _promises(objectives: Objectives) -> Sequence[Panel]:
    return (
        *_BURN,
        Panel(
            "Requests that fail",
            "Share of requests that end with a status from 500 on, and what the objective allows.",
            "percentunit",
            [
                Query('weir:slo_errors:ratio_rate5m{slo="availability"}', "fail"),
                Query('1 - weir:slo_objective:ratio{slo="availability"}', "allowed"),
            ],
            limits=[Limit(1 - objectives.availability)],
        ),
        Panel(
            "First tokens that are late",
            "Share of answers whose first token came later than promised, and what the objective allows.",
            "percentunit",
            [
                Query('weir:slo_errors:ratio_rate5m{slo="first_token"}', "late"),
                Query('1 - weir:slo_objective:ratio{slo="first_token"}', "allowed"),
            ],
            limits=[Limit(1 - objectives.first_token)],
        ),
        Panel(
            "Waiting for the first token",
            "Half, 95 and 99 of 100 callers see something by then.",
            "s",
            [
                *(
                    Query(quantile(q, "weir_gateway_time_to_first_token_seconds"), f"p{q * 100:g}")
                    for q in (0.5, 0.95, 0.99)
                ),
                Query('weir:slo_threshold:seconds{slo="first_token"}', "promised"),
            ],
            limits=[Limit(objectives.first_token_s)],
        ),
    )
