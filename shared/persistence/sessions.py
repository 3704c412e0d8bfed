"""The only place that commits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from shared.persistence.tenancy import Tenant, TenantSession

type Sessions = async_sessionmaker[AsyncSession]


def create_sessions(engine: AsyncEngine) -> Sessions:
    """Return the maker of sessions that know their tenant."""
    return async_sessionmaker(
        engine, class_=AsyncSession, sync_session_class=TenantSession, expire_on_commit=False
    )


@asynccontextmanager
async def transaction(sessions: Sessions, tenant: Tenant) -> AsyncIterator[AsyncSession]:
    """Commit when the block ends, roll back when it raises. Nothing else commits."""
    async with sessions(info={"tenant": tenant}) as session, session.begin():
        yield session
