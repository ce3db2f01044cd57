"""The gateway's metrics. Labels come from closed sets: configured names and enums, never anything a caller sent."""

from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric

from weir.telemetry.handles import Count, Distribution, Family, Level, Waiting
from weir.telemetry.label_values import GATEWAY, ROUTED_WHY, UPSTREAM_REASONS

Merged = Literal["sum", "min", "max"]

_FIRST_TOKEN_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKEN_GAP_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
_DURATION_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_QUEUE_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_GUARD_S: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)
_TIER_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_SCORES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
_STORE_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_LOOP_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_TOKENS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
_HELD_CHARS: Final = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class GatewayMetrics:
    """All metrics of one gateway process, bound to one registry.

    Gauges are set at once. Counts and observations wait for `fold`, which whoever reads the registry calls without
    knowing; `before_fold` is for those who keep something back themselves.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._waiting = Waiting()
        self._one_at_a_time = Lock()
        self._before: list[Callable[[], None]] = []
        registry.register(_FoldFirst(self.fold))
        self._traffic()
        self._generation()
        self._queue_and_nodes()
        self._admission()
        self._replays()
        self._guard()
        self._access()
        self._edge()
        self._processes()
        self._build = self._gauge("build_info", "1; version of the running code.", ("version",), merged="max")
        self._config = self._gauge("config_info", "Processes that run with these settings.", ("sha256",))
        self._model = self._gauge("model_info", "Processes that serve this release.", ("model", "version", "sha256"))
        self._models: set[tuple[str, str, str]] = set()
        self._begin_at_zero()

    def fold(self) -> None:
        """Put into the values what was counted since the last time."""
        with self._one_at_a_time:
            for call in self._before:
                call()
            self._waiting.fold()

    def before_fold(self, call: Callable[[], None]) -> None:
        self._before.append(call)

    def set_build(self, version: str) -> None:
        self._build(version).set(1)

    def set_config(self, sha256: str) -> None:
        self._config(sha256).set(1)

    def know_node(self, node: str, pool: str) -> None:
        """Say that there is such a node, and begin to count what its pool does."""
        self.node_info(node, pool).set(1)
        self.upstream_retries(pool)
        for why in ROUTED_WHY:
            self.routed(pool, why)
        for reason in UPSTREAM_REASONS:
            self.upstream_errors(pool, reason)

    def set_models(self, models: Iterable[tuple[str, str, str]]) -> None:
        """Say which releases are served from now on: name, version and digest of each."""
        now = set(models)
        for labels in self._models - now:
            self._model(*labels).set(0)
        for labels in now:
            self._model(*labels).set(1)
        self._models = now

    def _traffic(self) -> None:
        self.requests = self._counter(
            "requests_total",
            "Finished requests. `code` is what became of it as an HTTP status; 499: the caller went away.",
            ("route", "model", "backend", "code"),
        )
        self.in_flight = self._gauge("requests_in_flight", "Requests being worked on.", ("route",))
        self.incoming = self._counter("incoming_requests_total", "Requests, counted before admission.", ("model",))
        self.duration = self._histogram(
            "request_duration_seconds", "From the request's body read to its end.", ("route", "model"), _DURATION_S
        )
        self.stream_aborted = self._counter(
            "stream_aborted_total", "Answers cut short: client, upstream or drain.", ("side",)
        )
        self.draining = Gauge(
            "weir_gateway_draining", "1 while shutting down.", registry=self.registry, multiprocess_mode="max"
        )

    def _generation(self) -> None:
        by_pool = ("model", "backend")
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "From body read to the first guarded text.", by_pool, _FIRST_TOKEN_S
        )
        self.token_gap = self._histogram(
            "inter_token_latency_seconds", "Between two chunks of an answer.", by_pool, _TOKEN_GAP_S
        )
        self.time_per_token = self._histogram(
            "time_per_output_token_seconds", "Mean per request, after the first chunk.", by_pool, _TOKEN_GAP_S
        )
        self.prompt_tokens = self._counter("prompt_tokens_total", "Prompt tokens sent to nodes.", ("model",))
        self.generated_tokens = self._counter("generated_tokens_total", "Tokens that nodes generated.", ("model",))
        self.request_prompt_tokens = self._histogram(
            "request_prompt_tokens", "Prompt tokens of one request that a node answered.", ("model",), _TOKENS
        )
        self.request_output_tokens = self._histogram(
            "request_output_tokens", "Tokens generated for one request.", ("model",), _TOKENS
        )
        self.finish = self._counter("finish_total", "Why generations ended.", ("reason",))

    def _queue_and_nodes(self) -> None:
        self.queue_depth = Gauge("weir_gateway_queue_depth", "Requests waiting for admission.", registry=self.registry)
        self.queue_wait = self._distribution("queue_wait_seconds", "Time in the queue.", _QUEUE_S)
        self.upstream_errors = self._counter(
            "upstream_errors_total", "Failed attempts: timeout, connect, overload, protocol.", ("backend", "reason")
        )
        self.upstream_retries = self._counter("upstream_retries_total", "Further attempts.", ("backend",))
        self.retries_exhausted = Counter(
            "weir_gateway_retry_budget_exhausted_total",
            "Failed requests that were not tried again: more than a tenth of all would have been.",
            registry=self.registry,
        )
        self.node_info = self._gauge(
            "node_info", "1 for each configured node; `backend` is its pool.", ("node", "backend"), merged="max"
        )
        self.node_healthy = self._gauge("node_healthy", "1: its last probe succeeded.", ("node",), merged="min")
        self.circuit_state = self._gauge("circuit_state", "0 closed, 1 half-open, 2 open.", ("node",), merged="max")
        self._routing()

    def _routing(self) -> None:
        self.node_in_flight = self._gauge("node_in_flight", "Requests at a node, at its last probe.", ("node",))
        self.node_pace = self._gauge(
            "node_pace", "How many times as long as nodes of its kind it takes.", ("node",), merged="max"
        )
        self.pool_nodes = self._gauge(
            "pool_nodes",
            "Nodes that may take requests, by pool; use: first, or standby while a pool before it has such nodes.",
            ("pool", "use"),
            merged="max",
        )
        self.model_nodes = self._gauge(
            "model_nodes", "Nodes that may take requests for a model.", ("model",), merged="max"
        )
        self.routed = self._counter(
            "routed_total",
            "Requests sent to nodes, by why: fastest, prefix (it read the beginning before), standby (another pool).",
            ("backend", "why"),
        )
        self.discoveries = self._counter(
            "discoveries_total", "Attempts to find nodes: same, changed, failed (the last list stays).", ("result",)
        )

    def forget_node(self, node: str, pool: str) -> None:
        """Drop what there is of a node that is no more."""
        self.node_info.drop(node, pool)
        for gauge in (self.node_healthy, self.circuit_state, self.node_in_flight, self.node_pace):
            gauge.drop(node)

    def _admission(self) -> None:
        self.queue_tokens = Gauge(
            "weir_gateway_queue_tokens", "Tokens that waiting requests may take.", registry=self.registry
        )
        self.admission_limit = Gauge(
            "weir_gateway_admission_limit", "Requests that may run at once, as learned.", registry=self.registry
        )
        self.admission_refused = self._counter(
            "admission_refused_total",
            "Requests not let in: key (its own bound), system (queue full), hopeless, timeout, deadline.",
            ("reason",),
        )
        self.wasted_tokens = self._counter(
            "wasted_tokens_total",
            "Generated tokens that nobody got: client (left), drain, deadline, guard, error.",
            ("reason",),
        )

    def _replays(self) -> None:
        self.attempts = self._counter(
            "idempotent_attempts_total", "Further attempts of one request: waited, replayed, refused.", ("outcome",)
        )
        self.cache_requests = self._counter(
            "cache_requests_total",
            "Requests that the response cache could answer: hit, joined (another one's answer was on its way), miss.",
            ("result",),
        )
        self.embedded_texts = Counter(
            "weir_gateway_embedded_texts_total", "Texts whose vectors were given.", registry=self.registry
        )
        self.cache_bytes = Gauge("weir_gateway_cache_bytes", "Size of the response cache.", registry=self.registry)
        self.cache_entries = Gauge("weir_gateway_cache_entries", "Answers in the cache.", registry=self.registry)

    def _guard(self) -> None:
        self.guard_verdicts = self._counter(
            "guard_verdicts_total",
            "What guard rules found, each rule once per prompt and once per answer; rule `none`: nothing.",
            ("phase", "rule", "verdict"),
        )
        self.guard_errors = self._counter(
            "guard_errors_total",
            "Failures of the guard itself (choice, input, output; each blocked) and of its second tier (as it is set).",
            ("phase",),
        )
        self.guard_seconds = self._histogram(
            "guard_seconds", "Guard time per request: whole prompt, whole answer.", ("phase",), _GUARD_S
        )
        self.guard_stream_cut = self._counter("guard_stream_cut_total", "Answers that a rule ended.", ("rule",))
        self.guard_overflows = Counter(
            "weir_gateway_guard_hold_overflow_total",
            "Answers of which a rule without an end would have held back more than may be held: the rest was replaced.",
            registry=self.registry,
        )
        self.guard_policy = self._gauge(
            "guard_policy_info", "Processes that hold to this policy.", ("id", "version", "sha256")
        )
        self.guard_reloads = self._counter(
            "guard_reloads_total",
            "Attempts to read the guard policy again: applied, unchanged or refused.",
            ("result",),
        )
        self._second_tier()
        self.guard_held = self._distribution(
            "guard_held_chars", "Most characters held back at once, per answer.", _HELD_CHARS
        )

    def _second_tier(self) -> None:
        self.second_tier = self._counter(
            "guard_second_tier_total",
            "Prompts that the classifier was asked about: scored, timeout, overloaded, unavailable, error, cancelled.",
            ("outcome",),
        )
        self.second_tier_seconds = self._distribution(
            "guard_second_tier_seconds", "From the question to the classifier's verdict, or to none.", _TIER_S
        )
        self.second_tier_wait = self._distribution(
            "guard_second_tier_wait_seconds", "How long a first token was held back for a verdict.", _TIER_S
        )
        self.second_tier_score = self._distribution(
            "guard_second_tier_score", "The highest score in a prompt.", _SCORES
        )

    def _access(self) -> None:
        self.auth = self._counter(
            "auth_total",
            "Callers by their key: key (good), anyone (no need), missing, malformed, unknown (or revoked), expired, "
            "away (cannot be checked), unchecked (let in all the same).",
            ("result",),
        )
        self.limited = self._counter(
            "limited_total", "Requests refused by a limit of their key: requests, tokens or budget.", ("limit",)
        )
        self.store_up = self._gauge(
            "store_up", "0: the database, or the store of limits, is away.", ("store",), merged="min"
        )
        self.store_write = Histogram(
            "weir_gateway_store_write_seconds",
            "Writing one batch of usage and audit rows.",
            buckets=_STORE_S,
            registry=self.registry,
        )
        self.audit_waiting = Gauge(
            "weir_gateway_audit_rows_waiting", "Audit rows that are not written yet.", registry=self.registry
        )
        self.audit_dropped = Counter(
            "weir_gateway_audit_dropped_total",
            "Audit rows given up because the database was away too long.",
            registry=self.registry,
        )

    def _edge(self) -> None:
        self.refused_early = self._counter(
            "refused_early_total",
            "Requests refused before any route, and connections cut because an answer was not read.",
            ("reason",),
        )
        self.reloads = self._counter(
            "config_reloads_total", "Attempts to read policy and releases again: applied or refused.", ("result",)
        )

    def _processes(self) -> None:
        self.processes = self._level("processes", "Processes that serve requests.")
        self.resident_memory = self._level("resident_memory_bytes", "Memory of all these processes.")
        self.open_files = self._level("open_files", "Their open files and connections.")
        self.cpu_seconds = Counter(
            "weir_gateway_cpu_seconds_total", "Processor time that they took.", registry=self.registry
        )
        self.loop_delay = self._distribution(
            "loop_delay_seconds", "How late an event loop wakes up: what every token of that process waits.", _LOOP_S
        )

    def _begin_at_zero(self) -> None:
        """A counter that appears with its first event hides that event from `rate` and `increase`."""
        for family, values in (
            (self.stream_aborted, GATEWAY["stream_aborted_total"]),
            (self.finish, GATEWAY["finish_total"]),
            (self.admission_refused, GATEWAY["admission_refused_total"]),
            (self.wasted_tokens, GATEWAY["wasted_tokens_total"]),
            (self.attempts, GATEWAY["idempotent_attempts_total"]),
            (self.cache_requests, GATEWAY["cache_requests_total"]),
            (self.guard_errors, GATEWAY["guard_errors_total"]),
            (self.guard_reloads, GATEWAY["guard_reloads_total"]),
            (self.second_tier, GATEWAY["guard_second_tier_total"]),
            (self.auth, GATEWAY["auth_total"]),
            (self.limited, GATEWAY["limited_total"]),
            (self.refused_early, GATEWAY["refused_early_total"]),
            (self.discoveries, GATEWAY["discoveries_total"]),
            (self.reloads, GATEWAY["config_reloads_total"]),
        ):
            for value in values:
                family(value)

    def _level(self, name: str, text: str) -> Gauge:
        return Gauge(f"weir_gateway_{name}", text, registry=self.registry)

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Family[Counter, Count]:
        return Family(Counter(f"weir_gateway_{name}", text, labels, registry=self.registry), Count, self._waiting)

    def _gauge(self, name: str, text: str, labels: Sequence[str], *, merged: Merged = "sum") -> Family[Gauge, Level]:
        """`merged`: how the values of several workers become one."""
        gauge = Gauge(f"weir_gateway_{name}", text, labels, registry=self.registry, multiprocess_mode=merged)
        return Family(gauge, Level, self._waiting)

    def _histogram(
        self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Family[Histogram, Distribution]:
        histogram = Histogram(f"weir_gateway_{name}", text, labels, buckets=buckets, registry=self.registry)
        return Family(histogram, Distribution, self._waiting)

    def _distribution(self, name: str, text: str, buckets: Sequence[float]) -> Distribution:
        histogram = Histogram(f"weir_gateway_{name}", text, buckets=buckets, registry=self.registry)
        return Distribution(histogram, self._waiting)


class _FoldFirst:
    """A collector without metrics, registered before all others: the registry asks it first."""

    def __init__(self, fold: Callable[[], None]) -> None:
        self._fold = fold

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        self._fold()
        return ()
