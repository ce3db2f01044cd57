"""What other servers know and Weir does not, where leaving it out would give another answer than was asked for."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from weir.gateway.json_body import parse_json
from weir.gateway.refusals import UnsupportedError
from weir.gateway.surfaces.base import checked
from weir.gateway.surfaces.openai_wire import Asked

Body = TypeVar("Body", bound=Asked)

# With the values that ask for nothing; whatever else clients send that Weir does not know is ignored.
_BOTH: Final[Mapping[str, tuple[Any, ...]]] = {
    "include_stop_str_in_output": (None, False),
    "bad_words": (None, []),
    "allowed_token_ids": (None, []),
    "truncate_prompt_tokens": (None, -1),
    "prompt_logprobs": (None,),
    "use_beam_search": (None, False),
}
CHAT: Final[Mapping[str, tuple[Any, ...]]] = {
    **_BOTH,
    "continue_final_message": (None, False),
    "add_generation_prompt": (None, True),
    "echo": (None, False),
    "chat_template": (None,),
    "functions": (None, []),
}
COMPLETIONS: Final = _BOTH


def decoded_asked(model: type[Body], body: bytes, absent: Mapping[str, tuple[Any, ...]]) -> Body:
    """As `decoded`, and look for what Weir does not do.

    Raises:
        UnsupportedError: the first such field that asks for something.
        UnreadableBodyError, ValidationError: as `decoded`.
    """
    value = parse_json(body)
    parsed = checked(model, value)
    if not absent.keys().isdisjoint(value):
        for field, idle in absent.items():
            if value.get(field) not in idle:
                raise UnsupportedError(field)
    return parsed
