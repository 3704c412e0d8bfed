"""Grant and take back roles; make, and end, credentials of machines."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import operations as access
from services.api.access import rules as access_rules
from services.api.access.roles import Role
from services.api.access.rules import Actor, ClientKind, KeyText
from services.api.access.tables import ApiKey, OAuthClient, RoleAssignment
from services.api.credentials import queries, rules
from services.api.events import operations as events
from services.api.timers.queries import organization_now
from shared import ids
from shared.errors import ConflictError, ForbiddenError, unknown_reference
from shared.web.preconditions import accept_match, require_match


async def grant(
    session: AsyncSession,
    *,
    organization_id: UUID,
    granted_by: UUID | None,
    person_id: UUID,
    role: Role,
    program_id: UUID | None = None,
    expires_at: datetime | None = None,
    assignment_id: UUID | None = None,
    now: datetime,
) -> RoleAssignment:
    """Grant a role; it holds from the person's next request on."""
    rules.check_grant(role, program_id)
    rules.check_expiry(expires_at, now)
    if not await queries.is_known(session, organization_id=organization_id, person_id=person_id):
        raise unknown_reference("#/person_id")
    if await queries.has_grant(
        session,
        organization_id=organization_id,
        person_id=person_id,
        role=role,
        program_id=program_id,
    ):
        raise ConflictError("The person holds this role already.", code="already_exists")
    assignment = RoleAssignment(
        organization_id=organization_id,
        id=assignment_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        person_id=person_id,
        role=role,
        program_id=program_id,
        granted_by=granted_by,
        expires_at=expires_at,
    )
    session.add(assignment)
    _record(session, "role_assignment.created", assignment, actor_id=granted_by, now=now)
    return assignment


async def take_back(
    session: AsyncSession,
    *,
    actor: Actor,
    assignment_id: UUID,
    if_match: str | None,
    now: datetime,
) -> None:
    """Take a role back; every sign-in of the person ends, so that no token still carries it."""
    assignment = await queries.lock(
        session, RoleAssignment, organization_id=actor.organization_id, row_id=assignment_id
    )
    require_match(if_match, version=assignment.version)
    if assignment.role == Role.ORG_ADMIN:
        await keep_an_org_admin(
            session, organization_id=actor.organization_id, without=assignment.person_id
        )
    await access.end_sessions(
        session, organization_id=actor.organization_id, person_id=assignment.person_id, now=now
    )
    await session.delete(assignment)
    if assignment.role == Role.ORG_ADMIN:
        await revoke_keys_of(
            session,
            organization_id=actor.organization_id,
            person_id=assignment.person_id,
            actor_id=actor.person_id,
            now=now,
        )
    _record(session, "role_assignment.deleted", assignment, actor_id=actor.person_id, now=now)


async def keep_an_org_admin(session: AsyncSession, *, organization_id: UUID, without: UUID) -> None:
    """Refuse to let this person go where nobody else runs the organization."""
    is_org_admin = await queries.has_grant(
        session,
        organization_id=organization_id,
        person_id=without,
        role=Role.ORG_ADMIN,
        program_id=None,
    )
    if is_org_admin and not await queries.has_other_org_admin(
        session, organization_id=organization_id, person_id=without
    ):
        raise rules.last_org_admin()


async def keep_role_holder(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID
) -> None:
    """Refuse to decide who signs in as somebody that holds a role; an org_admin may, in person.

    Whoever has the address gets the codes that sign in: with it would go the role. A narrow
    credential would otherwise make itself a wide one.
    """
    if await queries.holds_a_role(session, organization_id=organization_id, person_id=person_id):
        raise rules.holds_a_role()


