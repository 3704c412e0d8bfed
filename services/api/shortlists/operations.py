"""Note a wish about somebody, or that one would rather not meet; take it back."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access.rules import Actor
from services.api.events import operations as events
from services.api.participants import operations as participants
from services.api.participants import queries as participant_queries
from services.api.participants.tables import Participant
from services.api.shortlists import queries, rules
from services.api.shortlists.rules import Mark
from services.api.shortlists.tables import ShortlistEntry
from shared.errors import NotFoundError
from shared.persistence.reads import SessionReader
from shared.web.preconditions import require_match, require_match_or_new


async def put(
    session: AsyncSession,
    *,
    actor: Actor,
    participant_id: UUID,
    other_id: UUID,
    mark: Mark,
    if_match: str | None,
    if_none_match: str | None,
    now: datetime,
) -> tuple[ShortlistEntry, bool]:
    """Mark somebody of the same program; return the entry, and whether it is new.

    The event names neither the other nor the mark: nobody but the owner may know.
    """
    participant = await participants.load(
        session, actor=actor, participant_id=participant_id, permission="shortlist.own"
    )
    rules.require_somebody_else(participant_id, other_id)
    other = await participant_queries.get(
        SessionReader(session), actor=actor, participant_id=other_id
    )
    if other["program_id"] != participant.program_id:
        raise NotFoundError
    entry = await queries.lock(
        session,
        organization_id=participant.organization_id,
        participant_id=participant_id,
        other_id=other_id,
    )
    is_new = entry is None
    require_match_or_new(if_match, if_none_match, version=entry.version if entry else None)
    if entry is None:
        entry = await _add(session, participant, other_id, mark, now=now)
    else:
        entry.mark = mark
        entry.version += 1
        entry.updated_at = now
    _record(session, participant, actor=actor, now=now)
    return entry, is_new


async def _add(
    session: AsyncSession, participant: Participant, other_id: UUID, mark: Mark, *, now: datetime
) -> ShortlistEntry:
    # The participant is locked, so that two at once cannot pass the bound together.
    rules.require_room(
        await queries.count(
            session,
            organization_id=participant.organization_id,
            participant_id=participant.id,
        )
    )
    entry = ShortlistEntry(
        organization_id=participant.organization_id,
        participant_id=participant.id,
        other_id=other_id,
        program_id=participant.program_id,
        mark=mark,
        updated_at=now,
    )
    session.add(entry)
    return entry


async def remove(
    session: AsyncSession,
    *,
    actor: Actor,
    participant_id: UUID,
    other_id: UUID,
    if_match: str | None,
    now: datetime,
) -> None:
    """Take a mark back."""
    participant = await participants.load(
        session, actor=actor, participant_id=participant_id, permission="shortlist.own"
    )
    entry = await queries.lock(
        session,
        organization_id=participant.organization_id,
        participant_id=participant_id,
        other_id=other_id,
    )
    if entry is None:
        raise NotFoundError
    require_match(if_match, version=entry.version)
    await session.delete(entry)
    _record(session, participant, actor=actor, now=now)


def _record(
    session: AsyncSession, participant: Participant, *, actor: Actor, now: datetime
) -> None:
    events.record(
        session,
        "participant.changed",
        participant,
        now=now,
        actor_id=actor.person_id,
        program_id=participant.program_id,
        changed=["shortlist"],
        named={"person_id": participant.person_id},
    )
