"""The grants: what a client gets for what it shows, and how a sign-in goes on and ends.

A refusal is returned, not raised, so that what it counted or ended is committed with it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from pydantic_core import from_json
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access import assertions
from services.api.access import operations as access
from services.api.access import rules as access_rules
from services.api.access.rules import (
    EVERY_SCOPE,
    ClientKind,
    CredentialKind,
    CredentialText,
    Scope,
)
from services.api.access.tables import (
    AccessSubject,
    FamilyEnd,
    OAuthClient,
    RefreshFamily,
)
from services.api.events import operations as events
from services.api.issuer import queries, rules
from services.api.issuer.rules import (
    CODE_LIFETIME,
    IDLE_LIFETIME,
    LONGEST_LIFETIME,
    Client,
    ClientRequest,
    Granted,
    GrantType,
    TokenRefusal,
    Use,
)
from services.api.issuer.tables import AuthorizationCode, ClientAssertion, RefreshToken
from services.api.timers.queries import organization_now
from shared import ids
from shared.persistence.reads import SessionReader


async def answer(
    session: AsyncSession, request: ClientRequest, *, audiences: Sequence[str], now: datetime
) -> Granted | TokenRefusal:
    """Answer a token request; `audiences` are the names an assertion may be made out to."""
    try:
        client = await _authenticated(session, request, audiences=audiences, now=now)
        grant = rules.grant_type(request.fields)
        rules.require_grant(grant, is_app=client.is_app)
        return await GRANTS[grant](session, client, request.fields, now)
    except TokenRefusal as refusal:
        return refusal


async def end_sign_in(
    session: AsyncSession, request: ClientRequest, *, audiences: Sequence[str], now: datetime
) -> TokenRefusal | None:
    """End the sign-in a refresh token belongs to; one that nobody knows is ended already."""
    try:
        client = await _authenticated(session, request, audiences=audiences, now=now)
        token = rules.required(request.fields, "token")
        rules.require_revocable(token)
    except TokenRefusal as refusal:
        return refusal
    with suppress(TokenRefusal):
        _token, family = await _shown_token(session, client, token)
        _end(family, FamilyEnd.SIGNED_OUT, now)
    return None


async def note_use(session: AsyncSession, client: Client, *, now: datetime) -> None:
    """Remember roughly when the client was last used, and that its newest secret is."""
    await access.note_use(
        session,
        OAuthClient,
        organization_id=client.organization_id,
        row_id=client.id,
        now=now,
    )
    if client.first_used is not None:
        await session.execute(
            update(OAuthClient)
            .where(
                col(OAuthClient.organization_id) == client.organization_id,
                col(OAuthClient.id) == client.id,
                # Meanwhile there may be a newer one.
                col(OAuthClient.secret_digest) == client.first_used,
            )
            .values(is_secret_used=True)
        )


async def give_code(
    session: AsyncSession,
    *,
    organization_id: UUID,
    person_id: UUID,
    client_id: UUID,
    redirect_uri: str | None,
    scopes: frozenset[Scope],
    code_challenge: str,
    auth_time: datetime,
    now: datetime,
) -> str:
    """Return the code an app trades for a person's first tokens; who they are is settled.

    `redirect_uri` is where the code is sent, None where it is not sent by redirect. Whether the
    person may sign in is asked when the code is used.
    """
    subject = await session.get_one(AccessSubject, (organization_id, person_id))
    text = access_rules.new_credential(
        CredentialKind.AUTHORIZATION_CODE, organization_id, ids.new_id()
    )
    code = AuthorizationCode(
        organization_id=organization_id,
        id=text.id,
        digest=access_rules.secret_digest(text.secret),
        person_id=person_id,
        client_id=client_id,
        redirect_uri=redirect_uri,
        scopes=sorted(scopes),
        code_challenge=code_challenge,
        auth_time=auth_time,
        access_version=subject.version,
        created_at=now,
        expires_at=now + CODE_LIFETIME,
    )
    session.add(code)
    return str(text)


async def _authenticated(
    session: AsyncSession, request: ClientRequest, *, audiences: Sequence[str], now: datetime
) -> Client:
    row = await SessionReader(session).fetch_one(
        queries.client_row(),
        organization_id=request.organization_id,
        client_id=request.client_id,
    )
    if request.assertion is not None:
        is_same = await _is_signed(session, request, row, audiences=audiences, now=now)
    else:
        is_same = _is_known(request, row, now)
    if row is None or not is_same or not _is_live(row, now):
        raise rules.unknown_client(is_signed=request.assertion is not None)
    return Client(
        organization_id=request.organization_id,
        id=request.client_id,
        is_app=row["kind"] == ClientKind.APP,
        scopes=frozenset(map(Scope, row["scopes"])),
        is_use_due=access_rules.is_use_due(row["last_used_at"], now),
        first_used=_first_used(request, row),
    )


def _first_used(request: ClientRequest, row: Mapping[str, Any]) -> bytes | None:
    if request.secret is None or row["secret_digest"] is None or row["is_secret_used"]:
        return None
    is_newest = access_rules.is_same_secret(request.secret, row["secret_digest"])
    return row["secret_digest"] if is_newest else None


def _is_known(request: ClientRequest, row: Mapping[str, Any] | None, now: datetime) -> bool:
    """Tell whether the client shows one of its secrets, or needs none; each takes as long."""
    kept = row or {"kind": None, "secret_digest": None, "previous_secret_digest": None}
    secret = request.secret or ""
    is_newest, is_previous = (
        access_rules.is_same_secret(secret, kept[name] or access_rules.NO_DIGEST)
        for name in ("secret_digest", "previous_secret_digest")
    )
    if request.secret is None:
        return bool(kept["kind"] == ClientKind.APP)
    is_still = is_previous and access_rules.is_live(
        expires_at=kept["previous_secret_expires_at"], revoked_at=None, now=now
    )
    return is_newest or is_still


async def _is_signed(
    session: AsyncSession,
    request: ClientRequest,
    row: Mapping[str, Any] | None,
    *,
    audiences: Sequence[str],
    now: datetime,
) -> bool:
    """Tell whether the client signed the assertion, and shows it for the first time."""
    if row is None or row["jwks"] is None or request.assertion is None:
        return False
    try:
        assertion = assertions.verify(
            request.assertion,
            keys=_keys(row["jwks"]),
            client=request.client_name,
            audiences=audiences,
            now=now,
        )
    except ValueError:
        return False
    remembered = await session.scalar(
        insert(ClientAssertion)
        .values(
            organization_id=request.organization_id,
            client_id=request.client_id,
            jti_digest=assertion.jti_digest,
            expires_at=assertion.remembered_until,
        )
        .on_conflict_do_nothing()
        .returning(col(ClientAssertion.expires_at))
    )
    return remembered is not None


def _keys(jwks: str) -> Sequence[Mapping[str, Any]]:
    keys: Sequence[Mapping[str, Any]] = from_json(jwks)["keys"]
    return keys


def _is_live(row: Mapping[str, Any], now: datetime) -> bool:
    # An app stays when its maker goes, as it does nothing by itself.
    office_ends_at = None if row["kind"] == ClientKind.APP else row["office_ends_at"]
    return access_rules.is_live(
        expires_at=access_rules.first_end(row["expires_at"], office_ends_at),
        revoked_at=row["revoked_at"],
        now=now,
    )


async def _of_client(
    _session: AsyncSession, client: Client, fields: Mapping[str, str], _now: datetime
) -> Granted:
    return Granted(
        client=client,
        subject=client.id,
        is_person=False,
        access_version=1,
        scopes=rules.narrowed(fields.get("scope"), client.scopes),
    )


async def _of_code(
    session: AsyncSession, client: Client, fields: Mapping[str, str], now: datetime
) -> Granted:
    """Trade a code; a second use ends what the first one began."""
    code = await _code_of(session, client, rules.required(fields, "code"))
    if code.used_at is not None:
        await _end_by_code(session, code, now)
        raise rules.unknown_grant()
    rules.require_own_code(
        fields,
        redirect_uri=code.redirect_uri,
        code_challenge=code.code_challenge,
        expires_at=code.expires_at,
        now=now,
    )
    if not await queries.may_sign_in(
        session,
        organization_id=client.organization_id,
        person_id=code.person_id,
        access_version=code.access_version,
    ):
        raise rules.unknown_grant()
    family = await _begin(session, code, now)
    code.used_at, code.family_id = now, family.id
    scopes = _granted_scopes(client, family)
    return _granted(client, family, scopes, _next_token(session, family, None, now))


async def _code_of(session: AsyncSession, client: Client, text: str) -> AuthorizationCode:
    shown = _parsed(text, CredentialKind.AUTHORIZATION_CODE, client)
    code = await queries.lock_code(
        session, organization_id=client.organization_id, code_id=shown.id
    )
    digest = code.digest if code else access_rules.NO_DIGEST
    is_same = access_rules.is_same_secret(shown.secret, digest)
    if code is None or not is_same or code.client_id != client.id:
        raise rules.unknown_grant()
    return code


async def _end_by_code(session: AsyncSession, code: AuthorizationCode, now: datetime) -> None:
    if code.family_id is not None:
        family = await queries.lock_family(
            session, organization_id=code.organization_id, family_id=code.family_id
        )
        _end(family, FamilyEnd.CODE_REUSED, now)


async def _begin(session: AsyncSession, code: AuthorizationCode, now: datetime) -> RefreshFamily:
    family = RefreshFamily(
        organization_id=code.organization_id,
        id=ids.new_id(),
        created_at=now,
        updated_at=now,
        person_id=code.person_id,
        client_id=code.client_id,
        scopes=list(code.scopes),
        auth_time=code.auth_time,
        access_version=code.access_version,
        idle_expires_at=now + IDLE_LIFETIME,
        expires_at=now + LONGEST_LIFETIME,
    )
    session.add(family)
    # Its code and token name it: the row has to be there before theirs are written.
    await session.flush()
    return family


async def _of_token(
    session: AsyncSession, client: Client, fields: Mapping[str, str], now: datetime
) -> Granted:
    """Trade a refresh token for the next one; what two hold ends for both."""
    token, family = await _shown_token(session, client, rules.required(fields, "refresh_token"))
    if not await _goes_on(session, family, now):
        raise rules.unknown_grant()
    successor = await queries.unused_successor(session, token) if token.used_at else None
    use = rules.judge(
        used_at=token.used_at,
        dead_at=token.dead_at,
        has_unused_successor=successor is not None,
        now=now,
    )
    if use is Use.REUSED:
        await _end_as_stolen(session, family, now)
        raise rules.unknown_grant()
    scopes = rules.narrowed(
        fields.get("scope"), _granted_scopes(client, family), ceiling=EVERY_SCOPE
    )
    if successor is not None:
        successor.dead_at = now
    # The first use stays: it is what the time for a lost answer runs from.
    token.used_at = token.used_at or now
    family.idle_expires_at = now + IDLE_LIFETIME
    return _granted(client, family, scopes, _next_token(session, family, token.id, now))


async def _shown_token(
    session: AsyncSession, client: Client, text: str
) -> tuple[RefreshToken, RefreshFamily]:
    shown = _parsed(text, CredentialKind.REFRESH_TOKEN, client)
    token = await queries.find_token(
        session, organization_id=client.organization_id, token_id=shown.id
    )
    digest = token.digest if token else access_rules.NO_DIGEST
    if not access_rules.is_same_secret(shown.secret, digest) or token is None:
        raise rules.unknown_grant()
    family = await queries.lock_family(
        session, organization_id=client.organization_id, family_id=token.family_id
    )
    if family.client_id != client.id:
        raise rules.unknown_grant()
    # Read again now that the family is held: somebody may have used it a moment ago.
    await session.refresh(token)
    return token, family


async def _goes_on(session: AsyncSession, family: RefreshFamily, now: datetime) -> bool:
    is_live = access_rules.is_live(
        expires_at=min(family.expires_at, family.idle_expires_at),
        revoked_at=family.revoked_at,
        now=now,
    )
    return is_live and await queries.may_sign_in(
        session,
        organization_id=family.organization_id,
        person_id=family.person_id,
        access_version=family.access_version,
    )


async def _end_as_stolen(session: AsyncSession, family: RefreshFamily, now: datetime) -> None:
    _end(family, FamilyEnd.TOKEN_REUSED, now)
    events.record(
        session,
        "refresh_token.reused",
        family,
        now=await organization_now(session, organization_id=family.organization_id, real_now=now),
        named={"person_id": family.person_id, "client_id": family.client_id},
        recipients={"person": [family.person_id]},
    )


def _end(family: RefreshFamily, because: FamilyEnd, now: datetime) -> None:
    if family.revoked_at is None:
        family.revoked_at, family.revoked_because = now, because
        family.touch(now)


def _parsed(text: str, kind: CredentialKind, client: Client) -> CredentialText:
    try:
        shown = access_rules.parse_credential(text, kind)
    except ValueError:
        raise rules.unknown_grant() from None
    if shown.organization_id != client.organization_id:
        raise rules.unknown_grant()
    return shown


def _next_token(
    session: AsyncSession, family: RefreshFamily, predecessor_id: UUID | None, now: datetime
) -> str:
    text = access_rules.new_credential(
        CredentialKind.REFRESH_TOKEN, family.organization_id, ids.new_id()
    )
    token = RefreshToken(
        organization_id=family.organization_id,
        id=text.id,
        family_id=family.id,
        digest=access_rules.secret_digest(text.secret),
        predecessor_id=predecessor_id,
        created_at=now,
    )
    session.add(token)
    return str(text)


def _granted_scopes(client: Client, family: RefreshFamily) -> frozenset[Scope]:
    """Return what the person granted and the app may still hold."""
    return client.scopes & frozenset(map(Scope, family.scopes))


def _granted(
    client: Client, family: RefreshFamily, scopes: frozenset[Scope], refresh_token: str
) -> Granted:
    return Granted(
        client=client,
        subject=family.person_id,
        is_person=True,
        access_version=family.access_version,
        scopes=scopes,
        auth_time=family.auth_time,
        refresh_token=refresh_token,
    )


type Grant = Callable[[AsyncSession, Client, Mapping[str, str], datetime], Awaitable[Granted]]

GRANTS: Mapping[GrantType, Grant] = MappingProxyType(
    {
        GrantType.CLIENT_CREDENTIALS: _of_client,
        GrantType.AUTHORIZATION_CODE: _of_code,
        GrantType.REFRESH_TOKEN: _of_token,
    }
)
"""Who answers a token request, by the grant it names."""
