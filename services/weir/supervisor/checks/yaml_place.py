"""Where in a settings file something stands: a message names the setting, a person wants the line."""

from pathlib import Path

import yaml


def fault_in(path: Path) -> str | None:
    """Return why a file is no YAML, with line and column; none: it is. Never quotes the file."""
    try:
        with path.open(encoding="utf-8") as file:
            yaml.compose(file)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        return f"{path}: {where}{error.problem or 'not YAML'}"
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return f"{path}: cannot be read ({type(error).__name__})"
    return None


def line_of(path: Path, setting: str) -> int | None:
    """Return the line of a dotted setting (`nodes.0.url`), or of what holds it."""
    try:
        with path.open(encoding="utf-8") as file:
            node = yaml.compose(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    line: int | None = None
    for name in setting.split("."):
        found = _below(node, name)
        if found is None:
            break
        line, node = found
    return line


def _below(node: yaml.Node | None, name: str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key.start_mark.line + 1, value) for key, value in node.value if key.value == name), None)
    if isinstance(node, yaml.SequenceNode) and name.isdigit() and int(name) < len(node.value):
        child = node.value[int(name)]
        return child.start_mark.line + 1, child
    return None
