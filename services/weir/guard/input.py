"""The input filter: what a prompt may say."""

from weir.guard.fold import fold, fold_with_origins
from weir.guard.matcher import Matcher, Span, rule_ids
from weir.guard.policy import Action, Policy
from weir.guard.verdict import ALLOWED, Verdict

_STRENGTH = {action: strength for strength, action in enumerate(Action)}


class InputFilter:
    """Checks one text at a time; stateless."""

    def __init__(self, policy: Policy) -> None:
        self._matcher = Matcher(policy.input)

    def check(self, text: str) -> tuple[Verdict, str]:
        """Return the verdict and the text to go on with: the same one, or with redactions made."""
        folded = fold(text)
        spans = self._matcher.spans(folded, 0, len(folded), is_end=True).spans
        if not spans:
            return ALLOWED, text
        action = max((self._matcher.action(span) for span in spans), key=_STRENGTH.__getitem__)
        deciding = [span for span in spans if self._matcher.action(span) is action]
        verdict = Verdict(action, rule_ids(self._matcher, deciding))
        return verdict, self._redacted(text, spans) if action is Action.REDACT else text

    def _redacted(self, text: str, spans: list[Span]) -> str:
        _, origins = fold_with_origins(text)
        parts: list[str] = []
        done = 0
        for span in spans:
            if self._matcher.action(span) is not Action.REDACT:
                continue
            start, end = origins[span.start], origins[span.end - 1] + 1
            if start >= done:
                parts += text[done:start], self._matcher.rules[span.order].replacement
            done = max(done, end)
        return "".join(parts) + text[done:]
