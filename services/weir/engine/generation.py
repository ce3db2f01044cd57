"""One request inside the engine: from logits to the events that its caller sees."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace

from weir.contracts.errors import WeirError
from weir.contracts.events import Finished, FinishReason, Token, TokenChunk, Usage
from weir.contracts.request import SamplingParams
from weir.engine.detokenizer import Decoder, Detokenizer
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

    With `return_tokens`, text leaves at token borders: the texts of a chunk's tokens, joined, are the chunk's text.
    """

    def __init__(
        self,
        sequence: Sequence,
        params: SamplingParams,
        vocabulary: Vocabulary,
        outbox: Outbox,
        *,
        max_new_tokens: int,
        return_tokens: bool,
    ) -> None:
        self.sequence = sequence
        self.outbox = outbox
        self.generated = 0
        self.finished: FinishReason | None = None
        self._vocabulary = vocabulary
        self._max_new_tokens = max_new_tokens
        self._return_tokens = return_tokens
        self._eos_ids: Collection[int] = () if params.ignore_eos else vocabulary.eos_ids
        self._sampler = Sampler(params, sequence.tokens, vocab_size=vocabulary.size, with_logprobs=return_tokens)
        is_plain = params.is_greedy and params.repetition_penalty == 1.0 and not return_tokens
        self._detail = Detail.GREEDY if is_plain else Detail.FULL
        self._detokenizer = Detokenizer(vocabulary.decoder)
        self._stops = StopMatcher(params.stop)
        self._ready = ""  # certain to be visible, not put yet
        self._unreported = 0
        self._tokens: deque[Token] = deque()

    @property
    def prompt_tokens(self) -> int:
        return self.sequence.prompt_len

    @property
    def detail(self) -> Detail:
        """What the next `accept` must know."""
        return self._detail

    def accept(self, position: PositionLogits) -> int:
        """Choose the next token, put what became visible, return the token.

        Afterwards `finished` says whether that was the last one.
        """
        choice = Choice(position.best, 0.0) if position.full is None else self._sampler.choose(position.full)
        self.generated += 1
        self._unreported += 1
        is_eos = choice.token in self._eos_ids
        added = "" if is_eos else self._detokenizer.add(choice.token)
        visible, stopped = self._stops.feed(added)
        self._ready += visible
        if stopped:
            self.finished = FinishReason.STOP
        elif is_eos or self.generated >= self._max_new_tokens:
            added += self._drain(FinishReason.EOS if is_eos else FinishReason.LENGTH)
        self._remember(choice, added)
        self._put()
        return choice.token

    def fail(self, error: WeirError) -> None:
        self.outbox.end(error)

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
            self._tokens.append(Token(choice.token, text, choice.logprob, special))

    def _put(self) -> None:
        chunk = self._token_chunk() if self._return_tokens else self._text_chunk()
        if chunk is not None:
            self.outbox.put(chunk)
        if self.finished is not None:
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
