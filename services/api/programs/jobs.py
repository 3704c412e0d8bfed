"""What a program does by itself when its days come."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.programs import operations, queries, rules
from services.api.programs.rules import ProgramAction

ACTION_OF_TIMER: Mapping[str, ProgramAction] = {
    "program.open_registration": ProgramAction.OPEN_REGISTRATION,
    "program.close_registration": ProgramAction.CLOSE_REGISTRATION,
    "program.wind_down": ProgramAction.WIND_DOWN,
}


async def on_timer(
    session: AsyncSession, *, organization_id: UUID, kind: str, subject_id: UUID, now: datetime
) -> None:
    """Open or close registration, or begin to wind down; a coordinator may have been faster."""
    program = await queries.lock(session, organization_id=organization_id, program_id=subject_id)
    action = ACTION_OF_TIMER[kind]
    if action in rules.allowed_actions(program.status):
        await operations.advance(session, program=program, action=action, actor_id=None, now=now)
