"""The guard over HTTP: the same decision on every surface, for prompts and for answers, and nothing that slips by."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import Gateway, Reply, Stage, answer, gateway
from tests.support.surfaces import CHAT, COMPLETIONS, WAYS, Way, reason_of, text_of, user
from tests.support.tool_release import make_tool_release

from weir.contracts.events import Finished, FinishReason, PromptToken, Token, TokenChunk, TopToken, Usage
from weir.guard.policy import parse_policy

POLICY = r"""
version: 1
id: surfaces
score_block: 100
rules:
  - {id: bomb, action: block, terms: [制造炸弹, detonate]}
  - {id: codename, action: redact, terms: [bluebird], replacement: '[code "name"]'}
  - id: mobile
    action: redact
    regex: '\b1[3-9]\d{9}\b'
    replacement: '[mobile]'
    examples: {hit: ['电话13812345678。'], miss: ['213812345678']}
  - {id: weather, direction: [input], action: fallback, terms: [weather forecast], text: Ask the weather service.}
  - {id: off-limits, direction: [output], action: fallback, terms: [share price], text: I cannot say.}
  - {id: pirate, direction: [input], action: flag, score: 60, terms: [pirate]}
  - {id: parrot, direction: [input], action: flag, score: 60, terms: [parrot]}
