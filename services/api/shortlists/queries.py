"""Reads of shortlists: by their owner, and by what keeps people apart."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, cast, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.shortlists.rules import Mark
from services.api.shortlists.tables import ShortlistEntry
from shared.persistence.reads import AnySelect, Reader, keyset, once, place_of

ENTRY = ShortlistEntry.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker


@once
def _own(*, is_first: bool) -> AnySelect:
    statement = select(*ENTRY.c, ENTRY.c.other_id.label("id")).where(
        ENTRY.c.organization_id == bindparam("organization_id"),
        ENTRY.c.participant_id == bindparam("participant_id"),
    )
    return keyset(statement, (ENTRY.c.other_id,), is_first=is_first)


@once
def _of_program() -> AnySelect:
    return (
        select(ENTRY.c.participant_id, ENTRY.c.other_id, cast(ENTRY.c.mark, Text).label("mark"))
        .where(
            ENTRY.c.organization_id == bindparam("organization_id"),
            ENTRY.c.program_id == bindparam("program_id"),
        )
        .order_by(ENTRY.c.participant_id, ENTRY.c.other_id)
    )


@once
def _apart() -> AnySelect:
    ids, concerning = (bindparam(name, type_=ARRAY(Uuid)) for name in ("ids", "concerning"))
    return select(ENTRY.c.participant_id).where(
        ENTRY.c.organization_id == bindparam("organization_id"),
        ENTRY.c.participant_id == func.any(ids),
        ENTRY.c.other_id == func.any(ids),
        or_(
            ENTRY.c.participant_id == func.any(concerning),
            ENTRY.c.other_id == func.any(concerning),
        ),
        cast(ENTRY.c.mark, Text) == Mark.IGNORE.value,
    )


async def list_own(
    reader: Reader,
    *,
    organization_id: UUID,
    participant_id: UUID,
    after: UUID | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return what a participant noted about others."""
    return await reader.fetch(
        _own(is_first=after is None),
        organization_id=organization_id,
        participant_id=participant_id,
        limit=limit,
        **place_of([after] if after else None),
    )


async def of_program(
    reader: Reader, *, organization_id: UUID, program_id: UUID
) -> list[Mapping[str, Any]]:
    """Return every mark of a program's participants."""
    return await reader.fetch(_of_program(), organization_id=organization_id, program_id=program_id)


async def are_apart(
    reader: Reader,
    *,
    organization_id: UUID,
    participant_ids: Sequence[UUID],
    concerning: Sequence[UUID] | None = None,
) -> bool:
    """Tell whether any of these participants ignores another of them.

    Of `concerning`, one of those at least ignores somebody or is ignored.
    """
    found = await reader.fetch_one(
        _apart(),
        organization_id=organization_id,
        ids=list(participant_ids),
        concerning=list(participant_ids if concerning is None else concerning),
    )
    return found is not None


async def lock(
    session: AsyncSession, *, organization_id: UUID, participant_id: UUID, other_id: UUID
) -> ShortlistEntry | None:
    """Load an entry for a change; None where there is none."""
    key = (organization_id, participant_id, other_id)
    return await session.get(ShortlistEntry, key, with_for_update=True, populate_existing=True)


async def count(session: AsyncSession, *, organization_id: UUID, participant_id: UUID) -> int:
    """Count the entries of a shortlist."""
    statement = select(func.count()).where(
        col(ShortlistEntry.organization_id) == organization_id,
        col(ShortlistEntry.participant_id) == participant_id,
    )
    return int((await session.execute(statement)).scalar_one())
