"""A person in a program, their roles per track, and what they look for."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Date,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Uuid,
    text,
)

from services.api.database import ApiTable, Resource
from services.api.participants.rules import ParticipantSource, ParticipantStatus
from services.api.programs.rules import TrackRole
from shared.persistence.columns import (
    column,
    document,
    instant,
    one_of,
    organization_key,
    personal,
    reference,
)

OF_PARTICIPANT = (
    ["organization_id", "participant_id"],
    ["participant.organization_id", "participant.id"],
)


class Participant(Resource, table=True):
    """A person in a program; one live one per person and program."""

    __tablename__ = "participant"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "program_id"], ["program.organization_id", "program.id"]
        ),
        ForeignKeyConstraint(
            ["organization_id", "person_id"], ["person.organization_id", "person.id"]
        ),
        Index(
            "uq_participant_live",
            "organization_id",
            "program_id",
            "person_id",
            unique=True,
            postgresql_where=text(
                "status NOT IN ('declined', 'expired', 'rejected', 'withdrawn', 'removed',"
                " 'completed')"
            ),
        ),
        Index("ix_participant_program", "organization_id", "program_id", "status", "id"),
        Index("ix_participant_person", "organization_id", "person_id", "id"),
    )

    program_id: UUID = reference()
    person_id: UUID = reference()
    status: ParticipantStatus = column(one_of(ParticipantStatus))
    answers: dict[str, Any] = document(default_factory=dict)
    hours_per_month: int | None = column(default=None)
    paused_until: date | None = column(Date, default=None)
    preview_acknowledged_at: datetime | None = instant(default=None)
    source: ParticipantSource = column(one_of(ParticipantSource))
    decision_reason: str | None = column(String(64), default=None)


class ParticipantTrackRole(ApiTable, table=True):
    """A role in one track, with how many seats it has and how many are taken.

    `load` counts live memberships and proposals that people know of, `held` those that nobody was
    told of yet, and for the mentor of a group each mentee in it; the check constraint makes the
    database itself refuse one too many. Only `load` binds whoever offers seats: a refusal to offer
    fewer than are held would tell them of a proposal, so that one does not outlive its publication.
    """

    __tablename__ = "participant_track_role"
    __table_args__ = (
        ForeignKeyConstraint(*OF_PARTICIPANT),
        ForeignKeyConstraint(
            ["organization_id", "track_id"], ["track.organization_id", "track.id"]
        ),
        CheckConstraint(
            "load >= 0 AND held >= 0 AND load <= capacity", name="load_within_capacity"
        ),
        Index("ix_participant_track_role_track", "organization_id", "track_id", "role"),
    )

    organization_id: UUID = organization_key()
    participant_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    track_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    role: TrackRole = column(one_of(TrackRole), primary_key=True)
    capacity: int = column(default=1)
    load: int = column(default=0)
    held: int = column(default=0)

    @property
    def taken(self) -> int:
        """Return how many seats nobody else can have."""
        return self.load + self.held


class MatchPreference(ApiTable, table=True):
    """What a participant values, where they stand and where they want to go."""

    __tablename__ = "match_preference"
    __table_args__ = (ForeignKeyConstraint(*OF_PARTICIPANT),)

    organization_id: UUID = organization_key()
    participant_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    version: int = column(default=1)
    updated_at: datetime = instant()
    values: list[str] = personal(ARRAY(String(80)))
    path_now: str | None = personal(String(1000), default=None)
    path_target: str | None = personal(String(1000), default=None)
    wants: dict[str, int] = document(default_factory=dict)
    offers: dict[str, int] = document(default_factory=dict)
    wants_skills: list[str] = personal(ARRAY(String(80)))
    offers_skills: list[str] = personal(ARRAY(String(80)))
    languages: list[str] = personal(ARRAY(String(12)))


class TextVector(ApiTable, table=True):
    """What a text model made of somebody's path, by the SHA-256 of the text; made anew if lost."""

    __tablename__ = "text_vector"

    organization_id: UUID = organization_key()
    model: str = column(String(200), primary_key=True)
    text_hash: bytes = personal(LargeBinary, primary_key=True)
    vector: bytes = personal(LargeBinary)
    created_at: datetime = instant()
