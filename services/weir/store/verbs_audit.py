"""`weir audit`: what was asked and answered, without a word of it."""

import csv
import json
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from weir.store.keys import now
from weir.store.records import RecordStore
from weir.store.spans import seconds_of
from weir.store.verbs_keys import DEFAULT_HOME, DatabaseUrl, Home, opened_database

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Read the audit: who asked when, and what came of it."
)

KeyId = Annotated[str | None, typer.Option("--key", help="only this key's id; `anyone`: callers without a key")]
_POLL_S = 0.5


@app.command()
def tail(
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="so many last rows")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on as rows come, until Ctrl-C")] = False,
    key: KeyId = None,
    home: Home = DEFAULT_HOME,
    database: DatabaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Print the newest rows."""
    store = RecordStore(opened_database(home, database))
    after = store.newest_audit_id(back=lines)
    while True:
        for row in store.audit(after_id=after, key_id=key):
            after = row["id"]
            typer.echo(json.dumps(row) if as_json else _line(row))
        if not follow:
            return
        time.sleep(_POLL_S)


@app.command()
def export(
    form: Annotated[Literal["jsonl", "csv"], typer.Option("--format", help="one row a line")] = "jsonl",
    since: Annotated[str, typer.Option(help="so far back: 7d, 12h")] = "30d",
    key: KeyId = None,
    home: Home = DEFAULT_HOME,
    database: DatabaseUrl = None,
) -> None:
    """Write rows to stdout, the oldest first."""
    since_ms = int((now() - seconds_of(since, "--since")) * 1000)
    rows = RecordStore(opened_database(home, database)).audit(key_id=key, since_ms=since_ms)
    if form == "jsonl":
        for row in rows:
            typer.echo(json.dumps(row))
    else:
        _write_csv(rows)


def _write_csv(rows: Iterator[dict[str, Any]]) -> None:
    first = next(rows, None)
    if first is None:
        return
    writer = csv.DictWriter(sys.stdout, list(first))
    writer.writeheader()
    writer.writerows(_with_first(first, rows))


def _with_first(first: dict[str, Any], rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from rows


def _line(row: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(row["at_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    found = f"  rules: {row['verdicts']}" if row["verdicts"] else ""
    return (
        f"{at}  {row['status']}  {row['key_id']:<14}  {row['route']}  {row['model']}/{row['version']}  "
        f"{row['prompt_tokens']}+{row['generated_tokens']} tokens  {row['duration_ms']} ms  {row['request_id']}{found}"
    )
