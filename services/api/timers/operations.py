"""Set, move and take back timers."""

from collections.abc import Sequence
from datetime import datetime
from itertools import batched
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.timers.tables import Timer
from shared import ids

MOST_AT_ONCE = 1000


async def schedule(
    session: AsyncSession,
    *,
    organization_id: UUID,
    kind: str,
    subject_id: UUID,
    due_at: datetime,
    occasion: str = "",
) -> None:
    """Make the timer due at this instant of the organization's clock, moving it if it exists."""
    await schedule_each(
        session,
        organization_id=organization_id,
        kind=kind,
        subject_ids=[subject_id],
        due_at=due_at,
        occasion=occasion,
    )


async def schedule_each(
    session: AsyncSession,
    *,
    organization_id: UUID,
    kind: str,
    subject_ids: Sequence[UUID],
    due_at: datetime,
    occasion: str = "",
) -> None:
    """Make a timer of one kind due at this instant for each subject, a thousand at a time."""
    for some in batched(subject_ids, MOST_AT_ONCE):
        statement = insert(Timer).values(
            [
                {
                    "organization_id": organization_id,
                    "id": ids.new_id(),
                    "kind": kind,
                    "subject_id": subject_id,
                    "occasion": occasion,
                    "due_at": due_at,
                    "attempts": 0,
                }
                for subject_id in some
            ]
        )
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=["organization_id", "kind", "subject_id", "occasion"],
                # Whoever works on the old occasion loses its lease, and cannot finish the new one.
                set_={
                    "due_at": due_at,
                    "done_at": None,
                    "leased_until": None,
                    "lease_token": None,
                    "attempts": 0,
                    "failure": None,
                },
            )
        )


async def cancel(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, kind: str | None = None
) -> None:
    """Forget the timers of a subject, all or one kind."""
    statement = delete(Timer).where(
        col(Timer.organization_id) == organization_id,
        col(Timer.subject_id) == subject_id,
        col(Timer.done_at).is_(None),
    )
    if kind is not None:
        statement = statement.where(col(Timer.kind) == kind)
    await session.execute(statement)
