"""Where a key of a generate request may stand: in the body, in `parameters`, sampling in an object of its own too.

Triton's generate extension makes a parameter of every field of the body that is no input of the model, and clients of
its vLLM backend write sampling parameters in all three places. Weir reads them all, and refuses a key that is given
twice with different values: one of the two would be ignored without a word.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from weir.contracts.errors import ValidationError
from weir.contracts.request import SamplingParams
from weir.oip.grammar import NAMES as GRAMMARS

OURS: Final = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens"}
THEIRS: Final = {ours: theirs for theirs, ours in OURS.items()}
SAMPLING: Final = tuple(THEIRS.get(name, name) for name in SamplingParams.model_fields if name != "grammar")
_NAMES: Final = frozenset({*SAMPLING, *GRAMMARS})
_OWN = "sampling_parameters"


class Sampling(NamedTuple):
    """Sampling parameters as they were given; `places`: what stands before a name that is not in `place`."""

    values: Mapping[str, Any]
    place: str
    places: Mapping[str, str] = {}

    def named(self, name: str) -> str:
        """Return the path of a parameter, as its caller wrote it."""
        return self.places.get(name.partition(".")[0], self.place) + name


class Fields:
    """The keys of one body."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.top = body
        parameters = body.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise ValidationError("parameters: an object is needed", "parameters")
        self.parameters: dict[str, Any] = parameters or {}

    def get(self, name: str) -> Any:
        value = self.top.get(name)
        if not self.parameters:
            return value
        other = self.parameters.get(name)
        if value is None or other is None:
            return other if value is None else value
        if other != value:
            raise _contradiction(f"parameters.{name}", name)
        return value

    def flag(self, name: str) -> bool | None:
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise ValidationError(f"{name}: true or false is needed", name)
        return value

    def sampling(self) -> Sampling:
        """Return the sampling parameters of all places.

        Raises:
            ValidationError: one stands in two places with different values.
        """
        own = self.get(_OWN)
        if isinstance(own, str):
            own = json_object(own.encode(), _OWN)
        if own is not None and not isinstance(own, dict):
            raise ValidationError(f"{_OWN}: an object or its JSON is needed", _OWN)
        if _NAMES.isdisjoint(self.top):
            if own is None:
                return Sampling(self.parameters, "parameters.")
            if _NAMES.isdisjoint(self.parameters):
                return Sampling(own, f"{_OWN}.")
        return _merged({f"{_OWN}.": own or {}, "parameters.": self.parameters, "": self.top})


def _merged(given: Mapping[str, Mapping[str, Any]]) -> Sampling:
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for place, fields in given.items():
        for name in _NAMES & fields.keys():
            value = fields[name]
            if value is not None and values.setdefault(name, value) != value:
                raise _contradiction(place + name, places[name] + name)
            if value is not None:
                places.setdefault(name, place)
    return Sampling(values, "", places)


def _contradiction(here: str, there: str) -> ValidationError:
    return ValidationError(f"{here}: another value than that of {there}; give one of them", here)


def json_object(raw: bytes, field: str) -> dict[str, Any]:
    """Read an object; `field` is what the caller calls it.

    Raises:
        ValidationError: it is no JSON, or something else.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ValidationError(f"{field}: not JSON", field) from error
    if not isinstance(value, dict):
        raise ValidationError(f"{field}: a JSON object is needed", field)
    return value
