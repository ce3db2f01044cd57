"""Nodes on GPUs: Triton with Weir's model, TensorRT-LLM or vLLM, and the cards themselves."""

from typing import Final

from tools.dashboards.spec import Board, Choice, Limit, Panel, Query, Row, quantiles, rate

_PER_REQUEST = "(sum by (model) (rate(nv_inference_request_success[$__rate_interval])) > 0)"


_WHERE = 'model=~"$model"'
_WEIR: Final = (
    Panel(
        "Waiting and running",
        "In the engine behind Triton's queue.",
        "short",
        [
            Query(f"sum by (instance, model) (weir_triton_queue_depth{{{_WHERE}}})", "{{instance}} {{model}} waiting"),
            Query(f"sum by (instance, model) (weir_triton_running{{{_WHERE}}})", "{{instance}} {{model}} running"),
        ],
    ),
    Panel(
        "First token",
        "From arrival in Triton to the first token.",
        "s",
        quantiles("weir_triton_time_to_first_token_seconds", 0.5, 0.95, 0.99, where=_WHERE),
    ),
    Panel(
        "Time per token",
        "Mean of each answer after its first token.",
        "s",
        quantiles("weir_triton_time_per_output_token_seconds", 0.5, 0.95, where=_WHERE),
    ),
    Panel(
        "Tokens",
        "Read and generated a second.",
        "short",
        [
            Query(rate("weir_triton_prompt_tokens_total", "model", where=_WHERE), "{{model}} read"),
            Query(rate("weir_triton_generated_tokens_total", "model", where=_WHERE), "{{model}} generated"),
        ],
    ),
    Panel(
        "Sequences in a step, and time in steps",
        "Mean batch; and the share of each second that the model runs.",
        "short",
        [
            Query(
                rate("weir_triton_decoded_sequences_total", "model", where=_WHERE)
                + " / ("
                + rate("weir_triton_decode_steps_total", "model", where=_WHERE)
                + " > 0)",
                "{{model}} batch",
            ),
            Query(rate("weir_triton_step_seconds_total", "model, stage", where=_WHERE), "{{model}} {{stage}} busy"),
        ],
    ),
    Panel(
        "Refused, cancelled, restarted",
        "Refused: full or wrong. Cancelled: the caller left. Restarted: an engine died and was opened again.",
        "short",
        [
            Query(rate("weir_triton_refused_total", "model", where=_WHERE), "{{model}} refused/s"),
            Query(rate("weir_triton_cancelled_total", "model", where=_WHERE), "{{model}} cancelled/s"),
            Query(
                f"sum by (model) (increase(weir_triton_engine_reloads_total{{{_WHERE}}}[$__rate_interval]))",
                "{{model}} restarted",
            ),
        ],
    ),
)

_TRITON: Final = (
    Panel(
        "Requests pending",
        "In Triton before the model takes them.",
        "short",
        [Query(f"sum by (model) (nv_inference_pending_request_count{{{_WHERE}}})", "{{model}}")],
    ),
    Panel(
        "Where a request's time goes",
        "Mean per request: Triton's queue, reading inputs, the model, writing outputs.",
        "µs",
        [
            Query(f"sum by (model) (rate({name}{{{_WHERE}}}[$__rate_interval])) / {_PER_REQUEST}", legend)
            for name, legend in (
                ("nv_inference_queue_duration_us", "{{model}} queue"),
                ("nv_inference_compute_input_duration_us", "{{model}} input"),
                ("nv_inference_compute_infer_duration_us", "{{model}} model"),
                ("nv_inference_compute_output_duration_us", "{{model}} output"),
            )
        ],
    ),
    Panel(
        "Requests and whole time",
        "Succeeded a second, and the mean time of one.",
        "short",
        [
            Query(rate("nv_inference_request_success", "model", where=_WHERE), "{{model}}/s"),
            Query(
                f"sum by (model) (rate(nv_inference_request_duration_us{{{_WHERE}}}[$__rate_interval])) / 1e6"
                f" / {_PER_REQUEST}",
                "{{model}} mean (s)",
            ),
        ],
    ),
    Panel(
        "Failures",
        "Triton's own count, by reason.",
        "reqps",
        [Query(rate("nv_inference_request_failure", "model, reason", where=_WHERE), "{{model}} {{reason}}")],
        kind="bars",
    ),
    Panel(
        "Inferences per execution",
        "Triton's own batching; 1 for models that batch by themselves, as Weir's and vLLM do.",
        "short",
        [
            Query(
                rate("nv_inference_count", "model", where=_WHERE)
                + " / ("
                + rate("nv_inference_exec_count", "model", where=_WHERE)
                + " > 0)",
                "{{model}}",
            )
        ],
    ),
    Panel(
        "Triton's response cache",
        "Hits and misses, for models that use it.",
        "reqps",
        [
            Query(rate("nv_cache_num_hits_per_model", "model", where=_WHERE), "{{model}} hit"),
            Query(rate("nv_cache_num_misses_per_model", "model", where=_WHERE), "{{model}} miss"),
        ],
    ),
)

