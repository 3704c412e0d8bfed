"""Grant and take back roles; make, and end, credentials of machines."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import operations as access
from services.api.access import rules as access_rules
from services.api.access.roles import Role
from services.api.access.rules import Actor, KeyText, Scope
from services.api.access.tables import ApiKey, OAuthClient, RoleAssignment
from services.api.credentials import queries, rules
from services.api.events import operations as events
from shared import ids
from shared.errors import ConflictError, unknown_reference
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
    """Take a role back; every token of the person ends, so that no old one still carries it."""
    assignment = await queries.lock(
        session, RoleAssignment, organization_id=actor.organization_id, row_id=assignment_id
    )
    require_match(if_match, version=assignment.version)
    if assignment.role == Role.ORG_ADMIN:
        await keep_an_org_admin(
            session, organization_id=actor.organization_id, without=assignment.person_id
        )
    await access.end_tokens(
        session, organization_id=actor.organization_id, person_id=assignment.person_id
    )
    await session.delete(assignment)
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


async def create_key(
    session: AsyncSession,
    *,
    organization_id: UUID,
    created_by: UUID | None,
    label: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None = None,
    key_id: UUID | None = None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Make a key and return it with its full text, which is kept nowhere."""
    text = KeyText(organization_id, key_id or ids.new_id(), access_rules.new_secret())
    key = ApiKey(
        organization_id=organization_id,
        id=text.key_id,
        created_at=now,
        updated_at=now,
        label=label,
        secret_digest=access_rules.secret_digest(text.secret),
        last_four=text.secret[-4:],
        scopes=[scope.value for scope in scopes],
        created_by=created_by,
        expires_at=expires_at,
    )
    session.add(key)
    return key, str(text)


async def create_client(
    session: AsyncSession,
    *,
    actor: Actor,
    label: str,
    scopes: Sequence[Scope],
    client_id: UUID | None,
    now: datetime,
) -> tuple[OAuthClient, str]:
    """Make an OAuth client and return it with its secret, which is kept nowhere."""
    secret = access_rules.new_secret()
    client = OAuthClient(
        organization_id=actor.organization_id,
        id=client_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        label=label,
        secret_digest=access_rules.secret_digest(secret),
        last_four=secret[-4:],
        scopes=[scope.value for scope in scopes],
        created_by=actor.person_id,
    )
    session.add(client)
    return client, secret


async def revoke[Row: (ApiKey, OAuthClient)](
    session: AsyncSession,
    table: type[Row],
    *,
    actor: Actor,
    row_id: UUID,
    if_match: str | None,
    now: datetime,
) -> Row:
    """End a machine's credential from its next request on; a second time changes nothing."""
    row = await queries.lock(session, table, organization_id=actor.organization_id, row_id=row_id)
    accept_match(if_match, version=row.version)
    if row.revoked_at is None:
        row.revoked_at = now
        row.touch(now)
    return row


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
