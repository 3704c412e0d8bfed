"""What happens to participants without anybody asking: time runs out, people leave."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.participants import operations, queries, rules
from services.api.participants.queries import PREFERENCE
from services.api.participants.rules import ParticipantAction, ParticipantStatus
from services.api.participants.tables import TextVector
from services.api.programs import queries as programs
from services.api.programs.rules import ManagerSilence
from services.api.timers.jobs import organizations
from shared.persistence.leases import JobDatabase
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant


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


async def forget_vectors(database: JobDatabase) -> None:
    """Delete what was made of texts that nobody has any more, and what is old; in real time."""
    oldest = database.clock() - rules.VECTORS_KEPT_FOR
    for organization_id in await organizations(database):
        async with transaction(database.sessions, Tenant(organization_id)) as session:
            hashes = union_all(
                *(
                    select(func.sha256(func.convert_to(path, "UTF8")).label("text_hash")).where(
                        PREFERENCE.c.organization_id == organization_id, path.is_not(None)
                    )
                    for path in (PREFERENCE.c.path_now, PREFERENCE.c.path_target)
                )
            ).subquery()
            is_somebodys = select(1).where(hashes.c.text_hash == col(TextVector.text_hash)).exists()
            await session.execute(
                delete(TextVector)
                .where(
                    col(TextVector.organization_id) == organization_id,
                    or_(col(TextVector.created_at) < oldest, ~is_somebodys),
                )
                .execution_options(synchronize_session=False)
            )
