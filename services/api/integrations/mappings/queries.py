"""Reads of mappings."""

from collections.abc import Mapping as Rows
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.integrations.mappings.tables import Mapping, MappingVersion
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

TABLE = Mapping.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
VERSIONS = MappingVersion.__table__  # type: ignore[attr-defined]  # as above


def _newest() -> AnySelect:
    return (
        select(*TABLE.c, VERSIONS.c.document)
        .join(
            VERSIONS,
            and_(
                VERSIONS.c.organization_id == TABLE.c.organization_id,
                VERSIONS.c.mapping_id == TABLE.c.id,
                VERSIONS.c.number == TABLE.c.newest,
            ),
        )
        .where(TABLE.c.organization_id == bindparam("organization_id"))
    )


@once
def _one() -> AnySelect:
    return _newest().where(TABLE.c.id == bindparam("mapping_id"))


@once
def _many(*, is_first: bool) -> AnySelect:
    return keyset(_newest(), (TABLE.c.id,), is_first=is_first)


async def get(reader: Reader, *, organization_id: UUID, mapping_id: UUID) -> Rows[str, Any]:
    """Return a mapping with its newest document."""
    row = await reader.fetch_one(_one(), organization_id=organization_id, mapping_id=mapping_id)
    if row is None:
        raise NotFoundError
    return row


async def list_page(
    reader: Reader, *, organization_id: UUID, after: UUID | None, limit: int
) -> list[Rows[str, Any]]:
    """Return mappings, oldest first, each with its newest document."""
    return await reader.fetch(
        _many(is_first=after is None),
        organization_id=organization_id,
        limit=limit,
        **place_of([after] if after else None),
    )


async def find(session: AsyncSession, *, organization_id: UUID, mapping_id: UUID) -> Mapping | None:
    """Load one mapping, unlocked."""
    return await session.get(Mapping, (organization_id, mapping_id))


async def lock(session: AsyncSession, *, organization_id: UUID, mapping_id: UUID) -> Mapping:
    """Load one mapping for a change."""
    mapping = await session.get(
        Mapping, (organization_id, mapping_id), with_for_update=True, populate_existing=True
    )
    if mapping is None:
        raise NotFoundError
    return mapping


async def document(
    session: AsyncSession, *, organization_id: UUID, mapping_id: UUID, number: int
) -> dict[str, Any]:
    """Return one version's document."""
    version = await session.get(MappingVersion, (organization_id, mapping_id, number))
    if version is None:
        raise NotFoundError
    return version.document


async def is_name_taken(
    session: AsyncSession, *, organization_id: UUID, name: str, except_id: UUID
) -> bool:
    """Tell whether another mapping bears the name."""
    statement = select(col(Mapping.id)).where(
        col(Mapping.organization_id) == organization_id,
        col(Mapping.name) == name,
        col(Mapping.id) != except_id,
    )
    return (await session.execute(statement.limit(1))).first() is not None
