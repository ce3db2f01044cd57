"""The OpenAPI document is true: routes, request bodies, and what really is answered, whole, streamed and refused."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.support.gateway import Gateway, Reply, Stage, answer, asked, gateway
from tests.support.prompt_release import make_prompt_release
from tests.support.tool_release import make_tool_release

from weir.contracts import errors
from weir.contracts.events import Finished, FinishReason, PromptToken, Token, TokenChunk, TopToken, Usage
from weir.gateway.documents import BY_PATH
from weir.gateway.routes import SURFACES

V2 = "/v2/models/faq"
ASKS: dict[str, Any] = {
    "/": {"inputs": "?"},
    "/generate": {"inputs": "?"},
    "/generate_stream": {"inputs": "?"},
    "/tokenize": {"inputs": "怎么退货"},
    "/chat_tokenize": {"messages": [{"role": "user", "content": "?"}]},
    "/invocations": {"inputs": "?"},
    "/vertex": {"instances": [{"inputs": "?"}]},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "?"}]},
    "/v1/completions": {"prompt": "?"},
    "/v1/responses": {"input": "?"},
    "/v1/embeddings": {"input": "?"},
    "/v2/models/{model}/generate": {"text_input": "?"},
    "/v2/models/{model}/generate_stream": {"text_input": "?"},
    "/v2/models/{model}/versions/{version}/generate": {"text_input": "?"},
    "/v2/models/{model}/versions/{version}/generate_stream": {"text_input": "?"},
}
LOCAL = {"/tokenize", "/chat_tokenize", "/v1/embeddings"}  # need no node
RICH = {
    "details": True,
    "decoder_input_details": True,
    "best_of": 2,
    "do_sample": True,
    "top_n_tokens": 2,
    "max_new_tokens": 5,
}


@pytest.fixture(scope="module")
def weir(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    release = make_prompt_release(tmp_path_factory.mktemp("releases"))
    with gateway(release, stage.backend, max_body_bytes=4096) as running:
        yield running


@pytest.fixture(scope="module")
def schema(weir: Gateway) -> Any:
    return weir.get("/openapi.json").json


@pytest.fixture(autouse=True)
def a_node_that_is_well(weir: Gateway, stage: Stage) -> None:
    weir.forgive()
    stage.script = rich


def rich(request: Any) -> Any:
    """Answer with everything that was asked for."""
    top = tuple(TopToken(20 + i, f"t{i}", -1.0 - i) for i in range(request.sampling.logprobs or 0))
    prompt = (PromptToken(1, "a", None), PromptToken(2, "b", -0.5))
    tokens = (Token(10, "好", -0.25, top=top), Token(11, "的", -0.5, top=top)) if request.gives_tokens else ()
    chunk = TokenChunk("好的", 2, tokens, prompt if request.sampling.prompt_logprobs is not None else ())
    return [chunk, Finished(FinishReason.EOS, Usage(5, 2))]


def real(path: str) -> str:
    return path.replace("{model}", "faq").replace("{version}", "1").replace("{name}", "faq")


def check(schema: Any, method: str, path: str, reply: Reply) -> None:
    """Hold a real answer to what the document says of it."""
    described = schema["paths"][path][method]["responses"]
    assert str(reply.status) in described, f"{method} {path}: {reply.status} is not documented"
    content = described[str(reply.status)].get("content", {})
    if not reply.body:
        assert "application/json" not in content
        return
    kind = reply.headers["content-type"].partition(";")[0]
    assert kind in content, f"{method} {path}: {kind} is not documented"
    if kind == "text/event-stream":
        assert events_of(reply)
        for event in events_of(reply):
            valid(schema, content[kind]["x-event-schema"], event)
    elif kind == "application/json":
        valid(schema, content[kind]["schema"], reply.json)


def events_of(reply: Reply) -> list[Any]:
    """Return the data of all events, named ones too, but for `[DONE]`."""
    lines = [line[5:].strip() for line in reply.body.split(b"\n") if line.startswith(b"data:")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def valid(schema: Any, part: Any, value: Any) -> None:
    Draft202012Validator(part | {"components": schema["components"]}).validate(value)


def test_the_document_has_exactly_the_dispatchers_post_routes(schema: Any) -> None:
    documented = {path for path, operations in schema["paths"].items() if "post" in operations}

    assert documented == {surface.path for surface in SURFACES} == set(BY_PATH) == set(ASKS)


def test_every_documented_route_is_answered(weir: Gateway, schema: Any) -> None:
    for path, operations in schema["paths"].items():
        for method in operations:
            reply = weir.post(real(path), ASKS[path]) if method == "post" else weir.get(real(path))
            assert reply.status == (400 if path == "/v1/embeddings" else 200), f"{method} {path}"


def test_what_is_not_documented_is_not_answered(weir: Gateway, schema: Any) -> None:
    for path in (
        "/generated",
        "/v1/nothing",
        "/v2/models/faq/infer",
        "/v2/models/faq/generate/x",
        "/v2/models//generate",
    ):
        assert path not in schema["paths"]
        assert weir.post(path, {}).status == 404


def test_request_bodies_are_those_that_the_surfaces_read(schema: Any) -> None:
    for surface in SURFACES:
        body = schema["paths"][surface.path]["post"]["requestBody"]["content"]["application/json"]
        name = body["schema"]["$ref"].rpartition("/")[2]
        own = surface.body_model.model_json_schema(ref_template="#/components/schemas/{model}")
        assert schema["components"]["schemas"][name]["properties"] == own["properties"]
        valid(schema, body["schema"], body["example"])


def test_every_example_is_answered(weir: Gateway, schema: Any) -> None:
    for surface in SURFACES:
        operation = schema["paths"][surface.path]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        check(schema, "post", surface.path, weir.post(real(surface.path), example))


def test_every_reference_leads_somewhere(schema: Any) -> None:
    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(schema))):
        assert name in schema["components"]["schemas"]


def test_get_answers_are_as_documented(weir: Gateway, schema: Any) -> None:
    for path, operations in schema["paths"].items():
        if "get" in operations and path not in {"/metrics", "/api-doc/openapi.json"}:
            check(schema, "get", path, weir.get(real(path)))
    for path in ("/v1/models/{name}", "/v2/models/{model}", "/v2/models/{model}/ready"):
        unknown = weir.get(re.sub(r"\{.*?\}", "nobody", path))
        assert unknown.status == 404
        check(schema, "get", path, unknown)


def test_what_can_be_got_can_be_asked_for_its_head(weir: Gateway, schema: Any) -> None:
    """Load balancers ask so whether a gateway is well; text-generation-inference answers them."""
    for path, operations in schema["paths"].items():
        whole, head = weir.get(real(path)), asked(weir.port, "HEAD", real(path))
        assert head.body == b""
        assert head.status == whole.status, path
        if "get" in operations:
            assert {name.lower() for name in head.headers} == {name.lower() for name in whole.headers}, path
            assert head.headers.get("content-length") == whole.headers.get("content-length"), path


def test_the_list_of_models_is_also_behind_a_slash(weir: Gateway) -> None:
    assert weir.get("/v1/models/").json == weir.get("/v1/models").json


@pytest.mark.parametrize("path", sorted(ASKS))
def test_whole_and_streamed_answers_are_as_documented(weir: Gateway, schema: Any, path: str) -> None:
    check(schema, "post", path, weir.post(real(path), ASKS[path]))
    check(schema, "post", path, weir.post(real(path), ASKS[path] | {"stream": path not in LOCAL | {"/vertex"}}))


@pytest.mark.parametrize("path", ["/", "/generate", "/invocations"])
def test_answers_with_everything_are_as_documented(weir: Gateway, schema: Any, path: str) -> None:
    whole = weir.post(path, {"inputs": "?", "parameters": RICH})
    streamed = weir.post(
        path, {"inputs": "?", "stream": True, "parameters": {"details": True, "top_n_tokens": 2, "max_new_tokens": 5}}
    )

    check(schema, "post", path, whole)
    check(schema, "post", path, streamed)
    details = (whole.json[0] if path != "/generate" else whole.json)["details"]
    assert len(details["best_of_sequences"]) == 1
    assert len(details["top_tokens"][0]) == len(streamed.events[0]["top_tokens"]) == 2
    assert [token["logprob"] for token in details["prefill"]] == [None, -0.5]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/chat/completions", {"n": 2, "logprobs": True, "top_logprobs": 2}),
        ("/v1/completions", {"n": 2, "logprobs": 2, "echo": True}),
        ("/v1/responses", {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 5}),
    ],
)
def test_openai_answers_with_everything_are_as_documented(
    weir: Gateway, schema: Any, path: str, more: Any, stream: bool
) -> None:
    if stream and "responses" not in path:
        more = more | {"stream_options": {"include_usage": True}}
    reply = weir.post(path, ASKS[path] | more | {"stream": stream})

    assert reply.status == 200, reply.body
    assert b'"t1"' in reply.body
    check(schema, "post", path, reply)


@pytest.mark.parametrize("stream", [False, True])
def test_a_triton_style_answer_with_everything_is_as_documented(weir: Gateway, schema: Any, stream: bool) -> None:
    asked = {
        "text_input": "?",
        "id": "x",
        "return_tokens": True,
        "sampling_parameters": {"logprobs": 2, "prompt_logprobs": 0},
    }
    reply = weir.post(f"{V2}/generate", asked | {"stream": stream})

    check(schema, "post", "/v2/models/{model}/generate", reply)
    assert b'"top":[{' in reply.body
    assert b'"prompt_tokens":[{' in reply.body


@pytest.mark.parametrize(
    "failure",
    [
        errors.OverloadedError(45),
        errors.BackendError("odd"),
        errors.BackendTimeoutError("late"),
        errors.BackendUnavailableError("gone"),
        errors.DeadlineExceededError(),
        errors.ValidationError("grammar: it cannot be compiled", "grammar"),
        RuntimeError("a fault"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_failures_are_as_documented_on_every_route(
    weir: Gateway, schema: Any, stage: Stage, failure: Exception
) -> None:
    for path in sorted(set(ASKS) - LOCAL):
        weir.forgive()
        stage.script = (failure,)
        check(schema, "post", path, weir.post(real(path), ASKS[path]))
        stage.script = (TokenChunk("先 "), failure)
        late = weir.post(real(path), ASKS[path] | {"stream": True})
        check(schema, "post", path, late)
        assert "error" in (events_of(late)[-1] if late.status == 200 and events_of(late) else late.json)


@pytest.mark.parametrize("path", sorted(ASKS))
def test_refusals_are_as_documented_on_every_route(weir: Gateway, schema: Any, path: str) -> None:
    bodies = (b"{", b"[]", b"{}", b'{"inputs":"\\ud800"}', b"x" * 5000)
    for body in bodies:
        reply = weir.post(real(path), body)
        assert reply.status in {400, 413, 422}
        check(schema, "post", path, reply)


def test_a_refused_key_is_as_documented_on_every_route(weir: Gateway, schema: Any) -> None:
    keyring = weir.app.access.keyring
    keyring.has_keys = True
    try:
        for path in sorted(ASKS):
            reply = weir.post(real(path), ASKS[path])
            assert reply.status == 401
            assert reply.headers["www-authenticate"] == "Bearer"
            check(schema, "post", path, reply)
    finally:
        keyring.has_keys = False


def test_a_blocked_answer_is_as_documented_on_every_route(weir: Gateway, schema: Any, stage: Stage) -> None:
    stage.script = answer("先 ", "炸弹", "后")
    for path in sorted(set(ASKS) - LOCAL):
        for stream in (False, True):
            check(schema, "post", path, weir.post(real(path), ASKS[path] | {"stream": stream}))


def test_the_pages_and_their_scripts_come_from_this_server_alone(weir: Gateway) -> None:
    page = weir.get("/docs")

    assert page.status == 200
    assert re.findall(r"https?://[^\"' ]+", page.body.decode()) == []
    loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.body.decode())
    assert len(loaded) >= 2
    for address in loaded:
        assert address.startswith("/")
        assert weir.get(address).status == 200
    assert b'"validatorUrl": null' in page.body
    assert weir.get("/api-doc/openapi.json").json == weir.get("/openapi.json").json


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call_is_as_documented(
    stage: Stage, schema: Any, tmp_path_factory: pytest.TempPathFactory, stream: bool
) -> None:
    stage.script = answer("See.\n", '<tool_call>\n{"name": "clock", "arguments": {', "}}\n</tool_call>")
    tools = [{"type": "function", "function": {"name": "clock"}}]
    body = ASKS["/v1/chat/completions"] | {"tools": tools, "stream": stream}
    with gateway(make_tool_release(tmp_path_factory.mktemp("tools")), stage.backend) as weir:
        reply = weir.post("/v1/chat/completions", body)

    assert b'"tool_calls":[' in reply.body
    check(schema, "post", "/v1/chat/completions", reply)
