"""Links: those to other hosts are rewritten, those to hosts of one's own stay, however the answer is cut."""

from pathlib import Path

import pytest

from weir.guard.compiled import Chosen, CompiledGuard
from weir.guard.policy import PolicyError, load_policy
from weir.guard.policy.resolving import BASE

POLICY = """version: 1
id: links
packs: [links]
own_hosts: [example.com, "*.example.org", localhost]
profiles:
  docs: {own_hosts: [docs.example.net]}
apply: [{key: docs, profile: docs}]
"""
GONE = "[链接已移除 link removed]"


def chosen(folder: Path, profile: str = BASE) -> Chosen:
    file = folder / "links.yaml"
    file.write_text(POLICY, encoding="utf-8")
    return CompiledGuard.build(load_policy(file)).profile(profile)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    return chosen(tmp_path_factory.mktemp("policy"))


def said(guard: Chosen, answer: str) -> str:
    """Guard an answer whole and character by character; both must say the same."""
    stream = guard.output.stream()
    pieces = [piece for character in answer for piece in stream.feed(character)] + stream.flush()
    text = "".join(piece.text for piece in pieces)
    assert text == guard.output.whole(answer).text
    return text


@pytest.mark.parametrize(
    "answer",
    [
        "见https://example.com/a?b=c#d，谢谢。",
        "see http://example.com.",
        '"https://example.com", (https://EXAMPLE.com:8443/x) and https://a.b.example.org/',
        "[docs](https://x.example.org/a(b)) and ![logo](//example.com/logo.png)",
        '<a href="https://example.com/a">here</a>',
        "run http://localhost:8080/healthz",
    ],
)
def test_links_to_own_hosts_stay(ours: Chosen, answer: str) -> None:
    assert said(ours, answer) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "见https://example.net/a?b=c，谢谢。",
        "https://example.com.evil.net/",
        "https://evilexample.com/",
        "https://example.org/ is not below itself",
        "https://example.com@evil.net/ and https://example.com:80@evil.net",
        "https://example.com'.evil.net/",
        "https://example.com。evil.net/",
        "https://example.com%2eevil.net/",
        "https://evil.net\\\\@example.com/",
        f"https://{'a.' * 120}example.org.evil.net/",
        "www.example.net/x",
        "[https://example.com](https://evil.net)",
        "[//example.com](javascript:alert(1))",
        "[x](https://example.com(.evil.net)",
        "[x](https://example.com。evil.net)",
        '<a href="https://example.com\'.evil.net">x</a>',
        '<a href="https://example.com\t.evil.net">x</a>',
        '<img title="//example.com" src="https://evil.net/x.png">',
        "https:///evil.net/",
        '<img src="//example.com/a.png" srcset="//evil.net/b.png">',
        '<a data="//example.com" href="//evil.net">x</a>',
        "[![logo](//example.com/logo.png)](//evil.net)",
    ],
)
def test_links_that_lead_elsewhere_go_however_they_are_disguised(ours: Chosen, answer: str) -> None:
    left = said(ours, answer)
    assert GONE in left
    assert "evil" not in left.replace("evil.net\\", "") or "\\" in answer


def test_a_profile_adds_its_hosts_to_the_policys(tmp_path: Path) -> None:
    answer = "https://docs.example.net/a https://example.com/b"
    assert said(chosen(tmp_path, "docs"), answer) == answer
    assert said(chosen(tmp_path), answer) == f"{GONE} https://example.com/b"


def test_what_is_no_name_of_a_host_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\nid: x\npacks: [links]\nown_hosts: ['https://example.com/']\n", encoding="utf-8")
    with pytest.raises(PolicyError, match="own_hosts"):
        load_policy(file)
