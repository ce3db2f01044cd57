"""Holds an answer to a grammar: which tokens may come next (docs/decisions/0008-grammar-masks.md)."""

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import llguidance
import numpy as np
from numpy.typing import NDArray

from weir.contracts.errors import ValidationError
from weir.contracts.grammar import Grammar, JsonObject, JsonSchema, OneOf, Regex
from weir.release.tokenizer import ReleaseTokenizer

Logits = NDArray[np.float32]

# Between two marks of JSON: some blanks, or the end of a line and what indents the next one. There is no need for more,
# and a model that likes blanks would spend its tokens on them.
_BLANKS = r"\x20{0,4}|\x20?\x0D?\x0A(\x20{0,32}|\x09{0,16})"
_JSON_OPTIONS = {"lenient": False, "coerce_one_of": True, "whitespace_pattern": _BLANKS}
_UNFIT = re.compile(r"0x[0-9a-f]{6,}|panic|\.rs\b", re.IGNORECASE)
# Row b holds what bits of b, lowest first, let through: the least of a score and its cell is the score or -inf.
_CEILINGS = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") > 0, np.inf, -np.inf
).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ConstraintLimits:
    """Bounds on what a caller's grammar may cost.

    `fuel` is the library's measure of work: about 50k a millisecond when a grammar is compiled, 14k in a step. A lexer
    state takes 1 to 2 KB. `compile_s` bounds the wait of the caller, in the queue of compilations too.
    """

    cached: int = 32
    compile_s: float = 5.0
    compile_fuel: int = 2_000_000
    step_fuel: int = 100_000
    lexer_states: int = 10_000


class Constraint:
    """Where one answer stands in its grammar. Lives on one thread at a time."""

    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher = matcher
        self._bits = np.zeros((size + 31) // 32 * 4, np.uint8)

    @property
    def is_over(self) -> bool:
        """Whether the text is complete and nothing may follow."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    @property
    def may_end(self) -> bool:
        """Whether the text so far satisfies the grammar."""
        return bool(self._matcher.is_accepting())

    def apply(self, scores: Logits) -> None:
        """Give -inf, in place, to every token that may not come next; an end token may when the text is complete.

        Raises:
            ValidationError: the grammar became too costly to follow.
        """
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        if self._matcher.is_error():
            raise ValidationError("grammar: too complex to follow at this point of the answer", "grammar")
        known = min(len(scores), self._bits.nbytes * 8)
        ceilings = _CEILINGS[self._bits].reshape(-1)
        np.minimum(scores[:known], ceilings[:known], out=scores[:known])
        scores[known:] = -np.inf

    def advance(self, token: int) -> None:
        """Record that `token`, which was allowed, came."""
        self._matcher.consume_token(token)


class Constraints:
    """Compiles grammars for one tokenizer, one at a time on a thread of its own, and keeps the last ones.

    The first call also builds what the library must know of the vocabulary.
    """

    def __init__(
        self,
        tokenizer: ReleaseTokenizer,
        *,
        vocab_size: int,
        eos_ids: Sequence[int],
        limits: ConstraintLimits | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._eos_ids = list(eos_ids)
        self._limits = limits or ConstraintLimits()
        self._vocabulary: Any = None
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="weir-grammar")

    @property
    def cached(self) -> int:
        return len(self._kept)

    async def start(self, grammar: Grammar) -> Constraint:
        """Return a constraint at the beginning of its text.

        Raises:
            ValidationError: the grammar is none, nothing satisfies it, or it costs too much.
        """
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._started, grammar)
        try:
            async with asyncio.timeout(self._limits.compile_s):
                return await work
        except TimeoutError:
            raise ValidationError("grammar: it took too long to compile", "grammar") from None

    def close(self) -> None:
        """Compile nothing more; what was asked for before is still answered."""
        self._thread.shutdown(wait=False)

    # From here on: the thread of compilations.

    def _started(self, grammar: Grammar) -> Constraint:
        source = _source_of(grammar)
        key = sha256(source.encode()).hexdigest()
        if key not in self._kept:
            self._kept[key] = self._compiled(source)
        self._kept.move_to_end(key)
        while len(self._kept) > self._limits.cached:
            self._kept.popitem(last=False)
        return Constraint(self._kept[key].deep_copy(), self._vocabulary.vocab_size)

    def _compiled(self, source: str) -> Any:
        if self._vocabulary is None:
            size = max(self._vocab_size, self._tokenizer.vocab_size)
            self._vocabulary = llguidance.LLTokenizer(self._tokenizer.to_json(), n_vocab=size, eos_token=self._eos_ids)
        matcher = llguidance.LLMatcher(self._vocabulary, source, log_level=0, limits=self._parser_limits())
        if not matcher.is_error():
            matcher.deep_copy().compute_bitmask()  # what is shared gets warm
            probe = matcher.deep_copy()
            probe.compute_bitmask()
            if probe.is_error():
                raise ValidationError("grammar: no text satisfies it, or it is too complex", "grammar")
            return matcher
        raise ValidationError(f"grammar: {_words(matcher.get_error())}", "grammar")

    def _parser_limits(self) -> Any:
        return llguidance.LLParserLimits(
            initial_lexer_fuel=self._limits.compile_fuel,
            step_lexer_fuel=self._limits.step_fuel,
            max_lexer_states=self._limits.lexer_states,
            verbose_errors=False,
        )


def _source_of(grammar: Grammar) -> str:
    """Return the grammar in the library's own form."""
    compile_json: Callable[..., str] = llguidance.LLMatcher.grammar_from_json_schema
    match grammar:
        case JsonSchema(schema_text=text):
            return compile_json(_checked_json(text), overrides=_JSON_OPTIONS)
        case JsonObject():
            return compile_json('{"type":"object"}', overrides=_JSON_OPTIONS)
        case Regex(pattern=pattern):
            return str(llguidance.LLMatcher.grammar_from_regex(_unanchored(pattern)))
        case OneOf(choices=choices):
            texts = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
            return str(llguidance.LLMatcher.grammar_from_lark(f"start: {texts}"))


def _checked_json(text: str) -> str:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValidationError("grammar: the schema is not JSON, or nested too deeply", "grammar") from error
    if not isinstance(schema, dict):
        raise ValidationError("grammar: the schema must be an object", "grammar")
    return text


def _unanchored(pattern: str) -> str:
    """The whole text must match anyway; the library takes anchors for look-around and refuses them."""
    pattern = pattern.removeprefix("^")
    escapes = len(pattern) - 1 - len(pattern[:-1].rstrip("\\"))
    return pattern[:-1] if pattern.endswith("$") and escapes % 2 == 0 else pattern


def _words(error: str) -> str:
    """Return what a caller can use of the library's words: one line, nothing of its insides."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    named = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), None)
    line = named or (lines[0] if lines else "")
    return "it cannot be compiled" if not line or _UNFIT.search(line) else f"it cannot be compiled: {line[:200]}"