async def create_key(
    session: AsyncSession,
    *,
    actor: Actor,
    label: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
    key_id: UUID | None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Make a key and return it with its full text, which is kept nowhere."""
    rules.require_held(actor, scopes)
    rules.check_expiry(expires_at, now)
    await _hold_office(session, actor)
    text = KeyText(actor.organization_id, key_id or ids.new_id(), access_rules.new_secret())
    key = _new_key(
        text,
        label=label,
        scopes=scopes,
        created_by=actor.person_id,
        expires_at=expires_at,
        now=now,
    )
    session.add(key)
    await _tell(session, "api_key.created", key, actor_id=actor.person_id, now=now)
    return key, str(text)


async def rotate_key(
    session: AsyncSession,
    *,
    actor: Actor,
    key_id: UUID,
    grace_hours: int,
    new_id: UUID | None,
    if_match: str | None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Let a second key take over; the old one ends after the grace, and the one before it now."""
    await _hold_office(session, actor)
    old = await queries.lock(session, ApiKey, organization_id=actor.organization_id, row_id=key_id)
    rules.require_held(actor, old.scopes)
    accept_match(if_match, version=old.version)
    _require_live(old, now)
    if await queries.successor(session, old, now=now):
        raise rules.rotated_already()
    text = KeyText(old.organization_id, new_id or ids.new_id(), access_rules.new_secret())
    key = _new_key(
        text,
        label=old.label,
        scopes=old.scopes,
        created_by=actor.person_id,
        expires_at=rules.next_expiry(created_at=old.created_at, expires_at=old.expires_at, now=now),
        now=now,
    )
    key.rotated_from = old.id
    session.add(key)
    old.expires_at = rules.sooner(old.expires_at, now + timedelta(hours=grace_hours))
    old.touch(now)
    before = await queries.predecessor(session, old)
    if before is not None and _is_live(before, now):
        await _end(session, before, actor_id=actor.person_id, now=now)
    await _tell(
        session,
        "api_key.rotated",
        key,
        actor_id=actor.person_id,
        named={"rotated_from": old.id},
        now=now,
    )
    return key, str(text)


async def create_client(
    session: AsyncSession,
    *,
    actor: Actor,
    values: Mapping[str, Any],
    client_id: UUID | None,
    now: datetime,
) -> tuple[OAuthClient, str | None]:
    """Make a client and return it with its secret, if it has one; that is kept nowhere.

    A service gets a secret unless it brings keys to sign with.
    """
    rules.require_held(actor, values["scopes"])
    await _hold_office(session, actor)
    return await register_client(
        session,
        organization_id=actor.organization_id,
        created_by=actor.person_id,
        values=values,
        client_id=client_id,
        now=now,
    )


async def register_client(
    session: AsyncSession,
    *,
    organization_id: UUID,
    created_by: UUID | None,
    values: Mapping[str, Any],
    client_id: UUID | None,
    now: datetime,
) -> tuple[OAuthClient, str | None]:
    """Make a client for somebody whose right to it is settled; None is the operator."""
    kind = ClientKind(values["kind"])
    rules.check_client(kind, values)
    client = OAuthClient(
        organization_id=organization_id,
        id=client_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        created_by=created_by,
        **values,
    )
    has_secret = kind is ClientKind.SERVICE and client.jwks is None
    secret = _give_secret(client) if has_secret else None
    session.add(client)
    await _tell(session, "oauth_client.created", client, actor_id=created_by, now=now)
    return client, secret


async def rotate_client(
    session: AsyncSession,
    *,
    actor: Actor,
    client_id: UUID,
    grace_hours: int,
    if_match: str | None,
    now: datetime,
) -> tuple[OAuthClient, str]:
    """Give a service a new secret; the one before works for the grace, and none before that.

    A secret that nobody used yet may have been lost with its answer: it ends, and the one that is
    in use works for the grace.

    As a new key does, the service belongs to whoever rotates it from then on.
    """
    await _hold_office(session, actor)
    client = await queries.lock(
        session, OAuthClient, organization_id=actor.organization_id, row_id=client_id
    )
    rules.require_held(actor, client.scopes)
    accept_match(if_match, version=client.version)
    if client.kind == ClientKind.APP:
        raise rules.no_secret()
    _require_live(client, now)
    if client.is_secret_used or not _has_previous(client, now):
        client.previous_secret_digest = client.secret_digest
    client.previous_secret_expires_at = (
        None if client.previous_secret_digest is None else now + timedelta(hours=grace_hours)
    )
    secret = _give_secret(client)
    client.created_by = actor.person_id
    client.touch(now)
    await _tell(session, "oauth_client.rotated", client, actor_id=actor.person_id, now=now)
    return client, secret


async def change[Row: (ApiKey, OAuthClient)](
    session: AsyncSession,
    table: type[Row],
    *,
    actor: Actor,
    row_id: UUID,
    changes: Mapping[str, Any],
    if_match: str | None,
    now: datetime,
) -> Row:
    """Change a credential; scopes that go are gone from its tokens, too, on their next request."""
    row = await queries.lock(session, table, organization_id=actor.organization_id, row_id=row_id)
    require_match(if_match, version=row.version)
    _require_live(row, now)
    if isinstance(row, OAuthClient):
        given = rules.given_by(
            changes, scopes=row.scopes, jwks=row.jwks, redirect_uris=row.redirect_uris
        )
        rules.require_held(actor, given)
        _check_change(row, changes)
    changed = [name for name, value in changes.items() if getattr(row, name) != value]
    if changed:
        for name in changed:
            setattr(row, name, changes[name])
        row.touch(now)
        await _tell(
            session,
            f"{row.__tablename__}.changed",
            row,
            actor_id=actor.person_id,
            changed=changed,
            now=now,
        )
    return row


def _check_change(client: OAuthClient, changes: Mapping[str, Any]) -> None:
    rules.check_client(ClientKind(client.kind), changes)
    loses_keys = "jwks" in changes and changes["jwks"] is None
    if loses_keys and client.kind == ClientKind.SERVICE and client.secret_digest is None:
        raise rules.needs_some_proof()


async def revoke[Row: (ApiKey, OAuthClient)](
    session: AsyncSession,
    table: type[Row],
    *,
    actor: Actor,
    row_id: UUID,
    if_match: str | None,
    now: datetime,
) -> Row:
    """End a credential with all its secrets, from its next request on; once is enough."""
    row = await queries.lock(session, table, organization_id=actor.organization_id, row_id=row_id)
    accept_match(if_match, version=row.version)
    if row.revoked_at is None:
        await _end(session, row, actor_id=actor.person_id, now=now)
    return row


async def revoke_keys_of(
    session: AsyncSession,
    *,
    organization_id: UUID,
    person_id: UUID,
    actor_id: UUID | None,
    now: datetime,
) -> list[UUID]:
    """End the keys and service clients that a person made, who may make none any more.

    Whoever else runs the organization is told: something they rely on may have stopped.
    """
    told = await queries.other_org_admins(
        session, organization_id=organization_id, person_id=person_id
    )
    ended: list[UUID] = []
    for table in (ApiKey, OAuthClient):
        for one in await queries.end_all_made_by(
            session, table, organization_id=organization_id, person_id=person_id, now=now
        ):
            events.record(
                session,
                f"{table.__tablename__}.revoked",
                one,
                now=now,
                actor_id=actor_id,
                named={"created_by": person_id},
                recipients={"org_admins": told},
            )
            ended.append(one.id)
    return ended


async def _hold_office(session: AsyncSession, actor: Actor) -> None:
    """Let nobody take the actor's office before this commits, and refuse whom that befell.

    What they make would otherwise escape the end of everything they made.
    """
    if actor.person_id is None or not await queries.hold_office(
        session, organization_id=actor.organization_id, person_id=actor.person_id
    ):
        raise ForbiddenError


def _new_key(
    text: KeyText,
    *,
    label: str,
    scopes: Sequence[str],
    created_by: UUID | None,
    expires_at: datetime | None,
    now: datetime,
) -> ApiKey:
    return ApiKey(
        organization_id=text.organization_id,
        id=text.key_id,
        created_at=now,
        updated_at=now,
        label=label,
        secret_digest=access_rules.secret_digest(text.secret),
        last_four=text.secret[-4:],
        scopes=list(scopes),
        created_by=created_by,
        expires_at=expires_at,
    )


def _has_previous(client: OAuthClient, now: datetime) -> bool:
    ends_at = client.previous_secret_expires_at
    return ends_at is not None and now < ends_at


def _give_secret(client: OAuthClient) -> str:
    secret = access_rules.new_secret()
    client.is_secret_used = False
    client.secret_digest, client.last_four = access_rules.secret_digest(secret), secret[-4:]
    return secret


def _is_live(row: ApiKey | OAuthClient, now: datetime) -> bool:
    return access_rules.is_live(expires_at=row.expires_at, revoked_at=row.revoked_at, now=now)


def _require_live(row: ApiKey | OAuthClient, now: datetime) -> None:
    if not _is_live(row, now):
        raise rules.ended()


async def _end(
    session: AsyncSession, row: ApiKey | OAuthClient, *, actor_id: UUID | None, now: datetime
) -> None:
    row.revoked_at = now
    row.touch(now)
    await _tell(
        session,
        f"{row.__tablename__}.revoked",
        row,
        actor_id=actor_id,
        named={"created_by": row.created_by},
        now=now,
    )


async def _tell(
    session: AsyncSession,
    kind: str,
    row: ApiKey | OAuthClient,
    *,
    actor_id: UUID | None,
    changed: Sequence[str] = (),
    named: Mapping[str, UUID | None] | None = None,
    now: datetime,
) -> None:
    """Record what happened to a credential, which lives in real time, on its own clock."""
    occurred_at = await organization_now(session, organization_id=row.organization_id, real_now=now)
    events.record(
        session, kind, row, now=occurred_at, actor_id=actor_id, changed=changed, named=named
    )


def _record(
    session: AsyncSession,
    kind: str,
    assignment: RoleAssignment,
    *,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    events.record(
        session,
        kind,
        assignment,
        now=now,
        actor_id=actor_id,
        program_id=assignment.program_id,
        named={"person_id": assignment.person_id},
    )
