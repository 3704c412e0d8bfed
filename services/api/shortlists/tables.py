"""Shortlist entries."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index, Uuid

from services.api.database import ApiTable
from services.api.participants.tables import OF_PARTICIPANT
from services.api.shortlists.rules import Mark
from shared.persistence.columns import column, instant, one_of, organization_key, reference


class ShortlistEntry(ApiTable, table=True):
    """What one participant noted about another of their program."""

    __tablename__ = "shortlist_entry"
    __table_args__ = (
        ForeignKeyConstraint(*OF_PARTICIPANT),
        ForeignKeyConstraint(
            ["organization_id", "other_id"], ["participant.organization_id", "participant.id"]
        ),
        Index("ix_shortlist_entry_program", "organization_id", "program_id"),
        Index("ix_shortlist_entry_other", "organization_id", "other_id"),
    )

    organization_id: UUID = organization_key()
    participant_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    other_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    program_id: UUID = reference()
    mark: Mark = column(one_of(Mark))
    version: int = column(default=1)
    updated_at: datetime = instant()
