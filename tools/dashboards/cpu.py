"""CPU nodes: ONNX Runtime, the engine, classifiers."""

from typing import Final

from tools.dashboards.spec import Board, Choice, Limit, Panel, Query, Row, heat, mean, quantiles, rate

_NODE = 'instance=~"$instance"'


def _by_instance(expr: str) -> list[Query]:
    return [Query(expr, "{{instance}}")]


_WORK: Final = (
    Panel(
        "Time of a step",
        "One run of the model. decode: one token for each answer. prefill: prompts are read. mixed: both.",
        "s",
        quantiles("weir_node_step_seconds", 0.5, 0.95, by="stage", where=_NODE),
    ),
    Panel(
        "All steps",
        "How many runs took how long.",
        "s",
        heat("weir_node_step_seconds", where=_NODE),
        kind="heatmap",
    ),
    Panel(
        "Time spent in steps",
        "Share of each second that the model runs: near 1 the node is busy all the time.",
        "percentunit",
        [Query(rate("weir_node_step_seconds_sum", "instance, stage", where=_NODE), "{{instance}} {{stage}}")],
        kind="bars",
    ),
    Panel(
        "Sequences in a decode step",
        "Mean; and how many requests run and wait.",
        "short",
        [
            Query(mean("weir_node_batch_size", "instance", where=_NODE), "{{instance}} batch"),
            Query(f"sum by (instance) (weir_node_running{{{_NODE}}})", "{{instance}} running"),
            Query(f"sum by (instance) (weir_node_queue_depth{{{_NODE}}})", "{{instance}} waiting"),
        ],
    ),
    Panel(
        "Tokens",
        "Read and generated a second.",
        "short",
        [
            Query(rate("weir_node_prompt_tokens_total", "instance", where=_NODE), "{{instance}} read"),
            Query(rate("weir_node_generated_tokens_total", "instance", where=_NODE), "{{instance}} generated"),
        ],
    ),
    Panel(
        "Requests by how they ended",
        "overloaded: the node was full. expired: a deadline passed. cancelled: the caller left.",
        "reqps",
        [Query(rate("weir_node_requests_total", "outcome", where=_NODE), "{{outcome}}")],
        kind="bars",
    ),
    Panel(
        "First token at the node",
        "From the body read to the first event.",
        "s",
        quantiles("weir_node_time_to_first_token_seconds", 0.5, 0.95, 0.99, where=_NODE),
    ),
    Panel(
        "Guesses that come true",
        "Tokens that were guessed and verified, and those of them that the model agreed to, a second.",
        "short",
        [
            Query(rate("weir_node_draft_tokens_total", "instance", where=_NODE), "{{instance}} guessed"),
            Query(rate("weir_node_draft_accepted_tokens_total", "instance", where=_NODE), "{{instance}} came true"),
        ],
    ),
    Panel(
        "Prompts spared by the prefix cache",
        "Share of prompt tokens that were known from an earlier prompt with the same beginning.",
        "percentunit",
        _by_instance(
            rate("weir_node_prefix_hit_tokens_total", "instance", where=_NODE)
            + " / ("
            + rate("weir_node_prefix_queried_tokens_total", "instance", where=_NODE)
            + " > 0)"
        ),
        max_value=1,
    ),
)

_MEMORY: Final = (
    Panel(
        "Key/value blocks in use",
        "Share; of several models the fullest.",
        "percentunit",
        _by_instance(f"max by (instance) (weir_node_kv_cache_usage_ratio{{{_NODE}}})"),
        limits=[Limit(0.8, "orange"), Limit(0.9)],
        max_value=1,
    ),
    Panel(
        "Key/value bytes",
        "In use, and all there are (`kv_budget_mib`).",
        "bytes",
        [
            Query(f"sum by (instance) (weir_node_kv_cache_used_bytes{{{_NODE}}})", "{{instance}} used"),
            Query(f"sum by (instance) (weir_node_kv_cache_budget_bytes{{{_NODE}}})", "{{instance}} all"),
        ],
    ),
    Panel(
        "Kept beginnings and preemptions",
        "Blocks kept for prompts that begin alike; requests that had to give their blocks back.",
        "short",
        [
            Query(f"sum by (instance) (weir_node_prefix_cached_blocks{{{_NODE}}})", "{{instance}} kept"),
            Query(
                f"sum by (instance) (increase(weir_node_preemptions_total{{{_NODE}}}[$__rate_interval]))",
                "{{instance}} given back",
            ),
        ],
    ),
)

_MACHINE: Final = (
    Panel(
        "Memory",
        "Resident memory of the process.",
        "bytes",
        _by_instance(f'process_resident_memory_bytes{{{_NODE},job="weir-node"}}'),
    ),
    Panel(
        "Processors in use",
        "Beside the threads that ONNX Runtime computes with: less means waiting, for work or for a CPU limit.",
        "short",
        [
            Query(f'rate(process_cpu_seconds_total{{{_NODE},job="weir-node"}}[$__rate_interval])', "{{instance}} used"),
            Query(f"weir_node_threads{{{_NODE}}}", "{{instance}} threads"),
        ],
    ),
    Panel(
        "Held back by a CPU limit",
        "Share of periods in which the container had to wait (from cAdvisor). Above a quarter: raise the limit.",
        "percentunit",
        [
            Query(
                'sum by (pod, container) (rate(container_cpu_cfs_throttled_periods_total{namespace=~"$namespace",'
                'container=~"gateway|cpu-node|triton"}[$__rate_interval])) / (sum by (pod, container) '
                '(rate(container_cpu_cfs_periods_total{namespace=~"$namespace",container=~"gateway|cpu-node|triton"}'
                "[$__rate_interval])) > 0)",
                "{{pod}} {{container}}",
            )
        ],
        limits=[Limit(0.25)],
        max_value=1,
    ),
)

_CLASSIFIERS: Final = (
    Panel(
        "Texts scored and embedded",
        "A second; and texts that wait.",
        "short",
        [
            Query(rate("weir_node_scored_texts_total", "instance", where=_NODE), "{{instance}} scored/s"),
            Query(rate("weir_node_embedded_texts_total", "instance", where=_NODE), "{{instance}} embedded/s"),
            Query(f"sum by (instance) (weir_node_infer_texts_waiting{{{_NODE}}})", "{{instance}} waiting"),
        ],
    ),
    Panel(
        "Time of a request and of a run",
        "Requests wait for others to share a run with.",
        "s",
        [
            *(
                Query(one.expr, f"request {one.legend}")
                for one in quantiles("weir_node_infer_seconds", 0.5, 0.95, where=_NODE)
            ),
            *(
                Query(one.expr, f"run {one.legend}")
                for one in quantiles("weir_node_infer_batch_seconds", 0.95, where=_NODE)
            ),
        ],
    ),
    Panel(
        "Requests by how they ended, and windows in a run",
        "What the gateway's second tier asks.",
        "short",
        [
            Query(rate("weir_node_infer_requests_total", "outcome", where=_NODE), "{{outcome}}/s"),
            Query(mean("weir_node_infer_batch_windows", where=_NODE), "windows in a run"),
        ],
    ),
)


def board() -> Board:
    return Board(
        uid="weir-cpu-nodes",
        title="Weir / CPU nodes",
        about="What the engine of a CPU node does: steps, batches, memory, guesses; and what the machine gives it.",
        rows=(
            Row("Work", _WORK),
            Row("Memory of sequences", _MEMORY),
            Row("Machine", _MACHINE),
            Row("Classifiers", _CLASSIFIERS),
        ),
        choices=(Choice("instance", "weir_node_build_info", "instance"),),
    )
