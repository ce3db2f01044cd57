"""The tests of the operators are skipped where there is no compiler; this one fails where there is one."""

import shutil

from weir.engine.kernels.library import operators


def test_a_machine_with_a_compiler_has_the_operators() -> None:
    assert operators() is not None or not any(map(shutil.which, ("cc", "gcc", "clang")))
