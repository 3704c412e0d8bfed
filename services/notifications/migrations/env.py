"""Runs inside Alembic: hands it the open connection and the tables."""

from alembic import context

config = context.config
context.configure(
    connection=config.attributes["connection"],
    target_metadata=config.attributes["target"],
    compare_type=True,
    transaction_per_migration=False,
)
context.run_migrations()
