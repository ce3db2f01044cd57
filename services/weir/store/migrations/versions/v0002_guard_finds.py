"""What the guard found, beside each request."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add the guard's columns to the audit; older rows have nothing in them."""
    op.add_column("audit", sa.Column("policy", sa.String(128), nullable=False, server_default=""))
    op.add_column("audit", sa.Column("finds", sa.Text, nullable=False, server_default=""))
