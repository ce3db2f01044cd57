"""Grammars: what is drawn under one satisfies it, and what a grammar may cost is bounded."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from weir.contracts.errors import ValidationError
from weir.contracts.grammar import Grammar, JsonObject, JsonSchema, OneOf, Regex
from weir.contracts.request import SamplingParams
from weir.engine.constraints import Constraint, ConstraintLimits, Constraints
from weir.engine.sampler import Sampler
from weir.engine.step import PositionLogits
from weir.release.tokenizer import ReleaseTokenizer

TOKENIZER = Path(__file__).parents[2] / "training" / "base" / "tiny_chat" / "tokenizer.json"
EOS = (3, 1)
MOST = 400


class Order(BaseModel):
    """An order, as a model may be asked for it."""

    model_config = ConfigDict(extra="forbid")

    number: str = Field(pattern=r"^[0-9]{4}$")
    状态: Literal["待付款", "已发货", "已签收"]
    items: list[int] = Field(min_length=1, max_length=3)
    note: str | None = Field(max_length=8)


@cache
def tokenizer() -> ReleaseTokenizer:
    return ReleaseTokenizer(TOKENIZER)


@pytest.fixture
async def constraints() -> AsyncIterator[Constraints]:
    made = Constraints(tokenizer(), vocab_size=tokenizer().vocab_size, eos_ids=EOS)
    yield made
    made.close()


@cache
def shared() -> Constraints:
    return Constraints(tokenizer(), vocab_size=tokenizer().vocab_size, eos_ids=EOS)


def started(grammar: Grammar) -> Constraint:
    return asyncio.run(shared().start(grammar))


def write(constraint: Constraint, seed: int, **sampling) -> tuple[str, bool]:
    """Let random logits write under a constraint; return the text and whether it came to its end."""
    size = tokenizer().vocab_size
    dice = np.random.default_rng(seed)
    params = SamplingParams(**({"temperature": 1.0, "seed": seed} | sampling))
    sampler = Sampler(params, [], vocab_size=size, end_ids=EOS, constraint=constraint)
    favour = dice.normal(0, 2, size).astype(np.float32)
    favour[list(EOS)] += 6.0  # end where it may
    ids: list[int] = []
    for _ in range(MOST):
        logits = favour + dice.normal(0, 2, size).astype(np.float32)
        choice = sampler.choose(PositionLogits(int(logits.argmax()), full=logits))
        assert choice is not None
        if choice.token in EOS:
            return tokenizer().decode(ids, skip_special=False), True
        ids.append(choice.token)
        if constraint.is_over:
            return tokenizer().decode(ids, skip_special=False), True
    return tokenizer().decode(ids, skip_special=False), False


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_finished_text_parses_under_its_schema(seed: int) -> None:
    text, finished = write(started(JsonSchema(schema_text=Order.model_json_schema())), seed)
    assert finished
    order = Order.model_validate_json(text)
    assert set(json.loads(text)) <= set(Order.model_fields)
    assert order.状态 in text


@given(seed=st.integers(0, 10_000), greedy=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_finished_text_is_what_was_asked_for(seed: int, greedy: bool) -> None:
    sampling = {"temperature": 0.0} if greedy else {}
    pattern = r"(订单|order) [A-Z]{2}-[0-9]{3}(，加急)?"
    text, finished = write(started(Regex(pattern=pattern)), seed, **sampling)
    assert finished
    assert re.fullmatch(pattern, text)
    choices = ("是", "否", 'a "quoted"\nline', "<|im_end|>x")
    assert write(started(OneOf(choices=choices)), seed, **sampling) in {(choice, True) for choice in choices}
    text, finished = write(started(JsonObject()), seed, **sampling)
    assert not finished or isinstance(json.loads(text), dict)


def test_special_tokens_come_only_as_an_end() -> None:
    constraint = started(Regex(pattern=r"[\s\S]*"))
    scores = np.zeros(tokenizer().vocab_size, np.float32)
    constraint.apply(scores)
    allowed = set(np.flatnonzero(scores == 0).tolist())
    assert set(EOS) <= allowed
    assert allowed & set(tokenizer().special_ids) == set(EOS)


def test_an_end_comes_only_when_the_text_is_complete_and_nothing_after_it() -> None:
    constraint = started(Regex(pattern="(ab)+c?"))
    size = tokenizer().vocab_size
    for text, may_end, is_over in (("a", False, False), ("b", True, False), ("c", True, True)):
        constraint.advance(tokenizer().encode(text)[0])
        scores = np.zeros(size, np.float32)
        constraint.apply(scores)
        assert (constraint.may_end, constraint.is_over) == (may_end, is_over)
        assert (scores[list(EOS)] == 0).all() == may_end
    assert set(np.flatnonzero(scores == 0).tolist()) == set(EOS)


def test_where_the_grammar_can_only_end_it_ends_though_more_tokens_were_asked_for() -> None:
    assert write(started(OneOf(choices=("yes", "yes yes"))), 1, min_new_tokens=50)[1]


def test_a_graph_with_more_logits_than_tokens_never_gives_one_without_a_text() -> None:
    made = Constraints(tokenizer(), vocab_size=tokenizer().vocab_size + 40, eos_ids=EOS)
    scores = np.zeros(tokenizer().vocab_size + 40, np.float32)
    asyncio.run(made.start(Regex(pattern=".*"))).apply(scores)
    made.close()
    assert (scores[tokenizer().vocab_size :] == -np.inf).all()
    assert scores.max() == 0


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        (JsonSchema(schema_text={"type": "wrong"}), "Invalid type"),
        (JsonSchema(schema_text={"type": "array", "uniqueItems": True}), "uniqueItems"),
        (JsonSchema(schema_text='{"type"'), "not JSON"),
        (JsonSchema(schema_text="[]"), "an object"),
        (JsonSchema(schema_text='{"type":"array","items":' * 1_500 + "{}" + "}" * 1_500), "nested too deeply"),
        (JsonSchema(schema_text={"$ref": "#"}), "no text satisfies it"),
        (JsonSchema(schema_text={"$ref": "file:///etc/passwd"}), "cannot be compiled"),
        (Regex(pattern="(a"), "unclosed group"),
        (Regex(pattern=r"(a)\1"), "backreferences"),
        (Regex(pattern="(?=a)a"), "look-around"),
        (Regex(pattern=r"[^\s\S]"), "no text satisfies it"),
    ],
)
async def test_a_grammar_that_is_none_is_refused_in_words_of_its_own(
    constraints: Constraints, grammar: Grammar, words: str
) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        await constraints.start(grammar)
    assert caught.value.field == "grammar"
    assert "0x" not in str(caught.value)
    assert ".rs" not in str(caught.value)
    assert len(str(caught.value)) < 300


async def test_anchors_are_taken_for_what_they_mean(constraints: Constraints) -> None:
    for pattern, text in (("^ab$", "ab"), (r"^a\$", "a$"), (r"a\\$", "a\\")):
        constraint = await constraints.start(Regex(pattern=pattern))
        for token in tokenizer().encode(text):
            constraint.advance(token)
        assert constraint.may_end, pattern


async def test_the_last_grammars_are_kept_and_answers_do_not_share_a_place() -> None:
    limits = ConstraintLimits(cached=2)
    made = Constraints(tokenizer(), vocab_size=tokenizer().vocab_size, eos_ids=EOS, limits=limits)
    first, second = await asyncio.gather(*(made.start(Regex(pattern="[a-c]-[0-9]")) for _ in range(2)))
    assert made.cached == 1
    first.advance(tokenizer().encode("a")[0])
    scores = np.zeros(tokenizer().vocab_size, np.float32)
    second.apply(scores)
    assert [scores[tokenizer().encode(letter)[0]] for letter in "abc-"] == [0, 0, 0, -np.inf]
    for letter in "cdef":
        await made.start(Regex(pattern=letter))
    assert made.cached == 2
    made.close()


async def test_a_grammar_that_takes_too_long_is_refused_and_the_next_one_is_not() -> None:
    made = Constraints(
        tokenizer(), vocab_size=tokenizer().vocab_size, eos_ids=EOS, limits=ConstraintLimits(compile_s=0)
    )
    with pytest.raises(ValidationError, match="too long") as caught:
        await made.start(JsonObject())
    assert caught.value.field == "grammar"
    made.close()


@pytest.mark.parametrize(
    "grammar",
    [
        JsonSchema(schema_text={"enum": [f"value {i}" for i in range(3_000)]}),
        JsonSchema(schema_text={"anyOf": [{"type": "object", "required": [f"k{i}"]} for i in range(900)]}),
        JsonSchema(
            schema_text={
                "type": "object",
                "properties": {f"k{i}": {"type": "string", "pattern": "^(a|b)*a(a|b){12}$"} for i in range(700)},
            }
        ),
        Regex(pattern="|".join(f"(a|b)*a(a|b){{{i}}}" for i in range(5, 300))),
        Regex(pattern="(a?){4000}a{4000}"),
        Regex(pattern="(.*)*x" * 900),
    ],
)
async def test_hostile_grammars_are_compiled_or_refused_within_a_second(
    constraints: Constraints, grammar: Grammar
) -> None:
    await constraints.start(Regex(pattern="warm"))
    async with asyncio.timeout(1.0):
        try:
            constraint = await constraints.start(grammar)
        except ValidationError:
            return
        constraint.apply(np.zeros(tokenizer().vocab_size, np.float32))


NESTED = {"a": [1, {"b": [{"c": [{"d": "x"}]}]}], "e": {}, "状态": [True, None, -1.5e3]}
WRITTEN = [
    json.dumps(NESTED, ensure_ascii=False),
    json.dumps(NESTED, separators=(",", ":"), ensure_ascii=False),
    *(json.dumps(NESTED, indent=indent, ensure_ascii=False) for indent in (0, 1, 2, 3, 4, "\t")),
    json.dumps(NESTED, indent=2, ensure_ascii=False).replace("\n", "\r\n"),
    json.dumps(NESTED, indent=4, ensure_ascii=False).replace(",\n", ", \n"),
    '{ "a" : 1 , "b" : [ 1 , 2 ] }',
    '{"a":   1}',
]


def taken(grammar: Grammar, text: str) -> bool:
    """Whether the whole text may be said."""
    constraint = started(grammar)
    for token in tokenizer().encode(text):
        scores = np.zeros(tokenizer().vocab_size, np.float32)
        constraint.apply(scores)
        if scores[token] == -np.inf:
            return False
        constraint.advance(token)
    return constraint.may_end


@pytest.mark.parametrize("text", WRITTEN)
def test_json_as_programs_write_it_is_taken(text: str) -> None:
    assert taken(JsonObject(), text)


@pytest.mark.parametrize("blanks", [" " * 5, " " * 40, "\n\n", "\n" + " " * 33, "\t\t", " \n \n"])
def test_no_tokens_are_spent_on_blanks(blanks: str) -> None:
    assert taken(JsonObject(), '{"a":1}')
    assert not taken(JsonObject(), f'{{{blanks}"a":1}}')
    assert not taken(JsonObject(), f'{{"a":{blanks}1}}')
