"""Adapters of a release as models of their own; no model."""

from pathlib import Path

import openai
import pytest
from tests.support.gateway import Stage, answer
from tests.support.prompt_release import change_manifest, make_prompt_release

from weir.contracts.manifest import AdapterEntry

USER = [{"role": "user", "content": "?"}]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    release = make_prompt_release(tmp_path_factory.mktemp("releases"))
    change_manifest(release, adapters=(AdapterEntry(name="polite", rank=8, mean_kl=0.0, argmax_agreement=1.0),))
    return release


def test_an_adapter_is_listed_as_a_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["faq", "faq:polite"]
    assert client.models.retrieve("faq:polite").id == "faq:polite"
    assert client.models.retrieve("faq").id == "faq"


@pytest.mark.parametrize(("asked", "given"), [("faq", None), ("faq:polite", "polite"), ("tgi:polite", "polite")])
def test_a_models_name_chooses_the_adapter(client: openai.OpenAI, stage: Stage, asked: str, given: str | None) -> None:
    stage.script = answer("ok")

    chat = client.chat.completions.create(model=asked, messages=USER)  # type: ignore[arg-type]
    assert (stage.asked.model, stage.asked.adapter) == ("faq", given)
    completion = client.completions.create(model=asked, prompt="?")
    response = client.responses.create(model=asked, input="?")

    assert {chat.model, completion.model, response.model} == {"faq" if given is None else "faq:polite"}


@pytest.mark.parametrize("asked", ["faq:rude", "faq:", "faq:a b", "faq:polite:x", "other:polite"])
def test_an_adapter_that_there_is_not_is_404(client: openai.OpenAI, asked: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model=asked, messages=USER)  # type: ignore[arg-type]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(asked)

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
