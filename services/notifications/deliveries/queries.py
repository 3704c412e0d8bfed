"""Reads of deliveries: which are due, what they say, and what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    func,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from services.notifications.deliveries.rules import MAX_ATTEMPTS, DeliveryState, Standing
from services.notifications.deliveries.tables import (
    CapturedMessage,
    Delivery,
    DeliveryContent,
    Message,
    Organization,
    Recipient,
)
from shared.persistence.leases import NOW, Queue, Search
from shared.persistence.reads import AnySelect, Reader, once

LEASE_SECONDS = 15.0

TABLE = Delivery.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
CAPTURED = CapturedMessage.__table__  # type: ignore[attr-defined]  # as above
ORGANIZATIONS = Organization.__table__  # type: ignore[attr-defined]  # as above

QUEUE = Queue(TABLE, lease_seconds=LEASE_SECONDS, max_attempts=MAX_ATTEMPTS)

BATCH = 100
_PENDING = TABLE.c.state == DeliveryState.PENDING
_OFFSET = func.make_interval(0, 0, 0, 0, 0, 0, ORGANIZATIONS.c.clock_offset_seconds)
DUE = Search(
    QUEUE,
    and_(_PENDING, TABLE.c.due_at <= NOW + _OFFSET),
    limit=BATCH,
    joined=TABLE.join(ORGANIZATIONS, TABLE.c.organization_id == ORGANIZATIONS.c.organization_id),
    organizations=ORGANIZATIONS,
)
"""What is due on the clock of its organization."""
DUE_IN = Search(
    QUEUE,
    and_(
        TABLE.c.organization_id == bindparam("organization_id"),
        _PENDING,
        TABLE.c.due_at <= bindparam("due_until"),
    ),
    limit=BATCH,
)
"""What one organization has due by an instant of its clock."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A claimed delivery with everything that is needed to send it."""

    delivery: Delivery
    content: DeliveryContent
    recipient: Recipient
    organization: Organization
    expires_at: datetime | None
    is_newer_sent: bool

    @property
    def address(self) -> str | None:
        """Return where it goes."""
        return self.content.mail_to or self.recipient.email

    @property
    def standing(self) -> Standing:
        """Return what decides whether it may still go out."""
        return Standing(
            is_reachable=self.recipient.is_reachable,
            address=self.address,
            expires_at=self.expires_at,
            is_newer_sent=self.is_newer_sent,
        )


async def parcels(
    session: AsyncSession, *, organization_id: UUID, delivery_ids: Sequence[UUID]
) -> Mapping[UUID, Parcel]:
    """Return claimed deliveries with what they say and to whom."""
    newer = aliased(Delivery)
    is_newer_sent = exists().where(
        col(newer.organization_id) == col(Delivery.organization_id),
        col(newer.meeting_id) == col(Delivery.meeting_id),
        col(newer.person_id) == col(Delivery.person_id),
        col(newer.state) == DeliveryState.SENT,
        col(newer.ical_sequence) > col(Delivery.ical_sequence),
    )
    mine = col(Delivery.organization_id)
    rows = await session.execute(
        select(
            *(Delivery, DeliveryContent, Recipient, Organization),
            *(col(Message.expires_at), is_newer_sent),
        )
        .join(
            DeliveryContent,
            and_(
                col(DeliveryContent.organization_id) == mine,
                col(DeliveryContent.delivery_id) == col(Delivery.id),
            ),
        )
        .join(
            Recipient,
            and_(
                col(Recipient.organization_id) == mine,
                col(Recipient.person_id) == col(Delivery.person_id),
            ),
        )
        .join(
            Message,
            and_(
                col(Message.organization_id) == mine,
                col(Message.id) == col(Delivery.message_id),
            ),
        )
        .join(Organization, col(Organization.organization_id) == mine)
        .where(mine == organization_id, col(Delivery.id).in_(delivery_ids))
    )
    return {row[0].id: Parcel(*row) for row in rows}


async def next_due_at(session: AsyncSession, *, organization_id: UUID) -> datetime | None:
    """Return when the next delivery of an organization is due, on its clock."""
    found: datetime | None = await session.scalar(
        select(func.min(TABLE.c.due_at)).where(TABLE.c.organization_id == organization_id, _PENDING)
    )
    return found


async def organization(session: AsyncSession, *, organization_id: UUID) -> Organization | None:
    """Return what is known of an organization."""
    return await session.get(Organization, organization_id)


_LOG = (
    *(TABLE.c.id, TABLE.c.event_id, TABLE.c.person_id, TABLE.c.channel, TABLE.c.state),
    *(TABLE.c.reason, TABLE.c.attempts, TABLE.c.due_at, TABLE.c.created_at, TABLE.c.finished_at),
    TABLE.c.occasion.label("kind"),
)


@once
def _log(filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    statement = select(*_LOG).where(
        TABLE.c.organization_id == bindparam("organization_id"),
        *(_LOG_FILTERS[name] for name in filters),
    )
    if not is_first:
        statement = statement.where(TABLE.c.id < bindparam("before"))
    return statement.order_by(TABLE.c.id.desc()).limit(bindparam("limit"))


_LOG_FILTERS: Mapping[str, ColumnElement[bool]] = {
    "person_id": TABLE.c.person_id == bindparam("person_id"),
    "state": cast(TABLE.c.state, Text) == bindparam("state"),
}


async def log(
    reader: Reader,
    *,
    organization_id: UUID,
    filters: Mapping[str, Any],
    before: UUID | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return what became of deliveries, newest first; never what they said."""
    place = {} if before is None else {"before": before}
    return await reader.fetch(
        _log(tuple(sorted(filters)), is_first=before is None),
        organization_id=organization_id,
        limit=limit,
        **filters,
        **place,
    )


@once
def _captured(filters: tuple[str, ...], *, is_first: bool) -> AnySelect:
    statement = select(*CAPTURED.c).where(
        CAPTURED.c.organization_id == bindparam("organization_id"),
        *(_CAPTURED_FILTERS[name] for name in filters),
    )
    if not is_first:
        statement = statement.where(CAPTURED.c.id > bindparam("after"))
    return statement.order_by(CAPTURED.c.id).limit(bindparam("limit"))


_CAPTURED_FILTERS: Mapping[str, ColumnElement[bool]] = {
    "person_id": CAPTURED.c.person_id == bindparam("person_id"),
    "channel": cast(CAPTURED.c.channel, Text) == bindparam("channel"),
}


async def captured(
    reader: Reader,
    *,
    organization_id: UUID,
    filters: Mapping[str, Any],
    after: UUID | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return what a sandbox would have sent, oldest first."""
    place = {} if after is None else {"after": after}
    return await reader.fetch(
        _captured(tuple(sorted(filters)), is_first=after is None),
        organization_id=organization_id,
        limit=limit,
        **filters,
        **place,
    )
