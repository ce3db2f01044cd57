"""lm-eval 0.4.13 `local-completions`: log-likelihoods by `echo` and `logprobs` over token ids, and generations."""

import json

import lm_eval
import pytest
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer

PROMPTS = (
    "How do I return an order? Open",
    "When will it arrive? In two",
    "The quick brown fox jumps",
    "Please tell me what the capital",
    "Please tell me what",
    "of France is, and who wrote",
    "Choose Return within seven",
    "seven wizards quietly mix",
    "in two or three",
    "My orders and",
    "the book on the table",
    "The lazy dog",
)
OTHERS = (" Return", " working", " potions", " dog")


@pytest.fixture(scope="module")
def tokenizer(release):
    return AutoTokenizer.from_pretrained(release / "model")


@pytest.fixture
def model(real, release, tokenizer):
    return LocalCompletionsAPI(
        base_url=f"{real.v1}/completions",
        model=real.model,
        tokenizer_backend="huggingface",
        tokenizer=str(release / "model"),
        batch_size=4,
        max_length=512,
    )


@pytest.fixture
def rows(real, tokenizer):
    """Prompts with the one token that the model itself says next, where that is a text of its own."""
    found = []
    for prompt in PROMPTS:
        _, reply = real.post("/v1/completions", {"prompt": prompt, "max_tokens": 1, "temperature": 0})
        text = reply["choices"][0]["text"]
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        together = tokenizer(prompt + text, add_special_tokens=False).input_ids
        if together[:-1] == ids and text.strip() and text not in OTHERS:
            found.append({"prompt": prompt, "said": text, "others": list(OTHERS)})
    assert len(found) >= 2, "the random model says nothing that can be read"
    return found


def evaluated(tmp_path, model, rows, **task):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = {
        "task": "tiny",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "target_delimiter": "",
        "doc_to_text": "{{prompt}}",
    }
    (tmp_path / "tiny.yaml").write_text(json.dumps({**common, **task}))  # JSON is YAML
    tasks = TaskManager(include_path=str(tmp_path), include_defaults=False)
    done = lm_eval.simple_evaluate(model, tasks=["tiny"], task_manager=tasks, bootstrap_iters=0)
    return done["results"]["tiny"]


def test_a_multiple_choice_task_prefers_what_the_model_would_say(tmp_path, model, rows):
    result = evaluated(
        tmp_path,
        model,
        rows,
        output_type="multiple_choice",
        doc_to_choice="{{[said] + others}}",
        doc_to_target=0,
        metric_list=[{"metric": "acc"}],
    )
    assert result["acc,none"] == 1.0


def test_what_the_model_says_is_greedy_by_its_own_logprobs(tmp_path, model, rows):
    result = evaluated(
        tmp_path,
        model,
        rows,
        output_type="loglikelihood",
        doc_to_target="{{said}}",
        metric_list=[{"metric": "acc"}, {"metric": "perplexity"}],
    )
    assert result["acc,none"] == 1.0
    assert result["perplexity,none"] > 1.0


def test_a_generation_task_gets_what_the_model_says(tmp_path, model, rows):
    result = evaluated(
        tmp_path,
        model,
        rows,
        output_type="generate_until",
        doc_to_target="{{said}}",
        generation_kwargs={"until": ["\n\n\n"], "max_gen_toks": 1, "do_sample": False},
        metric_list=[{"metric": "exact_match"}],
    )
    assert result["exact_match,none"] == 1.0


def test_many_requests_at_once_give_the_same_likelihoods(real, release, model):
    from lm_eval.api.instance import Instance

    asked = [
        Instance("loglikelihood", {}, (prompt, other), number)
        for number, (prompt, other) in enumerate((p, o) for p in PROMPTS for o in OTHERS)
    ]
    alone = LocalCompletionsAPI(
        base_url=f"{real.v1}/completions",
        model=real.model,
        tokenizer_backend="huggingface",
        tokenizer=str(release / "model"),
        batch_size=1,
        num_concurrent=8,
        max_length=512,
    )
    assert alone.loglikelihood(asked) == model.loglikelihood(asked)
