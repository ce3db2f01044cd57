"""What a node says: bodies that arrive together mean what they mean one by one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir.backends.answer import AnswerReader
from weir.contracts.errors import BackendError
from weir.contracts.events import Finished, GenerationEvent, TokenChunk

TEXTS = st.one_of(st.text(max_size=5), st.none(), st.integers(0, 9))
COUNTS = st.one_of(st.integers(0, 5), st.booleans(), st.none(), st.text(max_size=2))
TOKENS = st.lists(st.fixed_dictionaries({"id": st.integers(0, 9), "text": st.text(max_size=3)}), max_size=2)
BODIES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"text_output": st.text(max_size=5), "num_output_tokens": st.integers(0, 5)}),
        st.fixed_dictionaries(
            {}, optional={"text_output": TEXTS, "num_output_tokens": COUNTS, "tokens": TOKENS, "other": TEXTS}
        ),
    ),
    max_size=12,
)
END: dict[str, Any] = {"text_output": "", "finish_reason": "length", "num_input_tokens": 3, "num_output_tokens": 0}


@given(BODIES)
def test_bodies_together_say_what_they_say_one_by_one(bodies: list[dict[str, Any]]) -> None:
    together, one_by_one = AnswerReader("cpu-0"), AnswerReader("cpu-0")

    at_once = together.take([*bodies, END])
    in_turn = [event for body in [*bodies, END] for event in one_by_one.take([body])]

    assert _said(at_once) == _said(in_turn)


def test_a_failure_ends_what_arrived_with_it() -> None:
    reader = AnswerReader("cpu-0")
    plain = {"text_output": "a", "num_output_tokens": 1}

    (chunk,) = reader.take([plain, plain, {"error": "no", "code": "overloaded"}])

    assert isinstance(chunk, TokenChunk)
    assert (chunk.text, chunk.token_count) == ("aa", 2)
    assert reader.failure is not None


def test_a_reason_that_nobody_knows_is_a_failure_of_the_node() -> None:
    with pytest.raises(BackendError, match="cpu-0"):
        AnswerReader("cpu-0").take([{"text_output": "a", "num_output_tokens": 1}, END | {"finish_reason": "bored"}])


def _said(events: list[GenerationEvent]) -> tuple[str, int, list[str], list[Finished]]:
    chunks = [event for event in events if isinstance(event, TokenChunk)]
    return (
        "".join(chunk.text for chunk in chunks),
        sum(event.usage.completion_tokens for event in events if isinstance(event, Finished)),
        [token.text for chunk in chunks for token in chunk.tokens],
        [event for event in events if isinstance(event, Finished)],
    )
