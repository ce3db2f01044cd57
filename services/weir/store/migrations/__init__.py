"""Alembic's scripts; `weir.store.migrate` runs them."""
