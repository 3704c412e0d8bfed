"""What the door reads about whoever knocks, in one statement each."""

from datetime import datetime

from sqlalchemy import ScalarSelect, Text, and_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlmodel import col

from services.api.access.roles import Role
from services.api.access.tables import (
    AccessSubject,
    ApiKey,
    IdempotencyRow,
    OAuthClient,
    RoleAssignment,
)
from services.api.timers.tables import OrganizationClock
from shared.persistence.reads import AnySelect, once


def _clock() -> AnySelect:
    return select(col(OrganizationClock.offset_seconds)).where(
        col(OrganizationClock.organization_id) == bindparam("organization_id")
    )


def _grants() -> AnySelect:
    """Each grant as `role` or `role:program`, so that one array carries them all."""
    grant = func.concat_ws(":", col(RoleAssignment.role), col(RoleAssignment.program_id))
    return select(func.array_agg(aggregate_order_by(grant, grant))).where(
        col(RoleAssignment.organization_id) == bindparam("organization_id"),
        col(RoleAssignment.person_id) == bindparam("person_id"),
        or_(
            col(RoleAssignment.expires_at).is_(None),
            col(RoleAssignment.expires_at) > func.now(),
        ),
    )


@once
def person_facts(*, is_at_app: bool = False) -> AnySelect:
    """One person's access version, state, grants and clock; and the app they act through."""
    statement = select(
        col(AccessSubject.version),
        col(AccessSubject.is_active),
        _grants().scalar_subquery().label("granted"),
        _clock().scalar_subquery().label("offset_seconds"),
    ).where(
        and_(
            col(AccessSubject.organization_id) == bindparam("organization_id"),
            col(AccessSubject.person_id) == bindparam("person_id"),
        )
    )
    return _through_app(statement) if is_at_app else statement


def _through_app(statement: AnySelect) -> AnySelect:
    return statement.add_columns(
        col(OAuthClient.scopes).label("app_scopes"),
        col(OAuthClient.expires_at).label("app_expires_at"),
        col(OAuthClient.revoked_at).label("app_revoked_at"),
    ).join(
        OAuthClient,
        and_(
            col(OAuthClient.organization_id) == col(AccessSubject.organization_id),
            col(OAuthClient.id) == bindparam("client_id"),
        ),
    )


def office_ends_at(table: type[ApiKey | OAuthClient]) -> ScalarSelect[datetime | None]:
    """When the office runs out in which a credential was made; what is made in it ends with it."""
    return (
        select(col(RoleAssignment.expires_at))
        .where(
            col(RoleAssignment.organization_id) == col(table.organization_id),
            col(RoleAssignment.person_id) == col(table.created_by),
            col(RoleAssignment.role) == Role.ORG_ADMIN,
        )
        .scalar_subquery()
    )


@once
def key_facts() -> AnySelect:
    """One API key, when its maker's office ends, and the clock of its organization."""
    return select(
        col(ApiKey.secret_digest),
        col(ApiKey.scopes),
        col(ApiKey.expires_at),
        col(ApiKey.revoked_at),
        col(ApiKey.last_used_at),
        office_ends_at(ApiKey).label("office_ends_at"),
        _clock().scalar_subquery().label("offset_seconds"),
    ).where(
        col(ApiKey.organization_id) == bindparam("organization_id"),
        col(ApiKey.id) == bindparam("key_id"),
    )


@once
def client_facts() -> AnySelect:
    """One service, when its maker's office ends, and the clock of its organization."""
    return select(
        col(OAuthClient.scopes),
        col(OAuthClient.expires_at),
        col(OAuthClient.revoked_at),
        office_ends_at(OAuthClient).label("office_ends_at"),
        _clock().scalar_subquery().label("offset_seconds"),
    ).where(
        col(OAuthClient.organization_id) == bindparam("organization_id"),
        col(OAuthClient.id) == bindparam("client_id"),
    )


@once
def held_intent(*, is_awaited: bool) -> AnySelect:
    """Whether this transaction is the only one that works on an intent now; or wait to be it."""
    hold = func.pg_advisory_xact_lock if is_awaited else func.pg_try_advisory_xact_lock
    return select(hold(func.hashtextextended(bindparam("intent", type_=Text), 0)).label("is_held"))


@once
def remembered() -> AnySelect:
    """The answer that one intent got."""
    return select(
        col(IdempotencyRow.fingerprint),
        col(IdempotencyRow.status),
        col(IdempotencyRow.headers),
        col(IdempotencyRow.body),
    ).where(
        col(IdempotencyRow.organization_id) == bindparam("organization_id"),
        col(IdempotencyRow.principal) == bindparam("principal"),
        col(IdempotencyRow.operation) == bindparam("operation"),
        col(IdempotencyRow.key) == bindparam("key"),
    )
