"""Builds the images of deploy/, with Docker where an engine runs, else with buildah and no engine at all.

    python tools/build_images.py [gateway cpu-node ...] [--tag TAG] [--work FOLDER] [--into FOLDER]

Without an engine the base image is made of Debian packages (mmdebstrap), as registries may be out of reach; what
pip is configured with on this machine, its indexes and files, holds in the build as well. `--into` also writes each
image as an OCI layout with its bill of materials beside it (`<image>.cdx.json`). Needs root: buildah changes roots.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

ROOT: Final = Path(__file__).parents[1]
IMAGES: Final = ("gateway", "cpu-node", "training", "triton")
TOOLS: Final = ("buildah", "mmdebstrap", "umoci")
_BASE: Final = "localhost/weir-base"
_PACKAGES: Final = "ca-certificates,python3,python3-venv"
_CERTIFICATES: Final = Path("/etc/ssl/certs")


class Buildah:
    """Images in a store of their own below `work`."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._command = ("buildah", "--root", str(work / "store"), "--runroot", str(work / "run"))

    def run(self, *words: str) -> str:
        done = subprocess.run([*self._command, *words], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        return done.stdout.strip()

    def base(self) -> str:
        """Return the name of an image with Python 3.11 and nothing else, made once."""
        if _BASE not in self.run("images", "--format", "{{.Name}}"):
            archive = self.work / "base.tar"
            if not archive.exists():
                _made_of_packages(archive)
            container = self.run("from", "scratch")
            self.run("add", "--quiet", container, str(archive), "/")
            path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            self.run("config", "--env", f"PATH={path}", container)
            self.run("commit", "--quiet", "--rm", container, f"{_BASE}:latest")
        return f"{_BASE}:latest"

    def build(self, image: str, tag: str) -> str:
        """Build one and return its name."""
        name = f"localhost/weir/{image}:{tag}"
        argument = "TRITON_IMAGE" if image == "triton" else "PYTHON_IMAGE"
        volumes = [word for volume in _of_pip() for word in ("--volume", f"{volume}:{volume}:ro")]
        given = ("--isolation", "chroot", *volumes, "--build-arg", f"{argument}={self.base()}")
        self.run("build", "--layers", *given, "--file", f"deploy/{image}/Dockerfile", "--tag", name, ".")
        return name

    def export(self, name: str, layout: Path) -> None:
        shutil.rmtree(layout, ignore_errors=True)
        self.run("push", "--quiet", name, f"oci:{layout}:latest")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", default=["gateway", "cpu-node"], metavar="IMAGE", help=", ".join(IMAGES))
    parser.add_argument("--tag", default="latest")
    parser.add_argument("--work", type=Path, default=ROOT / ".weir" / "images")
    parser.add_argument("--into", type=Path)
    parser.add_argument("--without-engine", action="store_true", help="do not look for Docker")
    given = parser.parse_args()
    if unknown := set(given.images) - set(IMAGES):
        parser.error(f"no image {', '.join(sorted(unknown))}: there are {', '.join(IMAGES)}")
    if not given.without_engine and has_engine():
        for image in given.images:
            with_docker(image, given.tag)
        return 0
    if lacking := missing():
        sys.stderr.write(f"no Docker engine, and no {', '.join(lacking)}: apt-get install {' '.join(lacking)}\n")
        return 1
    given.work.mkdir(parents=True, exist_ok=True)
    builder = Buildah(given.work)
    try:
        for image in given.images:
            name = builder.build(image, given.tag)
            sys.stdout.write(f"{name}\n")
            if given.into is not None:
                _exported(builder, name, image, given.into)
    except subprocess.CalledProcessError as error:  # what went wrong stands above
        sys.stderr.write(f"{error.cmd[0]} ended with {error.returncode}\n")
        return 1
    return 0


def has_engine() -> bool:
    return shutil.which("docker") is not None and _is_quiet(["docker", "info"])


def missing() -> list[str]:
    """Return what is not installed of the tools that do without an engine."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return lacking if os.geteuid() == 0 else [*lacking, "root"]


def with_docker(image: str, tag: str) -> None:
    command = ["docker", "build", "--file", f"deploy/{image}/Dockerfile", "--tag", f"weir/{image}:{tag}", "."]
    subprocess.run(command, check=True, cwd=ROOT)


def _exported(builder: Buildah, name: str, image: str, into: Path) -> None:
    """Write the layout, unpack it, and list what is in it."""
    into = into.absolute()
    into.mkdir(parents=True, exist_ok=True)
    layout, bundle = into / image, into / f"{image}-bundle"
    builder.export(name, layout)
    shutil.rmtree(bundle, ignore_errors=True)
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:latest", str(bundle)], check=True, capture_output=True)
    bill = subprocess.run(
        [sys.executable, "tools/bill_of_materials.py", str(bundle / "rootfs"), "--name", name],
        check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ).stdout  # fmt: skip
    (into / f"{image}.cdx.json").write_text(bill, encoding="utf-8")
    sizes = [layer["size"] for layer in _manifest(layout)["layers"]]
    sys.stdout.write(f"{image}: {sum(sizes) / 1e6:.0f} MB packed, {_size(bundle / 'rootfs') / 1e6:.0f} MB unpacked\n")


def _manifest(layout: Path) -> dict[str, list[dict[str, int]]]:
    index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
    algorithm, _, digest = index["manifests"][0]["digest"].partition(":")
    read: dict[str, list[dict[str, int]]] = json.loads(
        (layout / "blobs" / algorithm / digest).read_text(encoding="utf-8")
    )
    return read


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _made_of_packages(archive: Path) -> None:
    draft = archive.with_suffix(".draft.tar")
    words = ("--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(draft))
    subprocess.run(["mmdebstrap", "--quiet", *words], check=True)
    draft.replace(archive)


def _of_pip() -> Iterator[Path]:
    """Yield what pip reads on this machine: its configuration, folders that it names, certificates."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "debug"], capture_output=True, text=True, check=True)
    files = [Path(found) for found in re.findall(r"^  (\S+), exists: True", said.stdout, re.MULTILINE)]
    for file in files:
        yield file
        yield from _named_in(file.read_text(encoding="utf-8"))
    if files and _CERTIFICATES.is_dir():
        yield _CERTIFICATES


def _named_in(text: str) -> Iterator[Path]:
    """Yield what a configuration names on this machine: folders of packages, a file of constraints."""
    found = {Path(urlsplit(word).path if word.startswith("file:") else word) for word in text.split()}
    for path in sorted(path for path in found if path.is_absolute()):
        if path.exists():
            yield path.parent if path.name == "simple" else path  # an index's files lie beside it


def _is_quiet(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
