"""The files a policy draws in: how lists are read, where they may lie, and the digest over all of them."""

from hashlib import sha256
from pathlib import Path

import pytest
from tests.support.policies import HEAD, refusal

from weir.guard.policy import PolicyError, PolicySet, load_policy

LISTS = HEAD + "lists: [{id: l, file: terms/l.txt, action: block}]"


def written(folder: Path, terms: str, policy: str = LISTS) -> PolicySet:
    (folder / "terms").mkdir(exist_ok=True)
    (folder / "terms" / "l.txt").write_text(terms, encoding="utf-8")
    (folder / "p.yaml").write_text(policy, encoding="utf-8")
    return load_policy(folder / "p.yaml")


def test_a_list_file_is_one_term_a_line(tmp_path: Path) -> None:
    policy = written(tmp_path, "\ufeff# banned\nalpha beta\r\n  丙丁 \n\nalpha beta\n\\#tag\n")

    assert policy.base.output[0].terms == ("alpha beta", "丙丁", "#tag")


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ("# nothing\n", "holds no term"),
        ("a\n\u200b\n", "term number 2 is empty once folded"),
        ("x" * 257, "term number 1 is longer"),
    ],
)
def test_a_list_file_with_a_fault_is_refused(terms: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=f"p.yaml: list 'l': .*{words}"):
        written(tmp_path, terms)


def test_a_list_file_of_another_content_is_refused(tmp_path: Path) -> None:
    pinned = LISTS.replace("action", f"sha256: {sha256(b'a').hexdigest()}, action")

    written(tmp_path, "a", pinned)
    with pytest.raises(PolicyError, match=f"list 'l': terms/l.txt: its sha256 is {sha256(b'b').hexdigest()}"):
        written(tmp_path, "b", pinned)


@pytest.mark.parametrize("name", ["../l.txt", "/etc/passwd", "terms/../../l.txt", "out/l.txt"])
def test_a_list_file_outside_the_policys_directory_is_refused(name: str, tmp_path: Path) -> None:
    inside = tmp_path / "policies"
    inside.mkdir()
    (tmp_path / "l.txt").write_text("a", encoding="utf-8")
    (inside / "out").symlink_to(tmp_path)

    with pytest.raises(PolicyError, match=r"list 'l': .*: leaves the policy's directory"):
        written(inside, "a", LISTS.replace("terms/l.txt", name))


def test_a_policy_may_be_mounted_as_kubernetes_does(tmp_path: Path) -> None:
    data = tmp_path / "..2026_11_25"
    data.mkdir()
    (data / "p.yaml").write_text(LISTS.replace("terms/l.txt", "l.txt"), encoding="utf-8")
    (data / "l.txt").write_text("a", encoding="utf-8")
    (tmp_path / "..data").symlink_to(data.name)
    for name in ("p.yaml", "l.txt"):
        (tmp_path / name).symlink_to(f"..data/{name}")

    assert load_policy(tmp_path / "p.yaml").base.input[0].terms == ("a",)


def test_a_missing_list_file_is_refused(tmp_path: Path) -> None:
    assert "policy.yaml: list 'l': terms/l.txt: no such file" in refusal(LISTS, tmp_path)


def test_more_terms_than_the_bound_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="more than 200,000 terms in all"):
        written(tmp_path, "\n".join(f"t{number}" for number in range(200_001)))


def test_the_digest_covers_every_file_and_not_where_they_lie(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()

    first, same, other = (written(folder, terms) for folder, terms in zip(folders, ("x", "x", "y"), strict=True))
    reworded = written(folders[0], "x", LISTS + "\n# a remark")

    assert first.sha256 == same.sha256
    assert len({first.sha256, other.sha256, reworded.sha256}) == 3
