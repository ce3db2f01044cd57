"""Brings a packed release from a web server, whole or not at all."""

import hashlib
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from weir.contracts.errors import JobError, ReleaseError, UsageError
from weir.release.reader import MANIFEST, open_any, read_any_manifest

_BLOCK_BYTES: Final = 1 << 20
_SILENCE_S: Final = 60.0


def fetch_release(
    url: str, sha256: str, into: Path, *, expected: tuple[str, int], authorization: str | None = None
) -> bool:
    """Put the release that the tar file at `url` holds at `into`, and return whether it was not there yet.

    It appears in one step, after the tar file's hash and those of all files in it were found to be right. A process
    that is killed leaves nothing that looks like a release.

    Args:
        url: of a tar file, packed by gzip, bzip2, xz or not at all.
        sha256: of the tar file.
        into: the folder to be, in a folder that may be written to.
        expected: model and version.
        authorization: what to send as the header of that name.

    Raises:
        UsageError: the address is of another kind.
        JobError: it cannot be had.
        ReleaseError: it is something else than `sha256` and `expected` say; or `into` holds something else.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url}: this is not an http address")
    if into.exists():
        _check(into, expected)
        return False
    into.parent.mkdir(parents=True, exist_ok=True)
    _forget_attempts(into)
    with tempfile.TemporaryDirectory(prefix=_prefix(into), dir=into.parent) as work:
        packed, unpacked = Path(work, "packed"), Path(work, "unpacked")
        found = _download(url, packed, authorization)
        if found != sha256:
            raise ReleaseError(f"{url}: its sha256 is {found}, not {sha256}")
        _unpack(packed, unpacked, url)
        root = _root(unpacked, url)
        _check(root, expected)
        root.rename(into)
    return True


def _prefix(into: Path) -> str:
    return f".{into.name}-"


def _forget_attempts(into: Path) -> None:
    """Remove what was left behind by one that was killed."""
    for left in into.parent.glob(f"{_prefix(into)}*"):
        shutil.rmtree(left, ignore_errors=True)


def _download(url: str, to: Path, authorization: str | None) -> str:
    """Return the sha256 of what came."""
    digest = hashlib.sha256()
    try:
        request = urllib.request.Request(url)  # noqa: S310 - the caller checked the scheme
        if authorization:
            request.add_unredirected_header("authorization", authorization)  # not for whom the server refers to
        with urllib.request.urlopen(request, timeout=_SILENCE_S) as response, to.open("wb") as file:  # noqa: S310
            while block := response.read(_BLOCK_BYTES):
                digest.update(block)
                file.write(block)
            wanted = response.headers.get("content-length")
    except urllib.error.HTTPError as error:
        with error:
            raise JobError(f"{url}: the server answered with status {error.code}") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise JobError(f"{url}: it cannot be had ({getattr(error, 'reason', None) or type(error).__name__})") from None
    if wanted is not None and int(wanted) != to.stat().st_size:
        raise JobError(f"{url}: broke off after {to.stat().st_size} of {wanted} bytes")
    return digest.hexdigest()


def _unpack(packed: Path, to: Path, url: str) -> None:
    try:
        with tarfile.open(packed) as archive:
            archive.extractall(to, filter="data")
    except tarfile.TarError as error:
        raise ReleaseError(f"{url}: no tar file that may be unpacked ({error})") from None


def _root(unpacked: Path, url: str) -> Path:
    """The archive holds the release itself, or folders with one release in them."""
    found = [path.parent for depth in ("", "*/", "*/*/", "*/*/*/") for path in unpacked.glob(depth + MANIFEST)]
    if len(found) != 1:
        raise ReleaseError(f"{url}: {len(found) or 'no'} releases in this archive; one is needed")
    return found[0]


def _check(root: Path, expected: tuple[str, int]) -> None:
    manifest = read_any_manifest(root)
    if (manifest.model, manifest.version) != expected:
        wanted = "/".join(map(str, expected))
        raise ReleaseError(f"{root}: this is {manifest.model}/{manifest.version}, not {wanted}")
    open_any(root)
