"""Builder graphs as a `Model`: whatever lies where, a row reads its own past."""

import random
from functools import cache

import numpy as np
import pytest
from tests.support.tiny_graph import tiny_graph

from weir.engine.session import Graph, GraphSession
from weir.engine.slot_model import SlotModel
from weir.engine.step import Detail, PositionLogits, Row

SLOTS, CONTEXT = 4, 64
DICE = random.Random(5)
TEXTS = [[DICE.randrange(5, 390) for _ in range(24)] for _ in range(SLOTS)]


@cache
def graph(pruned: bool = True) -> Graph:
    return Graph(tiny_graph("fp32", pruned=pruned) / "model.onnx", threads=2)


def model(*, slots: int = SLOTS, pruned: bool = True) -> SlotModel:
    return SlotModel(GraphSession(graph(pruned), slots=slots, context_tokens=CONTEXT))


@cache
def expected(text: int, length: int) -> np.ndarray:
    """The logits after the first `length` tokens of a text, read at once, alone."""
    [[position]] = model(slots=1).run([Row([0], TEXTS[text][:length], 0, detail=Detail.FULL)])
    return position.full.copy()


def same(position: PositionLogits, text: int, length: int) -> None:
    np.testing.assert_allclose(position.full, expected(text, length), atol=2e-3)
    assert position.best == int(position.full.argmax())


@pytest.mark.parametrize("seed", range(6))
def test_rows_come_and_go_in_any_order_and_read_their_own_past(seed: int) -> None:
    dice = random.Random(seed)
    machine = model()
    past = [0] * SLOTS
    for _ in range(25):
        chosen = dice.sample(range(SLOTS), dice.randint(1, SLOTS))  # the others wait, half read
        rows = []
        for text in chosen:
            if past[text] > 20:
                past[text] = dice.choice([0, 3])  # a new sequence, or a rewind
            size = dice.choice([1, 1, 1, dice.randint(2, 24 - past[text])])
            rows.append(Row([text], TEXTS[text][past[text] : past[text] + size], past[text], detail=Detail.FULL))
        for row, positions in zip(rows, machine.run(rows), strict=True):
            text = row.blocks[0]
            past[text] = row.past + len(row.tokens)
            [position] = positions
            same(position, text, past[text])


@pytest.mark.parametrize("pruned", [True, False])
@pytest.mark.parametrize("wanted", [0, 1, 2, 5])
def test_each_wanted_position_is_what_reading_up_to_it_gives(wanted: int, pruned: bool) -> None:
    machine = model(pruned=pruned)
    machine.run([Row([2], TEXTS[2][:7], 0, wanted=0)])
    one = Row([2], TEXTS[2][7:12], 7, wanted=wanted, detail=Detail.FULL)
    other = Row([0], TEXTS[0][:1], 0, detail=Detail.FULL)
    positions, [beside] = machine.run([one, other])
    assert len(positions) == wanted
    for offset, position in enumerate(positions):
        same(position, 2, 12 - wanted + 1 + offset)
    same(beside, 0, 1)


def test_a_row_inside_a_prompt_gives_nothing_however_short() -> None:
    assert model().run([Row([0], [7], 0, wanted=0), Row([1], [7, 8], 0, wanted=0)]) == [[], []]


@pytest.mark.parametrize("detail", list(Detail))
def test_what_was_asked_for_is_there(detail: Detail) -> None:
    machine = model()
    for row in (Row([0], [7, 8], 0, detail=detail), Row([1], [7], 0, detail=detail)):
        [[position]] = machine.run([row])
        assert position.best >= 0
        if detail is not Detail.GREEDY:
            assert position.ids.shape == position.logits.shape == (machine.candidates,)
            assert position.logsumexp > position.logits[0]
        assert detail is not Detail.FULL or position.full.shape == (machine.vocab_size,)


def test_candidates_are_the_likeliest_in_order() -> None:
    machine = model()
    [[position]] = machine.run([Row([0], TEXTS[0], 0, detail=Detail.FULL)])
    order = np.argsort(-position.full, kind="stable")[: machine.candidates]
    assert position.ids.tolist() == order.tolist()
    assert position.ids.dtype == np.int32
    np.testing.assert_array_equal(position.logits, position.full[order])
    assert position.logsumexp == pytest.approx(np.log(np.exp(position.full.astype(np.float64)).sum()), abs=1e-4)
