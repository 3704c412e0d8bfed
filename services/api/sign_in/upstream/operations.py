"""Send somebody to the identity provider, find out whom its answer means, and forget that."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import operations as access
from services.api.access import sealing
from services.api.access.rules import Actor
from services.api.events import operations as events
from services.api.integrations.connections import operations as connections
from services.api.integrations.connections.rules import Provisioning
from services.api.integrations.connections.tables import OidcConnection
from services.api.people import operations as people
from services.api.people import queries as directory
from services.api.people.rules import SIGNS_IN, PersonChange, PersonStatus
from services.api.sign_in.requests.tables import SignIn
from services.api.sign_in.upstream import queries, rules
from services.api.sign_in.upstream.queries import Account
from services.api.sign_in.upstream.rules import Claims, Linked, NotProvisioned, Obstacle
from services.api.sign_in.upstream.schemas import Newcomer
from services.api.sign_in.upstream.tables import IdentityLink
from shared import ids
from shared.web.preconditions import require_match


@dataclass(frozen=True, slots=True)
class Visit:
    """One way to the provider and back: whom to ask as whom, and what its answer must repeat."""

    connection_id: UUID
    issuer: str
    client_id: str
    secret: str = field(repr=False)
    scopes: tuple[str, ...]
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


async def send_off(
    session: AsyncSession, sign_in: SignIn, *, connection_id: UUID, sealing_key: str
) -> Visit | None:
    """Tie the sign-in to a provider that lets people in; a second way replaces the first."""
    provider = await queries.active_provider(
        session, organization_id=sign_in.organization_id, connection_id=connection_id
    )
    if provider is None:
        return None
    sign_in.connection_id = provider.connection_id
    sign_in.upstream_state = rules.new_state(sign_in.id)
    sign_in.upstream_nonce = rules.new_secret()
    sign_in.upstream_verifier = rules.new_secret()
    return _visit(sign_in, provider, sealing_key)


async def take_back(
    session: AsyncSession, sign_in: SignIn, *, state: str, sealing_key: str
) -> Visit | None:
    """Return the way that an answer belongs to; it ends with this, whatever the answer says."""
    if sign_in.connection_id is None or not rules.is_same(state, sign_in.upstream_state):
        return None
    provider = await queries.active_provider(
        session, organization_id=sign_in.organization_id, connection_id=sign_in.connection_id
    )
    visit = None if provider is None else _visit(sign_in, provider, sealing_key)
    sign_in.upstream_state = sign_in.upstream_nonce = sign_in.upstream_verifier = None
    return visit


def _visit(sign_in: SignIn, provider: OidcConnection, sealing_key: str) -> Visit:
    return Visit(
        connection_id=provider.connection_id,
        issuer=provider.issuer,
        client_id=provider.client_id,
        secret=sealing.unseal(provider.sealed_secret, sealing_key).decode(),
        scopes=tuple(provider.scopes),
        state=sign_in.upstream_state or "",
        nonce=sign_in.upstream_nonce or "",
        verifier=sign_in.upstream_verifier or "",
    )


async def person_of(
    session: AsyncSession, *, connection: OidcConnection, claims: Claims, now: datetime
) -> Linked | NotProvisioned:
    """Find whom verified claims mean: by the account, by a declared id, by the name there.

    An address never links anybody to somebody: providers let people type theirs. `now` is the
    organization's clock.
    """
    account = Account(connection.organization_id, claims.issuer, claims.subject)
    await queries.hold_account(session, account)
    link = await queries.find_link(session, account)
    if link is None:
        person_id = await _meant(session, connection, claims)
        if person_id is None:
            person_id = await _newcomer(session, connection, claims, now=now)
        if person_id is None:
            return NotProvisioned(Obstacle.UNKNOWN)
        if await _obstacle(session, account.organization_id, person_id) is Obstacle.INACTIVE:
            return NotProvisioned(Obstacle.INACTIVE)
        link = _link(session, connection, account, person_id, now=now)
    return await _admitted(session, connection, link, now=now)


async def _admitted(
    session: AsyncSession, connection: OidcConnection, link: IdentityLink, *, now: datetime
) -> Linked | NotProvisioned:
    obstacle = await _obstacle(session, link.organization_id, link.person_id)
    if obstacle is not None:
        return NotProvisioned(obstacle)
    if link.last_used_at is None or link.last_used_at < now - rules.USE_INTERVAL:
        link.last_used_at = now
    await connections.note_use(
        session,
        organization_id=link.organization_id,
        connection_id=connection.connection_id,
        now=now,
    )
    return Linked(link.person_id)


async def _obstacle(
    session: AsyncSession, organization_id: UUID, person_id: UUID
) -> Obstacle | None:
    person = await directory.find(session, organization_id=organization_id, person_id=person_id)
    if person is None:
        return Obstacle.INACTIVE
    if person.status is PersonStatus.PENDING:
        return Obstacle.PENDING
    return None if person.status in SIGNS_IN else Obstacle.INACTIVE


async def _meant(session: AsyncSession, connection: OidcConnection, claims: Claims) -> UUID | None:
    """Return who bears the id that the declared claim names, or else the name at the provider."""
    is_declared = connection.external_id_claim is not None
    named = claims.text(connection.external_id_claim or rules.USER_NAME)
    if named is None:
        return None
    person_id = await directory.find_by_external_id(
        session,
        organization_id=connection.organization_id,
        source=_source(connection),
        external_id=named,
    )
    # Names change hands; whoever is linked already is not taken over by the next to bear theirs.
    if person_id is None or is_declared:
        return person_id
    is_taken = await queries.is_linked(
        session,
        organization_id=connection.organization_id,
        person_id=person_id,
        issuer=claims.issuer,
    )
    return None if is_taken else person_id


async def _newcomer(
    session: AsyncSession, connection: OidcConnection, claims: Claims, *, now: datetime
) -> UUID | None:
    """Take somebody in as pending, where the connection allows it and their address is free."""
    described = claims.newcomer()
    if connection.provisioning is not Provisioning.PENDING or described is None:
        return None
    try:
        values = Newcomer.model_validate(described).model_dump()
    except ValidationError:
        return None
    if await _is_met(session, connection, claims, values["email"]):
        return None
    source, external_id = _known_as(connection, claims)
    person = await people.apply_person_change(
        session,
        organization_id=connection.organization_id,
        wanted=PersonChange(
            source=source,
            external_id=external_id,
            person_id=ids.new_id(),
            version_seen=None,
            values={**values, "status": PersonStatus.PENDING},
        ),
        actor_id=None,
        is_by_office=False,
        now=now,
    )
    return person.id


async def _is_met(
    session: AsyncSession, connection: OidcConnection, claims: Claims, email: str
) -> bool:
    """Tell whether somebody has the address or the id already, who then is not to be doubled."""
    if await directory.is_email_taken(
        session,
        organization_id=connection.organization_id,
        email=email,
        except_id=connection.connection_id,
    ):
        return True
    source, external_id = _known_as(connection, claims)
    known = await directory.find_by_external_id(
        session,
        organization_id=connection.organization_id,
        source=source,
        external_id=external_id,
    )
    return known is not None


def _known_as(connection: OidcConnection, claims: Claims) -> tuple[str, str]:
    """Return the id a newcomer gets: the declared one, so that the next HR file finds them."""
    declared = connection.external_id_claim and claims.text(connection.external_id_claim)
    if declared:
        return _source(connection), declared
    own = connections.source_of(connection.connection_id)
    return own, claims.subject[: rules.LONGEST_EXTERNAL_ID]


def _source(connection: OidcConnection) -> str:
    return connections.source_of(connection.people_connection_id or connection.connection_id)


def _link(
    session: AsyncSession,
    connection: OidcConnection,
    account: Account,
    person_id: UUID,
    *,
    now: datetime,
) -> IdentityLink:
    link = IdentityLink(
        organization_id=account.organization_id,
        id=ids.new_id(),
        created_at=now,
        updated_at=now,
        issuer=account.issuer,
        subject=account.subject,
        person_id=person_id,
        connection_id=connection.connection_id,
    )
    session.add(link)
    events.record(
        session,
        "identity_link.created",
        link,
        now=now,
        named={"person_id": person_id, "connection_id": connection.connection_id},
    )
    return link


async def remove_link(
    session: AsyncSession,
    *,
    actor: Actor,
    person_id: UUID,
    link_id: UUID,
    if_match: str | None,
    now: datetime,
    real_now: datetime,
) -> None:
    """Take an account away from a person; whoever signed in with it is signed out.

    Every sign-in of the person ends, for a sign-in does not say by which account it came.
    """
    link = await queries.lock_link(
        session,
        organization_id=actor.organization_id,
        person_id=person_id,
        link_id=link_id,
    )
    require_match(if_match, version=link.version)
    await access.end_sessions(
        session, organization_id=link.organization_id, person_id=link.person_id, now=real_now
    )
    await session.delete(link)
    events.record(
        session,
        "identity_link.removed",
        link,
        now=now,
        actor_id=actor.person_id,
        named={"person_id": link.person_id, "connection_id": link.connection_id},
    )
