"""OpenAI's surface over a real node with a tiny model: what is enforced, scored and counted is the engine's doing."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from prometheus_client import CollectorRegistry
from tests.support.gateway import Gateway, gateway, running
from tests.support.prompt_release import write_template
from tests.support.tiny_release import make_tiny_release

from weir.backends.http_node import HttpNode
from weir.cpu_node.app import NodeApp
from weir.cpu_node.models import ModelHost
from weir.cpu_node.settings import NodeSettings
from weir.engine.engine import Engine
from weir.engine.loading import load_engine
from weir.engine.settings import EngineSettings
from weir.release.tokenizer import ReleaseTokenizer
from weir.telemetry.node_metrics import NodeMetrics

# The tiny tokenizer spells nearly every byte, and the context has 512 tokens: names must do.
SHORT_TEMPLATE = (
    "{% for tool in tools or [] %}<tool_call>{{ tool.function.name }}</tool_call>\n{% endfor %}"
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
)
USER: Any = [{"role": "user", "content": "When?"}]
SCHEMA = {
    "type": "object",
    "properties": {"day": {"enum": ["Monday", "Tuesday"]}, "open": {"type": "boolean"}},
    "required": ["day", "open"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "set_day", "parameters": SCHEMA}}
NO_END = {"ignore_eos": True}
OTHER: Any = {"type": "function", "function": {"name": "now"}}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_tiny_release(tmp_path_factory.mktemp("releases"), precisions=("fp32",))
    write_template(root, SHORT_TEMPLATE)
    return root


def tiny_engine(root: Path) -> Engine:
    return load_engine(root, None, EngineSettings(threads=1, max_running=4, check_golden=False))


@pytest.fixture(scope="module")
def weir(release: Path) -> Iterator[Gateway]:
    metrics = NodeMetrics(CollectorRegistry())
    host = ModelHost(NodeSettings(threads=1), metrics, tiny_engine)
    asyncio.run(host.load(release))
    with running(NodeApp(host, metrics, max_body_bytes=1 << 20)) as port:
        node = HttpNode("node", f"http://127.0.0.1:{port}", "tiny")
        with gateway(release, node) as served:
            yield served
    asyncio.run(host.aclose(drain_s=0))


@pytest.fixture
def client(weir: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{weir.url}/v1", api_key="none", max_retries=0, timeout=60) as running:
        yield running


@pytest.fixture(scope="module")
def tokenizer(release: Path) -> ReleaseTokenizer:
    return ReleaseTokenizer(release / "model" / "tokenizer.json")


@pytest.fixture(scope="module")
def no_blanks(tokenizer: ReleaseTokenizer) -> dict[str, int]:
    """A random model likes blanks, of which a grammar allows 32 in a row: with this bias it gets to the end."""
    return {str(tokenizer.encode(blank)[0]): -50 for blank in " \n\r\t"}


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_required_call_is_valid_whatever_the_model_would_say(
    client: openai.OpenAI, no_blanks: dict[str, int], seed: int, is_stream: bool
) -> None:
    """The model's weights are random, and it is sampled: only the grammar makes a call of it."""
    asked: Any = {
        "model": "tiny",
        "messages": USER,
        "tools": [TOOL, OTHER],
        "tool_choice": "required",
        "temperature": 1.0,
        "seed": seed,
        "max_tokens": 200,
        "logit_bias": no_blanks,
    }
    if is_stream:
        with client.chat.completions.stream(**asked) as stream:
            stream.until_done()
            choice = stream.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**asked).choices[0]

    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    arguments = json.loads(call.function.arguments)
    if call.function.name == "now":
        assert arguments == {}
    else:
        assert call.function.name == "set_day"
        assert arguments["day"] in {"Monday", "Tuesday"}
        assert isinstance(arguments["open"], bool)


def test_a_named_call_is_of_that_function(client: openai.OpenAI, no_blanks: dict[str, int]) -> None:
    choice: Any = {"type": "function", "function": {"name": "set_day"}}

    reply = client.chat.completions.create(
        model="tiny", messages=USER, tools=[TOOL, OTHER], tool_choice=choice, logit_bias=no_blanks
    )

    (call,) = reply.choices[0].message.tool_calls or ()
    assert call.function.name == "set_day"
    assert set(json.loads(call.function.arguments)) == {"day", "open"}


