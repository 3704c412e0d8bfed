"""Challenges: somebody asked for a code by mail."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, Index, LargeBinary, String

from services.api.database import ApiTable
from shared.persistence.columns import (
    column,
    confidential,
    identity,
    instant,
    organization_key,
    personal,
    reference,
)


class EmailCode(ApiTable, table=True):
    """One challenge; the code itself is kept nowhere.

    Without a person it is a decoy: the address is nobody's, or has had its codes for this hour.
    Nothing refers to the person, since a check of that would take time for known addresses only.
    """

    __tablename__ = "email_code"
    __table_args__ = (
        Index("ix_email_code_address", "organization_id", "address_digest", "created_at"),
        Index("ix_email_code_age", "organization_id", "created_at"),
    )

    organization_id: UUID = organization_key()
    id: UUID = identity()
    person_id: UUID | None = reference(default=None)
    address_digest: bytes = personal(LargeBinary)
    is_counted: bool = column(default=True)
    client_id: UUID = reference()
    scopes: list[str] = column(ARRAY(String(32)))
    code_challenge: str | None = confidential(String(43), default=None)
    sign_in_id: UUID | None = reference(default=None)
    attempts: int = column(default=0)
    created_at: datetime = instant()
    expires_at: datetime = instant()
    used_at: datetime | None = instant(default=None)

    @property
    def version(self) -> int:
        """Return the only version there is."""
        return 1
