"""Guesses come from the longest match, wherever it stands, and follow what came true."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir.contracts.errors import ReleaseError
from weir.engine.corpus import BORDER, Corpus, majority
from weir.engine.drafts import Drafters, Match, OwnText, RecentAnswers
from weir.engine.sequence import Sequence, new_sequence
from weir.release.drafts import CONTEXT_TOKENS, FILE, Drafts, Question, digest_of, read_drafts, write_drafts

few = st.integers(0, 3)
texts = st.lists(few, max_size=60)
END = 9


def shared_end(one: list[int], other: list[int]) -> int:
    count = 0
    while count < min(len(one), len(other), CONTEXT_TOKENS) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count


# a request's own text


def best_own(tokens: list[int]) -> Match | None:
    """Compare every place that follows the last pair, the latest eight of them."""
    places = [p for p in range(2, len(tokens)) if tokens[p - 2 : p] == tokens[-2:]][:-9:-1]
    found = [Match(place, shared_end(tokens[:place], tokens)) for place in places]
    return max(found, key=lambda match: match.length, default=None)


@given(texts, st.lists(st.integers(1, 7), max_size=20))
def test_the_growing_index_finds_what_a_search_of_the_whole_text_finds(tokens: list[int], steps: list[int]) -> None:
    index, grown = OwnText(), list[int]()
    for step in [*steps, len(tokens)]:
        grown += tokens[len(grown) : len(grown) + step]
        index.extend(grown)
        assert index.find(grown) == best_own(grown)


def test_of_a_very_long_prompt_only_the_end_is_searched() -> None:
    index, tokens = OwnText(), [7, 8, 9, *([1, 2, 3] * 2_000), 7, 8]
    index.extend(tokens)
    assert index.find(tokens) is None


# what is known beforehand


def best_places(known: list[list[int]], tokens: list[int], opening: list[int]) -> tuple[int, set[int]]:
    flat, inside = [BORDER], []
    for answer in known:
        start = len(flat) + len(opening)
        inside += range(start, start + len(answer))
        flat += [*opening, *answer, BORDER]
    lengths = {place: shared_end(flat[:place], tokens) for place in inside}
    longest = max(lengths.values(), default=0)
    return longest, {place for place, length in lengths.items() if length == longest and longest}


@given(st.lists(st.lists(few, max_size=45), max_size=8), texts, st.lists(few, max_size=3))
def test_the_longest_match_is_found_and_only_places_that_share_it(
    known: list[list[int]], tokens: list[int], opening: list[int]
) -> None:
    corpus = Corpus(Drafts(tuple(opening), tuple(map(tuple, known))))
    longest, places = best_places(known, tokens, opening)
    found = corpus.find(tokens)
    assert found.matched == longest
    assert set(found.at) <= places
    assert bool(found.at) == bool(places)
    assert len(found.at) == len(places) or 8 <= len(found.at) <= 16
    assert all(BORDER not in text and len(text) <= 5 for text in corpus.continuations(found, 5))


def test_where_texts_part_the_greater_part_is_followed_while_it_is_half_of_all() -> None:
    assert majority([[1, 2, 3], [1, 2, 4], [1, 5], [6]]) == [1, 2]
    assert majority([[1, 2], [3, 4], [5, 6]]) == []
    assert majority([[1, 2], [1, 2, 3]]) == [1, 2, 3]
    assert majority([]) == []


def known_corpus() -> Corpus:
    questions = (Question(digest_of([5, 6, 7]), 3, 0), Question(digest_of([6, 7]), 2, 1))
    return Corpus(Drafts((50,), ((11, 12, 13, 14, END), (21, 22, END)), questions))


def test_a_trained_question_is_known_by_its_end_the_longest_first() -> None:
    corpus = known_corpus()
    place = corpus.reply([1, 2, 5, 6, 7])
    assert place is not None
    assert corpus.tokens[place : place + 5] == [11, 12, 13, 14, END]
    other = corpus.reply([4, 6, 7])
    assert other is not None
    assert corpus.tokens[other] == 21
    assert corpus.reply([7, 6]) is None
    assert corpus.reply([7]) is None


# one sequence


def guesses(drafters: Drafters, sequence: Sequence, limit: int = 8) -> tuple[list[int], str]:
    if not isinstance(sequence.guesser, SimpleNamespace):
        sequence.guesser = SimpleNamespace(drafter=drafters(sequence))
    draft = sequence.guesser.drafter.propose(sequence.tokens, limit)
    return list(draft.tokens), draft.basis.partition("-")[0]


def asked(*prompt: int, salt: str | None = None) -> Sequence:
    sequence = new_sequence(0, list(prompt), room=500)
    sequence.salt = salt
    return sequence


def test_a_trained_question_is_answered_from_the_first_token_and_to_its_end() -> None:
    drafters, sequence = Drafters(known_corpus()), asked(5, 6, 7)
    assert guesses(drafters, sequence) == ([11, 12, 13, 14, END], "trained")
    sequence.tokens += [11, 12]
    assert guesses(drafters, sequence) == ([13, 14, END], "trained")
    assert guesses(drafters, sequence, limit=2) == ([13, 14], "trained")


def test_an_unknown_question_is_guessed_as_soon_as_its_answer_begins_like_a_known_one() -> None:
    drafters, sequence = Drafters(known_corpus()), asked(1, 2, 50)
    sequence.tokens.append(21)
    assert guesses(drafters, sequence) == ([22, END], "corpus")


def test_an_answer_that_goes_its_own_way_is_not_guessed_from_the_old_one() -> None:
    drafters, sequence = Drafters(known_corpus()), asked(5, 6, 7)
    guesses(drafters, sequence)
    sequence.tokens += [11, 99]
    assert guesses(drafters, sequence)[0] == []


def test_text_that_repeats_itself_is_guessed_to_go_on_so() -> None:
    drafters, sequence = Drafters(), asked(1, 2, 3, 1, 2, 3, 1, 2)
    assert guesses(drafters, sequence) == ([3, 1, 2, 3, 1, 2, 3, 1], "own")


def test_an_answer_is_remembered_for_the_same_question_of_the_same_salt_and_adapter() -> None:
    drafters, sequence = Drafters(), asked(1, 2, 3)
    guesses(drafters, sequence)
    sequence.tokens += [30, 31, 32]
    sequence.guesser.drafter.ended()
    assert guesses(drafters, asked(1, 2, 3)) == ([30, 31, 32], "recent")
    assert guesses(drafters, asked(1, 2, 3, salt="tenant"))[0] == []
    other = asked(1, 2, 3)
    other.adapter = 1
    assert guesses(drafters, other)[0] == []


def test_the_least_recently_used_answer_is_forgotten() -> None:
    recent = RecentAnswers(capacity=2)
    for number in (1, 2):
        recent.add(replace(asked(number), tokens=[number, 40 + number]))
    assert recent.find(asked(1)) == [41]
    recent.add(replace(asked(3), tokens=[3, 43]))
    assert recent.find(asked(2)) == []
    assert (recent.find(asked(1)), recent.find(asked(3))) == ([41], [43])


# in a release


def release(root, *, files=(FILE,), vocab_size=1000):
    entries = tuple(SimpleNamespace(path=path) for path in files)
    return SimpleNamespace(root=root, manifest=SimpleNamespace(files=entries, vocab_size=vocab_size))


@given(answers=st.lists(st.lists(st.integers(0, 99_999), max_size=6).map(tuple), max_size=5).map(tuple))
def test_drafts_are_read_as_they_were_written_and_the_same_ones_are_the_same_bytes(tmp_path_factory, answers) -> None:
    root = tmp_path_factory.mktemp("release")
    questions = tuple(Question(digest_of(answer), len(answer), at) for at, answer in enumerate(answers))
    drafts = Drafts((3, 4), answers, questions)
    write_drafts(drafts, root / FILE)
    once = (root / FILE).read_bytes()
    write_drafts(drafts, root / FILE)
    assert (root / FILE).read_bytes() == once
    assert read_drafts(release(root, vocab_size=100_000)) == drafts


def test_a_release_without_drafts_and_a_file_that_no_manifest_names_bring_nothing(tmp_path) -> None:
    write_drafts(Drafts((), ((1, 2),), ()), tmp_path / FILE)
    assert read_drafts(release(tmp_path, files=())) == Drafts()


def test_a_token_that_the_model_does_not_have_is_refused(tmp_path) -> None:
    write_drafts(Drafts((), ((1, 1000),), ()), tmp_path / FILE)
    with pytest.raises(ReleaseError, match="token 1000 of a vocabulary of 1000"):
        read_drafts(release(tmp_path))


@pytest.mark.parametrize("change", ["lengths", "replies", "tokens", "missing", "text"])
def test_a_file_that_does_not_fit_together_is_refused(tmp_path, change: str) -> None:
    path = tmp_path / FILE
    write_drafts(Drafts((3,), ((1, 2),), (Question(5, 1, 0),)), path)
    with np.load(path) as arrays:
        found = dict(arrays)
    if change == "missing":
        del found["opening"]
    elif change == "tokens":
        found["tokens"] = found["tokens"].astype(np.float32)
    elif change != "text":
        found[change] = found[change] + np.uint32(1)
    np.savez(path, **found)
    if change == "text":
        path.write_text("no archive")
    with pytest.raises(ReleaseError, match=r"answers\.npz does not hold drafts"):
        read_drafts(release(tmp_path))
