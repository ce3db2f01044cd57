"""One request inside onnxruntime-genai's engine: what it is asked, and text from the tokens that it says."""

from dataclasses import dataclass, field
from typing import Any, Final

from weir.contracts.errors import ValidationError, WeirError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.detokenizer import Detokenizer
from weir.engine.generation import Vocabulary
from weir.engine.outbox import Outbox
from weir.engine.stops import StopMatcher

# What that engine samples without; asking for it is refused, not forgotten.
_NOT_THERE: Final = (
    "min_p",
    "typical_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "prompt_logprobs",
    "grammar",
)
_SEED_BITS: Final = (1 << 31) - 1


def refuse_unsupported(request: GenerateRequest) -> None:
    """Raises ValidationError for what onnxruntime-genai's engine has not, naming the field."""
    defaults = SamplingParams.model_fields
    for name in _NOT_THERE:
        if getattr(request.sampling, name) != defaults[name].default:
            raise ValidationError("the node that serves this model (engine genai-paged) does not know it", name)
    if request.adapter is not None:
        raise ValidationError("no adapter of this name (this engine serves none)", "adapter")


def set_options(options: Any, sampling: SamplingParams, max_new_tokens: int, *, takes_seeds: bool) -> None:
    """Fill onnxruntime-genai's `TurnOptions`. Stop strings are watched by `Turn`, which knows what text is.

    To ignore end-of-sequence tokens is, here, never to choose one. Batches of a fixed size take no seeds.
    """
    options.set_max_generated_tokens(max_new_tokens)
    options.set_min_generated_tokens(max_new_tokens if sampling.ignore_eos else sampling.min_new_tokens)
    options.set_repetition_penalty(sampling.repetition_penalty)
    options.set_do_sample(not sampling.is_greedy)
    if sampling.is_greedy:
        return
    options.set_temperature(sampling.temperature)
    options.set_top_k(sampling.top_k)
    options.set_top_p(sampling.top_p)
    if sampling.seed is not None and takes_seeds:
        options.set_seed(sampling.seed & _SEED_BITS)


@dataclass(slots=True, eq=False)
class Turn:
    """Lives on the engine's thread, but for its outbox.

    Attributes:
        handle: onnxruntime-genai's request, once it was begun.
        number: its turn in that request.
        is_over: its caller was told the end, or has left; what else the engine says of it is dropped.
        generated: tokens so far.
    """

    request: GenerateRequest
    prompt: list[int]
    max_new_tokens: int
    vocabulary: Vocabulary
    outbox: Outbox
    deadline: float | None = None
    handle: Any = None
    number: int = 0
    is_over: bool = False
    generated: int = 0
    outcome: str = "cancelled"
    _unreported: int = 0
    _detokenizer: Detokenizer = field(init=False)
    _stops: StopMatcher = field(init=False)

    def __post_init__(self) -> None:
        self._detokenizer = Detokenizer(self.vocabulary.decoder)
        self._stops = StopMatcher(self.request.sampling.stop)

    def take(self, token: int) -> None:
        """Note a token; put what became visible. Afterwards `is_over` says whether it ended the answer."""
        self.generated += 1
        self._unreported += 1
        sampling = self.request.sampling
        if token in sampling.stop_token_ids:
            return self.end(FinishReason.STOP)
        visible, stopped = self._stops.feed(self._detokenizer.add(token))
        if stopped:
            return self._finish(visible, FinishReason.STOP)
        if self.generated >= self.max_new_tokens:
            return self.end(FinishReason.LENGTH, visible)
        return self._put(visible)

    def end_of_sequence(self) -> None:
        """The model chose to end: onnxruntime-genai says so without giving the token, which counts all the same."""
        self.generated += 1
        self._unreported += 1
        self.end(FinishReason.EOS)

    def end(self, reason: FinishReason, visible: str = "") -> None:
        """End it, unless what was held back completes a stop string."""
        more, stopped = self._stops.feed(self._detokenizer.flush())
        rest = more if stopped else more + self._stops.flush()
        self._finish(visible + rest, FinishReason.STOP if stopped else reason)

    def fail(self, error: WeirError, outcome: str) -> None:
        if not self.is_over:
            self.is_over, self.outcome = True, outcome
            self.outbox.end(error)

    def _finish(self, visible: str, reason: FinishReason) -> None:
        if visible or self._unreported:
            self._put(visible, is_last=True)
        self.is_over, self.outcome = True, reason.value
        self.outbox.end(Finished(reason, Usage(len(self.prompt), self.generated)))

    def _put(self, visible: str, *, is_last: bool = False) -> None:
        if visible or is_last:
            self.outbox.put(TokenChunk(visible, self._unreported))
            self._unreported = 0
