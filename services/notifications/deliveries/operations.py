"""Changes of messages and deliveries: planned, finished, forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.notifications.database import NotificationsTable
from services.notifications.deliveries.rules import (
    UNKEPT,
    AttemptResult,
    Channel,
    DeliveryState,
    Lane,
    MessageClass,
    Outcome,
    next_status,
)
from services.notifications.deliveries.tables import (
    Attempt,
    CapturedMessage,
    Delivery,
    DeliveryContent,
    Message,
    Organization,
    Recipient,
)
from services.notifications.templates.rendering import Rendered
from shared import ids
from shared.persistence.leases import Claim

URGENT = frozenset({MessageClass.ACT, MessageClass.MANDATORY})


@dataclass(frozen=True, slots=True)
class Calendar:
    """The calendar part of a mail, and which revision of which meeting it is."""

    meeting_id: UUID
    sequence: int
    method: str
    text: str


@dataclass(frozen=True, slots=True)
class Captured:
    """What a mail of a sandbox looked like."""

    headers: dict[str, str]
    parts: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Finish:
    """What an attempt came to, and what follows from it."""

    outcome: Outcome
    result: AttemptResult
    reason: str | None = None
    answer: str = ""
    due_at: datetime | None = None
    captured: Captured | None = None


def mail_of(
    message: Message,
    *,
    address: str | None,
    mail_to: str | None,
    rendered: Rendered,
    calendar: Calendar | None,
) -> list[NotificationsTable]:
    """Return a message's mail as rows; without an address it is on file that none was sent.

    `address` is where its reader can be reached now, `mail_to` where this one goes instead.
    """
    address = mail_to or address
    delivery = Delivery(
        organization_id=message.organization_id,
        id=ids.new_id(),
        message_id=message.id,
        event_id=message.event_id,
        person_id=message.person_id,
        channel=Channel.EMAIL,
        target_id="",
        occasion=message.kind,
        lane=Lane.URGENT if message.message_class in URGENT else Lane.NORMAL,
        state=DeliveryState.PENDING if address else DeliveryState.SUPPRESSED,
        reason=None if address else "no_address",
        due_at=message.created_at,
        meeting_id=calendar.meeting_id if calendar else None,
        ical_sequence=calendar.sequence if calendar else None,
        attempts=0,
        created_at=message.created_at,
        finished_at=None if address else message.created_at,
    )
    if address is None:
        return [delivery]
    content = DeliveryContent(
        organization_id=message.organization_id,
        delivery_id=delivery.id,
        template=rendered.kind,
        locale=rendered.locale,
        subject=rendered.title,
        body_text=rendered.text,
        body_html=rendered.html,
        mail_to=mail_to,
        calendar=calendar.text if calendar else None,
        method=calendar.method if calendar else None,
    )
    return [delivery, content]


async def finish(
    session: AsyncSession, claimed: Claim, done: Finish, *, real_now: datetime, now: datetime
) -> bool:
    """Write down what an attempt came to; False means that the lease was lost meanwhile.

    `real_now` dates the attempt; `now`, on the organization's clock, dates the delivery.
    """
    state = next_status(DeliveryState.PENDING, done.outcome)
    is_over = state is not DeliveryState.PENDING
    changes: dict[str, Any] = {
        "state": state,
        "reason": done.reason,
        "leased_until": None,
        "lease_token": None,
        "finished_at": now if is_over else None,
    }
    if done.due_at is not None:
        changes |= {"due_at": done.due_at, "lane": Lane.RETRY}
    if done.outcome is Outcome.SEND:
        changes["provider_id"] = done.answer[:300]
    written = await session.scalar(
        update(Delivery)
        .where(
            col(Delivery.organization_id) == claimed.organization_id,
            col(Delivery.id) == claimed.id,
            col(Delivery.lease_token) == claimed.lease_token,
        )
        .values(**changes)
        .returning(col(Delivery.occasion))
    )
    if written is None:
        return False
    if is_over and written in UNKEPT:
        await forget_words(
            session, organization_id=claimed.organization_id, delivery_ids=[claimed.id]
        )
    await _close_attempt(session, claimed, done, real_now=real_now)
    if done.captured is not None:
        await _capture(session, claimed, done.captured, now=now)
    return True


async def forget_words(
    session: AsyncSession, *, organization_id: UUID, delivery_ids: Sequence[UUID]
) -> None:
    """Delete what deliveries said that are over, where it is not to be kept."""
    unkept = select(col(Delivery.id)).where(
        col(Delivery.organization_id) == organization_id,
        col(Delivery.id).in_(delivery_ids),
        col(Delivery.occasion).in_(UNKEPT),
    )
    await session.execute(
        delete(DeliveryContent)
        .where(
            col(DeliveryContent.organization_id) == organization_id,
            col(DeliveryContent.delivery_id).in_(unkept),
        )
        .execution_options(synchronize_session=False)
    )


async def _close_attempt(
    session: AsyncSession, claimed: Claim, done: Finish, *, real_now: datetime
) -> None:
    await session.execute(
        update(Attempt)
        .where(
            col(Attempt.organization_id) == claimed.organization_id,
            col(Attempt.delivery_id) == claimed.id,
            col(Attempt.no) == claimed.attempts,
        )
        .values(result=done.result, ended_at=real_now, answer=done.answer[:500] or None)
    )


async def _capture(
    session: AsyncSession, claimed: Claim, captured: Captured, *, now: datetime
) -> None:
    delivery = await session.get_one(Delivery, (claimed.organization_id, claimed.id))
    await session.execute(
        insert(CapturedMessage.__table__)  # type: ignore[attr-defined]  # SQLModel hides it
        .values(
            organization_id=claimed.organization_id,
            id=claimed.id,
            channel=delivery.channel,
            person_id=delivery.person_id,
            kind=delivery.occasion,
            captured_at=now,
            headers=captured.headers,
            parts=captured.parts,
        )
        .on_conflict_do_nothing()
    )


async def release(session: AsyncSession, claimed: Claim) -> None:
    """Give an unworked delivery back, as if it had not been claimed."""
    freed = await session.scalar(
        update(Delivery)
        .where(
            col(Delivery.organization_id) == claimed.organization_id,
            col(Delivery.id) == claimed.id,
            col(Delivery.lease_token) == claimed.lease_token,
        )
        .values(leased_until=None, lease_token=None, attempts=col(Delivery.attempts) - 1)
        .returning(col(Delivery.id))
    )
    if freed is not None:
        await session.execute(
            delete(Attempt).where(
                col(Attempt.organization_id) == claimed.organization_id,
                col(Attempt.delivery_id) == claimed.id,
                col(Attempt.no) == claimed.attempts,
            )
        )


async def move_clock(session: AsyncSession, *, organization_id: UUID, offset_seconds: int) -> None:
    """Set how far ahead a sandbox's clock is; one that was never heard of becomes known by it."""
    values = {"clock_offset_seconds": offset_seconds}
    await session.execute(
        insert(Organization.__table__)  # type: ignore[attr-defined]  # SQLModel hides it
        .values(organization_id=organization_id, kind="sandbox", **values)
        .on_conflict_do_update(index_elements=["organization_id"], set_=values)
    )


async def forget(session: AsyncSession, *, organization_id: UUID) -> None:
    """Forget everything of an organization that this feature keeps."""
    tables: Sequence[type[NotificationsTable]] = (
        *(CapturedMessage, Attempt, DeliveryContent, Delivery),
        *(Message, Recipient, Organization),
    )
    for table in tables:
        columns = table.__table__.c  # type: ignore[attr-defined]  # SQLModel hides it
        await session.execute(delete(table).where(columns.organization_id == organization_id))
