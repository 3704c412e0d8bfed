"""Who of a provider's people is who in the directory."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index, String

from services.api.database import Resource
from shared.persistence.columns import column, instant, personal, reference


class IdentityLink(Resource, table=True):
    """One account at one provider, linked to its person once, until an org_admin removes it."""

    __tablename__ = "identity_link"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "person_id"], ["person.organization_id", "person.id"]
        ),
        ForeignKeyConstraint(
            ["organization_id", "connection_id"], ["connection.organization_id", "connection.id"]
        ),
        Index("uq_identity_link_subject", "organization_id", "issuer", "subject", unique=True),
        Index("ix_identity_link_person", "organization_id", "person_id"),
    )

    issuer: str = column(String(500))
    subject: str = personal(String(255))
    person_id: UUID = reference()
    connection_id: UUID = reference()
    last_used_at: datetime | None = instant(default=None)
