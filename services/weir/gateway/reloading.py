"""Reading policy and releases again while requests run."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from weir.contracts.errors import WeirError
from weir.gateway.catalog import ServedModel
from weir.gateway.service import GenerationService
from weir.guard.input import InputFilter
from weir.guard.output import OutputGuard
from weir.guard.policy import Policy, default_policy, load_policy

_log = logging.getLogger(__name__)


class Reloader:
    """Replaces what the files say now, all or nothing; a request under way keeps what it began with."""

    def __init__(self, service: GenerationService, guard: Path | None) -> None:
        self._service = service
        self._guard = guard
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self) -> str | None:
        """Return why the files were refused; none: they hold from now on."""
        async with self._one_at_a_time:
            try:
                models, policy, input_filter, output_guard = await asyncio.to_thread(self._read)
            except WeirError as error:
                self._service.metrics.reloads("refused").inc()
                _log.error("reload_refused", extra={"reason": str(error)})  # an operator's fault: no trace
                return str(error)
        service = self._service
        service.catalog.replace(models)
        service.preparation = replace(service.preparation, input_filter=input_filter)
        service.output_guard = output_guard
        service.cache.hold_to(policy)
        service.metrics.reloads("applied").inc()
        _log.info("reloaded", extra={"models": {model.name: model.version for model in models}})
        return None

    def _read(self) -> tuple[list[ServedModel], Policy, InputFilter, OutputGuard]:
        """In a thread: a tokenizer takes long enough to load to be felt by every stream."""
        policy = default_policy() if self._guard is None else load_policy(self._guard)
        return self._service.catalog.read_again(), policy, InputFilter(policy), OutputGuard(policy)
