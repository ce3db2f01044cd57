"""langchain-openai 1.7.3: the completions model, structured output and tools."""

from typing import Literal

import pytest
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

QUESTION = "How do I return an order?"


class Shirt(BaseModel):
    size: Literal["small", "large"]


@pytest.fixture
def llm(real):
    return OpenAI(base_url=real.v1, api_key="none", model=real.model, max_tokens=8, temperature=0)


@pytest.fixture
def chat(real):
    return ChatOpenAI(base_url=real.v1, api_key="none", model=real.model, max_tokens=300)


def test_completions_whose_prompt_is_a_list_beside_nulls(llm, real):
    """It always sends a list, `logprobs: null`, `seed: null` and `n: 1`."""
    _, plain = real.post("/v1/completions", {"prompt": QUESTION, "max_tokens": 8})
    assert llm.invoke(QUESTION) == plain["choices"][0]["text"]


def test_a_batch_is_one_request_with_many_prompts(llm):
    prompts = [QUESTION, "When will it arrive?"]
    said = llm.generate(prompts)
    assert [row[0].text for row in said.generations] == [llm.invoke(prompt) for prompt in prompts]
    assert 2 < said.llm_output["token_usage"]["completion_tokens"] <= 16


def test_it_streams(llm):
    assert "".join(llm.stream(QUESTION)) == llm.invoke(QUESTION)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat, method):
    assert isinstance(chat.with_structured_output(Shirt, method=method).invoke(QUESTION), Shirt)


def test_a_bound_tool_that_must_be_called(chat):
    said = chat.bind_tools([Shirt], tool_choice="any").invoke(QUESTION)
    assert said.tool_calls[0]["name"] == "Shirt"
    assert Shirt(**said.tool_calls[0]["args"])
