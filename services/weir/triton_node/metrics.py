"""What the model says of itself in Triton's `/metrics`: Triton counts requests, not tokens and not who waits."""

from time import monotonic
from typing import Any, Final, get_args

from weir.contracts.events import Finished
from weir.engine.observer import EngineStats
from weir.telemetry.step_report import Stage, StepReport

_SECONDS: Final = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]
_TOKEN_SECONDS: Final = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0]


class TritonMetrics:
    """Metric families of `pb`, Triton's `triton_python_backend_utils`; the labels are the model and its version."""

    def __init__(self, pb: Any, model: str, version: int) -> None:
        self._pb = pb
        self._labels = {"model": model, "version": str(version)}
        self._families: list[Any] = []  # one that is collected takes its values along
        gauge, counter, histogram = pb.MetricFamily.GAUGE, pb.MetricFamily.COUNTER, pb.MetricFamily.HISTOGRAM
        self._queued = self._metric("weir_triton_queue_depth", "Requests that wait for their turn.", gauge)
        self._running = self._metric("weir_triton_running", "Requests that decode.", gauge)
        self._kv_used = self._metric("weir_triton_kv_cache_usage_ratio", "Share of key/value blocks in use.", gauge)
        self._steps = StepTally()
        self._shown = (0, 0, dict[str, float]())
        self._decode_steps = self._metric("weir_triton_decode_steps_total", "Runs of the model that decode.", counter)
        self._decoded = self._metric(
            "weir_triton_decoded_sequences_total", "Sequences in these runs: divided by them, the batch.", counter
        )
        self._step_seconds = self._by_stage("weir_triton_step_seconds_total", "Time that runs of the model took.")
        self._prompt = self._metric("weir_triton_prompt_tokens_total", "Prompt tokens read.", counter)
        self._generated = self._metric("weir_triton_generated_tokens_total", "Tokens generated.", counter)
        self._reloads = self._metric(
            "weir_triton_engine_reloads_total", "Engines that died and were opened again.", counter
        )
        self._refused = self._metric("weir_triton_refused_total", "Requests answered with an error.", counter)
        self._cancelled = self._metric("weir_triton_cancelled_total", "Requests whose caller left.", counter)
        self._first = self._metric(
            "weir_triton_time_to_first_token_seconds", "From arrival to the first token.", histogram, _SECONDS
        )
        self._each = self._metric(
            "weir_triton_time_per_output_token_seconds",
            "Mean of an answer after its first token.",
            histogram,
            _TOKEN_SECONDS,
        )

    @property
    def steps(self) -> "StepTally":
        """What the engine reports to."""
        return self._steps

    def show(self, stats: EngineStats) -> None:
        """Tell Triton the present state. A metric costs a message to its server: steps are told of in sums."""
        self._queued.set(stats.queued)
        self._running.set(stats.running)
        self._kv_used.set(stats.kv_used_ratio)
        steps, sequences, seconds = self._shown
        tally = self._steps
        self._shown = (tally.decode_steps, tally.sequences, dict(tally.seconds))
        self._decode_steps.increment(self._shown[0] - steps)
        self._decoded.increment(self._shown[1] - sequences)
        for stage, total in self._shown[2].items():
            self._step_seconds[stage].increment(total - seconds.get(stage, 0.0))

    def refused(self) -> None:
        self._refused.increment(1)

    def cancelled(self) -> None:
        self._cancelled.increment(1)

    def reloaded(self) -> None:
        self._reloads.increment(1)

    def timer(self) -> "AnswerTimer":
        return AnswerTimer(self)

    def ended(self, finished: Finished, first_s: float | None, rest_s: float) -> None:
        """Note a complete answer; seconds to its first token and from there to its last."""
        self._prompt.increment(finished.usage.prompt_tokens)
        self._generated.increment(finished.usage.completion_tokens)
        if first_s is not None:
            self._first.observe(first_s)
        if finished.usage.completion_tokens > 1:
            self._each.observe(rest_s / (finished.usage.completion_tokens - 1))

    def _metric(self, name: str, what: str, kind: Any, buckets: list[float] | None = None) -> Any:
        family = self._pb.MetricFamily(name=name, description=what, kind=kind)
        self._families.append(family)
        return family.Metric(labels=self._labels) if buckets is None else family.Metric(self._labels, buckets)

    def _by_stage(self, name: str, what: str) -> dict[str, Any]:
        family = self._pb.MetricFamily(name=name, description=what, kind=self._pb.MetricFamily.COUNTER)
        self._families.append(family)
        return {stage: family.Metric(labels={**self._labels, "stage": stage}) for stage in get_args(Stage)}


class StepTally:
    """Sums up what an engine says of its steps, on the engine's thread; who reads it may be one step behind."""

    def __init__(self) -> None:
        self.decode_steps = 0
        self.sequences = 0
        self.seconds: dict[str, float] = dict.fromkeys(get_args(Stage), 0.0)

    def stepped(self, report: StepReport) -> None:
        self.seconds[report.stage] += report.seconds
        if report.decoded:
            self.decode_steps += 1
            self.sequences += report.decoded

    def ended(self, outcome: str, *, prompt_tokens: int, generated_tokens: int) -> None:
        """Answers are timed where they are sent."""


class AnswerTimer:
    """Times one answer."""

    def __init__(self, metrics: TritonMetrics) -> None:
        self._metrics = metrics
        self._began = monotonic()
        self._first: float | None = None
        self._last = self._began

    def brought(self) -> None:
        self._last = monotonic()
        if self._first is None:
            self._first = self._last

    def finished(self, event: Finished) -> None:
        first_s = None if self._first is None else self._first - self._began
        self._metrics.ended(event, first_s, self._last - (self._first or self._last))
