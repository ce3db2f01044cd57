"""`weir keys`: make, list, show, change, rotate and revoke API keys; see what they used."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pydantic
import typer
from rich.console import Console
from rich.table import Table

from weir.contracts.errors import UsageError
from weir.store.database import Database
from weir.store.keys import KeySpec, KeyStore, NewKey, StoredKey, now
from weir.store.records import RecordStore, month_of
from weir.store.spans import seconds_of

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Make, list, change, rotate and revoke API keys.")

Home = Annotated[Path, typer.Option("--home", envvar="WEIR_HOME", help="where the gateway keeps its database")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database", envvar="WEIR_GATEWAY_ACCESS__DATABASE", help="URL; default: HOME/gateway.sqlite"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout, nothing else")]
Named = Annotated[str, typer.Argument(metavar="KEY", help="its id, or its name if no other live key has it")]
DEFAULT_HOME = Path(".weir")


@app.command()
def create(  # noqa: PLR0913 - a command line's options are its arguments
    name: Annotated[str, typer.Argument(help="who or what will use it")],
    tenant: Annotated[str | None, typer.Option(help="keys of one tenant share caches; default: its own")] = None,
    model: Annotated[list[str] | None, typer.Option(help="may use only this model; repeat for more")] = None,
    requests_per_min: Annotated[int | None, typer.Option(help="in any 60 seconds")] = None,
    tokens_per_min: Annotated[int | None, typer.Option(help="of prompts and answers, in any 60 seconds")] = None,
    max_concurrency: Annotated[int | None, typer.Option(help="requests worked on at once")] = None,
    monthly_tokens: Annotated[int | None, typer.Option(help="budget per calendar month (UTC)")] = None,
    priority: Annotated[int, typer.Option(help="-10 to 10; higher goes first")] = 0,
    expires: Annotated[str | None, typer.Option(help="90d, 12h, or a date: 2027-01-31")] = None,
    home: Home = DEFAULT_HOME,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once and kept nowhere; a limit that is not given is no limit."""
    given = {
        "name": name,
        "tenant": tenant,
        "models": tuple(model) if model else None,
        "requests_per_min": requests_per_min,
        "tokens_per_min": tokens_per_min,
        "max_concurrency": max_concurrency,
        "monthly_tokens": monthly_tokens,
        "priority": priority,
        "expires_at": _moment(expires),
    }
    try:
        spec = KeySpec.model_validate(given)
    except pydantic.ValidationError as error:
        raise _wrong(error) from None
    _show_secret(KeyStore(opened_database(home, database)).create(spec), as_json=as_json)


