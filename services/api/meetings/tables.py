"""A meeting, who attends, and its place in people's calendars."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index, String, Uuid

from services.api.database import ApiTable, Resource
from services.api.meetings.rules import MeetingMode, MeetingStatus
from shared.persistence.columns import (
    column,
    confidential,
    document,
    instant,
    one_of,
    organization_key,
    reference,
)


class Meeting(Resource, table=True):
    """One dated conversation of a mentorship."""

    __tablename__ = "meeting"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "mentorship_id"],
            ["mentorship.organization_id", "mentorship.id"],
        ),
        Index("ix_meeting_mentorship", "organization_id", "mentorship_id", "starts_at"),
    )

    program_id: UUID = reference()
    mentorship_id: UUID = reference()
    status: MeetingStatus = column(one_of(MeetingStatus))
    proposed_times: list[str] = document(default_factory=list)
    proposed_by: UUID | None = reference(default=None)
    starts_at: datetime | None = instant(default=None)
    ends_at: datetime | None = instant(default=None)
    minutes: int = column()
    timezone: str = column(String(64))
    mode: MeetingMode = column(one_of(MeetingMode), default=MeetingMode.VIDEO)
    logged_after: bool = column(default=False)
    ical_uid: str = column(String(120))
    ical_sequence: int = column(default=0)


class MeetingPlace(ApiTable, table=True):
    """Where a meeting is: pair content, so it has rows of its own that only members can read."""

    __tablename__ = "meeting_place"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "meeting_id"], ["meeting.organization_id", "meeting.id"]
        ),
    )

    organization_id: UUID = organization_key()
    meeting_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    mentorship_id: UUID = reference()
    location: str = confidential(String(500))
    created_at: datetime = instant()


class MeetingAttendee(ApiTable, table=True):
    """Who is to attend a meeting."""

    __tablename__ = "meeting_attendee"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "meeting_id"], ["meeting.organization_id", "meeting.id"]
        ),
        Index("ix_meeting_attendee_person", "organization_id", "person_id", "meeting_id"),
    )

    organization_id: UUID = organization_key()
    meeting_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    person_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
