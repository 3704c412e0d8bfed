"""Codes, refresh tokens and assertions: of every secret only a digest is kept."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, ForeignKeyConstraint, Index, LargeBinary, String

from services.api.database import ApiTable
from shared.persistence.columns import (
    column,
    confidential,
    identity,
    instant,
    organization_key,
    reference,
)


class AuthorizationCode(ApiTable, table=True):
    """What an app gets from a sign-in and trades for its first tokens, once and within a minute.

    A used code is kept as long as what it produced, so that a second use ends that.
    """

    __tablename__ = "authorization_code"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "person_id"],
            ["access_subject.organization_id", "access_subject.person_id"],
        ),
        ForeignKeyConstraint(
            ["organization_id", "client_id"], ["oauth_client.organization_id", "oauth_client.id"]
        ),
        ForeignKeyConstraint(
            ["organization_id", "family_id"],
            ["refresh_family.organization_id", "refresh_family.id"],
            ondelete="CASCADE",
        ),
        Index("ix_authorization_code_family", "organization_id", "family_id"),
    )

    organization_id: UUID = organization_key()
    id: UUID = identity()
    digest: bytes = confidential(LargeBinary)
    person_id: UUID = reference()
    client_id: UUID = reference()
    redirect_uri: str | None = column(String(2000), default=None)
    scopes: list[str] = column(ARRAY(String(32)))
    code_challenge: str = confidential(String(43))
    auth_time: datetime = instant()
    access_version: int = column()
    created_at: datetime = instant()
    expires_at: datetime = instant()
    used_at: datetime | None = instant(default=None)
    family_id: UUID | None = reference(default=None)


class RefreshToken(ApiTable, table=True):
    """One token of a sign-in; the newest is the only one that is neither used nor dead.

    `dead_at` is set where a token was replaced by another answer to the same question: from then
    on it only ever ends its family.
    """

    __tablename__ = "refresh_token"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "family_id"],
            ["refresh_family.organization_id", "refresh_family.id"],
            ondelete="CASCADE",
        ),
        Index("ix_refresh_token_family", "organization_id", "family_id"),
    )

    organization_id: UUID = organization_key()
    id: UUID = identity()
    family_id: UUID = reference()
    digest: bytes = confidential(LargeBinary)
    predecessor_id: UUID | None = reference(default=None)
    created_at: datetime = instant()
    used_at: datetime | None = instant(default=None)
    dead_at: datetime | None = instant(default=None)


class ClientAssertion(ApiTable, table=True):
    """An assertion a client signed and used; remembered until it expires, so it works once."""

    __tablename__ = "client_assertion"

    organization_id: UUID = organization_key()
    client_id: UUID = column(primary_key=True)
    jti_digest: bytes = column(LargeBinary, primary_key=True)
    expires_at: datetime = instant()
