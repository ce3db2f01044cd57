"""Which tokens a graph's logits are of, as its metadata says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir.contracts.errors import ReleaseError
from weir.engine.output_tokens import read, written


def test_a_graph_that_says_nothing_has_a_logit_for_every_token() -> None:
    assert read({"other": "words"}, 320) == (320, None)


@given(st.sets(st.integers(0, 200_000), min_size=1, max_size=50).map(sorted), st.integers(0, 9))
def test_what_was_written_is_read(kept: list[int], more: int) -> None:
    size, found = read(written(kept, kept[-1] + 1 + more), len(kept))

    assert size == kept[-1] + 1 + more
    assert found is not None
    assert found.tolist() == kept


@pytest.mark.parametrize(
    ("kept", "vocabulary", "outputs"),
    [([1, 2], 10, 3), ([2, 1], 10, 2), ([1, 1], 10, 2), ([-1, 1], 10, 2), ([1, 10], 10, 2), ([], 10, 0)],
)
def test_other_ids_than_the_graph_has_logits_for_are_refused(kept: list[int], vocabulary: int, outputs: int) -> None:
    with pytest.raises(ReleaseError, match="output tokens"):
        read(written(kept, vocabulary), outputs)


@pytest.mark.parametrize("damage", [{"weir.vocabulary": "many"}, {"weir.output_tokens": "1 x"}])
def test_metadata_that_is_no_numbers_is_refused(damage: dict[str, str]) -> None:
    with pytest.raises(ReleaseError, match="cannot be read"):
        read(written([1, 2], 10) | damage, 2)


def test_metadata_without_the_vocabulary_is_refused() -> None:
    words = written([1, 2], 10)
    del words["weir.vocabulary"]
    with pytest.raises(ReleaseError, match="cannot be read"):
        read(words, 2)
