"""What happens to participants without anybody asking: time runs out, people leave."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.participants import operations, queries, rules
from services.api.participants.rules import ParticipantAction, ParticipantStatus
from services.api.programs import queries as programs
from services.api.programs.rules import ManagerSilence


async def on_timer(
    session: AsyncSession, *, organization_id: UUID, kind: str, subject_id: UUID, now: datetime
) -> None:
    """End an unanswered invitation or question; go on without a silent people manager."""
    participant = await queries.lock(
        session, organization_id=organization_id, participant_id=subject_id
    )
    action = (
        ParticipantAction.EXPIRE
        if kind == "participant.expire"
        else await _after_silence(session, organization_id, participant.program_id)
    )
    if (participant.status, action) in rules.TRANSITIONS:
        await operations.advance(
            session, participant=participant, action=action, actor_id=None, now=now
        )


async def _after_silence(
    session: AsyncSession, organization_id: UUID, program_id: UUID
) -> ParticipantAction:
    program = await programs.find(session, organization_id=organization_id, program_id=program_id)
    if program is not None and program.manager_silence is ManagerSilence.ASSUME_YES:
        return ParticipantAction.ACKNOWLEDGE
    return ParticipantAction.ASK_COORDINATOR


async def on_person_left(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """Take a leaver out of every program."""
    for participant_id in await queries.live_ids_of_person(
        session, organization_id=organization_id, person_id=subject_id
    ):
        await _end(session, organization_id, participant_id, ParticipantAction.REMOVE, now)


async def on_program_ended(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """Close every participation of a program that is over."""
    for participant_id in await queries.live_ids_of_program(
        session, organization_id=organization_id, program_id=subject_id
    ):
        await _end(session, organization_id, participant_id, ParticipantAction.COMPLETE, now)


async def _end(
    session: AsyncSession,
    organization_id: UUID,
    participant_id: UUID,
    action: ParticipantAction,
    now: datetime,
) -> None:
    participant = await queries.lock(
        session, organization_id=organization_id, participant_id=participant_id
    )
    if participant.status is not ParticipantStatus.SUSPENDED:
        await operations.advance(
            session, participant=participant, action=action, actor_id=None, now=now
        )
