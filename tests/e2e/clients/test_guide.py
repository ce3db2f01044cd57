"""Every snippet of docs/guides/clients.md runs as it stands, but for the gateway's port and the release's folder."""

import re
import subprocess
from pathlib import Path

import pytest
from tests.e2e.clients.conftest import Gateways
from tests.e2e.clients.environments import ENVIRONMENTS, ROOT, environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
GUIDE = (ROOT / "docs" / "guides" / "clients.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+) ((?:client=\S+ ?)+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPETS = [
    (place.removeprefix("client="), language, text)
    for language, places, text in BLOCK.findall(GUIDE)
    for place in places.split()
]


@pytest.mark.parametrize(
    ("place", "language", "text"),
    [pytest.param(*snippet, id=f"{snippet[0]}-{number}") for number, snippet in enumerate(SNIPPETS)],
)
def test_a_snippet_of_the_guide_runs(gateways: Gateways, place: str, language: str, text: str, tmp_path: Path) -> None:
    script = text.replace("http://127.0.0.1:8080", gateways.told["real"])
    script = script.replace(".weir/releases/faq/1", gateways.told["release"])
    assert script != text
    done = _run(gateways, place, language, script, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() or place == "lm-eval"


def test_every_environment_has_a_snippet_and_every_block_is_run() -> None:
    assert {place for place, _, _ in SNIPPETS} == {one.name for one in ENVIRONMENTS} | {"curl"}
    assert len(re.findall(r"^```\w", GUIDE, re.MULTILINE)) == len(BLOCK.findall(GUIDE))


def _run(gateways: Gateways, place: str, language: str, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    if language == "sh":
        command, variables = ["bash", "-ec", script.replace("curl ", "curl --fail -sS ")], None
    else:
        made = environment(place).made()
        variables = gateways.variables(made)
        source = (made.folder if language == "js" else folder) / f"snippet-{folder.name}.{_SUFFIX[language]}"
        source.write_text(script, encoding="utf-8")
        command = [str(made.node if language == "js" else made.python), str(source)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False, cwd=folder)


_SUFFIX = {"python": "py", "js": "mjs"}
