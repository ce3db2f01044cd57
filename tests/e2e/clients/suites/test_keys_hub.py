"""huggingface_hub before 1.0, langchain-huggingface and text-generation with API keys."""

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import UnknownError
from langchain_huggingface import HuggingFaceEndpoint
from text_generation import Client

QUESTION = "How do I return an order?"


def test_the_hub_clients_token_is_the_key(keyed):
    assert InferenceClient(keyed.url, token=keyed.key).text_generation(QUESTION, max_new_tokens=4)
    with pytest.raises(UnknownError, match="API key"):  # it has no word of its own for this
        InferenceClient(keyed.url, token="wk_wrong").text_generation(QUESTION, max_new_tokens=4)


def test_langchain_sends_no_authorization_but_in_server_kwargs(keyed):
    with pytest.raises(Exception, match="API key"):
        HuggingFaceEndpoint(endpoint_url=keyed.url, max_new_tokens=4, huggingfacehub_api_token=keyed.key).invoke(
            QUESTION
        )
    headers = {"Authorization": f"Bearer {keyed.key}"}
    llm = HuggingFaceEndpoint(endpoint_url=keyed.url, max_new_tokens=4, server_kwargs={"headers": headers})
    assert llm.invoke(QUESTION)


def test_text_generation_takes_a_header(keyed):
    client = Client(keyed.url, headers={"Authorization": f"Bearer {keyed.key}"}, timeout=30)
    assert client.generate(QUESTION, max_new_tokens=4).generated_text