_GPU = 'engine!="cpu"'
_ENGINES: Final = (
    Panel(
        "Waiting",
        "Weir's model, TensorRT-LLM and vLLM under one name.",
        "short",
        [Query(f"node:queue_depth{{{_GPU}}}", "{{engine}} {{instance}}")],
    ),
    Panel(
        "Key/value memory",
        "Share in use.",
        "percentunit",
        [Query(f"node:kv_usage:ratio{{{_GPU}}}", "{{engine}} {{instance}}")],
        limits=[Limit(0.8, "orange"), Limit(0.9)],
        max_value=1,
    ),
    Panel(
        "Tokens read and generated",
        "A second.",
        "short",
        [
            Query(f"node:prompt_tokens:rate5m{{{_GPU}}}", "{{engine}} {{instance}} read"),
            Query(f"node:generated_tokens:rate5m{{{_GPU}}}", "{{engine}} {{instance}} generated"),
        ],
    ),
)

_CARDS: Final = (
    Panel(
        "Use",
        "Share of time that the card computes anything (Triton; with DCGM's exporter also by it).",
        "percentunit",
        [
            Query("max by (instance, gpu_uuid) (nv_gpu_utilization)", "{{instance}} {{gpu_uuid}}"),
            Query("max by (Hostname, gpu) (DCGM_FI_DEV_GPU_UTIL) / 100", "{{Hostname}} {{gpu}} (DCGM)"),
        ],
        max_value=1,
    ),
    Panel(
        "Memory",
        "In use, and all there is.",
        "bytes",
        [
            Query("max by (instance, gpu_uuid) (nv_gpu_memory_used_bytes)", "{{instance}} {{gpu_uuid}} used"),
            Query("max by (instance, gpu_uuid) (nv_gpu_memory_total_bytes)", "{{instance}} {{gpu_uuid}} all"),
        ],
    ),
    Panel(
        "Power",
        "Now, and the card's limit: at the limit it slows itself down.",
        "watt",
        [
            Query("max by (instance, gpu_uuid) (nv_gpu_power_usage)", "{{instance}} {{gpu_uuid}}"),
            Query("max by (instance, gpu_uuid) (nv_gpu_power_limit)", "{{instance}} {{gpu_uuid}} limit"),
        ],
    ),
)


def board() -> Board:
    return Board(
        uid="weir-gpu-nodes",
        title="Weir / GPU nodes",
        about="Triton and vLLM nodes: what waits, where the time goes, how full the cards are.",
        rows=(
            Row("Weir's model in Triton", _WEIR),
            Row("Triton itself", _TRITON),
            Row("Every engine", _ENGINES),
            Row("Cards", _CARDS),
        ),
        choices=(Choice("model", "nv_inference_count", "model"),),
    )
