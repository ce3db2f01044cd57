"""Sampling, log-probabilities and grammars through the engine."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache

import numpy as np
import pytest
import pytest_asyncio
from tests.support.observer import Observer
from tests.support.tiny_graph import CONTEXT_TOKENS, lively_checkpoint, tiny_graph
from tests.support.tiny_release import PROMPTS
from tests.support.toy_model import ToyModel

from weir.contracts.errors import BackendUnavailableError, ValidationError
from weir.contracts.events import Finished, FinishReason, PromptToken, Token, TokenChunk
from weir.contracts.grammar import JsonSchema, OneOf, Regex
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.engine import Engine, EngineInfo
from weir.engine.kernels.library import operators
from weir.engine.logprobs import log_sum_exp
from weir.engine.packed_model import PackedGraph, PackedModel
from weir.engine.session import Graph, GraphSession
from weir.engine.settings import EngineSettings
from weir.engine.slot_model import SlotModel
from weir.engine.speculation import Draft
from weir.engine.step import Detail, Model, Row
from weir.release.tokenizer import ReleaseTokenizer

EOS = (3, 1)


@cache
def tokenizer() -> ReleaseTokenizer:
    return ReleaseTokenizer(lively_checkpoint() / "tokenizer.json")


def tiny() -> Model:
    graph = Graph(tiny_graph() / "model.onnx", threads=2)
    return SlotModel(GraphSession(graph, slots=4, context_tokens=CONTEXT_TOKENS))


Starter = Callable[..., Engine]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Starter]:
    started: list[Engine] = []

    def make(model: Model, *, observer=None, make_drafter=None, running: int = 16) -> Engine:
        settings = EngineSettings(max_running=running, prefill_chunk_tokens=64)
        info = EngineInfo("tiny", 1, "cpu-fp32", 2, EOS)
        engine = Engine(model, tokenizer(), info, settings=settings, observer=observer, make_drafter=make_drafter)
        engine.start()
        started.append(engine)
        return engine

    yield make
    for engine in started:
        await engine.stop()


def ask(prompt: str = PROMPTS[0], *, return_tokens: bool = True, **sampling) -> GenerateRequest:
    params = SamplingParams(**({"max_new_tokens": 12, "ignore_eos": True} | sampling))
    return GenerateRequest(id="r", prompt=prompt, sampling=params, return_tokens=return_tokens)


class Answer:
    """What came of one request."""

    def __init__(self, events: Sequence[TokenChunk | Finished]) -> None:
        *self.chunks, self.end = events
        self.text = "".join(chunk.text for chunk in self.chunks)
        self.tokens: list[Token] = [token for chunk in self.chunks for token in chunk.tokens]
        self.ids = [token.id for token in self.tokens]
        self.reason = self.end.reason

    @property
    def prompt(self) -> tuple[PromptToken, ...]:
        assert all(chunk.prompt == () for chunk in self.chunks[1:])
        return self.chunks[0].prompt


async def answer(engine: Engine, request: GenerateRequest) -> Answer:
    return Answer([event async for event in engine.generate(request)])


# the same whoever else is served


class Oracle:
    """Guesses what a request said when it was alone, wrongly at every fifth place."""

    def __init__(self, known: Sequence[list[int]]) -> None:
        self._known = known

    def propose(self, tokens: Sequence[int], limit: int) -> Draft:
        for line in self._known:
            if line[: len(tokens)] == list(tokens):
                guesses = line[len(tokens) : len(tokens) + limit]
                return Draft([7 if (len(tokens) + i) % 5 == 0 else guess for i, guess in enumerate(guesses)])
        return Draft(())

    def observe(self, accepted: int, proposed: int) -> None: ...

    def ended(self) -> None: ...


def random_asks(seed: int, count: int) -> list[GenerateRequest]:
    dice = random.Random(seed)
    words = ["How", "do", "I", "return", "an", "order", "怎么", "退货", "签收"]
    asks = []
    for number in range(count):
        sampling = {
            "seed": number,
            "temperature": dice.choice([0.0, 0.6, 1.0, 3.0]),
            "top_p": dice.choice([0.8, 1.0]),
            "top_k": dice.choice([0, 5]),
            "frequency_penalty": dice.choice([0.0, 0.0, 0.5]),
            "min_new_tokens": dice.choice([0, 4]),
            "logprobs": dice.choice([None, 2]),
            "prompt_logprobs": dice.choice([None, None, 1]),
            "max_new_tokens": dice.randint(4, 20),
            "ignore_eos": False,
        }
        asks.append(ask(" ".join(dice.choices(words, k=dice.randint(1, 8))), **sampling))
    return asks


async def answers_alone_and_together(start: Starter, make: Callable[[int], Model], seed: int) -> Observer:
    """Check that random requests are answered alike by a roomy engine one by one, and by a tight one all at once."""
    asks = random_asks(seed, 40)
    lone = start(make(64), running=1)
    alone = [await answer(lone, request) for request in asks]
    known = [tokenizer().encode(r.prompt) + a.ids for r, a in zip(asks, alone, strict=True)]
    observer = Observer()
    crowd = start(make(24), observer=observer, make_drafter=lambda _: Oracle(known), running=6)
    together = await asyncio.gather(*(answer(crowd, request) for request in asks))
    for one, other in zip(alone, together, strict=True):
        assert one.tokens == other.tokens
        assert (one.text, one.reason, one.prompt) == (other.text, other.reason, other.prompt)
    return observer


async def test_seeded_answers_are_the_same_alone_and_with_company_guesses_and_preemption(start: Starter) -> None:
    observer = await answers_alone_and_together(start, lambda blocks: ToyModel(blocks=blocks), 1)
    assert sum(report.preempted for report in observer.reports) > 0
    assert sum(report.accepted for report in observer.reports) > 0


@pytest.mark.skipif(operators() is None, reason="no C compiler built the operators here")
async def test_on_a_packed_graph_too_to_the_last_bit_of_a_log_probability(start: Starter) -> None:
    graph = PackedGraph(tiny_graph("packed8") / "model.onnx", threads=2)
    await answers_alone_and_together(start, lambda n: PackedModel(graph, blocks=n // 3, context_tokens=64), 2)


class Showing(ToyModel):
    """Counts rows by their detail."""

    def __init__(self) -> None:
        super().__init__(blocks=64)
        self.details: list[Detail] = []
        self.most_wanted = 0

    def run(self, rows: Sequence[Row]):
        self.details += [row.detail for row in rows if row.wanted]
        self.most_wanted = max(self.most_wanted, sum(row.wanted for row in rows if row.detail is Detail.FULL))
        return super().run(rows)


async def test_a_position_that_shows_too_little_is_computed_again_and_no_more_than_that(start: Starter) -> None:
    model = Showing()
    request = ask(temperature=3.0, seed=5, return_tokens=False, max_new_tokens=30)
    engine = start(model)
    got = Answer([event async for event in engine.generate(request)])
    assert got.end.usage.completion_tokens == 30
    shown = len(model.details)
    assert model.details[:2] == [Detail.TOP, Detail.FULL]  # hot and flat: eight candidates are not enough
    assert 30 < shown <= 30 + 5
    assert engine.stats.generated_tokens_total == 30


# log-probabilities


def their_logprobs(ids: list[int]) -> np.ndarray:
    """Of every token but the first; shape (len(ids) - 1, vocabulary)."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(lively_checkpoint(), dtype=torch.float32)
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0, :-1].double(), -1).numpy()