"""
PROMPTS = {
    "nothing to see": "passed",
    "how to 制造炸弹 at home": "blocked",
    "how to ｄｅｔｏｎａｔｅ it": "blocked",
    "det\u200bonate": "blocked",
    "the bluebird flies": "redacted",
    "call 13812345678 now，电话13812345678。": "redacted",
    "the weather forecast please": "answered",
    "a pirate speaks": "passed",
    "a pirate with a parrot": "blocked",
    "the weather forecast of detonate": "blocked",
}
SPACED = ("m", "y ", "blue", "bird", " and ", "138", "1234", "5678", ". ")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tool_release(tmp_path_factory.mktemp("releases"))


@pytest.fixture(scope="module")
def weir(stage: Stage, release: Path) -> Iterator[Gateway]:
    with gateway(release, stage.backend, policy=parse_policy(POLICY)) as running:
        yield running


@pytest.fixture(autouse=True)
def a_stage_that_was_not_asked(weir: Gateway, stage: Stage) -> None:
    weir.forgive()
    stage.script = answer("ok")
    stage.backend.calls.clear()


def decided(reply: Reply, stage: Stage) -> str:
    """What became of a prompt."""
    if reply.status == 422:
        assert stage.backend.calls == []
        return "blocked"
    assert reply.status == 200
    if not stage.backend.calls:
        assert text_of(reply) == "Ask the weather service."
        return "answered"
    changed = '[code "name"]' in stage.asked.prompt or "[mobile]" in stage.asked.prompt
    return "redacted" if changed else "passed"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_prompt_is_judged_alike_on_every_surface(weir: Gateway, stage: Stage, way: Way) -> None:
    for prompt, expected in PROMPTS.items():
        stage.backend.calls.clear()
        reply = way.ask(weir, prompt)

        assert (prompt, decided(reply, stage)) == (prompt, expected)
        assert "bluebird" not in "".join(call.prompt for call in stage.backend.calls)
        assert "13812345678" not in "".join(call.prompt for call in stage.backend.calls)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_answer_is_redacted_alike_on_every_surface(weir: Gateway, stage: Stage, way: Way) -> None:
    stage.script = answer(*SPACED, "ｂｌｕｅ", "bi\u200brd", "!")

    reply = way.ask(weir, "?")

    assert text_of(reply) == 'my [code "name"] and [mobile]. [code "name"]!'
    assert "13812345" not in reply.body.decode()
    assert "blue" not in reply.body.decode()
    assert reason_of(reply) in {None, "stop", "eos_token"}


EVASIONS = {
    "capitals": "DetoNATE",
    "full width": "ｄｅｔｏｎａｔｅ",
    "zero width": "de\u200bto\u200dna\ufeffte",
    "look-alikes": "d\u0435t\u043en\u0430t\u0435",
    "accents": "détönàtë",
    "mathematical letters": "\U0001d41d\U0001d41e\U0001d42d\U0001d428\U0001d427\U0001d41a\U0001d42d\U0001d41e",
    "letter by letter": "d e t o n a t e",
    "with stars": "d*e*t*o*n*a*t*e",
    "leet": "d3t0n4te",
    "soft hyphens": "deto\u00adnate",
    "traditional": "製造炸彈",
    "spelled out": "制 造-炸·弹",
}


@pytest.mark.parametrize("way", [way for way in WAYS if way.is_stream], ids=lambda way: way.name)
@pytest.mark.parametrize("evasion", EVASIONS)
def test_no_spelling_of_a_blocked_term_is_streamed(weir: Gateway, stage: Stage, way: Way, evasion: str) -> None:
    stage.script = answer("First, ", *EVASIONS[evasion], " and more")

    reply = way.ask(weir, "?")

    assert text_of(reply) == "First, "
    assert reason_of(reply) == "content_filter"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_blocked_answer_ends_alike_on_every_surface(weir: Gateway, stage: Stage, way: Way) -> None:
    stage.script = [TokenChunk(text) for text in ("First ", "deto", "nate ", *("and so on " for _ in range(50)))]
    ended = stage.backend.cancelled_count

    reply = way.ask(weir, "?")

    assert reply.status == 200
    assert text_of(reply) == "First "
    assert "deto" not in reply.body.decode()
    assert reason_of(reply) == (None if way.path == "/vertex" else "content_filter")
    weir.eventually(lambda: stage.backend.cancelled_count - ended == len(stage.backend.calls))  # the node was stopped


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_fallback_ends_an_answer_like_any_other(weir: Gateway, stage: Stage, way: Way) -> None:
    stage.script = [TokenChunk(text) for text in ("Well, the sha", "re pri", "ce is 7", *("more " for _ in range(50)))]
    ended = stage.backend.cancelled_count

    reply = way.ask(weir, "?")

    assert text_of(reply) == "Well, the I cannot say."
    assert reason_of(reply) in {None, "stop", "stop_sequence"}
    assert "price" not in reply.body.decode()
    weir.eventually(lambda: stage.backend.cancelled_count - ended == len(stage.backend.calls))


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_every_role_is_judged(weir: Gateway, stage: Stage, role: str) -> None:
    body = {"messages": [{"role": role, "content": "bluebird"}, {"role": "user", "content": "?"}]}
    assert decided(weir.post(CHAT, body), stage) == "redacted"
    body["messages"][0]["content"] = "制造炸弹"
    stage.backend.calls.clear()
    assert decided(weir.post(CHAT, body), stage) == "blocked"


def tool(**given: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "note", "description": "Writes", "parameters": {}} | given}


def called(arguments: str, result: str = "done") -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "note", "arguments": arguments}}
    return {
        "messages": [
            {"role": "user", "content": "?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": result},
        ]
    }


BESIDE_THE_TEXT = {
    "a name": lambda text: {"messages": [{"role": "user", "content": "?", "name": text}]},
    "a tool's description": lambda text: user("?") | {"tools": [tool(description=text)]},
    "a parameter's description": lambda text: user("?") | {"tools": [tool(parameters={"description": text})]},
    "arguments": lambda text: called(json.dumps({"a": [text]})),
    "an argument's name": lambda text: called(json.dumps({text: 1})),
    "a tool's result": lambda text: called("{}", text),
}


@pytest.mark.parametrize("place", BESIDE_THE_TEXT)
def test_what_stands_beside_the_text_is_judged_as_well(weir: Gateway, stage: Stage, place: str) -> None:
    body = BESIDE_THE_TEXT[place]
    assert weir.post(CHAT, body("nothing")).status == 200
    assert weir.post(CHAT, body("制造炸弹")).status == 422
    stage.backend.calls.clear()
    assert weir.post(CHAT, body("a bluebird\nflies")).status == 200
    assert "bluebird" not in stage.asked.prompt
    assert weir.post(CHAT, body("x\ndetonate")).status == 422


def test_arguments_stay_json_when_something_is_replaced_in_them(weir: Gateway, stage: Stage) -> None:
    text = '{"to": "\\u0062luebird", "phone": 13812345678, "n": 7}'
    assert weir.post(CHAT, called(text)).status == 200
    written = stage.asked.prompt.partition('"arguments": ')[2].partition("}\n</tool_call>")[0]
    assert json.loads(written) == {"to": '[code "name"]', "phone": "[mobile]", "n": 7}


def test_a_function_whose_name_would_be_redacted_is_refused(weir: Gateway) -> None:
    reply = weir.post(CHAT, user("?") | {"tools": [tool(name="bluebird")]})
    assert (reply.status, reply.json["error"]["code"]) == (422, "content_filter")
    assert "codename" in reply.json["error"]["message"]


def test_a_prompt_of_token_ids_is_judged_by_its_text(weir: Gateway, stage: Stage, release: Path) -> None:
    encode = weir.app.service.catalog.default.prompts.tokenizer.encode
    assert weir.post(COMPLETIONS, {"prompt": encode("制造炸弹")}).status == 422
    reply = weir.post(COMPLETIONS, {"prompt": encode("a bluebird flies"), "echo": True})

    assert stage.asked.prompt == 'a [code "name"] flies'
    assert stage.asked.prompt_ids == ()
    assert reply.json["choices"][0]["text"] == 'a [code "name"] fliesok'  # what is echoed is what the model read


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"inputs": "a bluebird", "parameters": {"return_full_text": True}}),
        ("/v2/models/faq/generate", {"text_input": "a bluebird", "exclude_input_in_output": False}),
    ],
)
def test_what_was_redacted_in_a_prompt_is_not_repeated(weir: Gateway, path: str, body: Any) -> None:
    assert text_of(weir.post(path, body)) == 'a [code "name"]ok'


@pytest.mark.parametrize("path", ["/tokenize", "/chat_tokenize"])
def test_tokens_are_given_of_what_may_be_asked(weir: Gateway, path: str) -> None:
    def asked(text: str) -> Reply:
        return weir.post(path, user(text) if path == "/chat_tokenize" else {"inputs": text})

    assert asked("制造炸弹").status == asked("the weather forecast").status == 422
    assert "bluebird" not in asked("bluebird").body.decode()


def test_scores_add_up_over_all_of_a_prompt(weir: Gateway, stage: Stage) -> None:
    def talk(*contents: str) -> Reply:
        return weir.post(CHAT, {"messages": [{"role": "user", "content": content} for content in contents]})

    assert talk("pirate", "pirate", "pirate").status == 200  # one rule counts once
    blocked = talk("a pirate", "a parrot")
    assert (blocked.status, "'score'" in blocked.json["error"]["message"]) == (422, True)
    assert weir.metric("guard_verdicts_total", phase="input", rule="score", verdict="block") >= 1


def test_alternatives_and_echoed_tokens_say_nothing_either(weir: Gateway, stage: Stage) -> None:
    tops = (TopToken(1, "bird", -0.1), TopToken(2, "berry", -0.2))
    stage.script = [
        TokenChunk("blue", 1, (Token(1, "blue", -0.1),), (PromptToken(3, "see ", None), PromptToken(4, "b", -1.0))),
        TokenChunk("berry", 1, (Token(2, "berry", -0.2, top=tops),)),
        Finished(FinishReason.EOS, Usage(2, 2)),
    ]
    reply = weir.post(CHAT, user("?") | {"logprobs": True, "top_logprobs": 2})

    assert text_of(reply) == "blueberry"
    tokens = reply.json["choices"][0]["logprobs"]["content"]
    assert [top["token"] for top in tokens[1]["top_logprobs"]] == ["berry"]
