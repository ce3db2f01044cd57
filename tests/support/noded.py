"""Fixtures of gateways that run as processes of their own: a release, and a scripted node on a port."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import answer, running
from tests.support.oip_node import OipNode
from tests.support.prompt_release import make_prompt_release
from weir.contracts.events import Finished, FinishReason, Usage

END = Finished(FinishReason.EOS, Usage(5, 40))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_prompt_release(tmp_path / "releases")


@pytest.fixture
def node() -> OipNode:
    return OipNode(answer("ok"))


@pytest.fixture
def node_url(node: OipNode) -> Iterator[str]:
    with running(node) as port:
        yield f"http://127.0.0.1:{port}"
