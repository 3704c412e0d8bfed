"""Reads of suggestions that no feature below makes."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from services.api.participants.queries import PARTICIPANT
from shared.persistence.reads import AnySelect, Reader, once


@once
def _people() -> AnySelect:
    return select(PARTICIPANT.c.id, PARTICIPANT.c.person_id).where(
        PARTICIPANT.c.organization_id == bindparam("organization_id"),
        PARTICIPANT.c.id == func.any(bindparam("ids", type_=ARRAY(Uuid))),
    )


async def people_of(
    reader: Reader, *, organization_id: UUID, participant_ids: Sequence[UUID]
) -> dict[UUID, UUID]:
    """Return the person behind each participant."""
    rows = await reader.fetch(_people(), organization_id=organization_id, ids=list(participant_ids))
    return {row["id"]: row["person_id"] for row in rows}
