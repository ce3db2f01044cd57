"""What the guard finds, does and costs."""

from typing import Final

from tools.dashboards.spec import Board, Choice, Limit, Panel, Query, Row, heat, quantiles, rate

_RULE = 'rule=~"$rule"'
_FOUND = "weir_gateway_guard_verdicts_total"


_VERDICTS: Final = (
    Panel(
        "Prompts by verdict",
        "Each rule counts once per prompt; `allow` of rule `none`: nothing was found.",
        "reqps",
        [Query(rate(_FOUND, "verdict", where='phase="input"'), "{{verdict}}")],
        kind="bars",
    ),
    Panel(
        "Answers by verdict",
        "The same for what the model said.",
        "reqps",
        [Query(rate(_FOUND, "verdict", where='phase="output"'), "{{verdict}}")],
        kind="bars",
    ),
    Panel(
        "Share of prompts that are blocked",
        "A sudden change: an attack, another kind of caller, or a rule that is wrong.",
        "percentunit",
        [
            Query(
                'sum(rate(weir_gateway_guard_verdicts_total{phase="input",verdict="block"}[$__rate_interval]))'
                " / (sum(rate(weir_gateway_incoming_requests_total[$__rate_interval])) > 0)",
                "blocked",
            )
        ],
        limits=[Limit(0.05, "orange"), Limit(0.2)],
    ),
    Panel(
        "Rules that find something",
        "Finds of the last hour by rule, whatever they lead to.",
        "short",
        [
            Query(
                "sort_desc(sum by (phase, rule, verdict) (increase(weir_gateway_guard_verdicts_total"
                '{rule!="none",rule=~"$rule"}[1h])) > 0)'
            )
        ],
        kind="table",
        width=12,
    ),
    Panel(
        "Redacted or rewritten",
        "Stretches of text that were replaced, by rule.",
        "reqps",
        [Query(rate(_FOUND, "phase, rule", where=f'verdict=~"redact|rewrite",{_RULE}'), "{{phase}} {{rule}}")],
        width=6,
    ),
    Panel(
        "Answers that a rule ended",
        "The caller got what came before.",
        "reqps",
        [Query(rate("weir_gateway_guard_stream_cut_total", "rule", where=_RULE), "{{rule}}")],
        width=6,
    ),
)

_HEALTH: Final = (
    Panel(
        "Time per prompt and per answer",
        "What guarding costs; answers are read as they grow, so this is the sum of many small steps.",
        "s",
        quantiles("weir_gateway_guard_seconds", 0.5, 0.99, by="phase"),
        limits=[Limit(0.01, "orange")],
    ),
    Panel(
        "Characters held back",
        "The most that an answer had to wait for, because a rule might have matched.",
        "short",
        heat("weir_gateway_guard_held_chars"),
        kind="heatmap",
    ),
    Panel(
        "Failures of the guard",
        "Anything above 0 needs somebody: what the guard cannot judge is blocked.",
        "short",
        [
            Query("sum by (phase) (increase(weir_gateway_guard_errors_total[$__rate_interval]))", "{{phase}} failed"),
            Query("sum(increase(weir_gateway_guard_hold_overflow_total[$__rate_interval]))", "held too much"),
        ],
        limits=[Limit(1)],
    ),
    Panel(
        "Policy in force",
        "Processes that hold to each policy. Two for longer than a rollout takes: a gateway was left out.",
        "short",
        [Query("sum by (id, version, sha256) (weir_gateway_guard_policy_info) > 0")],
        kind="table",
        width=12,
    ),
    Panel(
        "Readings of the policy",
        "refused: the new file has a fault, the old one holds; the log says which.",
        "short",
        [
            Query("sum by (result) (increase(weir_gateway_guard_reloads_total[$__rate_interval]))", "{{result}}"),
        ],
        kind="bars",
        width=12,
    ),
)

_SECOND_TIER: Final = (
    Panel(
        "Questions to the classifier",
        "scored: it gave a verdict. The rest: none in time; what follows is a setting.",
        "reqps",
        [Query(rate("weir_gateway_guard_second_tier_total", "outcome"), "{{outcome}}")],
        kind="bars",
    ),
    Panel(
        "Time to its verdict, and first tokens held back",
        "Only what is held back is felt by callers.",
        "s",
        [
            *(
                Query(one.expr, f"verdict {one.legend}")
                for one in quantiles("weir_gateway_guard_second_tier_seconds", 0.5, 0.95)
            ),
            *(
                Query(one.expr, f"held back {one.legend}")
                for one in quantiles("weir_gateway_guard_second_tier_wait_seconds", 0.95)
            ),
        ],
    ),
    Panel(
        "Scores",
        "How sure the classifier is; what lies between the extremes is what the threshold decides on.",
        "short",
        heat("weir_gateway_guard_second_tier_score"),
        kind="heatmap",
    ),
)


def board() -> Board:
    return Board(
        uid="weir-safety",
        title="Weir / Safety",
        about="Verdicts by rule and phase, what was blocked or redacted, what the guard costs, and whether it works.",
        rows=(Row("Verdicts", _VERDICTS), Row("Health and cost", _HEALTH), Row("Second tier", _SECOND_TIER)),
        choices=(Choice("rule", _FOUND, "rule"),),
        span="now-6h",
        marks=(("Policy changed", "changes(sum by (sha256) (weir_gateway_guard_policy_info)[5m:1m]) > 0"),),
    )