@app.command(name="list")
def list_keys(
    every: Annotated[bool, typer.Option("--all", help="also those that are revoked or expired")] = False,
    home: Home = DEFAULT_HOME,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the keys, the oldest first."""
    keys = [key for key in KeyStore(opened_database(home, database)).all() if every or key.is_live(now())]
    if as_json:
        typer.echo(json.dumps([key.public() for key in keys]))
        return
    if not keys:
        typer.echo("no keys; `weir keys create NAME` makes one")
        return
    _print_table(
        ["id", "name", "tenant", "made", "requests/min", "tokens/min", "at once", "tokens/month", "models", "state"],
        [_row(key) for key in keys],
    )


@app.command()
def show(key: Named, home: Home = DEFAULT_HOME, database: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Show one key: what it may do, and what it used this month."""
    opened = opened_database(home, database)
    found = KeyStore(opened).find(key)
    spent = RecordStore(opened).spent([found.id], month_of(now())).get(found.id, 0)
    facts = found.public() | {"tokens_this_month": spent}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    _print_table(["", found.id], [[name, _text(name, value)] for name, value in facts.items() if name != "id"])


@app.command()
def revoke(key: Named, home: Home = DEFAULT_HOME, database: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """End a key for good. Running gateways refuse it within a second."""
    found = KeyStore(opened_database(home, database)).revoke(key)
    typer.echo(json.dumps(found.public()) if as_json else f"{found.id} ({found.name}) is revoked")


@app.command()
def rotate(
    key: Named,
    grace: Annotated[str, typer.Option(help="how long the old secret goes on working: 0, 1h, 7d")] = "0",
    home: Home = DEFAULT_HOME,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret; its id, limits and usage stay."""
    _show_secret(
        KeyStore(opened_database(home, database)).rotate(key, grace_s=seconds_of(grace, "--grace")), as_json=as_json
    )


@app.command(name="set")
def set_limits(  # noqa: PLR0913 - a command line's options are its arguments
    key: Named,
    requests_per_min: Annotated[int | None, typer.Option(help="in any 60 seconds; 0: no limit")] = None,
    tokens_per_min: Annotated[int | None, typer.Option(help="in any 60 seconds; 0: no limit")] = None,
    max_concurrency: Annotated[int | None, typer.Option(help="requests worked on at once; 0: no limit")] = None,
    monthly_tokens: Annotated[int | None, typer.Option(help="budget per calendar month; 0: no limit")] = None,
    priority: Annotated[int | None, typer.Option(help="-10 to 10; higher goes first")] = None,
    home: Home = DEFAULT_HOME,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Change what a key may do; what is not named stays. Running gateways follow within a second."""
    given = {
        "requests_per_min": requests_per_min,
        "tokens_per_min": tokens_per_min,
        "max_concurrency": max_concurrency,
        "monthly_tokens": monthly_tokens,
    }
    limits: dict[str, Any] = {name: value or None for name, value in given.items() if value is not None}
    if priority is not None:
        limits["priority"] = priority
    if not limits:
        raise UsageError("nothing to change; `weir keys set --help` lists what can be")
    try:
        found = KeyStore(opened_database(home, database)).change(key, **limits)
    except pydantic.ValidationError as error:
        raise _wrong(error) from None
    typer.echo(json.dumps(found.public()) if as_json else f"{found.id} ({found.name}) is changed")


@app.command()
def usage(
    key: Annotated[str | None, typer.Option(help="only this key")] = None,
    days: Annotated[int, typer.Option(min=1, help="so many last days")] = 31,
    monthly: Annotated[bool, typer.Option("--monthly", help="sums per month")] = False,
    home: Home = DEFAULT_HOME,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show requests and tokens per key, model and day. Running gateways write them twice a second."""
    opened = opened_database(home, database)
    key_id = KeyStore(opened).find(key).id if key and key != "anyone" else key
    since = (datetime.now(UTC) - timedelta(days=days - 1)).strftime("%Y-%m-01" if monthly else "%Y-%m-%d")
    rows = RecordStore(opened).usage(key_id=key_id, since_day=since, by="month" if monthly else "day")
    if as_json:
        typer.echo(json.dumps(rows))
    elif rows:
        _print_table([name.replace("_", " ") for name in rows[0]], [[str(v) for v in row.values()] for row in rows])
    else:
        typer.echo("nothing was used")


def _wrong(error: pydantic.ValidationError) -> UsageError:
    first = error.errors(include_input=False)[0]
    return UsageError(f"{first['loc'][0]}: {first['msg']}")


def opened_database(home: Path, url: str | None) -> Database:
    database = Database(url or f"sqlite:///{home / 'gateway.sqlite'}")
    database.open()
    return database


def _moment(text: str | None) -> int | None:
    """Read an expiry: a date (its midnight, UTC) or a span from now."""
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return int(now()) + seconds_of(text, "--expires")


def _show_secret(made: NewKey, *, as_json: bool) -> None:
    """Print a key once; a script gets it on stdout and can keep it."""
    if as_json:
        typer.echo(json.dumps(made.key.public() | {"key": made.text}))
        return
    typer.echo(made.text)
    typer.echo(f"{made.key.id} ({made.key.name}): this is the only time the key is shown; keep it safe", err=True)


def _row(key: StoredKey) -> list[str]:
    facts = key.public()
    names = ["id", "name", "tenant", "created_at", "requests_per_min", "tokens_per_min", "max_concurrency"]
    state = "revoked" if key.revoked_at else "expired" if not key.is_live(now()) else "live"
    return [_text(name, facts[name]) for name in [*names, "monthly_tokens", "models"]] + [state]


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_at"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
    return ", ".join(value) if isinstance(value, list) else str(value)


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, 20 * len(columns)) if not console.is_terminal else console.width
    console.print(table)
