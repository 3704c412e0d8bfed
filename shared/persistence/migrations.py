"""Alembic for one service: upgrade to head, or write the next revision.

Runs as `migrator`, which owns the schema and is no superuser.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, pool
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

LOCK_TIMEOUT = "SET lock_timeout = '2s'"


def upgrade(*, folder: Path, url: str, target: MetaData) -> None:
    """Bring the database to the newest revision in the folder; a second run changes nothing."""
    asyncio.run(_connected(url, lambda connection: _upgrade(folder, connection, target)))


def write_revision(*, folder: Path, url: str, target: MetaData, message: str) -> None:
    """Write the revision that turns the database into what the tables say."""
    asyncio.run(_connected(url, lambda connection: _revision(folder, connection, target, message)))


def _config(folder: Path, connection: Connection, target: MetaData) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes["connection"] = connection
    config.attributes["target"] = target
    return config


def _upgrade(folder: Path, connection: Connection, target: MetaData) -> None:
    connection.exec_driver_sql(LOCK_TIMEOUT)
    command.upgrade(_config(folder, connection, target), "head")


def _revision(folder: Path, connection: Connection, target: MetaData, message: str) -> None:
    config = _config(folder, connection, target)
    command.revision(config, message=message, autogenerate=True)


async def _connected(url: str, work: Callable[[Connection], None]) -> None:
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"), poolclass=pool.NullPool
    )
    async with engine.begin() as connection:
        await connection.run_sync(work)
    await engine.dispose()