def test_response_format_is_enforced(client: openai.OpenAI, no_blanks: dict[str, int]) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "day", "schema": SCHEMA, "strict": True}}

    chat = client.chat.completions.create(model="tiny", messages=USER, response_format=form, logit_bias=no_blanks)
    response = client.responses.create(
        model="tiny",
        input="When?",
        text={"format": {"type": "json_schema", "name": "day", "schema": SCHEMA}},
        extra_body={"logit_bias": no_blanks},
    )

    for text in (chat.choices[0].message.content, response.output_text):
        assert json.loads(text or "")["day"] in {"Monday", "Tuesday"}


def test_a_schema_that_cannot_be_enforced_is_400(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "no", "schema": {"not": {}, "type": "string"}}}

    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=USER, response_format=form)

    assert "grammar" in str(caught.value) or "response_format" in str(caught.value)


def test_echo_scores_a_prompt_as_generation_scores_its_tokens(
    client: openai.OpenAI, tokenizer: ReleaseTokenizer
) -> None:
    """The way lm-eval asks: context and continuation as ids, one more token, the given beside the likeliest."""
    ids = tokenizer.encode("How do I return an order? Within seven days.")
    context = len(ids) - 4

    reply: Any = client.completions.create(
        model="tiny", prompt=[ids], max_tokens=1, logprobs=1, echo=True, temperature=0, seed=1234
    )

    found = reply.choices[0].logprobs
    assert reply.usage.prompt_tokens == len(ids)
    assert len(found.tokens) == len(ids) + 1
    assert found.token_logprobs[0] is None
    for place in range(context, len(ids)):
        forced: Any = client.completions.create(
            model="tiny", prompt=ids[:place], max_tokens=1, logprobs=1, logit_bias={str(ids[place]): 100}
        )
        (own,), (top,) = forced.choices[0].logprobs.token_logprobs, forced.choices[0].logprobs.top_logprobs
        assert found.token_logprobs[place] == pytest.approx(own, abs=2e-4)
        assert max(found.top_logprobs[place].values()) == pytest.approx(max(top.values()), abs=2e-4)


@pytest.mark.parametrize("ids", [[65, 66, 67, 68], [40, 41]])
def test_ids_are_read_as_they_are(client: openai.OpenAI, ids: list[int]) -> None:
    reply = client.completions.create(model="tiny", prompt=ids, max_tokens=2, extra_body=NO_END)

    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (len(ids), 2)


def test_logprobs_of_a_chat_are_the_engines(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="tiny", messages=USER, logprobs=True, top_logprobs=5, max_tokens=4, extra_body=NO_END
    )

    assert reply.choices[0].logprobs is not None
    for entry in reply.choices[0].logprobs.content or ():
        own = [top.logprob for top in entry.top_logprobs]
        assert own == sorted(own, reverse=True)
        assert entry.logprob == own[0]  # greedy
        assert len(own) == 5


def test_a_bias_of_minus_100_bans_a_token(client: openai.OpenAI, tokenizer: ReleaseTokenizer) -> None:
    asked: Any = {"model": "tiny", "prompt": "When?", "max_tokens": 1, "extra_body": NO_END}
    pushed = tokenizer.encode("x")[0]

    with_bias = client.completions.create(**asked, logit_bias={str(pushed): 100})
    without = client.completions.create(**asked, logit_bias={str(pushed): -100})

    assert with_bias.choices[0].text == "x"
    assert without.choices[0].text != "x"


def test_choices_of_one_seed_are_repeatable_and_differ(client: openai.OpenAI) -> None:
    def texts() -> list[str | None]:
        reply = client.chat.completions.create(
            model="tiny", messages=USER, n=3, seed=7, temperature=1.5, max_tokens=12, extra_body=NO_END
        )
        return [choice.message.content for choice in reply.choices]

    first = texts()

    assert len(set(first)) == 3
    assert texts() == first
