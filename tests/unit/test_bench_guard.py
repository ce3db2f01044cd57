"""`weir guard bench`: material that is the same for all, leaks that are counted right, and a worker that answers."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from weir import cli
from weir_training.benching.guard import report
from weir_training.benching.guard.leaks import cases, leaked
from weir_training.benching.guard.material import LANGUAGES, running, terms, texts
from weir_training.benching.guard.measures import Figures, Times, answers, quantile, tokens
from weir_training.benching.guard.patterns import PLANTS, patterns
from weir_training.benching.guard.subjects import Subject, ours


@pytest.fixture(scope="module")
def weir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    subject = ours(tmp_path_factory.mktemp("guard"))
    subject.load("few", ["forbidden", "禁语"], [PLANTS_PATTERN], None)
    yield subject
    subject.close()


PLANTS_PATTERN = r"\bsk-[A-Za-z0-9]{20,80}\b"


def test_no_term_occurs_in_the_texts_that_have_no_planted_find() -> None:
    some = terms(500)
    assert len(set(some)) == 500
    for text in texts((1024, 8192), some):
        is_hit = any(term in text.text.lower() for term in some)
        assert is_hit == (text.kind == "hits"), text.name


def test_texts_are_of_the_size_and_the_language_that_they_say() -> None:
    for text in texts((1024,), terms(50)):
        chinese = sum("\u4e00" <= one <= "\u9fff" for one in text.text)
        assert text.size <= len(text.text.encode()) + 4
        assert (chinese > 100) == (text.language != "en"), text.name


def test_both_kinds_of_regex_engines_take_every_pattern_and_find_what_is_planted() -> None:
    assert len(patterns()) == len(set(patterns())) == 100
    for planted in PLANTS:
        assert any(re.search(one, f" {planted} ") for one in patterns()), planted
        assert any(re2.search(one, f" {planted} ") for one in patterns()), planted


@given(st.text(max_size=60))
def test_pieces_like_tokens_add_up_to_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text


def test_answers_begin_where_a_sentence_or_a_word_does() -> None:
    for language in LANGUAGES:
        assert len(answers(language)) == 1_200
        assert all(len(answer) == 200 for answer in answers(language))


def test_the_longest_stretch_of_the_secret_that_was_sent_is_what_leaked() -> None:
    assert leaked("sk-abcdef", "key: sk-abc [key] def") == len("sk-abc")
    assert leaked("sk-abcdef", "好的，") == 0


def test_the_cases_are_those_in_which_others_leaked() -> None:
    assert [len(case.secret) for case in cases()] == [161, 89, 43, 43, 43]
    for case in cases():
        whole = "".join(case.pieces())
        assert case.secret in whole
        assert leaked(case.secret, whole.replace(case.secret, "")) <= 1
        assert all(re2.search(one, whole) for one in case.patterns)
        assert case.pieces()[: case.at - 1] == case.pieces()[:1] * (case.at - 1)


def test_a_quantile_is_a_value_that_was_measured() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile(list(range(100)), 0.99) == 98
    assert quantile([7], 0.99) == 7


def test_a_peers_ratio_is_its_median_over_weirs_on_the_same_text_and_terms() -> None:
    figures = Figures()
    for guard, milliseconds in (("weir", 1e-4), ("litellm", 5e-3)):
        figures.checks[guard, "10k terms", "zh 1 KB benign"] = Times([milliseconds] * 3, [milliseconds] * 3)
    lines = report.check_lines(figures, ["weir", "litellm"])
    assert [(line.guard, round(line.times_ours)) for line in lines] == [("weir", 1), ("litellm", 50)]
    assert report.least_ratios(lines) == {("litellm", "10k terms"): pytest.approx((50, 50))}
    assert "litellm" in report.ratio_table(lines, [])


def test_the_worker_times_checks_and_redacts(weir: Subject) -> None:
    found = weir.check("few", "a forbidden thing, 禁语 too")
    assert len(found["wall"]) == len(found["cpu"]) >= 20
    assert min(found["wall"]) > 0


def test_the_worker_streams_and_counts_what_is_held(weir: Subject) -> None:
    found = weir.stream("few", ["all ", "is ", "for", "bidden"])
    assert found["held"][2] == 3
    assert len(found["wall"]) == 4
    assert weir.first("few", [["好的", "吗"], ["forb", "ade "]]) == [1, 2]
    assert weir.released("few", ["for", "bidden", " ", "禁", "语"]) == "█ █"


def test_running_text_is_long_enough_to_draw_from() -> None:
    assert min(len(running(language)) for language in ("zh", "en")) > 100_000


def test_an_unknown_peer_is_named_with_those_that_there_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.run(["guard", "bench", "--peer", "nobody", "--home", str(tmp_path)]) == 2
    assert "expected one of llm-guard, litellm, nemo" in capsys.readouterr().err
