"""What an app asked for, until somebody has proved who they are."""

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
    personal,
    reference,
)


class SignIn(ApiTable, table=True):
    """One authorization request in one browser, which holds the secret in its cookie.

    The address is what was typed, and only the pages of this sign-in show it. What begins with
    `upstream` ties the answer of the organization's identity provider to this request.
    """

    __tablename__ = "sign_in"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "client_id"], ["oauth_client.organization_id", "oauth_client.id"]
        ),
        Index("ix_sign_in_age", "organization_id", "created_at"),
    )

    organization_id: UUID = organization_key()
    id: UUID = identity()
    secret_digest: bytes = confidential(LargeBinary)
    client_id: UUID = reference()
    redirect_uri: str = column(String(2000))
    scopes: list[str] = column(ARRAY(String(32)))
    state: str | None = confidential(String(500), default=None)
    code_challenge: str = confidential(String(43))
    locale: str = column(String(12))
    address: str | None = personal(String(254), default=None)
    email_code_id: UUID | None = reference(default=None)
    connection_id: UUID | None = reference(default=None)
    upstream_state: str | None = confidential(String(100), default=None)
    upstream_nonce: str | None = confidential(String(100), default=None)
    upstream_verifier: str | None = confidential(String(128), default=None)
    created_at: datetime = instant()
    expires_at: datetime = instant()
    finished_at: datetime | None = instant(default=None)
