"""Connections to PostgreSQL, with every wait bounded: a database that hangs fails in seconds."""

from collections.abc import Mapping
from time import monotonic
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import asyncpg
from pydantic_core import from_json, to_json
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared.settings import Pooler

CONNECT_SECONDS = 2
COMMAND_SECONDS = 6
# Longer than a lock is waited for: a queue before one row is served, not refused.
POOL_WAIT_SECONDS = 4
RESTED_SECONDS = 5

# lock < statement < command < request deadline, so that the innermost limit speaks first.
SERVER_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "lock_timeout": "1000",
        "statement_timeout": "5000",
        "idle_in_transaction_session_timeout": "10000",
        "client_connection_check_interval": "2000",
        "timezone": "UTC",
    }
)


# SQLAlchemy prepares each statement by a name of its own, which a pooler's other clients may have
# taken on the server connection it hands out.
_NAMELESS: Mapping[Pooler, Mapping[str, Any]] = MappingProxyType(
    {
        Pooler.NONE: {},
        Pooler.TRANSACTION: {
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"__mentoring_{uuid4()}__",
        },
    }
)


def create_engine(
    url: str, *, size: int, service: str, pooler: Pooler = Pooler.NONE
) -> AsyncEngine:
    """Return the engine that writes go through; nothing connects yet."""
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=size,
        max_overflow=0,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_SECONDS,
            "command_timeout": COMMAND_SECONDS,
            **_behind(pooler, service),
            **_NAMELESS[pooler],
        },
    )
    _check_rested(engine)
    return engine


def _behind(pooler: Pooler, service: str) -> dict[str, Any]:
    """Return what a connection is opened with.

    Behind a pooler in transaction mode each transaction may have another server connection: nothing
    prepared is there the next time, and the limits are those of the login role (roles.sql).
    """
    if pooler is Pooler.TRANSACTION:
        return {"statement_cache_size": 0}
    return {"server_settings": {**SERVER_SETTINGS, "application_name": service}}


def _check_rested(engine: AsyncEngine) -> None:
    """Ask a connection whether it lives after a rest, not before every transaction.

    `pool_pre_ping` costs three round trips each time. A server that goes away closes its
    connections, which the driver knows without asking; a silent one is found after a rest, or by
    the command timeout.
    """

    @event.listens_for(engine.sync_engine, "checkin")
    def note(_connection: Any, record: Any) -> None:
        record.info["rests_since"] = monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def check(connection: Any, record: Any, _proxy: Any) -> None:
        rested = monotonic() - record.info.get("rests_since", monotonic())
        if connection.driver_connection.is_closed():
            raise DisconnectionError
        if rested > RESTED_SECONDS:
            _ping(engine, connection)


def _ping(engine: AsyncEngine, connection: Any) -> None:
    dialect = engine.dialect
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise DisconnectionError from error


class PooledConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """A pooled connection whose release costs no query: nothing here ever sets session state."""

    def get_reset_query(self) -> str:
        """Return the empty query; every setting is made with `set_config(..., true)`."""
        return ""


async def _understand_json(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: to_json(value).decode(),
        decoder=from_json,
    )


async def create_read_pool(
    url: str, *, size: int, service: str, pooler: Pooler = Pooler.NONE
) -> Any:
    """Return the asyncpg pool of hot reads; it connects when first used."""
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        connection_class=PooledConnection,
        init=_understand_json,
        max_inactive_connection_lifetime=300,
        **_behind(pooler, f"{service}-read"),
    )
