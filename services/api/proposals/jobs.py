"""What happens to proposals without anybody asking."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.proposals import operations, queries


async def on_timer(
    session: AsyncSession, *, organization_id: UUID, kind: str, subject_id: UUID, now: datetime
) -> None:
    """Remind those who owe an answer; end what nobody answered in time."""
    if kind == "proposal.remind":
        await operations.remind(
            session, organization_id=organization_id, proposal_id=subject_id, now=now
        )
    else:
        await operations.close(
            session, organization_id=organization_id, proposal_id=subject_id, now=now
        )


async def on_participant_left(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """End the open proposals of somebody who no longer takes part; others' seats are free again."""
    found = await queries.open_ids_of_participant(
        session, organization_id=organization_id, participant_id=subject_id
    )
    await _close_all(session, found, organization_id=organization_id, now=now)


async def on_mentorship_ended(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """End the open proposals to join a mentorship that takes nobody any more."""
    found = await queries.open_ids_of_mentorship(
        session, organization_id=organization_id, mentorship_id=subject_id
    )
    await _close_all(session, found, organization_id=organization_id, now=now)


async def on_program_closed(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """End the open proposals of a program that makes no new matches."""
    found = await queries.open_ids_of_program(
        session, organization_id=organization_id, program_id=subject_id
    )
    await _close_all(session, found, organization_id=organization_id, now=now)


async def _close_all(
    session: AsyncSession, proposal_ids: Sequence[UUID], *, organization_id: UUID, now: datetime
) -> None:
    for proposal_id in proposal_ids:
        await operations.close(
            session, organization_id=organization_id, proposal_id=proposal_id, now=now
        )
