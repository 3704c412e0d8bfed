"""A mentorship and its members."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Date, ForeignKeyConstraint, Index, String, Text, text

from services.api.database import Resource
from services.api.mentorships.rules import MemberStatus, MentorshipSource, MentorshipStatus
from services.api.programs.rules import Cadence, Format, TrackRole
from shared.persistence.columns import column, confidential, document, instant, one_of, reference


class Mentorship(Resource, table=True):
    """The living relation, in any format, with one driver."""

    __tablename__ = "mentorship"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "track_id"], ["track.organization_id", "track.id"]
        ),
        Index("ix_mentorship_program", "organization_id", "program_id", "status", "id"),
        Index("ix_mentorship_track", "organization_id", "track_id", "status"),
    )

    program_id: UUID = reference()
    track_id: UUID = reference()
    format: Format = column(one_of(Format))
    status: MentorshipStatus = column(
        one_of(MentorshipStatus), default=MentorshipStatus.PENDING_START
    )
    name: str | None = column(String(120), default=None)
    common_ground: str | None = column(String(500), default=None)
    driver_person_id: UUID = reference()
    cadence: Cadence = column(one_of(Cadence), default=Cadence.BIWEEKLY)
    meeting_minutes: int = column(default=45)
    timezone: str = column(String(64))
    starts_on: date | None = column(Date, default=None)
    ends_on: date | None = column(Date, default=None)
    ended_on: date | None = column(Date, default=None)
    source: MentorshipSource = column(one_of(MentorshipSource))
    because: list[dict[str, Any]] = document(default_factory=list)
    paused_from_on: date | None = column(Date, default=None)
    paused_to_on: date | None = column(Date, default=None)
    paused_by_safeguarding: bool = column(default=False)
    closing_reason: str | None = column(String(32), default=None)
    closing_opened_on: date | None = column(Date, default=None)
    completed_by: list[str] = document(default_factory=list)
    extension: dict[str, Any] | None = document(default=None)


class MentorshipMember(Resource, table=True):
    """A participant inside a mentorship."""

    __tablename__ = "mentorship_member"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "mentorship_id"],
            ["mentorship.organization_id", "mentorship.id"],
        ),
        ForeignKeyConstraint(
            ["organization_id", "participant_id"],
            ["participant.organization_id", "participant.id"],
        ),
        Index(
            "uq_mentorship_member_live",
            "organization_id",
            "mentorship_id",
            "person_id",
            "role",
            unique=True,
            postgresql_where=text("status IN ('invited', 'requested', 'waitlisted', 'active')"),
        ),
        Index("ix_mentorship_member_person", "organization_id", "person_id", "status"),
        Index("ix_mentorship_member_participant", "organization_id", "participant_id"),
    )

    mentorship_id: UUID = reference()
    participant_id: UUID = reference()
    person_id: UUID = reference()
    role: TrackRole = column(one_of(TrackRole))
    status: MemberStatus = column(one_of(MemberStatus), default=MemberStatus.ACTIVE)
    joined_at: datetime | None = instant(default=None)
    left_at: datetime | None = instant(default=None)


class PrivateReason(Resource, table=True):
    """Why somebody paused or ended: row-level security shows it to its author alone."""

    __tablename__ = "mentorship_private_reason"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "mentorship_id"],
            ["mentorship.organization_id", "mentorship.id"],
        ),
        Index(
            "ix_mentorship_private_reason_author", "organization_id", "mentorship_id", "person_id"
        ),
    )

    mentorship_id: UUID = reference()
    person_id: UUID = reference()
    kind: str = column(String(16))
    reason: str = confidential(Text)
