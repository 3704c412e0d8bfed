"""Proposals, their members, and who was matched before."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index, SmallInteger, String, Uuid

from services.api.database import ApiTable, Resource
from services.api.programs.rules import TrackRole
from services.api.proposals.rules import ProposalStatus
from shared.persistence.columns import (
    column,
    document,
    instant,
    one_of,
    organization_key,
    reference,
)


class Proposal(Resource, table=True):
    """Members a run suggests putting together; without a score where nothing computed one.

    Its mentorship is the one that they are to join, or the one that has come of it.
    """

    __tablename__ = "proposal"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "track_id"], ["track.organization_id", "track.id"]
        ),
        ForeignKeyConstraint(
            ["organization_id", "run_id"], ["match_run.organization_id", "match_run.id"]
        ),
        Index("ix_proposal_run", "organization_id", "run_id", "id"),
        Index("ix_proposal_track", "organization_id", "track_id", "status"),
        Index("ix_proposal_mentorship", "organization_id", "mentorship_id"),
    )

    program_id: UUID = reference()
    track_id: UUID = reference()
    run_id: UUID | None = reference(default=None)
    score: int | None = column(SmallInteger, default=None)
    parts: list[dict[str, Any]] = document(default_factory=list)
    status: ProposalStatus = column(one_of(ProposalStatus), default=ProposalStatus.PROPOSED)
    forced: list[dict[str, Any]] = document(default_factory=list)
    is_locked: bool = column(default=False)
    decided_by: UUID | None = reference(default=None)
    holds_until: datetime | None = instant(default=None)
    mentorship_id: UUID | None = reference(default=None)


class ProposalMember(ApiTable, table=True):
    """One participant of a proposal, and their answer once asked."""

    __tablename__ = "proposal_member"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "proposal_id"], ["proposal.organization_id", "proposal.id"]
        ),
        ForeignKeyConstraint(
            ["organization_id", "participant_id"],
            ["participant.organization_id", "participant.id"],
        ),
        Index("ix_proposal_member_participant", "organization_id", "participant_id"),
        Index("ix_proposal_member_person", "organization_id", "person_id"),
    )

    organization_id: UUID = organization_key()
    proposal_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    participant_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    person_id: UUID = column(Uuid(as_uuid=True))
    role: TrackRole = column(one_of(TrackRole))
    is_asked: bool = column(default=False)
    answer: str | None = column(String(16), default=None)
    answered_at: datetime | None = instant(default=None)


class PastPair(ApiTable, table=True):
    """That two people were matched once: their keyed hashes, no names, kept after erasure."""

    __tablename__ = "past_pair"

    organization_id: UUID = organization_key()
    first_hash: str = column(String(64), primary_key=True)
    second_hash: str = column(String(64), primary_key=True)
    at: datetime = instant()
