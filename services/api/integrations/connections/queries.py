"""Reads of connections."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.integrations.connections.tables import Connection
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

TABLE = Connection.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker


@once
def _one() -> AnySelect:
    return select(*TABLE.c).where(
        TABLE.c.organization_id == bindparam("organization_id"),
        TABLE.c.id == bindparam("connection_id"),
    )


@once
def _many(*, is_first: bool) -> AnySelect:
    statement = select(*TABLE.c).where(TABLE.c.organization_id == bindparam("organization_id"))
    return keyset(statement, (TABLE.c.id,), is_first=is_first)


async def get(reader: Reader, *, organization_id: UUID, connection_id: UUID) -> Mapping[str, Any]:
    """Return one connection."""
    row = await reader.fetch_one(
        _one(), organization_id=organization_id, connection_id=connection_id
    )
    if row is None:
        raise NotFoundError
    return row


async def list_page(
    reader: Reader, *, organization_id: UUID, after: UUID | None, limit: int
) -> list[Mapping[str, Any]]:
    """Return connections, oldest first."""
    return await reader.fetch(
        _many(is_first=after is None),
        organization_id=organization_id,
        limit=limit,
        **place_of([after] if after else None),
    )


async def find(
    session: AsyncSession, *, organization_id: UUID, connection_id: UUID
) -> Connection | None:
    """Load one connection, unlocked."""
    return await session.get(Connection, (organization_id, connection_id))


async def lock(session: AsyncSession, *, organization_id: UUID, connection_id: UUID) -> Connection:
    """Load one connection for a change."""
    connection = await session.get(
        Connection, (organization_id, connection_id), with_for_update=True, populate_existing=True
    )
    if connection is None:
        raise NotFoundError
    return connection


async def is_label_taken(
    session: AsyncSession, *, organization_id: UUID, label: str, except_id: UUID
) -> bool:
    """Tell whether another connection bears the label."""
    statement = select(col(Connection.id)).where(
        col(Connection.organization_id) == organization_id,
        col(Connection.label) == label,
        col(Connection.id) != except_id,
    )
    return (await session.execute(statement.limit(1))).first() is not None
