"""Which version a gateway speaks for when its operators went back to an older one."""

from pathlib import Path

import pytest

from weir.gateway.choices import Choices


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    for number in (1, 2):
        add(tmp_path / "releases" / "faq", number)
    return tmp_path / "releases" / "faq"


def add(versions: Path, number: int) -> None:
    (versions / str(number)).mkdir(parents=True)
    (versions / str(number) / "COMPLETE").touch()


def test_nobody_chose_so_it_is_the_newest(tmp_path: Path, versions: Path) -> None:
    assert Choices(tmp_path).of(versions).name == "2"


def test_a_choice_outlives_the_gateway(tmp_path: Path, versions: Path) -> None:
    Choices(tmp_path).choose(versions, 1)
    assert Choices(tmp_path).of(versions).name == "1"


def test_a_choice_gives_way_to_a_newer_version(tmp_path: Path, versions: Path) -> None:
    Choices(tmp_path).choose(versions, 1)
    add(versions, 3)
    assert Choices(tmp_path).of(versions).name == "3"


@pytest.mark.parametrize("text", ["", "1", "one two", "9 9"])
def test_a_choice_that_cannot_be_followed_is_none(tmp_path: Path, versions: Path, text: str) -> None:
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen" / "faq").write_text(text)
    assert Choices(tmp_path).of(versions).name == "2"
