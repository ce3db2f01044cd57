"""Answers under the guard: tool calls, JSON, rules about whole answers, profiles, failures, the audit."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import Gateway, Reply, Stage, answer, gateway
from tests.support.surfaces import CHAT, COMPLETIONS, RESPONSES, STREAM, reason_of, text_of, user
from tests.support.tool_release import make_tool_release

from weir.contracts.events import Finished, FinishReason, GenerationEvent, TokenChunk, Usage
from weir.contracts.request import GenerateRequest
from weir.guard.answers import AnswerCheck
from weir.guard.compiled import CompiledGuard
from weir.guard.input import InputFilter
from weir.guard.output import StreamGuard
from weir.guard.policy import parse_policy
from weir.guard.structured import StructuredGuard
from weir.guard.tokens import TokenAligner
from weir.store.database import Database
from weir.store.keys import KeySpec, KeyStore
from weir.store.records import RecordStore

POLICY = r"""
version: 1
id: answers
rules:
  - {id: bomb, action: block, terms: [炸弹, detonate]}
  - {id: codename, action: redact, terms: [bluebird], replacement: 'a "b" \ c'}
  - id: mobile
    direction: output
    action: redact
    regex: '\b1[3-9]\d{9}\b'
    examples: {hit: ['电话13812345678。'], miss: ['213812345678']}
  - {id: off-limits, action: fallback, terms: [share price], text: I cannot say.}
  - {id: heron, action: flag, terms: [heron]}
  - {id: lenient-only, action: block, terms: [pelican]}
