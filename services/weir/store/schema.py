"""The tables. Times are whole seconds since 1970 (UTC), days are `2026-11-25`, months `2026-11`: the same everywhere.

`migrations/` makes them; a test compares both.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA: Final = MetaData()

# One row. `number` grows with every change of a key, so that a gateway asks for what it has not seen.
# `database_id` tells one database from another that took its place.
REVISION: Final = Table(
    "revision",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("database_id", String(32), nullable=False),
)

KEYS: Final = Table(
    "keys",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("old_digest", LargeBinary(32)),  # of the secret before a rotation, good until `old_until`
    Column("old_until", BigInteger),
    Column("priority", Integer, nullable=False),
    Column("models", Text),  # JSON list; null: all
    Column("max_concurrency", Integer),
    Column("requests_per_min", Integer),
    Column("tokens_per_min", Integer),
    Column("monthly_tokens", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("changed", BigInteger, nullable=False),
    Index("keys_changed", "changed"),
)

USAGE: Final = Table(
    "usage",
    METADATA,
    Column("key_id", String(32), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("generated_tokens", BigInteger, nullable=False),
    Index("usage_day", "day"),
)

# The sum of `usage` that budgets are held against; one row to read instead of a month of days and models.
SPENT: Final = Table(
    "spent",
    METADATA,
    Column("key_id", String(32), primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("tokens", BigInteger, nullable=False),
)

AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),  # milliseconds since 1970: the end of the request
    Column("request_id", String(128), nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("route", String(128), nullable=False),
    Column("model", String(64), nullable=False),
    Column("version", Integer),
    Column("pool", String(32), nullable=False),
    Column("status", Integer, nullable=False),
    Column("verdicts", Text, nullable=False),  # rule ids, separated by spaces
    Column("blocked_by", String(64)),
    Column("prompt_tokens", Integer, nullable=False),
    Column("generated_tokens", Integer, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("prompt_hmac", String(64), nullable=False),
    Column("answer_hmac", String(64), nullable=False),
    Column("policy", String(128), nullable=False, server_default=""),  # id and first digits of the SHA-256
    Column("finds", Text, nullable=False, server_default=""),  # JSON list: what guard rules found, without its text
    Index("audit_at", "at_ms"),
)
