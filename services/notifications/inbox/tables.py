"""Items of people's inboxes, and up to where each was read."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index, String, Text, UniqueConstraint, Uuid, text

from services.notifications.database import NotificationsTable
from shared.persistence.columns import (
    column,
    identity,
    instant,
    organization_key,
    personal,
    reference,
)


class InboxItem(NotificationsTable, table=True):
    """One told message inside the product: the truth all other channels point to."""

    __tablename__ = "inbox_item"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "message_id"], ["message.organization_id", "message.id"]
        ),
        UniqueConstraint("organization_id", "message_id"),
        Index("ix_inbox_item_person", "organization_id", "person_id", "id"),
        Index(
            "ix_inbox_item_waiting",
            "organization_id",
            "person_id",
            postgresql_where=text("archived_at IS NULL AND (read_at IS NULL OR asks)"),
        ),
        Index(
            "ix_inbox_item_asking",
            "organization_id",
            "resource_id",
            postgresql_where=text("asks AND settled_at IS NULL"),
        ),
    )

    organization_id: UUID = organization_key()
    id: UUID = identity()
    message_id: UUID = reference()
    event_id: UUID = reference()
    person_id: UUID = reference()
    kind: str = column(String(64))
    message_class: str = column(String(32))
    resource: str = column(String(64))
    resource_id: UUID = reference()
    program_id: UUID | None = reference(default=None)
    title: str = personal(String(300))
    body: str = personal(Text())
    asks: bool = column(default=False)
    settled_at: datetime | None = instant(default=None)
    created_at: datetime = instant()
    seen_at: datetime | None = instant(default=None)
    read_at: datetime | None = instant(default=None)
    archived_at: datetime | None = instant(default=None)


class InboxMark(NotificationsTable, table=True):
    """The newest item a person marked everything read up to; it only ever rises."""

    __tablename__ = "inbox_mark"

    organization_id: UUID = organization_key()
    person_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    up_to: UUID = reference()
