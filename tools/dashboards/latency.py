"""How long answers take, and how long they are."""

from collections.abc import Sequence

from tools.dashboards.objectives import Objectives
from tools.dashboards.spec import Board, Choice, Limit, Panel, Query, Row, heat, mean, quantiles, rate

_WHERE = 'model=~"$model",backend=~"$backend"'
_MODEL = 'model=~"$model"'


def board(objectives: Objectives) -> Board:
    return Board(
        uid="weir-latency",
        title="Weir / Generation latency",
        about="First token, the tokens after it, whole answers, and their lengths, by model and pool.",
        rows=(
            Row("First token", _first(objectives)),
            Row("Tokens after it", _tokens(objectives)),
            Row("Whole answers", _whole()),
            Row("Lengths", _lengths()),
        ),
        choices=(
            Choice("model", "weir_gateway_requests_total", "model"),
            Choice("backend", "weir_gateway_node_info", "backend"),
        ),
    )


def _first(objectives: Objectives) -> Sequence[Panel]:
    name = "weir_gateway_time_to_first_token_seconds"
    return (
        Panel(
            "Time to the first token",
            "From the request's body read to the first text that the guard let through.",
            "s",
            quantiles(name, 0.5, 0.95, 0.99, where=_WHERE),
            limits=[Limit(objectives.first_token_s)],
        ),
        Panel(
            "By model and pool, p95",
            "Which pool makes callers wait.",
            "s",
            quantiles(name, 0.95, by="model, backend", where=_WHERE),
            limits=[Limit(objectives.first_token_s)],
        ),
        Panel(
            "All first tokens", "How many came when: the darker, the more.", "s", heat(name, where=_WHERE), "heatmap"
        ),
    )


def _tokens(objectives: Objectives) -> Sequence[Panel]:
    gap, each = "weir_gateway_inter_token_latency_seconds", "weir_gateway_time_per_output_token_seconds"
    return (
        Panel(
            "Gap between two pieces",
            "What a reader sees as stutter: p99 matters more than the mean.",
            "s",
            quantiles(gap, 0.5, 0.95, 0.99, where=_WHERE),
        ),
        Panel(
            "Time per token, per answer",
            "Mean over each answer after its first piece.",
            "s",
            quantiles(each, 0.5, 0.95, 0.99, where=_WHERE),
            limits=[Limit(objectives.output_token_s)],
        ),
        Panel(
            "By model and pool, p95",
            "Time per token of each pool.",
            "s",
            quantiles(each, 0.95, by="model, backend", where=_WHERE),
            limits=[Limit(objectives.output_token_s)],
        ),
        Panel("All gaps", "How many gaps were how long.", "s", heat(gap, where=_WHERE), "heatmap", width=12),
        Panel("All answers by time per token", "How many answers.", "s", heat(each, where=_WHERE), "heatmap", width=12),
    )


def _whole() -> Sequence[Panel]:
    name = "weir_gateway_request_duration_seconds"
    return (
        Panel(
            "Whole requests",
            "From the body read to the last byte; long answers take long.",
            "s",
            quantiles(name, 0.5, 0.95, 0.99, where=_MODEL),
        ),
        Panel("By route, p95", "Each surface by itself.", "s", quantiles(name, 0.95, by="route", where=_MODEL)),
        Panel(
            "Why answers end",
            "eos_token: the model was done. length: it was cut at max tokens. content_filter: a rule ended it.",
            "reqps",
            [Query(rate("weir_gateway_finish_total", "reason"), "{{reason}}")],
            kind="bars",
        ),
    )


def _lengths() -> Sequence[Panel]:
    prompt, output = "weir_gateway_request_prompt_tokens", "weir_gateway_request_output_tokens"
    return (
        Panel("Prompts", "Tokens per prompt.", "short", heat(prompt, where=_MODEL), "heatmap"),
        Panel("Answers", "Tokens per answer.", "short", heat(output, where=_MODEL), "heatmap"),
        Panel(
            "Mean lengths",
            "When times grow, look here first: longer prompts and answers take longer.",
            "short",
            [
                Query(mean(prompt, "model", where=_MODEL), "{{model}} prompt"),
                Query(mean(output, "model", where=_MODEL), "{{model}} answer"),
            ],
        ),
    )
