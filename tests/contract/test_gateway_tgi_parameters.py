"""What TGI's parameters do, on the raw wire and through huggingface_hub; no model."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from huggingface_hub import InferenceClient, TextGenerationInputGrammarType
from huggingface_hub.errors import ValidationError
from tests.support.gateway import Gateway, Stage, answer, gateway
from tests.support.prompt_release import make_prompt_release
from tests.support.surfaces import ask

from weir.contracts import errors
from weir.contracts.events import Finished, FinishReason, PromptToken, Token, TokenChunk, TopToken, Usage
from weir.contracts.grammar import JsonObject, JsonSchema, Regex


@pytest.fixture(scope="module")
def weir(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    release = make_prompt_release(tmp_path_factory.mktemp("releases"), adapters=["shop"])
    with gateway(release, stage.backend, max_body_bytes=1 << 17) as running:
        yield running


@pytest.fixture(autouse=True)
def a_node_that_is_well(weir: Gateway, stage: Stage) -> None:
    weir.forgive()
    stage.script = answer("好")
    stage.backend.calls.clear()


@pytest.fixture
def client(weir: Gateway) -> InferenceClient:
    return InferenceClient(weir.url, timeout=10)


def with_top(*steps: tuple[str, Sequence[str]]) -> Any:
    """A script of tokens, each with other tokens that could have stood there."""

    def play(request: Any) -> Any:
        count = request.sampling.logprobs or 0
        tokens = [
            Token(10 + i, text, -0.5, top=tuple(TopToken(90 + j, o, -1.0 - j) for j, o in enumerate(others[:count])))
            for i, (text, others) in enumerate(steps)
        ]
        prompt = (PromptToken(1, "<|im_start|>", None), PromptToken(2, "?", -2.5))
        first = prompt if request.sampling.prompt_logprobs is not None else ()
        chunks = [
            TokenChunk(t.text, 1, (t,) if request.gives_tokens else (), first if t is tokens[0] else ()) for t in tokens
        ]
        return [*chunks, Finished(FinishReason.EOS, Usage(2, len(tokens)))]

    return play


# best_of


def by_seed(logprobs: Sequence[float]) -> Any:
    """A script whose answers are of such mean log-probabilities, in the order in which seeds are first seen."""
    seen: list[int] = []

    def play(request: Any) -> Any:
        if request.sampling.seed not in seen:
            seen.append(request.sampling.seed)
        number = seen.index(request.sampling.seed)
        token = Token(10, f"答{number}", logprobs[number])
        return [TokenChunk(token.text, 1, (token,)), Finished(FinishReason.EOS, Usage(3, 1))]

    return play


def test_best_of_gives_the_answer_with_the_best_mean_log_probability(weir: Gateway, stage: Stage) -> None:
    stage.script = by_seed([-2.0, -0.5, -1.0])

    reply = ask(weir, do_sample=True, best_of=3, details=True)

    details = reply["details"]
    others = details["best_of_sequences"]
    assert reply["generated_text"] == "答1"
    assert [other["tokens"][0]["logprob"] for other in others] == [-1.0, -2.0]
    assert len({details["seed"], *(other["seed"] for other in others)}) == 3
    assert {request.sampling.seed for request in stage.backend.calls} == {details["seed"], *(o["seed"] for o in others)}


def test_huggingface_hub_reads_the_other_sequences(client: InferenceClient, stage: Stage) -> None:
    stage.script = by_seed([-2.0, -0.5])

    reply = client.text_generation("?", details=True, do_sample=True, best_of=2)

    assert reply.generated_text == "答1"
    assert reply.details.best_of_sequences[0].generated_text == "答0"


def test_a_filtered_answer_is_never_the_best_one(weir: Gateway, stage: Stage) -> None:
    seen: list[int] = []

    def play(request: Any) -> Any:
        seen.append(request.sampling.seed)
        text, logprob = ("炸弹", -0.01) if len(seen) == 1 else ("好", -9.0)
        return [TokenChunk(text, 1, (Token(5, text, logprob),)), Finished(FinishReason.EOS, Usage(3, 1))]

    stage.script = play

    assert ask(weir, do_sample=True, best_of=2)["generated_text"] == "好"


def test_a_replacement_does_not_make_an_answer_likelier(weir: Gateway, stage: Stage) -> None:
    seen: list[int] = []

    def play(request: Any) -> Any:
        seen.append(request.sampling.seed)
        words = [("好", -1.0)] if len(seen) > 1 else [("写给 ", -1.5), ("bob@x.org", -1.5), (" 吧", -1.5)]
        tokens = tuple(Token(5, text, logprob) for text, logprob in words)
        return [
            TokenChunk("".join(t.text for t in tokens), len(tokens), tokens),
            Finished(FinishReason.EOS, Usage(3, len(tokens))),
        ]

    stage.script = play

    assert ask(weir, do_sample=True, best_of=2)["generated_text"] == "好"


# seed


def test_the_seed_that_sampling_used_is_given_back(weir: Gateway, stage: Stage) -> None:
    first = ask(weir, temperature=0.5, details=True)["details"]["seed"]
    second = ask(weir, temperature=0.5, details=True)["details"]["seed"]

    assert [request.sampling.seed for request in stage.backend.calls] == [first, second]
    assert first != second
    assert max(first, second) < 1 << 53
    assert ask(weir, details=True)["details"]["seed"] is None
    assert ask(weir, do_sample=True, seed=2**64 - 1, details=True)["details"]["seed"] == 2**64 - 1


def test_a_streams_last_event_has_the_seed(weir: Gateway, stage: Stage) -> None:
    events = weir.post("/generate_stream", {"inputs": "?", "parameters": {"do_sample": True, "details": True}}).events

    assert events[-1]["details"]["seed"] == stage.asked.sampling.seed is not None


# top_n_tokens and decoder_input_details


def test_top_tokens_stand_beside_each_token(weir: Gateway, stage: Stage, client: InferenceClient) -> None:
    stage.script = with_top(("七", ["八", "九"]), ("天", ["日", "年"]))

    details = ask(weir, top_n_tokens=2, details=True)["details"]
    events = list(client.text_generation("?", top_n_tokens=2, details=True, stream=True))

    assert [[t["text"] for t in tops] for tops in details["top_tokens"]] == [["八", "九"], ["日", "年"]]
    assert details["top_tokens"][0][0] == {"id": 90, "text": "八", "logprob": -1.0, "special": False}
    assert [[t.text for t in event.top_tokens or ()] for event in events] == [["八", "九"], ["日", "年"], []]
    assert stage.asked.sampling.logprobs == 2


def test_a_special_token_among_the_top_ones_is_marked(weir: Gateway, stage: Stage) -> None:
    def play(request: Any) -> Any:
        token = Token(5, "好", -0.1, top=(TopToken(302, "<|im_end|>", -1.0),))
        return [TokenChunk("好", 1, (token,)), Finished(FinishReason.EOS, Usage(1, 1))]

    stage.script = play

    assert ask(weir, top_n_tokens=1, details=True)["details"]["top_tokens"][0][0]["special"] is True


def test_without_top_n_tokens_there_are_none(weir: Gateway, stage: Stage) -> None:
    assert "top_tokens" not in ask(weir, details=True, top_n_tokens=0)["details"]
    assert stage.asked.sampling.logprobs is None


def test_prefill_is_the_prompt_with_log_probabilities_the_first_null(weir: Gateway, stage: Stage) -> None:
    stage.script = with_top(("好", []))

    details = ask(weir, decoder_input_details=True)["details"]

    assert details["prefill"] == [
        {"id": 1, "text": "<|im_start|>", "logprob": None},
        {"id": 2, "text": "?", "logprob": -2.5},
    ]
    assert ask(weir, details=True)["details"]["prefill"] == []


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_no_top_token_says_what_a_rule_blocks_or_redacts(weir: Gateway, stage: Stage, path: str) -> None:
    stage.script = with_top(
        ("先", ["炸弹", "好"]),
        ("炸", ["弹", "爆"]),
        ("药", ["弹", "鱼"]),
        (" bob@", ["ann@x.org"]),
        ("x.org", ["y.org"]),
    )

    reply = weir.post(path, {"inputs": "?", "parameters": {"top_n_tokens": 2, "details": True}})

    shown = reply.body.decode()
    assert reply.status == 200
    assert "炸弹" not in shown
    assert "bob@" not in shown
    assert "x.org" not in shown
    assert "y.org" not in shown
    if path == "/generate":
        tops = [[t["text"] for t in tops] for tops in reply.json["details"]["top_tokens"]]
        assert tops[:3] == [["好"], ["弹", "爆"], ["鱼"]]
        assert weir.metric("guard_verdicts_total", phase="output", rule="email", verdict="redact") >= 1


def test_a_redacted_token_has_neither_its_id_nor_its_log_probability(weir: Gateway, stage: Stage) -> None:
    stage.script = with_top(("bob@x.org", ["someone"]), ("。", []))

    details = ask(weir, top_n_tokens=1, details=True)["details"]

    assert details["tokens"][0] == {"id": 0, "text": "[email]", "logprob": 0.0, "special": False}
    assert details["top_tokens"][0] == []


# grammar


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("given", "grammar"),
    [
        ({"type": "json", "value": SCHEMA}, JsonSchema(schema_text=SCHEMA)),
        ({"type": "json", "value": '{"type":"null"}'}, JsonSchema(schema_text='{"type":"null"}')),
        ({"type": "json_object", "value": SCHEMA}, JsonSchema(schema_text=SCHEMA)),
        ({"type": "json_object"}, JsonObject()),
        ({"type": "json_schema", "value": {"name": "x", "schema": SCHEMA}}, JsonSchema(schema_text=SCHEMA)),
        ({"type": "json_schema", "value": {"schema": SCHEMA}}, JsonSchema(schema_text=SCHEMA)),
        ({"type": "regex", "value": "[0-9]+"}, Regex(pattern="[0-9]+")),
    ],
)
def test_a_grammar_reaches_the_node(weir: Gateway, stage: Stage, given: Any, grammar: Any) -> None:
    ask(weir, grammar=given)

    assert stage.asked.sampling.grammar == grammar


def test_huggingface_hub_sends_a_grammar(client: InferenceClient, stage: Stage) -> None:
    client.text_generation("?", grammar=TextGenerationInputGrammarType(type="json", value=SCHEMA))

    assert stage.asked.sampling.grammar == JsonSchema(schema_text=SCHEMA)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param({"grammar": {"value": {}}}, "`parameters.grammar.type`", id="no type"),
        pytest.param({"grammar": {"type": "lark", "value": "x"}}, "`parameters.grammar.type`", id="another type"),
        pytest.param({"grammar": {"type": "json"}}, "`parameters.grammar.value`", id="json without a value"),
        pytest.param({"grammar": {"type": "json", "value": 5}}, "`parameters.grammar.value`", id="a number"),
        pytest.param({"grammar": {"type": "regex", "value": ""}}, "`parameters.grammar.value`", id="an empty regex"),
        pytest.param(
            {"grammar": {"type": "regex", "value": "a" * 8193}}, "`parameters.grammar.value`", id="long regex"
        ),
        pytest.param(
            {"grammar": {"type": "json", "value": "x" * 70_000}}, "`parameters.grammar.value`", id="a large schema"
        ),
        pytest.param(
            {"grammar": {"type": "json_schema", "value": {}}}, "`parameters.grammar.value.schema`", id="no schema"
        ),
        pytest.param({"best_of": 2}, "must use sampling", id="best_of without sampling"),
        pytest.param({"best_of": 2, "do_sample": True, "seed": 1}, "`seed` must not be set", id="best_of with a seed"),
        pytest.param({"best_of": 5, "do_sample": True}, "`parameters.best_of`", id="best of too many"),
        pytest.param({"best_of": 0}, "`parameters.best_of`", id="best of none"),
        pytest.param({"top_n_tokens": 6}, "`parameters.top_n_tokens`", id="too many top tokens"),
        pytest.param({"frequency_penalty": 2.5}, "`parameters.frequency_penalty`", id="frequency penalty"),
        pytest.param({"repetition_penalty": 0}, "`parameters.repetition_penalty`", id="repetition penalty"),
        pytest.param({"typical_p": 1.5, "do_sample": True}, "`parameters.typical_p`", id="typical_p"),
        pytest.param({"adapter_id": "nobody"}, "`parameters.adapter_id`", id="unknown adapter"),
        pytest.param({"adapter_id": "../Shop x"}, "`parameters.adapter_id`", id="no adapter can be called so"),
        pytest.param({"watermark": True}, "`watermark`", id="watermark"),
        pytest.param({"stop": ["x"] * 9}, "`stop` supports up to 8", id="stops"),
        pytest.param({"stop": ["x" * 65]}, "`stop`", id="a long stop"),
        pytest.param({"truncate": 0}, "`truncate`", id="truncate"),
    ],
)
def test_a_wrong_parameter_is_a_typed_422_that_names_the_field(
    weir: Gateway, stage: Stage, parameters: Any, message: str
) -> None:
    for path in ("/", "/generate"):
        reply = weir.post(path, {"inputs": "?", "parameters": parameters})
        assert (reply.status, reply.json["error_type"]) == (422, "validation")
        assert message in reply.json["error"]
    assert stage.backend.calls == []


def test_what_a_node_says_of_a_grammar_names_the_callers_field(weir: Gateway, stage: Stage) -> None:
    stage.script = (errors.ValidationError("grammar: no text satisfies it, or it is too complex"),)

    for path in ("/generate", "/generate_stream"):
        reply = weir.post(path, {"inputs": "?", "parameters": {"grammar": {"type": "regex", "value": "a"}}})
        assert reply.status == 422
        assert reply.json["error"] == "`parameters.grammar`: no text satisfies it, or it is too complex"


def test_a_grammar_that_becomes_too_complex_ends_the_stream_with_a_validation_error(
    weir: Gateway, stage: Stage, client: InferenceClient
) -> None:
    stage.script = (TokenChunk("好 "), errors.ValidationError("grammar: too complex to follow", "grammar"))

    events = weir.post("/generate_stream", {"inputs": "?"}).events

    assert events[-1] == {"error": "`parameters.grammar`: too complex to follow", "error_type": "validation"}
    with pytest.raises(ValidationError, match="too complex"):
        list(client.text_generation("?", stream=True))


@pytest.mark.parametrize("parameters", [{"best_of": 2, "do_sample": True}, {"decoder_input_details": True}])
def test_what_tgi_refuses_when_streaming_is_refused(weir: Gateway, stage: Stage, parameters: Any) -> None:
    for path, stream in (("/generate_stream", None), ("/", True), ("/generate", True)):
        reply = weir.post(path, {"inputs": "?", "parameters": parameters, "stream": stream})
        assert reply.status == 422
        assert "not supported when streaming tokens" in reply.json["error"]
    assert stage.backend.calls == []


def test_an_adapter_of_the_release_is_chosen_by_name(weir: Gateway, stage: Stage) -> None:
    ask(weir, adapter_id="shop")

    assert stage.asked.adapter == "shop"


def test_penalties_and_typical_p_are_real_when_it_samples(weir: Gateway, stage: Stage) -> None:
    ask(weir, do_sample=True, typical_p=0.9, top_p=0.8, frequency_penalty=0.5, repetition_penalty=1.2)

    sampling = stage.asked.sampling
    assert (sampling.typical_p, sampling.top_p) == (0.9, 0.8)
    assert (sampling.frequency_penalty, sampling.repetition_penalty) == (0.5, 1.2)
