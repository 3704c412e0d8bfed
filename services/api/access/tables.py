"""Rows that the door reads: access versions, role grants, keys and clients."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.api.access.roles import Role
from services.api.access.rules import ClientKind
from services.api.database import ApiTable, Resource
from shared.persistence.columns import (
    column,
    confidential,
    document,
    instant,
    one_of,
    organization_key,
    reference,
)
from shared.settings import Mode


class AccessSubject(ApiTable, table=True):
    """A person as the door sees them; `people` writes it.

    A raised version ends every token issued before, on its next request.
    """

    __tablename__ = "access_subject"

    organization_id: UUID = organization_key()
    person_id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    version: int = column(default=1)
    is_active: bool = column(default=True)


class RoleAssignment(Resource, table=True):
    """A granted role, towards the organization or one program."""

    __tablename__ = "role_assignment"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "person_id"],
            ["access_subject.organization_id", "access_subject.person_id"],
        ),
        CheckConstraint(
            "(role IN ('coordinator', 'analyst')) = (program_id IS NOT NULL)",
            name="program_where_it_belongs",
        ),
        Index(
            "uq_role_assignment_grant",
            "organization_id",
            "person_id",
            "role",
            "program_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    person_id: UUID = reference()
    role: Role = column(one_of(Role))
    program_id: UUID | None = reference(default=None)
    granted_by: UUID | None = reference(default=None)
    expires_at: datetime | None = instant(default=None)


class ApiKey(Resource, table=True):
    """A machine's key; only a digest of its secret is kept.

    A key that takes over from another names it; of such a line two are live at most.
    """

    __tablename__ = "api_key"
    __table_args__ = (
        Index("ix_api_key_rotated_from", "organization_id", "rotated_from"),
        Index("ix_api_key_created_by", "organization_id", "created_by"),
    )

    label: str = column(String(120))
    secret_digest: bytes = confidential(LargeBinary)
    last_four: str = column(String(4))
    scopes: list[str] = column(ARRAY(String(32)))
    created_by: UUID | None = reference(default=None)
    rotated_from: UUID | None = reference(default=None)
    expires_at: datetime | None = instant(default=None)
    revoked_at: datetime | None = instant(default=None)
    last_used_at: datetime | None = instant(default=None)


class OAuthClient(Resource, table=True):
    """A machine that trades its secret for short tokens, or an app that people sign in at.

    A machine may sign instead of showing a secret (`jwks` holds its public keys); an app keeps
    no secret, and its scopes are the most that people grant it.
    """

    __tablename__ = "oauth_client"
    __table_args__ = (Index("ix_oauth_client_created_by", "organization_id", "created_by"),)

    label: str = column(String(120))
    kind: ClientKind = column(one_of(ClientKind), default=ClientKind.SERVICE)
    secret_digest: bytes | None = confidential(LargeBinary, default=None)
    last_four: str | None = column(String(4), default=None)
    is_secret_used: bool = column(default=False)
    previous_secret_digest: bytes | None = confidential(LargeBinary, default=None)
    previous_secret_expires_at: datetime | None = instant(default=None)
    jwks: dict[str, Any] | None = column(JSONB(none_as_null=True), default=None)
    redirect_uris: list[str] = column(ARRAY(String(2000)), default_factory=list)
    scopes: list[str] = column(ARRAY(String(32)))
    created_by: UUID | None = reference(default=None)
    expires_at: datetime | None = instant(default=None)
    revoked_at: datetime | None = instant(default=None)
    last_used_at: datetime | None = instant(default=None)


class FamilyEnd(StrEnum):
    """Why a sign-in was ended before its time."""

    SIGNED_OUT = "signed_out"
    ACCESS_CHANGED = "access_changed"
    TOKEN_REUSED = "token_reused"  # noqa: S105 - a reason, not a secret
    CODE_REUSED = "code_reused"


class RefreshFamily(Resource, table=True):
    """One sign-in of a person at one app: every refresh token that followed from it.

    It ends with its last day, after a month without use, when it is revoked, and when the
    person's access version is no longer the one it began with.
    """

    __tablename__ = "refresh_family"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "person_id"],
            ["access_subject.organization_id", "access_subject.person_id"],
        ),
        ForeignKeyConstraint(
            ["organization_id", "client_id"], ["oauth_client.organization_id", "oauth_client.id"]
        ),
        Index(
            "ix_refresh_family_live",
            "organization_id",
            "person_id",
            postgresql_where=text("revoked_at IS NULL"),
        ),
    )

    person_id: UUID = reference()
    client_id: UUID = reference()
    scopes: list[str] = column(ARRAY(String(32)))
    auth_time: datetime = instant()
    access_version: int = column()
    idle_expires_at: datetime = instant()
    expires_at: datetime = instant()
    revoked_at: datetime | None = instant(default=None)
    revoked_because: FamilyEnd | None = column(one_of(FamilyEnd), default=None)


class SigningKey(ApiTable, table=True):
    """A key of the built-in issuer; it belongs to the installation, not to an organization.

    A demo signs with keys of its own, so that its tokens open nothing elsewhere. Of several
    processes that make the next key at once, one stores its own: generations are unique.
    """

    __tablename__ = "signing_key"
    __table_args__ = (Index("uq_signing_key_generation", "mode", "generation", unique=True),)

    id: UUID = column(Uuid(as_uuid=True), primary_key=True)
    mode: Mode = column(one_of(Mode))
    generation: int = column()
    public_jwk: str = column(String(1000))
    encrypted_jwk: str = confidential(String(2000))
    created_at: datetime = instant()
    signs_from: datetime = instant()
    ends_at: datetime | None = instant(default=None)


class IdempotencyRow(ApiTable, table=True):
    """The answer to a POST, written with its effect, so that a repetition has none."""

    __tablename__ = "idempotency"
    __table_args__ = (Index("ix_idempotency_age", "organization_id", "created_at"),)

    organization_id: UUID = organization_key()
    principal: UUID = column(Uuid(as_uuid=True), primary_key=True)
    operation: str = column(String(100), primary_key=True)
    key: str = column(String(255), primary_key=True)
    fingerprint: bytes = column(LargeBinary)
    status: int = column()
    headers: dict[str, str] = document()
    body: bytes = confidential(LargeBinary)
    created_at: datetime = instant()