async def test_log_probabilities_of_prompt_and_answer_are_those_of_transformers(start: Starter) -> None:
    prompt = tokenizer().encode(PROMPTS[0] * 4)  # more than one slice and one chunk
    got = await answer(start(tiny()), ask(PROMPTS[0] * 4, logprobs=3, prompt_logprobs=2, return_tokens=False))
    expected = their_logprobs(prompt + got.ids)
    scored = [(token.id, token.logprob, token.top) for token in (*got.prompt, *got.tokens)]
    assert [token.id for token in got.prompt] == prompt
    assert (got.prompt[0].logprob, got.prompt[0].top) == (None, ())
    for (token, logprob, top), row in zip(scored[1:], expected, strict=True):
        assert logprob == pytest.approx(row[token], abs=2e-3)
        np.testing.assert_allclose([t.logprob for t in top], np.sort(row)[::-1][: len(top)], atol=2e-3)
    assert {len(token.top) for token in got.prompt[1:]} == {2}
    assert {len(token.top) for token in got.tokens} == {3}
    assert got.tokens[0].top[0].id == got.ids[0]
    assert "".join(token.text for token in got.prompt) == PROMPTS[0] * 4


async def test_a_prompt_is_scored_in_slices_and_never_from_the_prefix_cache(start: Starter) -> None:
    model = Showing()
    model.context_tokens = 256
    engine = start(model)
    prompt = "order " * 150
    plain = await answer(engine, ask(prompt, max_new_tokens=2))
    scored = await asyncio.gather(*(answer(engine, ask(prompt, max_new_tokens=2, prompt_logprobs=0)) for _ in range(3)))
    assert model.most_wanted <= 64
    for got in scored:
        assert got.ids == plain.ids
        assert len(got.prompt) == len(tokenizer().encode(prompt)) > 64
        assert all(token.logprob < 0 for token in got.prompt[1:])


