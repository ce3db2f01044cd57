"""The bill of materials of an unpacked image."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
METADATA = "Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{more}\n"


def rootfs(folder: Path) -> Path:
    (folder / "var/lib/dpkg").mkdir(parents=True)
    (folder / "var/lib/dpkg/status").write_text(STATUS)
    (folder / "etc").mkdir()
    (folder / "etc/os-release").write_text('PRETTY_NAME="x"\nID=debian\n')
    packages = (
        ("Some_Thing", "2.0+cpu", "License-Expression: MIT"),
        ("other", "1.1", "Classifier: License :: OSI Approved :: BSD License"),
    )
    for name, version, more in packages:
        info = folder / f"opt/weir/lib/python3.11/site-packages/{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(METADATA.format(name=name, version=version, more=more))
    return folder


def billed(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "tools/bill_of_materials.py", str(folder), "--name", "weir/gateway:1.2.3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return dict(json.loads(done.stdout))


def test_it_lists_what_is_installed_with_versions_and_licences(tmp_path: Path) -> None:
    bill = billed(rootfs(tmp_path))
    found = {component["purl"]: component for component in bill["components"]}

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["name"] == "weir/gateway"
    assert list(found) == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64",
        "pkg:pypi/other@1.1",
        "pkg:pypi/some-thing@2.0%2Bcpu",
    ]
    assert found["pkg:pypi/some-thing@2.0%2Bcpu"]["licenses"] == [{"license": {"name": "MIT"}}]
    assert found["pkg:pypi/other@1.1"]["licenses"] == [{"license": {"name": "BSD License"}}]
    assert billed(tmp_path) == bill, "the same image gives the same document"
