"""Messages, their deliveries and attempts, and the cards of those they are for."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index, String, Text, UniqueConstraint, Uuid, text

from services.notifications.database import NotificationsTable
from services.notifications.deliveries.rules import (
    AttemptResult,
    Channel,
    DeliveryState,
    Lane,
    MessageClass,
    MessageState,
)
from shared.persistence.columns import (
    column,
    document,
    identity,
    instant,
    one_of,
    organization_key,
    personal,
    reference,
)


class Organization(NotificationsTable, table=True):
    """What messages need to know of an organization, as api last told."""

    __tablename__ = "organization"

    organization_id: UUID = organization_key()
    name: str = column(String(200), default="")
    kind: str = column(String(32))
    clock_offset_seconds: int = column(default=0)
    locale: str = column(String(12), default="en")
    timezone: str = column(String(64), default="UTC")


class Recipient(NotificationsTable, table=True):
    """Somebody messages go to or name, as api last told."""

    __tablename__ = "recipient"

    organization_id: UUID = organization_key()
    person_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    name: str = personal(String(200))
    email: str | None = personal(String(254), default=None)
    locale: str = column(String(12))
    timezone: str = column(String(64))
    is_reachable: bool = column(default=True)


class Message(NotificationsTable, table=True):
    """One fact for one person; a message that was not told says why."""

    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("organization_id", "event_id", "person_id", "kind"),
        Index("ix_message_resource", "organization_id", "resource_id", "kind"),
        Index("ix_message_person", "organization_id", "person_id", "id"),
    )

    organization_id: UUID = organization_key()
    id: UUID = identity()
    event_id: UUID = reference()
    person_id: UUID = reference()
    kind: str = column(String(64))
    message_class: MessageClass = column(one_of(MessageClass))
    resource: str = column(String(64))
    resource_id: UUID = reference()
    program_id: UUID | None = reference(default=None)
    state: MessageState = column(one_of(MessageState))
    reason: str | None = column(String(64), default=None)
    expires_at: datetime | None = instant(default=None)
    created_at: datetime = instant()


class Delivery(NotificationsTable, table=True):
    """One message on one channel; `due_at` runs on the organization's clock, leases do not."""

    __tablename__ = "delivery"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "message_id"], ["message.organization_id", "message.id"]
        ),
        UniqueConstraint(
            "organization_id", "event_id", "person_id", "channel", "target_id", "occasion"
        ),
        Index(
            "ix_delivery_due",
            "organization_id",
            "due_at",
            "id",
            postgresql_where=text("state = 'pending'"),
        ),
        Index("ix_delivery_person", "organization_id", "person_id", "id"),
        Index(
            "ix_delivery_meeting",
            "organization_id",
            "meeting_id",
            "person_id",
            postgresql_where=text("meeting_id IS NOT NULL"),
        ),
    )

    organization_id: UUID = organization_key()
    id: UUID = identity()
    message_id: UUID = reference()
    event_id: UUID = reference()
    person_id: UUID = reference()
    channel: Channel = column(one_of(Channel))
    target_id: str = column(String(64), default="")
    occasion: str = column(String(64), default="")
    lane: Lane = column(one_of(Lane))
    state: DeliveryState = column(one_of(DeliveryState))
    reason: str | None = column(String(64), default=None)
    due_at: datetime = instant()
    meeting_id: UUID | None = reference(default=None)
    ical_sequence: int | None = column(default=None)
    provider_id: str | None = column(String(300), default=None)
    leased_until: datetime | None = instant(default=None)
    lease_token: UUID | None = column(Uuid(as_uuid=True), default=None)
    attempts: int = column(default=0)
    created_at: datetime = instant()
    finished_at: datetime | None = instant(default=None)


class DeliveryContent(NotificationsTable, table=True):
    """What a delivery says; apart from the queue, so that claiming never meets it.

    `mail_to` is where it goes, if not to where its reader can be reached by then.
    """

    __tablename__ = "delivery_content"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "delivery_id"], ["delivery.organization_id", "delivery.id"]
        ),
    )

    organization_id: UUID = organization_key()
    delivery_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    template: str = column(String(64))
    locale: str = column(String(12))
    subject: str = personal(Text())
    body_text: str = personal(Text())
    body_html: str = personal(Text())
    mail_to: str | None = personal(String(254), default=None)
    calendar: str | None = personal(Text(), default=None)
    method: str | None = column(String(16), default=None)


class Attempt(NotificationsTable, table=True):
    """One attempt, written when it starts: what a kill interrupts leaves its trace."""

    __tablename__ = "attempt"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "delivery_id"], ["delivery.organization_id", "delivery.id"]
        ),
    )

    organization_id: UUID = organization_key()
    delivery_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    no: int = column(primary_key=True, sa_column_kwargs={"autoincrement": False})
    result: AttemptResult = column(one_of(AttemptResult))
    started_at: datetime = instant()
    ended_at: datetime | None = instant(default=None)
    answer: str | None = personal(String(500), default=None)


class CapturedMessage(NotificationsTable, table=True):
    """What a sandbox organization would have sent; its id is the delivery's."""

    __tablename__ = "captured_message"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "id"], ["delivery.organization_id", "delivery.id"]
        ),
        Index("ix_captured_message_person", "organization_id", "person_id", "id"),
    )

    organization_id: UUID = organization_key()
    id: UUID = identity()
    channel: Channel = column(one_of(Channel))
    person_id: UUID = reference()
    kind: str = column(String(64))
    captured_at: datetime = instant()
    headers: dict[str, Any] = document()
    parts: list[dict[str, Any]] = document()
