"""The only place that commits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from shared.persistence.tenancy import Tenant, TenantSession

type Sessions = async_sessionmaker[AsyncSession]

_DRIVER = "driver"


def create_sessions(engine: AsyncEngine) -> Sessions:
    """Return the maker of sessions that know their tenant."""
    return async_sessionmaker(
        engine, class_=AsyncSession, sync_session_class=TenantSession, expire_on_commit=False
    )


@asynccontextmanager
async def transaction(sessions: Sessions, tenant: Tenant) -> AsyncIterator[AsyncSession]:
    """Commit when the block ends, roll back when it raises. Nothing else commits."""
    async with sessions(info={"tenant": tenant}) as session, session.begin():
        connection = await session.connection()
        if connection.sync_connection is None:
            raise RuntimeError("the session has no connection")
        session.info[_DRIVER] = connection.sync_connection.connection.driver_connection
        yield session


def driver(session: AsyncSession) -> Any:
    """Return the asyncpg connection whose transaction the session is in."""
    return session.info[_DRIVER]
