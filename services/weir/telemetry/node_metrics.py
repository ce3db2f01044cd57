"""Every metric of a CPU node; names and labels are listed in docs and dashboards (tests compare them)."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from weir import __version__

_STEP_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
OUTCOMES = (
    "eos_token",
    "stop_sequence",
    "length",
    "cancelled",
    "error",
    "overloaded",
    "rejected",
    "unavailable",
)


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """A node's present load; `kv_used_ratio` is 0..1, the fullest engine's when there are several."""

    queued: int
    running: int
    kv_used_ratio: float


class NodeMetrics:
    """Also an engine's observer: `stepped` and `ended` are called from the engine's thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._engine_metrics(registry)
        self._node_metrics(registry)

    def _engine_metrics(self, registry: CollectorRegistry) -> None:
        self._batch_size = Histogram(
            "weir_node_batch_size", "Sequences in one decode step.", buckets=_BATCH_BUCKETS, registry=registry
        )
        step = Histogram(
            "weir_node_step_seconds",
            "One run of the graph.",
            labelnames=("stage",),
            buckets=_STEP_BUCKETS_S,
            registry=registry,
        )
        self._prefill_seconds, self._decode_seconds = step.labels("prefill"), step.labels("decode")
        self._prompt_tokens = Counter("weir_node_prompt_tokens_total", "Prompt tokens read.", registry=registry)
        self._generated_tokens = Counter("weir_node_generated_tokens_total", "Tokens generated.", registry=registry)
        requests = Counter(
            "weir_node_requests_total", "Requests by how they ended.", labelnames=("outcome",), registry=registry
        )
        self._requests = {outcome: requests.labels(outcome) for outcome in OUTCOMES}

    def _node_metrics(self, registry: CollectorRegistry) -> None:
        self._queue_depth = Gauge("weir_node_queue_depth", "Requests that wait for a slot.", registry=registry)
        self._running = Gauge("weir_node_running", "Requests that hold a slot.", registry=registry)
        self._kv_used = Gauge(
            "weir_node_kv_cache_usage_ratio", "Used share of the key/value buffers, 0 to 1.", registry=registry
        )
        self.threads = Gauge("weir_node_threads", "Threads onnxruntime computes with.", registry=registry)
        self.draining = Gauge("weir_node_draining", "1 while the node lets nobody in.", registry=registry)
        self.session_load_seconds = Gauge(
            "weir_node_session_load_seconds", "How long the last successful load took.", registry=registry
        )
        self.loads = Counter(
            "weir_node_loads_total", "Attempts to load a release.", labelnames=("result",), registry=registry
        )
        self.golden_checks = Counter(
            "weir_node_golden_checks_total",
            "Loads whose golden prompts were asked again.",
            labelnames=("result",),
            registry=registry,
        )
        self.model_info = Gauge(
            "weir_node_model_info",
            "1 for each model that is served.",
            labelnames=("model", "version", "flavour"),
            registry=registry,
        )
        build = Gauge("weir_node_build_info", "1; the node's version.", labelnames=("version",), registry=registry)
        build.labels(__version__).set(1)

    def watch(self, load: Callable[[], NodeLoad]) -> None:
        """Read the load gauges from `load` whenever they are scraped."""
        self._queue_depth.set_function(lambda: load().queued)
        self._running.set_function(lambda: load().running)
        self._kv_used.set_function(lambda: load().kv_used_ratio)

    def stepped(self, stage: str, *, read: int, generated: int, seconds: float) -> None:
        if stage == "decode":
            self._batch_size.observe(generated)
            self._decode_seconds.observe(seconds)
        else:
            self._prompt_tokens.inc(read)
            self._prefill_seconds.observe(seconds)
        self._generated_tokens.inc(generated)

    def ended(self, outcome: str, *, prompt_tokens: int, generated_tokens: int) -> None:  # noqa: ARG002  observer's
        self._requests[outcome].inc()

    def refused(self, outcome: str) -> None:
        """Count a request that no engine saw: `overloaded`, `rejected`, `unavailable` or `error`."""
        self._requests[outcome].inc()
