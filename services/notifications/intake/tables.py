"""Which facts came, and what is kept of programs and meetings to tell of them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import String, Text, Uuid

from services.notifications.database import NotificationsTable
from shared.persistence.columns import (
    column,
    document,
    instant,
    organization_key,
    personal,
)


class ReceivedEvent(NotificationsTable, table=True):
    """One fact that was applied: the point at which at-least-once becomes exactly-once."""

    __tablename__ = "inbox"

    organization_id: UUID = organization_key()
    event_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    type: str = column(String(64))
    received_at: datetime = instant()


class RejectedEvent(NotificationsTable, table=True):
    """One fact that could not be read or told, kept for whoever mends it."""

    __tablename__ = "inbox_rejected"

    organization_id: UUID = organization_key()
    event_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    reason: str = column(String(300))
    body: str = personal(Text())
    received_at: datetime = instant()


class Program(NotificationsTable, table=True):
    """What messages need to know of a program, as api last told."""

    __tablename__ = "program"

    organization_id: UUID = organization_key()
    program_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    name: str = column(String(200))
    is_sensitive: bool = column(default=False)


class Meeting(NotificationsTable, table=True):
    """A meeting's place in calendars, as api last told."""

    __tablename__ = "meeting"

    organization_id: UUID = organization_key()
    meeting_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    version: int = column()
    state: str = column(String(32))
    starts_at: datetime | None = instant(default=None)
    ends_at: datetime | None = instant(default=None)
    timezone: str = column(String(64))
    ical_uid: str = column(String(120))
    ical_sequence: int = column()
    attendee_ids: list[str] = document()


class CalendarObject(NotificationsTable, table=True):
    """The last revision of a meeting that was sent to calendars, and to whom."""

    __tablename__ = "calendar_object"

    organization_id: UUID = organization_key()
    meeting_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    uid: str = column(String(120))
    sequence: int = column()
    organizer: str = column(String(254))
    attendee_ids: list[str] = document()
    last_method: str = column(String(16))