answers:
  - id: shape
    schema: {type: object, required: [city]}
    action: fallback
    text: '{"city": null}'
    routes: [/v1/responses]
  - {id: on-topic, topics: [退货, refund], action: block, routes: [/v1/completions]}
  - {id: polite, topics: [please], action: flag, routes: [/v2/*]}
profiles:
  lenient: {overrides: {lenient-only: {action: flag}}}
apply:
  - {key: "team-*", profile: lenient}
  - {route: /vertex, profile: lenient}
"""
TOOLS = {"tools": [{"type": "function", "function": {"name": "send", "parameters": {"type": "object"}}}]}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tool_release(tmp_path_factory.mktemp("releases"))


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def weir(stage: Stage, release: Path) -> Iterator[Gateway]:
    with gateway(release, stage.backend, policy=parse_policy(POLICY)) as running:
        yield running


def call(arguments: str, *, cut: int = 3) -> list[str]:
    whole = f'Let me see. <tool_call>\n{{"name": "send", "arguments": {arguments}}}\n</tool_call>'
    return [whole[at : at + cut] for at in range(0, len(whole), cut)]


def arguments_of(reply: Reply) -> str:
    if b"data:" not in reply.body[:10]:
        return str(reply.json["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])
    deltas = [event["choices"][0]["delta"] for event in reply.events if event.get("choices")]
    calls = [made for delta in deltas for made in delta.get("tool_calls", ())]
    return "".join(made["function"]["arguments"] for made in calls)


@pytest.mark.parametrize("more", [{}, STREAM, {"tool_choice": "required"}, STREAM | {"tool_choice": "required"}])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{"to": "\\u0062lue\\u0062ird", "n": [1]}', {"to": 'a "b" \\ c', "n": [1]}),
        ('{"bluebird": {"x": "tel\\n13812345678"}}', {'a "b" \\ c': {"x": "tel\n[mobile]"}}),
        ('{"phone": 13812345678, "ok": true}', {"phone": "[mobile]", "ok": True}),
        ('{"a": "caf\\u00e9 \\/", "b": "heron"}', {"a": "café /", "b": "heron"}),
    ],
)
def test_arguments_of_a_call_are_guarded_as_they_read_and_stay_json(
    weir: Gateway, stage: Stage, more: dict[str, Any], given: str, expected: Any
) -> None:
    chunks = call(given) if "tool_choice" not in more else list(f'{{"name": "send", "arguments": {given}}}')
    stage.script = answer(*chunks)

    reply = weir.post(CHAT, user("?") | TOOLS | more)

    assert json.loads(arguments_of(reply)) == expected
    assert reason_of(reply) == "tool_calls"


@pytest.mark.parametrize("more", [{}, STREAM])
def test_arguments_with_an_escaped_term_end_the_answer(weir: Gateway, stage: Stage, more: dict[str, Any]) -> None:
    stage.script = answer(*call('{"to": "make it \\u0064\\u0065tonate", "b": "more"}'))

    reply = weir.post(CHAT, user("?") | TOOLS | more)

    assert reason_of(reply) == "content_filter"
    assert arguments_of(reply) == '{"to": "make it '


@pytest.mark.parametrize("more", [{}, STREAM])
def test_an_answer_that_was_asked_for_as_json_stays_json(weir: Gateway, stage: Stage, more: dict[str, Any]) -> None:
    stage.script = answer(*'{"who": "\\u0062luebird", "tel": 13812345678}')
    asked = user("?") | {"response_format": {"type": "json_object"}} | more
    assert json.loads(text_of(weir.post(CHAT, asked))) == {"who": 'a "b" \\ c', "tel": "[mobile]"}


def test_choices_of_one_request_are_guarded_apart(weir: Gateway, stage: Stage) -> None:
    scripts = [answer("to deto"), answer("nate it"), answer("deton", "ate")]

    def play(request: GenerateRequest) -> Sequence[GenerationEvent]:
        return scripts.pop()(request)

    stage.script = play

    reply = weir.post(CHAT, user("?") | {"n": 3, "temperature": 1})

    ends = sorted((choice["message"]["content"], choice["finish_reason"]) for choice in reply.json["choices"])
    assert ends == [("", "content_filter"), ("nate it", "stop"), ("to deto", "stop")]


@pytest.mark.parametrize("more", [{}, STREAM])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{"city": "Bern", "n": 1}', '{"city": "Bern", "n": 1}'),
        ('{"town": "Bern"}', '{"city": null}'),
        ("not JSON", '{"city": null}'),
        ('{"city": NaN}', '{"city": null}'),
        ("[" * 5000, '{"city": null}'),
        ('{"city": "the share price is 7"}', '{"city": null}'),  # what a fallback leaves is judged as well
    ],
)
def test_an_answer_that_breaks_its_schema_is_replaced_before_any_of_it_is_sent(
    weir: Gateway, stage: Stage, more: dict[str, Any], given: str, expected: str
) -> None:
    stage.script = answer(*[given[at : at + 40] for at in range(0, len(given), 40)])

    reply = weir.post(RESPONSES, {"input": "?"} | more)

    assert text_of(reply) == expected
    assert reason_of(reply) is None
    broke = weir.metric("guard_verdicts_total", phase="output", rule="shape", verdict="fallback")
    assert broke == (given != expected)


@pytest.mark.timed
def test_a_rule_about_whole_answers_holds_back_only_where_it_applies(weir: Gateway, stage: Stage) -> None:
    stage.script = [TokenChunk("first "), 0.3, TokenChunk("refund"), Finished(FinishReason.EOS, Usage(1, 2))]

    def seconds_to_first(path: str, body: dict[str, Any]) -> float:
        began = time.monotonic()
        asyncio.run(_first_text(weir.port, path, body | STREAM))
        return time.monotonic() - began

    assert seconds_to_first(COMPLETIONS, {"prompt": "?"}) > 0.3
    assert seconds_to_first(CHAT, user("?")) < 0.25


async def _first_text(port: int, path: str, body: dict[str, Any]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    raw = json.dumps(body).encode()
    writer.write(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(raw)}\r\n\r\n".encode() + raw)
    await reader.readuntil(b"first ")
    writer.close()


def test_an_answer_off_the_topic_is_blocked_whole_and_a_flag_changes_nothing(weir: Gateway, stage: Stage) -> None:
    stage.script = answer("The ", "weather ", "is fine.")
    for more in ({}, STREAM):
        blocked = weir.post(COMPLETIONS, {"prompt": "?"} | more)
        assert (text_of(blocked), reason_of(blocked)) == ("", "content_filter")
    flagged = weir.post("/v2/models/faq/generate", {"text_input": "?"})
    assert text_of(flagged) == "The weather is fine."
    stage.script = answer("A ｒｅｆ", "ｕｎｄ is fine.")
    assert text_of(weir.post(COMPLETIONS, {"prompt": "?"})) == "A ｒｅｆｕｎｄ is fine."

    assert weir.metric("guard_verdicts_total", phase="output", rule="on-topic", verdict="block") == 2
    assert weir.metric("guard_verdicts_total", phase="output", rule="polite", verdict="flag") == 1
    assert weir.metric("guard_stream_cut_total", rule="on-topic") == 2


def test_a_profile_holds_for_its_routes_and_keys(release: Path, stage: Stage, tmp_path: Path) -> None:
    stage.script = answer("a pelican")
    database = f"sqlite:///{tmp_path / 'keys.sqlite'}"
    with Database(database) as opened:
        texts = {name: KeyStore(opened).create(KeySpec(name=name)).text for name in ("team-a", "other")}
    policy = parse_policy(POLICY)
    with gateway(
        release, stage.backend, policy=policy, with_store=True, home=tmp_path, access={"database": database}
    ) as weir:

        def asked(name: str, path: str = "/generate", body: Any = None) -> str:
            return text_of(weir.post(path, body or {"inputs": "?"}, authorization=f"Bearer {texts[name]}"))

        assert asked("team-a") == "a pelican"
        assert asked("other") == "a "
        assert asked("other", "/vertex", {"instances": [{"inputs": "?"}]}) == "a pelican"


class BrokenError(Exception):
    """The text of a failure may quote what was looked at."""


STAGES: Sequence[tuple[type, str, str, dict[str, Any]]] = (
    (CompiledGuard, "chosen", "/generate", {"inputs": "?"}),
    (CompiledGuard, "chosen", "/tokenize", {"inputs": "?"}),
    (InputFilter, "check", "/generate", {"inputs": "?"}),
    (InputFilter, "check", CHAT, user("?") | TOOLS),
    (InputFilter, "check", "/tokenize", {"inputs": "?"}),
    (StreamGuard, "__init__", "/generate", {"inputs": "?"}),
    (StreamGuard, "feed", "/generate", {"inputs": "?"}),
    (StreamGuard, "feed", "/generate_stream", {"inputs": "?"}),
    (StreamGuard, "flush", CHAT, user("?")),
    (StreamGuard, "flush", CHAT, user("?") | STREAM),
    (StructuredGuard, "feed", CHAT, user("?") | TOOLS),
    (StructuredGuard, "flush", CHAT, user("?") | TOOLS | STREAM),
    (TokenAligner, "give", "/generate_stream", {"inputs": "?"}),
    (AnswerCheck, "is_kept", RESPONSES, {"input": "?"}),
    (AnswerCheck, "is_kept", COMPLETIONS, {"prompt": "?"} | STREAM),
)


@pytest.mark.parametrize(
    ("kind", "method", "path", "body"), STAGES, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_a_guard_that_fails_blocks_is_counted_and_audited(
    release: Path,
    stage: Stage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: type,
    method: str,
    path: str,
    body: dict[str, Any],
) -> None:
    stage.script = answer("secret ", "words ", "of blue")
    policy = parse_policy(POLICY)
    with gateway(release, stage.backend, policy=policy, with_store=True, home=tmp_path) as weir:

        def broken(*_: object, **__: object) -> None:
            raise BrokenError("secret words")

        monkeypatch.setattr(kind, method, broken)
        reply = weir.post(path, body)
        monkeypatch.undo()
        phase = {CompiledGuard: "choice", InputFilter: "input"}.get(kind, "output")
        assert weir.metric("guard_errors_total", phase=phase) == 1
        if phase != "choice":
            assert weir.metric("guard_verdicts_total", phase=phase, rule="guard-error", verdict="block") == 1
        if phase != "choice" and path != "/tokenize":
            (row,) = _audited(weir)
            assert (row["blocked_by"], row["verdicts"]) == ("guard-error", "guard-error")

    assert (reply.status, reason_of(reply)) == (422, None) if phase != "output" else (200, "content_filter")
    if method != "flush":
        assert b"secret" not in reply.body
    assert b"blue" not in reply.body  # held back to the end
    assert "secret" not in caplog.text.replace('BrokenError("secret words")', "").replace(
        "BrokenError: secret words", ""
    )


def _audited(weir: Gateway) -> list[dict[str, Any]]:
    records = weir.app.access.records
    assert isinstance(records, RecordStore)
    weir.eventually(lambda: list(records.audit()) != [], within_s=5)
    return list(records.audit())


def test_the_audit_tells_what_was_found_where_and_equal_texts_apart_but_no_text(
    release: Path, stage: Stage, tmp_path: Path
) -> None:
    stage.script = answer("a ｂｌｕｅｂｉｒｄ", ", 1381", "2345678, a heron")
    policy = parse_policy(POLICY)
    with gateway(release, stage.backend, policy=policy, with_store=True, home=tmp_path) as weir:
        weir.post(CHAT, user("see a bluebird, 13812345678"))
        (row,) = _audited(weir)
        assert weir.metric("guard_policy_info", id="answers", version="1", sha256=policy.sha256[:12]) == 1
        for rule, verdict in (("codename", "redact"), ("mobile", "redact"), ("heron", "flag")):
            assert weir.metric("guard_verdicts_total", phase="output", rule=rule, verdict=verdict) == 1

    assert row["policy"] == f"answers@{policy.sha256[:12]}"
    finds = json.loads(row["finds"])
    assert [(find["rule"], find["action"], find["phase"], find["where"]) for find in finds] == [
        ("codename", "redact", "input", "messages.0.content"),
        ("codename", "redact", "output", "answer"),
        ("mobile", "redact", "output", "answer"),
        ("heron", "flag", "output", "answer"),
    ]
    assert [(find["start"], find["end"]) for find in finds] == [(6, 14), (2, 10), (12, 23), (27, 32)]
    assert len({find["hmac"] for find in finds}) == 4  # as it was written, full-width or not
    assert all(len(find["hmac"]) == 64 for find in finds)
    assert "bluebird" not in json.dumps(row)
    told = [{name: value for name, value in find.items() if name != "hmac"} for find in finds]
    assert "138" not in json.dumps(told)  # an HMAC may hold any three digits


def test_a_long_answer_is_judged_in_a_thread(weir: Gateway, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    judge, feed = AnswerCheck.is_kept, StreamGuard.feed

    def noted(check: AnswerCheck, text: str) -> bool:
        names.append(threading.current_thread().name)
        return judge(check, text)

    def fed(stream: StreamGuard, text: str) -> Any:
        names.append(threading.current_thread().name) if len(text) > 32_768 else None
        return feed(stream, text)

    monkeypatch.setattr(AnswerCheck, "is_kept", noted)
    monkeypatch.setattr(StreamGuard, "feed", fed)
    stage.script = answer("a refund " * 5000, *["and more "] * 20)
    assert reason_of(weir.post(COMPLETIONS, {"prompt": "?", "max_tokens": 30})) == "stop"

    assert len(names) == 2
    assert all("asyncio_" in name for name in names)
