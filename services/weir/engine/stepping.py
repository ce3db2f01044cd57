"""How an engine's steps are planned, and what is told of each."""

from collections.abc import Callable

from weir.engine.blocks import BlockPool
from weir.engine.chunking import AdaptiveChunks, FixedChunks, StepTimes
from weir.engine.prefix import PrefixCache
from weir.engine.runner import StepResult
from weir.engine.scheduler import Scheduler, StepPlan
from weir.engine.sequence import Sequence
from weir.engine.settings import EngineSettings
from weir.engine.speculation import Drafter, Speculation
from weir.engine.step import Model
from weir.telemetry.step_report import Stage, StepReport


def make_scheduler(
    model: Model,
    pool: BlockPool,
    times: StepTimes,
    settings: EngineSettings,
    make_drafter: Callable[[Sequence], Drafter] | None,
) -> Scheduler:
    """Share, cut freely and guess only where that cannot change an answer."""
    prefix = PrefixCache(
        pool, enabled=settings.prefix_cache and model.is_exact and model.block_tokens < model.context_tokens
    )
    running = min(settings.max_running, model.blocks)
    if not model.is_exact:
        return Scheduler(pool, prefix, FixedChunks(settings.fixed_chunk_tokens), max_running=running)
    limit = settings.max_draft_tokens
    speculation = Speculation(make_drafter, times, limit=limit) if make_drafter is not None and limit else None
    chunks = AdaptiveChunks(times, ceiling=settings.prefill_chunk_tokens)
    return Scheduler(pool, prefix, chunks, max_running=running, speculation=speculation)


def report_of(plan: StepPlan, result: StepResult) -> StepReport:
    stage: Stage = "mixed" if plan.decode and plan.prefill else "decode" if plan.decode else "prefill"
    return StepReport(
        stage,
        decoded=len(plan.decode),
        read=sum(row.size for row in plan.prefill),
        generated=sum(map(len, result.chosen.values())),
        seconds=result.seconds,
        preempted=plan.preempted,
        prefix_queried=plan.prefix_queried,
        prefix_hit=plan.prefix_hit,
        drafted=sum(len(row.drafts) for row in plan.decode),
        accepted=result.accepted,
    )
