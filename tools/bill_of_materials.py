"""Lists what an unpacked image holds as CycloneDX 1.5 JSON: Debian's packages and Python's, with licences.

    python tools/bill_of_materials.py ROOTFS --name weir/gateway:0.1.0 > gateway.cdx.json

Read from what the packages say of themselves: dpkg's status and each distribution's METADATA.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from email.parser import HeaderParser
from hashlib import sha256
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

_STATUS: Final = Path("var/lib/dpkg/status")
_RELEASE: Final = Path("etc/os-release")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rootfs", type=Path)
    parser.add_argument("--name", required=True)
    given = parser.parse_args()
    json.dump(bill(given.rootfs, given.name), sys.stdout, indent=1, sort_keys=True)
    return 0


def bill(rootfs: Path, name: str) -> dict[str, Any]:
    """Return the document; the same image gives the same one, its number included."""
    image, _, version = name.rpartition(":")
    components = sorted((*_python(rootfs), *_debian(rootfs)), key=lambda one: str(one["purl"]))
    digest = sha256(json.dumps(components, sort_keys=True).encode()).hexdigest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'{name}#{digest}')}",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": name, "name": image or name, "version": version}},
        "components": components,
    }


def _python(rootfs: Path) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for folder in sorted({path.parent for path in rootfs.rglob("*.dist-info") if path.is_dir()}):
        for found in distributions(path=[str(folder)]):
            name = found.name.lower().replace("_", "-")
            purl = f"pkg:pypi/{quote(name)}@{quote(found.version)}"
            if purl not in seen:
                seen.add(purl)
                yield _component(name, found.version, purl, _licence(found))


def _licence(found: Distribution) -> str | None:
    """Return the licence as an expression where a package has one, else in its own words if they are few."""
    said = found.metadata
    expression = said.get("License-Expression")
    classified = [
        line.rpartition(" :: ")[2] for line in said.get_all("Classifier") or () if line.startswith("License ::")
    ]
    words = said.get("License") or ""
    return expression or ", ".join(classified) or (words if 0 < len(words) <= 64 and "\n" not in words else None)


def _debian(rootfs: Path) -> Iterator[dict[str, Any]]:
    status = rootfs / _STATUS
    if not status.is_file():
        return
    distribution = _distribution(rootfs)
    for paragraph in status.read_text(encoding="utf-8").split("\n\n"):
        fields = HeaderParser().parsestr(paragraph)
        if "installed" in (fields.get("Status") or "").split():
            name, version = fields["Package"], fields["Version"]
            purl = f"pkg:deb/{distribution}/{quote(name)}@{quote(version)}?arch={fields['Architecture']}"
            yield _component(name, version, purl, None)


def _distribution(rootfs: Path) -> str:
    path = rootfs / _RELEASE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line[3:].strip('"') for line in lines if line.startswith("ID=")), "debian")


def _component(name: str, version: str, purl: str, licence: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if licence is not None:
        found["licenses"] = [{"license": {"name": licence}}]
    return found


if __name__ == "__main__":
    sys.exit(main())
