"""What runs where, and what a new release changes."""

from typing import Final

from tools.dashboards.spec import Board, Choice, Limit, Panel, Query, Row, quantile, rate

_MODEL = 'model=~"$model"'


_RUNNING: Final = (
    Panel(
        "Releases at gateways",
        "Processes that serve each release: its tokenizer, its template, its limits.",
        "short",
        [Query(f"sum by (model, version, sha256) (weir_gateway_model_info{{{_MODEL}}}) > 0")],
        kind="table",
    ),
    Panel(
        "Releases at nodes",
        "Nodes that serve each release, and in which flavour.",
        "short",
        [Query("count by (model, version, flavour) (weir_node_model_info > 0)")],
        kind="table",
    ),
    Panel(
        "Code and settings",
        "Versions of Weir, and digests of the gateways' settings: replicas should agree.",
        "short",
        [
            Query("count by (version) (weir_gateway_build_info)"),
            Query("count by (version) (weir_node_build_info)"),
            Query("count by (sha256) (weir_gateway_config_info)"),
        ],
        kind="table",
    ),
    Panel(
        "Versions of a model that are served at once",
        "More than one for longer than a rollout takes: somebody was left out.",
        "short",
        [
            Query(
                "count by (model) (count by (model, version) (weir_gateway_model_info > 0 or "
                "weir_node_model_info > 0))",
                "{{model}}",
            )
        ],
        limits=[Limit(2, "orange")],
        width=24,
        height=5,
    ),
)

_CHANGES: Final = (
    Panel(
        "Loads at nodes",
        "refused: files missing or altered, or golden answers differ; what served before goes on.",
        "short",
        [Query("sum by (result) (increase(weir_node_loads_total[$__rate_interval]))", "{{result}}")],
        kind="bars",
    ),
    Panel(
        "Golden prompts",
        "Loads whose recorded answers came again, and those where they did not.",
        "short",
        [Query("sum by (result) (increase(weir_node_golden_checks_total[$__rate_interval]))", "{{result}}")],
        kind="bars",
    ),
    Panel(
        "Time of the last load",
        "Checking hashes, building the session, asking golden prompts.",
        "s",
        [Query("max by (instance) (weir_node_session_load_seconds)", "{{instance}}")],
    ),
    Panel(
        "Readings of policy and releases at gateways",
        "After SIGHUP, POST /admin/reload or a changed policy file.",
        "short",
        [
            Query("sum by (result) (increase(weir_gateway_config_reloads_total[$__rate_interval]))", "{{result}}"),
        ],
        kind="bars",
        width=24,
        height=5,
    ),
)

_COMPARED: Final = (
    Panel(
        "Failures by model",
        "Share of requests with a status from 500 on.",
        "percentunit",
        [
            Query(
                f'(sum by (model) (rate(weir_gateway_requests_total{{code=~"5..",{_MODEL}}}[$__rate_interval]))'
                f" or 0 * {rate('weir_gateway_requests_total', 'model', where=_MODEL)})"
                f" / ({rate('weir_gateway_requests_total', 'model', where=_MODEL)} > 0)",
                "{{model}}",
            )
        ],
    ),
    Panel(
        "First token by model, p95",
        "A new release of another size shows here first.",
        "s",
        [Query(quantile(0.95, "weir_gateway_time_to_first_token_seconds", "model", where=_MODEL), "{{model}}")],
    ),
    Panel(
        "Requests by model and pool",
        "What share of the traffic each one gets.",
        "reqps",
        [Query(rate("weir_gateway_requests_total", "model, backend", where=_MODEL), "{{model}} {{backend}}")],
        kind="bars",
    ),
)


def board() -> Board:
    return Board(
        uid="weir-releases",
        title="Weir / Releases",
        about="Which releases, settings and code run where; loads and reloads; how one model does beside another.",
        rows=(Row("What runs", _RUNNING), Row("Changes", _CHANGES), Row("Side by side", _COMPARED)),
        choices=(Choice("model", "weir_gateway_model_info", "model"),),
        span="now-24h",
        marks=(
            ("Release changed", "changes(sum by (model, version) (weir_gateway_model_info)[5m:1m]) > 0"),
            ("Loaded", 'sum by (instance) (increase(weir_node_loads_total{result="loaded"}[2m])) > 0'),
        ),
    )
