"""How fast requests come and go, from what was measured."""

_WEIGHT = 0.1
_MIN_S = 1.0
_MAX_S = 60.0


class SpeedMeter:
    """Running means; durations are given by the caller, in seconds."""

    def __init__(self) -> None:
        self._tokens_per_second = 0.0
        self._tokens_per_request = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Completion tokens of all sequences together; 0 before the first step."""
        return self._tokens_per_second

    def stepped(self, tokens: int, seconds: float) -> None:
        if tokens and seconds > 0:
            self._tokens_per_second = _mean(self._tokens_per_second, tokens / seconds)

    def ended(self, tokens: int) -> None:
        if tokens:
            self._tokens_per_request = _mean(self._tokens_per_request, float(tokens))

    def retry_after_s(self) -> float:
        """Seconds until one request ends at the present speed, 1 to 60; that many free one place in a full queue."""
        if not self._tokens_per_second or not self._tokens_per_request:
            return _MIN_S
        return min(max(self._tokens_per_request / self._tokens_per_second, _MIN_S), _MAX_S)


def _mean(old: float, new: float) -> float:
    return new if not old else old + _WEIGHT * (new - old)
