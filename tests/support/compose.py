"""deploy/compose.yaml as a user without any variable gets it, or with some."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = DEPLOY / "compose.yaml"
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def text(**variables: str) -> str:
    """The file with its variables put in, as the compose specification has it."""
    return _VARIABLE.sub(lambda found: variables.get(found[1]) or found[2], FILE.read_text(encoding="utf-8"))


def services(**variables: str) -> Mapping[str, Mapping[str, Any]]:
    return yaml.safe_load(text(**variables))["services"]  # type: ignore[no-any-return]


def sources(service: Mapping[str, Any]) -> dict[str, Path]:
    """Folders and files of this machine that a service mounts, by where it finds them."""
    parts = [volume.split(":") for volume in service.get("volumes", ())]
    return {part[1]: (DEPLOY / part[0]).resolve() for part in parts if part[0].startswith((".", "/"))}


def variables_of(service: Mapping[str, Any]) -> dict[str, str]:
    """Variables that are set whatever the shell says."""
    return {name: str(value) for name, value in service.get("environment", {}).items() if value is not None}
