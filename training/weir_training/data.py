"""Rows of training data: three JSONL forms in, one form out, and every bad row told at once. Never imports torch."""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from weir.contracts.errors import UsageError
from weir.contracts.request import Message
from weir_training.recipe import DataPart

FAULTS_SHOWN = 20
_ROLES = ("system", "user", "assistant")
_FORMS: tuple[tuple[str, ...], ...] = (("messages",), ("prompt", "completion"), ("text", "label"))
_FORMS_IN_WORDS = '{"messages": [...]}, {"prompt", "completion"} or {"text", "label"}'
_FOREIGN = {
    "conversations": "ShareGPT form: rename it to messages, from to role, value to content",
    "instruction": "Alpaca form: join instruction and input as prompt, rename output to completion",
    "chosen": "preference data: this trains on single answers; keep prompt, rename chosen to completion",
    "question": "rename question to prompt and answer to completion",
    "input": "rename input to prompt and output to completion",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation that ends with the answer to learn."""

    turns: tuple[Message, ...]
    place: str

    @property
    def question(self) -> tuple[Message, ...]:
        return self.turns[:-1]

    @property
    def answer(self) -> str:
        return self.turns[-1].content

    def messages(self) -> list[dict[str, str]]:
        return [{"role": turn.role, "content": turn.content} for turn in self.turns]


@dataclass(frozen=True, slots=True)
class Data:
    """What a recipe trains on and measures on; `warnings` are for a person to read."""

    train: tuple[Row, ...]
    heldout: tuple[Row, ...]
    warnings: tuple[str, ...]


class _BadRowError(Exception):
    """`key` is where in the row; the message says what is wrong and what to do."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}" if key else message)


def read_data(part: DataPart) -> Data:
    """Read the recipe's files.

    Raises:
        UsageError: a file is missing or empty, rows are bad (all of them are named), or a held-out question is
            also a trained one.
    """
    faults: list[str] = []
    train = [row for path in part.train for row in _read(Path(path), faults)]
    heldout = [] if part.heldout is None else list(_read(Path(part.heldout), faults))
    _refuse(faults)
    _refuse(_contaminated(train, heldout))
    return Data(tuple(train), tuple(heldout), tuple(_warnings(train)))


def read_rows(path: Path) -> list[Row]:
    """Read one file.

    Raises:
        UsageError: as `read_data`.
    """
    faults: list[str] = []
    rows = list(_read(path, faults))
    _refuse(faults)
    return rows


def listed(lines: Sequence[str], limit: int = FAULTS_SHOWN) -> str:
    """Join lines; past `limit` only say how many there are."""
    more = len(lines) - limit
    return "\n".join([*lines[:limit], *([f"... and {more} more"] if more > 0 else [])])


def _refuse(faults: list[str]) -> None:
    if faults:
        raise UsageError(listed(faults))


def _read(path: Path, faults: list[str]) -> Iterator[Row]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        faults.append(f"{path}: cannot be read ({error.strerror})")
        return
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        faults.append(f"{path}: this is UTF-16; save it as UTF-8")
        return
    before, rows = len(faults), 0
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            yield Row(_turns(_decoded(line)), place)
            rows += 1
        except _BadRowError as error:
            faults.append(f"{place}: {error}")
    if rows == 0 and len(faults) == before:
        faults.append(f"{path}: holds no rows; expected one JSON object per line: {_FORMS_IN_WORDS}")


