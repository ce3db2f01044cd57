"""From what a caller asked to what a node is given: input filter, template, token limits."""

import asyncio
import logging
from dataclasses import dataclass
from time import perf_counter

from weir.contracts.errors import PromptBlockedError
from weir.contracts.request import GenerateRequest, Message
from weir.gateway.catalog import ServedModel
from weir.gateway.generation import Ask, Generation
from weir.gateway.refusals import ContextTooLongError
from weir.guard.input import InputFilter
from weir.guard.policy import Action
from weir.guard.verdict import FAILED, Verdict
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_INLINE_CHARS = 16_384  # longer prompts are filtered and tokenised in a thread


@dataclass(frozen=True, slots=True)
class Preparation:
    """Makes the request for the node; the same for every surface."""

    input_filter: InputFilter
    metrics: GatewayMetrics

    async def prepared(self, generation: Generation) -> GenerateRequest:
        """Return a request that a backend can run, and note its token counts in `generation`.

        Raises:
            PromptBlockedError: an input rule matched, or the filter failed.
            ContextTooLongError: prompt and answer do not fit.
            ValidationError: the chat template refuses the messages.
        """
        ask = generation.ask
        size = len(ask.request.prompt) + sum(len(message.content) for message in ask.request.messages)
        if size > _INLINE_CHARS:
            return await asyncio.to_thread(self._prepare, generation)
        return self._prepare(generation)

    def _prepare(self, generation: Generation) -> GenerateRequest:
        ask, model = generation.ask, generation.model
        request = self._filtered(ask.request, generation.verdicts)
        prompt = _rendered(model, request, ask.truncate_tokens)
        generation.prompt_tokens = model.prompts.count(prompt)
        generation.max_new_tokens = _room(model.context_tokens, generation.prompt_tokens, ask)
        sampling = request.sampling.model_copy(update={"max_new_tokens": generation.max_new_tokens})
        return request.rendered(prompt, sampling).model_copy(update={"model": model.name})

    def _filtered(self, request: GenerateRequest, found: list[str]) -> GenerateRequest:
        began = perf_counter()
        if request.prompt:
            passed = self._passed(request.prompt, found)
            if passed is not request.prompt:
                request = request.model_copy(update={"prompt": passed})
        else:
            messages = tuple(Message(role=m.role, content=self._passed(m.content, found)) for m in request.messages)
            request = request.model_copy(update={"messages": messages})
        self.metrics.guard_seconds("input").observe(perf_counter() - began)
        return request

    def _passed(self, text: str, found: list[str]) -> str:
        """Return the text to go on with, and note the rules that matched in `found`; the filter fails closed."""
        try:
            verdict, text = self.input_filter.check(text)
        except Exception:  # noqa: BLE001 - whatever it is, the prompt goes nowhere
            _log.exception("input_filter_failed")
            verdict = FAILED
        self._count(verdict)
        found += verdict.rules
        if verdict.action is Action.BLOCK:
            raise PromptBlockedError(verdict.rules[0])
        return text

    def _count(self, verdict: Verdict) -> None:
        action = "error" if verdict is FAILED else str(verdict.action)
        for rule in verdict.rules or ("none",):
            self.metrics.guard_verdicts("input", rule, action).inc()


def _rendered(model: ServedModel, request: GenerateRequest, truncate_tokens: int | None) -> str:
    if request.messages:
        return model.prompts.from_messages(request.messages)
    text = request.prompt
    if truncate_tokens is not None:
        ids = model.prompts.tokenizer.encode(text)
        if len(ids) > truncate_tokens:
            kept = model.prompts.tokenizer.decode(ids[-truncate_tokens:], skip_special=False)
            text = kept.lstrip("\ufffd")  # the cut may have split a character
    return model.prompts.from_text(text)


def _room(context_tokens: int, prompt_tokens: int, ask: Ask) -> int:
    """Return how many tokens may be generated: what was asked for, else what is left."""
    wanted = ask.request.sampling.max_new_tokens
    left = context_tokens - prompt_tokens
    if left < 1 and wanted is None:
        raise ContextTooLongError(context_tokens, prompt_tokens, None)
    if wanted is not None and wanted > left:
        raise ContextTooLongError(context_tokens, prompt_tokens, wanted)
    return left if wanted is None else wanted
