"""One request inside the engine: from logits to the events that its caller sees."""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from weir.contracts.errors import ValidationError, WeirError
from weir.contracts.events import Finished, FinishReason, PromptToken, Token, TokenChunk, TopToken, Usage
from weir.contracts.request import GenerateRequest
from weir.engine.constraints import Constraint
from weir.engine.detokenizer import Decoder, Detokenizer
from weir.engine.logprobs import scored
from weir.engine.outbox import Outbox
from weir.engine.sampler import Choice, Sampler
from weir.engine.sequence import Sequence
from weir.engine.step import Detail, PositionLogits
from weir.engine.stops import StopMatcher


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a generation must know of its model's tokens."""

    decoder: Decoder
    size: int
    eos_ids: Collection[int]


class Generation:
    """Lives on the engine's thread, but for its outbox.

    With tokens, text leaves at token borders: the texts of a chunk's tokens, joined, are the chunk's text.
    `finished` is None while it goes on; "error" when no token could be chosen, which the outbox was told.

    Raises:
        ValidationError: `logit_bias` lists a token that the model does not have.
    """

    def __init__(
        self,
        sequence: Sequence,
        request: GenerateRequest,
        vocabulary: Vocabulary,
        outbox: Outbox,
        *,
        max_new_tokens: int,
        constraint: Constraint | None = None,
    ) -> None:
        self.sequence = sequence
        self.outbox = outbox
        self.generated = 0
        self.finished: FinishReason | Literal["error"] | None = None
        self._params = params = request.sampling
        self._vocabulary = vocabulary
        self._max_new_tokens = max_new_tokens
        self._return_tokens = request.gives_tokens
        self._eos_ids: Collection[int] = () if params.ignore_eos else vocabulary.eos_ids
        self._constraint = constraint
        self._sampler = Sampler(
            params,
            sequence.tokens,
            vocab_size=vocabulary.size,
            end_ids=(*self._eos_ids, *params.stop_token_ids),
            constraint=constraint,
            with_logprobs=self._return_tokens,
        )
        self._detokenizer = Detokenizer(vocabulary.decoder)
        self._stops = StopMatcher(params.stop)
        self._ready = ""  # certain to be visible, not put yet
        self._unreported = 0
        self._tokens: deque[Token] = deque()
        self._scores_prompt = params.prompt_logprobs is not None
        self._prompt: list[PromptToken] = []

    @property
    def prompt_tokens(self) -> int:
        return self.sequence.prompt_len

    @property
    def detail(self) -> Detail:
        """How much of the next position's logits `accept` needs to be likely to choose; `FULL` makes it certain."""
        return self._sampler.detail

    def read_prompt(self, start: int, positions: Iterable[PositionLogits]) -> None:
        """Note how likely the prompt's own tokens are, if `prompt_logprobs` asks for that.

        `positions`, in `Detail.FULL`, are the logits after the prompt's tokens `start`, `start + 1`, ...: each tells of
        the next one. They come in order; what was noted before (after a preemption it is read again) is skipped.
        """
        if not self._scores_prompt:
            return
        ids = self.sequence.tokens[: self.prompt_tokens]
        if not self._prompt:
            self._prompt.append(PromptToken(ids[0], self._text_of(ids[0]), None))
        for number, position in enumerate(positions, start + 1):
            if number == len(self._prompt) and number < len(ids):
                self._prompt.append(self._prompt_token(ids[number], position))

    def accept(self, position: PositionLogits) -> int | None:
        """Choose the next token from the logits after the last one; put what became visible; return the token.

        Afterwards `finished` says whether that was the last one. None: nothing was chosen. Then either `finished` is
        "error", or the position shows too little: it is to be computed and shown again as `detail` now says.
        """
        try:
            self._check_prompt()
            choice = self._sampler.choose(position)
        except ValidationError as error:
            self.finished = "error"
            self.outbox.end(error)
            return None
        if choice is not None:
            self._take(choice)
        return None if choice is None else choice.token

    def _take(self, choice: Choice) -> None:
        self.generated += 1
        self._unreported += 1
        reason = self._reason_to_end(choice.token)
        hidden = reason is FinishReason.EOS or choice.token in self._params.stop_token_ids
        added = "" if hidden else self._detokenizer.add(choice.token)
        if reason is None and self._constraint is not None and self._constraint.is_over:
            reason = FinishReason.EOS
        visible, stopped = self._stops.feed(added)
        self._ready += visible
        if stopped:
            self.finished = FinishReason.STOP
        elif reason is not None or self.generated >= self._max_new_tokens:
            added += self._drain(reason or FinishReason.LENGTH)
        self._remember(choice, added)
        self._put()

    def _reason_to_end(self, token: int) -> FinishReason | None:
        if token in self._eos_ids:
            return FinishReason.EOS
        return FinishReason.STOP if token in self._params.stop_token_ids else None

    def fail(self, error: WeirError) -> None:
        self.outbox.end(error)

    def _check_prompt(self) -> None:
        if self._scores_prompt and len(self._prompt) < self.prompt_tokens:
            raise RuntimeError("the whole prompt is to be read before the first token is chosen")

    def _prompt_token(self, token: int, position: PositionLogits) -> PromptToken:
        found = scored(position, token, self._params.prompt_logprobs or 0)
        if found is None:
            raise RuntimeError("the prompt is to be read in full detail")
        return PromptToken(token, self._text_of(token), found.logprob, self._tops(found.top))

    def _tops(self, pairs: Iterable[tuple[int, float]]) -> tuple[TopToken, ...]:
        return tuple(TopToken(token, self._text_of(token), logprob) for token, logprob in pairs)

    def _text_of(self, token: int) -> str:
        return self._vocabulary.decoder.decode([token], skip_special=False)

    def _drain(self, reason: FinishReason) -> str:
        """End for `reason`, unless what was held back completes a stop; return the text that the end added."""
        rest = self._detokenizer.flush()
        visible, stopped = self._stops.feed(rest)
        self._ready += visible if stopped else visible + self._stops.flush()
        self.finished = FinishReason.STOP if stopped else reason
        return rest

    def _remember(self, choice: Choice, text: str) -> None:
        if self._return_tokens:
            special = choice.token in self._vocabulary.decoder.special_ids
            self._tokens.append(Token(choice.token, text, choice.logprob, special, self._tops(choice.top)))

    def _put(self) -> None:
        chunk = self._token_chunk() if self._return_tokens else self._text_chunk()
        if chunk is not None:
            self.outbox.put(replace(chunk, prompt=tuple(self._prompt)) if self._prompt else chunk)
            self._scores_prompt, self._prompt = False, []
        if isinstance(self.finished, FinishReason):
            self.outbox.end(Finished(self.finished, Usage(self.prompt_tokens, self.generated)))

    def _text_chunk(self) -> TokenChunk | None:
        """What became visible; at the end also tokens that never did, so that the counts add up."""
        if not self._ready and not (self.finished and self._unreported):
            return None
        chunk = TokenChunk(self._ready, self._unreported)
        self._ready, self._unreported = "", 0
        return chunk

    def _token_chunk(self) -> TokenChunk | None:
        """The tokens whose text is visible to its last character; at the end all, the last ones cut short."""
        tokens: list[Token] = []
        while self._tokens and (self.finished or len(self._tokens[0].text) <= len(self._ready)):
            token = self._tokens.popleft()
            text, self._ready = self._ready[: len(token.text)], self._ready[len(token.text) :]
            tokens.append(token if text == token.text else replace(token, text=text))
        if not tokens:
            return None
        return TokenChunk("".join(t.text for t in tokens), len(tokens), tuple(tokens))
