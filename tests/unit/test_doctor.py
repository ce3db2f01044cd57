"""`weir doctor`: what it says of the engine's operators."""

import pytest

from weir.engine.kernels import library
from weir.supervisor import doctor


def test_it_names_the_instruction_set_of_the_operators() -> None:
    said = library.instruction_set()
    assert said is None or doctor.examine()["operators"] == said
    assert said in {None, "avx512", "avx2", "portable"}


def test_it_says_when_they_are_not_built(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(library, "_LIBRARY", tmp_path / "nothing.so")

    assert "not built" in str(doctor.examine()["operators"])