def _decoded(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _BadRowError("", f"not UTF-8 (byte {error.start + 1} of the line); {_encoding_hint(line)}") from error
    except json.JSONDecodeError as error:
        raise _BadRowError("", f"not JSON at column {error.colno} ({error.msg}); one object per line") from error
    except RecursionError as error:
        raise _BadRowError("", "not a row: nested too deeply") from error


def _encoding_hint(line: bytes) -> str:
    try:
        line.decode("gb18030")
    except UnicodeDecodeError:
        return "save the file as UTF-8"
    return "it reads as GBK: iconv -f GB18030 -t UTF-8"


def _turns(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, dict):
        raise _BadRowError("", f"expected an object, found {_type(value)}: {_FORMS_IN_WORDS}")
    form = _form(value)
    if form == ("messages",):
        return _conversation(value["messages"])
    question = _text(value[form[0]], form[0])
    answer = value[form[1]]
    if form == ("text", "label") and isinstance(answer, bool | int | float):
        answer = json.dumps(answer)
    return (Message(role="user", content=question), Message(role="assistant", content=_text(answer, form[1])))


def _form(value: dict[str, Any]) -> tuple[str, ...]:
    form = next((form for form in _FORMS if any(key in value for key in form)), None)
    if form is None:
        raise _BadRowError("", _unknown_form(value))
    _keys(value, form, "")
    return form


def _unknown_form(value: dict[str, Any]) -> str:
    foreign = next((hint for key, hint in _FOREIGN.items() if key in value), None)
    if foreign is not None:
        return foreign
    known = [key for form in _FORMS for key in form]
    near = next(((key, close[0]) for key in value if (close := get_close_matches(key, known, n=1))), None)
    hint = f"did you mean {near[1]!r} instead of {near[0]!r}?" if near else f"expected {_FORMS_IN_WORDS}"
    return f"unknown form (keys: {', '.join(map(repr, value)) or 'none'}); {hint}"


def _keys(value: dict[str, Any], wanted: tuple[str, ...], where: str) -> None:
    missing = [key for key in wanted if key not in value]
    extra = [key for key in value if key not in wanted]
    if missing:
        near = get_close_matches(missing[0], extra, n=1)
        hint = f"; did you mean it by {near[0]!r}?" if near else ""
        raise _BadRowError(where, f"{missing[0]!r} is missing{hint}")
    if extra:
        raise _BadRowError(where, f"unknown key {extra[0]!r}; remove it (known here: {', '.join(wanted)})")


def _conversation(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise _BadRowError("messages", f"expected a list of turns, found {_type(value)}")
    turns = tuple(_turn(item, f"messages[{index}]") for index, item in enumerate(value))
    _order([turn.role for turn in turns])
    return turns


def _turn(item: Any, where: str) -> Message:
    if not isinstance(item, dict):
        raise _BadRowError(where, f"expected an object with role and content, found {_type(item)}")
    _keys(item, ("role", "content"), where)
    role = item["role"]
    if role not in _ROLES:
        near = get_close_matches(str(role).lower(), _ROLES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_ROLES)}"
        raise _BadRowError(f"{where}.role", f"unknown role {role!r}; {hint}")
    return Message(role=role, content=_text(item["content"], f"{where}.content"))


def _order(roles: list[str]) -> None:
    start = 1 if roles[0] == "system" else 0
    if roles[-1] != "assistant":
        raise _BadRowError(f"messages[{len(roles) - 1}].role", f"is {roles[-1]!r}; the last turn must be assistant's")
    for index, role in enumerate(roles[start:], start=start):
        wanted = "user" if (index - start) % 2 == 0 else "assistant"
        if role != wanted:
            rule = "an optional system turn, then user and assistant in turn"
            raise _BadRowError(f"messages[{index}].role", f"is {role!r}, expected {wanted!r}: {rule}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _BadRowError(where, f"expected text, found {_type(value)}")
    if not value.strip():
        raise _BadRowError(where, "is empty; remove the row or fill it in")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _BadRowError(where, f"holds half a character (lone surrogate at {error.start})") from error
    return value


def _type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true/false", type(None): "null"}
    return names.get(type(value), "a number")


def _question_key(row: Row) -> str:
    """Two questions with one key are the same question to a reader: width, case and white space do not count."""
    turns = (f"{turn.role} {unicodedata.normalize('NFKC', turn.content).casefold()}" for turn in row.question)
    return "\0".join(" ".join(turn.split()) for turn in turns)


def _contaminated(train: Sequence[Row], heldout: Sequence[Row]) -> list[str]:
    trained = {_question_key(row): row.place for row in train}
    return [
        f"{row.place}: this held-out question is also trained on ({trained[key]}): remove one, or what is measured "
        "on it says nothing"
        for row in heldout
        if (key := _question_key(row)) in trained
    ]


def _warnings(rows: Sequence[Row]) -> Iterator[str]:
    first: dict[str, Row] = {}
    for row in rows:
        key = _question_key(row)
        other = first.setdefault(key, row)
        if other is row:
            continue
        if other.answer == row.answer:
            yield f"{row.place}: the same row as {other.place}; it counts twice"
        else:
            yield f"{row.place}: the question of {other.place} with another answer; the model can give only one"
