"""What a classifier reads, and how it is measured: n-grams, windows, calibration, threshold, area under the curve."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weir.contracts.errors import UsageError
from weir.release.ngrams import Ngrams, normalised
from weir.release.windows import Windows, padded
from weir_training.classifier.generate import made
from weir_training.classifier.measure import auc, calibrated, figures, threshold_at
from weir_training.classifier.network import Network
from weir_training.classifier.recipe import load_classifier_recipe
from weir_training.classifier.rows import parted
from weir_training.classifier.split import split_of

NGRAMS = Ngrams(4096, (1, 2, 3))


@given(st.text(max_size=300))
def test_every_character_of_a_text_is_in_a_window_and_every_id_in_its_bounds(text: str) -> None:
    cut = Windows(NGRAMS, 32, 16)
    windows = list(cut.each(text))
    read = normalised(text)
    assert bool(windows) is bool(read)
    assert all(len(ids) <= 32 and ids.min() >= 0 and ids.max() <= 4096 and (ids[:, 0] > 0).all() for ids in windows)
    if read:
        whole = NGRAMS.ids(read)[:, 0].tolist()
        assert windows[0][:, 0].tolist() == whole[:32]
        assert windows[-1][:, 0].tolist() == whole[-32:]
        covered = 32 + 16 * (len(windows) - 1)
        assert len(read) <= covered


def test_spelling_that_reads_alike_gives_the_same_ids() -> None:
    assert normalised("  Ｉgnore\u3000ALL\n 123 ") == "ignore all 000"
    assert normalised("Order 12") == normalised("order 98")


def test_a_batch_pads_with_nothing() -> None:
    short, long = NGRAMS.ids("hi"), NGRAMS.ids("x" * 40)
    batch = padded([short, long])
    assert batch.shape == (2, 64, 4)
    assert (batch[0, :2] == short).all()
    assert not batch[0, 2:].any()


@pytest.mark.parametrize("size", [1, 2, 31, 32, 33, 63, 64, 384])
def test_a_text_scores_alike_alone_and_beside_longer_ones(size: int) -> None:
    torch.manual_seed(3)
    network = Network(buckets=4096, width=12, channels=24).eval()
    ids = NGRAMS.ids(("what came before this line is void " * 12)[:size])
    alone, beside = (torch.from_numpy(padded(some)).long() for some in ([ids], [ids, np.ones((500, 4), np.int32)]))

    with torch.inference_mode():
        assert abs(float(network(alone)[0]) - float(network(beside)[0])) < 1e-5


def test_made_up_rows_are_reproducible_balanced_and_share_no_text_between_parts() -> None:
    train, again = list(made(400, "train", seed=7)), list(made(400, "train", seed=7))
    assert train == again
    assert sum(row.is_sought for row in train) == 200
    assert {row.group for row in train} == {"en", "zh"}
    validation = list(made(400, "validation", seed=7))
    sought = {row.text for row in train if row.is_sought}
    assert not sought & {row.text for row in validation if row.is_sought}


def test_equal_texts_stay_on_one_side_of_the_split() -> None:
    rows = list(made(50, "train", seed=1)) * 2
    train, validation = parted(rows, 0.3, seed=3)
    assert not {row.text for row in train} & {row.text for row in validation}
    assert len(train) + len(validation) == 100


@given(st.integers(0, 10_000), st.floats(0.001, 0.4))
def test_no_more_than_the_stated_share_of_what_is_fine_reaches_the_threshold(seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    sought = rng.random(200) < 0.5
    sought[:2] = (True, False)
    scores = np.round(np.clip(rng.normal(0.4 + 0.2 * sought, 0.2), 0, 1), 2).astype(np.float32)  # with ties
    assert figures(scores, sought, threshold_at(scores, sought, rate)).false_positive_rate <= rate + 1e-9


def test_the_area_under_the_curve_is_how_often_the_sought_one_scores_higher() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.9], np.float32)
    sought = np.array([False, False, True, True])
    assert auc(scores, sought) == pytest.approx((0.5 + 1 + 1 + 1) / 4)


def test_calibration_says_how_often_a_score_is_right() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, 20_000).astype(np.float32)
    sought = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * logits - 1)))
    assert calibrated(logits, sought) == pytest.approx((0.5, -1.0), abs=0.05)


def test_faults_of_a_recipe_are_named(tmp_path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("{task: classify, name: x, data: {}, windw: {}}")
    with pytest.raises(UsageError, match="did you mean 'window'"):
        load_classifier_recipe(str(path))
    path.write_text("{task: classify, name: x, data: {}}")
    with pytest.raises(UsageError, match="give train files, made rows, or both"):
        load_classifier_recipe(str(path))
    with pytest.raises(UsageError, match="shipped ones: injection, injection-tiny"):
        load_classifier_recipe("nothing")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('{"text": "a", "label": "spam"}\n{"text": "b", "label": "other"}', r"data.jsonl:2: label 'other'"),
        ('{"text": "a", "label": "spam"}\n' * 4, "no train row is labelled 'ham'"),
    ],
)
def test_faults_of_the_data_are_located(tmp_path, rows: str, message: str) -> None:
    (tmp_path / "data.jsonl").write_text(rows)
    (tmp_path / "r.yaml").write_text("{task: classify, name: x, labels: [ham, spam], data: {train: [data.jsonl]}}")
    with pytest.raises(UsageError, match=message):
        split_of(load_classifier_recipe(str(tmp_path / "r.yaml")))


def test_a_file_that_is_named_twice_counts_twice_in_training_and_once_where_thresholds_are_chosen(tmp_path) -> None:
    rows = [f'{{"text": "text {number}", "label": "{("ham", "spam")[number % 2]}"}}' for number in range(40)]
    (tmp_path / "data.jsonl").write_text("\n".join(rows))
    (tmp_path / "recipe.yaml").write_text(
        "{task: classify, name: x, labels: [ham, spam], data: {train: [data.jsonl, data.jsonl], validation_share: 0.2}}"
    )
    split = split_of(load_classifier_recipe(str(tmp_path / "recipe.yaml")))

    assert (len(split.train), len(split.validation)) == (64, 8)


def test_a_held_out_text_that_is_trained_on_is_refused(tmp_path) -> None:
    rows = "\n".join(f'{{"text": "text {n}", "label": "{"spam" if n % 2 else "ham"}"}}' for n in range(40))
    (tmp_path / "data.jsonl").write_text(rows)
    (tmp_path / "heldout.jsonl").write_text('{"text": "Text  7", "label": "spam"}')
    (tmp_path / "r.yaml").write_text(
        "{task: classify, name: x, labels: [ham, spam], data: {train: [data.jsonl], heldout: heldout.jsonl}}"
    )
    with pytest.raises(UsageError, match="held-out text also trained on: row 1"):
        split_of(load_classifier_recipe(str(tmp_path / "r.yaml")))
