"""Alembic's entry point: runs on the connection that `weir.store.migrate` hands over, in its transaction."""

from alembic import context

from weir.store.schema import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=True)
context.run_migrations()
