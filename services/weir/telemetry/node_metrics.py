"""Every metric of a CPU node; names and labels are listed in docs and dashboards (tests compare them)."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from weir import __version__
from weir.telemetry.step_report import StepReport

_STEP_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_FIRST_TOKEN_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_WINDOW_BUCKETS = (1, 2, 4, 8, 16)
_TEXT_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SCORING_OUTCOMES = ("scored", "embedded", "overloaded", "rejected", "unavailable", "cancelled", "error")
LOADS = ("loaded", "refused", "failed")
GOLDEN_CHECKS = ("passed", "failed")
OUTCOMES = (
    "eos_token",
    "stop_sequence",
    "length",
    "cancelled",
    "expired",
    "error",
    "overloaded",
    "rejected",
    "unavailable",
)


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """A node's present load; `kv_used_ratio` is 0..1, the fullest engine's when there are several, the rest sums."""

    queued: int
    running: int
    kv_used_ratio: float
    kv_used_bytes: int
    kv_budget_bytes: int
    cached_blocks: int


class NodeMetrics:
    """Also an engine's observer: `stepped` and `ended` are called from the engine's thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._engine_metrics(registry)
        self._memory_metrics(registry)
        self._node_metrics(registry)
        self._classifier_metrics(registry)

    def _engine_metrics(self, registry: CollectorRegistry) -> None:
        self._batch_size = Histogram(
            "weir_node_batch_size", "Sequences in one decode step.", buckets=_BATCH_BUCKETS, registry=registry
        )
        step = Histogram(
            "weir_node_step_seconds",
            "One run of the model; mixed: streams decode while prompts are read.",
            labelnames=("stage",),
            buckets=_STEP_BUCKETS_S,
            registry=registry,
        )
        self._step_seconds = {stage: step.labels(stage) for stage in ("prefill", "decode", "mixed")}
        self.first_token = Histogram(
            "weir_node_time_to_first_token_seconds",
            "From a request's body read to its first event, waiting included.",
            buckets=_FIRST_TOKEN_S,
            registry=registry,
        )
        self._prompt_tokens = Counter("weir_node_prompt_tokens_total", "Prompt tokens read.", registry=registry)
        self._generated_tokens = Counter("weir_node_generated_tokens_total", "Tokens generated.", registry=registry)
        requests = Counter(
            "weir_node_requests_total", "Requests by how they ended.", labelnames=("outcome",), registry=registry
        )
        self._requests = {outcome: requests.labels(outcome) for outcome in OUTCOMES}

    def _memory_metrics(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str) -> Counter:
            return Counter(f"weir_node_{name}", what, registry=registry)

        self._prefix_queried = counter("prefix_queried_tokens_total", "Tokens looked up in the prefix cache.")
        self._prefix_hit = counter("prefix_hit_tokens_total", "Tokens that the prefix cache spared.")
        self._preemptions = counter("preemptions_total", "Requests that gave their blocks back and were read again.")
        self._drafted = counter("draft_tokens_total", "Guessed tokens that were verified.")
        self._accepted = counter("draft_accepted_tokens_total", "Guessed tokens that came true.")
        self._kv_used_bytes = Gauge(
            "weir_node_kv_cache_used_bytes", "Key/value memory that running requests hold.", registry=registry
        )
        self._kv_budget_bytes = Gauge("weir_node_kv_cache_budget_bytes", "All key/value memory.", registry=registry)
        self._cached_blocks = Gauge(
            "weir_node_prefix_cached_blocks", "Blocks kept for prompts that begin alike.", registry=registry
        )

    def _node_metrics(self, registry: CollectorRegistry) -> None:
        self._queue_depth = Gauge("weir_node_queue_depth", "Requests that wait for a slot.", registry=registry)
        self._running = Gauge("weir_node_running", "Requests that hold a slot.", registry=registry)
        self._kv_used = Gauge(
            "weir_node_kv_cache_usage_ratio",
            "Share of the key/value blocks that running requests hold.",
            registry=registry,
        )
        self.threads = Gauge("weir_node_threads", "Threads onnxruntime computes with.", registry=registry)
        self.draining = Gauge("weir_node_draining", "1 while the node lets nobody in.", registry=registry)
        self.session_load_seconds = Gauge(
            "weir_node_session_load_seconds", "How long the last successful load took.", registry=registry
        )
        self.loads = Counter(
            "weir_node_loads_total", "Attempts to load a release.", labelnames=("result",), registry=registry
        )
        for result in LOADS:
            self.loads.labels(result)
        self.golden_checks = Counter(
            "weir_node_golden_checks_total",
            "Loads whose golden prompts were asked again.",
            labelnames=("result",),
            registry=registry,
        )
        for result in GOLDEN_CHECKS:
            self.golden_checks.labels(result)
        self.model_info = Gauge(
            "weir_node_model_info",
            "1 for each model that is served.",
            labelnames=("model", "version", "flavour"),
            registry=registry,
        )
        build = Gauge("weir_node_build_info", "1; the node's version.", labelnames=("version",), registry=registry)
        build.labels(__version__).set(1)

    def _classifier_metrics(self, registry: CollectorRegistry) -> None:
        requests = Counter(
            "weir_node_infer_requests_total",
            "Requests to classifiers and embedders by how they ended.",
            labelnames=("outcome",),
            registry=registry,
        )
        self._scoring = {outcome: requests.labels(outcome) for outcome in SCORING_OUTCOMES}
        self.scored_texts = Counter("weir_node_scored_texts_total", "Texts that got a score.", registry=registry)
        self.embedded_texts = Counter("weir_node_embedded_texts_total", "Texts that got a vector.", registry=registry)
        self.infer_seconds = Histogram(
            "weir_node_infer_seconds",
            "From a request's body read to its scores or vectors, waiting included.",
            buckets=_TEXT_BUCKETS_S,
            registry=registry,
        )
        self._windows = Histogram(
            "weir_node_infer_batch_windows",
            "Windows in one run of a classifier, or texts in one of an embedder.",
            buckets=_WINDOW_BUCKETS,
            registry=registry,
        )
        self._batch_seconds = Histogram(
            "weir_node_infer_batch_seconds",
            "One run of a classifier or an embedder.",
            buckets=_TEXT_BUCKETS_S,
            registry=registry,
        )
        self._texts_waiting = Gauge(
            "weir_node_infer_texts_waiting", "Texts without a score or a vector yet.", registry=registry
        )

    def watch_texts(self, waiting: Callable[[], int]) -> None:
        """Read from `waiting`, whenever it is scraped, how many texts have no score or vector yet."""
        self._texts_waiting.set_function(waiting)

    def batch_scored(self, windows: int, seconds: float) -> None:
        self._windows.observe(windows)
        self._batch_seconds.observe(seconds)

    def infer_ended(self, outcome: str) -> None:
        """Count a request to a classifier or an embedder: one of `SCORING_OUTCOMES`."""
        self._scoring[outcome].inc()

    def watch(self, load: Callable[[], NodeLoad]) -> None:
        """Read the load gauges from `load` whenever they are scraped."""
        self._queue_depth.set_function(lambda: load().queued)
        self._running.set_function(lambda: load().running)
        self._kv_used.set_function(lambda: load().kv_used_ratio)
        self._kv_used_bytes.set_function(lambda: load().kv_used_bytes)
        self._kv_budget_bytes.set_function(lambda: load().kv_budget_bytes)
        self._cached_blocks.set_function(lambda: load().cached_blocks)

    def stepped(self, report: StepReport) -> None:
        self._step_seconds[report.stage].observe(report.seconds)
        if report.decoded:
            self._batch_size.observe(report.decoded)
        if report.drafted:
            self._drafted.inc(report.drafted)
            self._accepted.inc(report.accepted)
        if report.read:
            self._prompt_tokens.inc(report.read)
            self._prefix_queried.inc(report.prefix_queried)
            self._prefix_hit.inc(report.prefix_hit)
        if report.preempted:
            self._preemptions.inc(report.preempted)
        self._generated_tokens.inc(report.generated)

    def ended(self, outcome: str, *, prompt_tokens: int, generated_tokens: int) -> None:  # noqa: ARG002  observer's
        self._requests[outcome].inc()

    def refused(self, outcome: str) -> None:
        """Count a request that no engine saw: `overloaded`, `rejected`, `unavailable` or `error`."""
        self._requests[outcome].inc()
