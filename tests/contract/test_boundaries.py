"""The house rules that a linter cannot say: the gateway is light, files and functions are short."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "onnxruntime", "peft", "optimum", "datasets", "weir_training")
ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("services", "training") for path in (ROOT / folder).rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


@pytest.mark.parametrize("module", ["weir.gateway.app", "weir.gateway.verbs", "weir.gateway.verbs_client"])
def test_the_gateway_loads_no_heavy_package(module: str) -> None:
    script = f"import sys, {module}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == []


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}

    assert len(lengths) > 30
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_no_function_is_long() -> None:
    too_long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({length} lines)"
        for path in SOURCES
        for node, length in functions(path)
        if length > MAX_FUNCTION_LINES
    ]

    assert too_long == []


def functions(path: Path) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, (node.end_lineno or node.lineno) - node.lineno + 1