# what may come, and when it ends


async def test_a_schema_is_kept_and_the_answer_ends_by_itself(start: Starter) -> None:
    schema = {
        "type": "object",
        "properties": {"答": {"enum": ["是", "否"]}, "n": {"type": "integer", "minimum": 1, "maximum": 99}},
        "required": ["答", "n"],
        "additionalProperties": False,
    }
    engine = start(tiny())
    grammar = JsonSchema(schema_text=schema)
    asked = [
        ask(grammar=grammar, max_new_tokens=300, ignore_eos=bool(i % 2), temperature=i / 4, seed=i) for i in range(8)
    ]
    for got in await asyncio.gather(*(answer(engine, request) for request in asked)):
        assert got.reason is FinishReason.EOS
        value = json.loads(got.text)
        assert set(value) == {"答", "n"}
        assert 1 <= value["n"] <= 99


async def test_neighbours_of_a_constrained_answer_say_what_they_say_alone(start: Starter) -> None:
    engine = start(ToyModel(blocks=64))
    alone = await answer(engine, ask(max_new_tokens=20))
    grammar = Regex(pattern="[0-9]{40}")
    together = await asyncio.gather(
        answer(engine, ask(max_new_tokens=20)), answer(engine, ask(grammar=grammar, max_new_tokens=45))
    )
    assert together[0].ids == alone.ids
    assert together[1].text.isdigit()
    assert len(together[1].text) == 40


async def test_a_bad_grammar_is_refused_and_a_dead_end_ends_in_words_while_others_go_on(start: Starter) -> None:
    observer = Observer()
    engine = start(tiny(), observer=observer)
    with pytest.raises(ValidationError, match="unclosed group"):
        await answer(engine, ask(grammar=Regex(pattern="(")))
    banned = dict.fromkeys(tokenizer().encode("是"), -100.0)
    dead = asyncio.create_task(answer(engine, ask(grammar=OneOf(choices=("是",)), logit_bias=banned)))
    alive = await answer(engine, ask())
    with pytest.raises(ValidationError, match="no token that may come next") as caught:
        await dead
    assert caught.value.field == "grammar"
    assert alive.reason is FinishReason.LENGTH
    assert sorted(observer.outcomes) == ["error", "length"]
    assert engine.stats.running == engine.stats.queued == 0
    assert engine.stats.kv_used_ratio == 0


async def test_an_engine_that_stops_compiles_no_grammar(start: Starter) -> None:
    engine = start(ToyModel(blocks=8))
    await engine.stop()
    with pytest.raises(BackendUnavailableError):
        await answer(engine, ask(grammar=Regex(pattern="a")))


async def test_a_stop_token_ends_it_like_a_stop_string_and_is_not_shown(start: Starter) -> None:
    engine = start(tiny())
    whole = await answer(engine, ask())
    stop = whole.ids[5]
    at = whole.ids.index(stop)
    got = await answer(engine, ask(stop_token_ids=(stop, 399)))
    assert got.reason is FinishReason.STOP
    assert got.ids == whole.ids[: at + 1]
    assert got.text == tokenizer().decode(whole.ids[:at])


async def test_ends_wait_for_the_least_length(start: Starter) -> None:
    engine = start(tiny())
    short = await answer(engine, ask(max_new_tokens=16, ignore_eos=False))
    assert short.reason is FinishReason.EOS
    least = len(short.ids) + 3
    longer = await answer(engine, ask(max_new_tokens=40, ignore_eos=False, min_new_tokens=least))
    assert len(longer.ids) >= least
    assert not set(longer.ids[:least]) & set(EOS)


async def test_a_bias_on_a_token_that_the_model_has_not_is_refused(start: Starter) -> None:
    with pytest.raises(ValidationError, match="token 9999") as caught:
        await answer(start(tiny()), ask(logit_bias={9999: 1.0}))
    assert caught.value.field == "logit_bias"


def test_the_toy_shows_what_a_model_promises() -> None:
    model = ToyModel(blocks=4)
    row = Row([0], [5, 6], 0, 2, Detail.FULL)
    for position in model.run([row])[0]:
        assert position.full is not None
        assert position.logsumexp == pytest.approx(log_sum_exp(position.full), abs=1e-5)
