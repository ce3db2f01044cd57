"""Reading tool calls out of an answer that arrives in pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir.gateway.surfaces.tool_calls import Arguments, CallBegun, Content, Part, ToolCallReader
from weir.release.tool_format import HERMES

NAMES = {"f", "weather"}
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "}</tool_call>\\"{", "b": {"c": [1]}}}\n</tool_call>'


def read(*pieces: str, is_cut: bool = False, is_call: bool = False) -> list[Part]:
    reader = ToolCallReader(HERMES, NAMES, is_call=is_call)
    parts = [part for piece in pieces for part in reader.feed(piece)]
    return parts + reader.flush(is_cut=is_cut)


def joined(parts: list[Part]) -> tuple[str, list[tuple[str, str]]]:
    text = "".join(part.text for part in parts if isinstance(part, Content))
    begun = [part for part in parts if isinstance(part, CallBegun)]
    given = [
        "".join(part.text for part in parts if isinstance(part, Arguments) and part.number == call.number)
        for call in begun
    ]
    return text, [(call.name, arguments) for call, arguments in zip(begun, given, strict=True)]


def test_text_without_calls_is_content() -> None:
    assert joined(read("It is ", "<b>sunny</b>.\n")) == ("It is <b>sunny</b>.\n", [])


def test_a_call_is_read_whole_with_marks_inside_its_strings() -> None:
    text, [(name, arguments)] = joined(read(f"Let me see.\n{CALL}"))

    assert (text, name) == ("Let me see.", "f")
    assert json.loads(arguments) == {"a": '}</tool_call>"{', "b": {"c": [1]}}


def test_arguments_come_before_the_call_is_complete() -> None:
    reader = ToolCallReader(HERMES, NAMES)

    assert reader.feed('<tool_call>{"name":"f","arg') == []
    begun, piece = reader.feed('uments":{"city":"Ber')
    assert isinstance(begun, CallBegun)
    assert piece == Arguments(0, '{"city":"Ber')


def test_several_calls_are_numbered_and_have_ids_of_their_own() -> None:
    parts = read(CALL, "\n", CALL.replace('"f"', '"weather"'))
    begun = [part for part in parts if isinstance(part, CallBegun)]

    assert [(call.number, call.name) for call in begun] == [(0, "f"), (1, "weather")]
    assert begun[0].id != begun[1].id
    assert joined(parts)[0] == ""


def test_arguments_before_the_name_are_read_at_the_end() -> None:
    assert joined(read('<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>')) == ("", [("f", '{"a":1}')])


@pytest.mark.parametrize("body", ['{"name": "unknown", "arguments": {}}', "no JSON", '{"name": "f", "arguments": '])
def test_what_is_no_call_of_a_known_tool_stays_content(body: str) -> None:
    answer = f"<tool_call>{body}</tool_call> ok"

    assert joined(read(answer)) == (answer, [])


@pytest.mark.parametrize("cut", range(1, len("<tool_call>")))
def test_half_a_mark_never_leaks_when_the_answer_is_cut(cut: int) -> None:
    assert joined(read("sun ", "<tool_call>"[:cut], is_cut=True))[0].strip() == "sun"


def test_a_mark_that_the_model_itself_left_open_is_text() -> None:
    assert joined(read("a < b and a <tool", " x")) == ("a < b and a <tool x", [])
    assert joined(read("1 <")) == ("1 <", [])


def test_a_cut_call_keeps_what_was_given_of_its_arguments() -> None:
    assert joined(read('<tool_call>{"name":"f","arguments":{"a":"x', is_cut=True)) == ("", [("f", '{"a":"x')])
    assert joined(read('<tool_call>{"name":"f', is_cut=True)) == ("", [])


def test_an_answer_that_must_be_a_call_has_no_marks() -> None:
    assert joined(read('{"name":"f",', '"arguments":{"a":1}}', is_call=True)) == ("", [("f", '{"a":1}')])


def test_a_call_without_its_closing_mark_is_a_call() -> None:
    """A stop sequence takes the mark away."""
    assert joined(read('<tool_call>\n{"name":"f","arguments":{}}\n')) == ("", [("f", "{}")])


BITS = st.sampled_from(
    [
        CALL,
        "<tool_call>",
        "</tool_call>",
        "\n",
        " ",
        "x",
        "<",
        '{"name": "f", "arguments": {"a": "\\\\"}}',
        '{"name":"g"}',
        "{",
        "}",
    ]
)


@given(st.lists(BITS, max_size=8), st.data(), st.booleans())
def test_how_an_answer_is_cut_makes_no_difference(bits: list[str], data: st.DataObject, is_call: bool) -> None:
    answer = "".join(bits)
    places = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=6)))
    pieces = [answer[i:j] for i, j in zip([0, *places], [*places, len(answer)], strict=True)]

    whole, in_pieces = read(answer, is_call=is_call), read(*pieces, is_call=is_call)

    assert joined(in_pieces) == joined(whole)


@given(st.text(alphabet="<tol_ca>x \n", max_size=40))
def test_text_without_an_opening_mark_is_kept_to_the_letter(text: str) -> None:
    if "<tool_call>" not in text:
        assert joined(read(*text)) == (text, [])
