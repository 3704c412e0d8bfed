"""Reads of suggestions that no feature below makes."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Text, Uuid, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from services.api.participants.queries import PARTICIPANT
from services.api.shortlists.queries import ENTRY
from services.api.shortlists.rules import Mark
from shared.persistence.reads import AnySelect, Reader, once


@once
def _people() -> AnySelect:
    return select(PARTICIPANT.c.id, PARTICIPANT.c.person_id).where(
        PARTICIPANT.c.organization_id == bindparam("organization_id"),
        PARTICIPANT.c.id == func.any(bindparam("ids", type_=ARRAY(Uuid))),
    )


@once
def _favorites() -> AnySelect:
    return select(ENTRY.c.other_id).where(
        ENTRY.c.organization_id == bindparam("organization_id"),
        ENTRY.c.participant_id == bindparam("participant_id"),
        cast(ENTRY.c.mark, Text) == Mark.FAVORITE.value,
    )


async def favorites_of(
    reader: Reader, *, organization_id: UUID, participant_id: UUID
) -> frozenset[UUID]:
    """Return whom a participant marked as favorites."""
    rows = await reader.fetch(
        _favorites(), organization_id=organization_id, participant_id=participant_id
    )
    return frozenset(row["other_id"] for row in rows)


async def people_of(
    reader: Reader, *, organization_id: UUID, participant_ids: Sequence[UUID]
) -> dict[UUID, UUID]:
    """Return the person behind each participant."""
    rows = await reader.fetch(_people(), organization_id=organization_id, ids=list(participant_ids))
    return {row["id"]: row["person_id"] for row in rows}
