"""What a prompt may be a disguise of: all that is looked for in prompts beyond the views that streams know.

Looking costs little where there is nothing: one search tells which disguises a text gives reason to look for.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from weir.guard.decoding import Decoder
from weir.guard.fold import plain, plain_with_origins
from weir.guard.matcher import Matcher
from weir.guard.native.library import Core, core
from weir.guard.readings import Reading
from weir.guard.repeats import LATIN_RUNS, Repeats
from weir.guard.searched import Encoded
from weir.guard.spelling import HAN_NUMERALS, NUMERAL_RUN, Homophones, Spellings
from weir.guard.terms import Span, Use, uses_of

SOFT_VIEWS = frozenset({"homophone", "reversed", "rot13"})  # too often innocent for more than a flag
_TRIGGERS = {"repeats": f"(?i){LATIN_RUNS}", "numerals": NUMERAL_RUN}


@lru_cache(maxsize=2)  # the next policy has often the same terms
def _disguised(uses: Sequence[Use], _: Core | None) -> tuple[Spellings, Homophones, Repeats]:
    return Spellings(uses), Homophones(uses), Repeats(uses)


class Disguises:
    """The input-only views of a matcher's rules. Immutable."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._decoder = Decoder(_TRIGGERS)
        self._spellings, self._homophones, self._repeats = _disguised(uses_of(matcher.rules), core())

    def spans(self, text: Encoded) -> Iterator[Span]:
        """Yield finds in the plain view of a text, in its positions."""
        kinds = self._decoder.kinds(text.plain, text.raw)
        yield from self._respelled(text, kinds)
        for reading in self._decoder.readings(text.plain, kinds) if kinds else ():
            yield from self._decoded(reading)

    def _respelled(self, text: Encoded, kinds: set[str]) -> Iterator[Span]:
        yield from self._spellings.spans(text.folded)
        yield from self._homophones.spans(text.folded)
        yield from self._repeats.spans(text.folded, has_latin_runs="repeats" in kinds)
        if "numerals" in kinds:
            for span in self._matcher.regex_spans(Encoded(text.plain.translate(HAN_NUMERALS))):
                yield span._replace(view="numerals")

    def _decoded(self, reading: Reading) -> Iterator[Span]:
        text = Encoded(plain(reading.text))
        spans = [
            *(span._replace(view=reading.view) for span in self._matcher.spans(text)),
            *self._respelled(
                text, reading.kinds if text.plain == reading.text else self._decoder.kinds(text.plain, text.raw)
            ),
        ]
        if spans:
            _, origins = plain_with_origins(reading.text)
            for span in spans:
                source = reading.source_of(origins[span.start], origins[span.end - 1] + 1)
                if source is not None:
                    yield span._replace(start=source[0], end=source[1], is_latin=False)
