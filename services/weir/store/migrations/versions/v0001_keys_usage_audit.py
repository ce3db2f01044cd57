"""Keys, usage, spent budgets, audit."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    """Make all tables and the one row of `revision`."""
    _keys()
    _usage()
    _audit()


def _keys() -> None:
    made = op.create_table(
        "revision",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("database_id", sa.String(32), nullable=False),
    )
    op.bulk_insert(made, [{"id": 1, "number": 0, "database_id": uuid4().hex}])
    op.create_table(
        "keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("old_digest", sa.LargeBinary(32)),
        sa.Column("old_until", sa.BigInteger),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("models", sa.Text),
        sa.Column("max_concurrency", sa.Integer),
        sa.Column("requests_per_min", sa.Integer),
        sa.Column("tokens_per_min", sa.Integer),
        sa.Column("monthly_tokens", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_index("keys_changed", "keys", ["changed"])


def _usage() -> None:
    op.create_table(
        "usage",
        sa.Column("key_id", sa.String(32), primary_key=True),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("generated_tokens", sa.BigInteger, nullable=False),
    )
    op.create_index("usage_day", "usage", ["day"])
    op.create_table(
        "spent",
        sa.Column("key_id", sa.String(32), primary_key=True),
        sa.Column("month", sa.String(7), primary_key=True),
        sa.Column("tokens", sa.BigInteger, nullable=False),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("route", sa.String(128), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("pool", sa.String(32), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("verdicts", sa.Text, nullable=False),
        sa.Column("blocked_by", sa.String(64)),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("generated_tokens", sa.Integer, nullable=False),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("prompt_hmac", sa.String(64), nullable=False),
        sa.Column("answer_hmac", sa.String(64), nullable=False),
    )
    op.create_index("audit_at", "audit", ["at_ms"])
