"""Begin a sign-in in one browser, keep it, find it again, and end it with an answer to the app."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import rules as access
from services.api.access.rules import CredentialKind, Scope
from services.api.issuer import operations as issuer
from services.api.issuer.queries import app_client
from services.api.issuer.rules import matches_redirect, redirect_back
from services.api.sign_in.requests import queries, rules
from services.api.sign_in.requests.rules import LIFETIME, Held
from services.api.sign_in.requests.tables import SignIn
from shared import ids
from shared.persistence.reads import SessionReader


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an app asked for, after it was found to be allowed to."""

    organization_id: UUID
    client_id: UUID
    redirect_uri: str
    scopes: Sequence[Scope]
    state: str | None
    code_challenge: str
    locale: str


@dataclass(frozen=True, slots=True)
class _Begun:
    id: UUID
    # Whose it is: the sealed text alone, without the cookie it was made with, begins nothing.
    secret_digest: str
    begun_at: datetime
    wanted: Wanted


_BEGUN = TypeAdapter(_Begun)


def begin(wanted: Wanted, *, seal: bytes, now: datetime) -> Held:
    """Begin a sign-in that the browser holds alone: of those who visit, few send a form."""
    entry = access.new_credential(CredentialKind.SIGN_IN, wanted.organization_id, ids.new_id())
    digest = access.secret_digest(entry.secret).hex()
    begun = _BEGUN.dump_json(_Begun(entry.id, digest, now, wanted))
    return Held(entry, rules.sealed(begun, seal))


async def keep(session: AsyncSession, held: Held, *, seal: bytes, now: datetime) -> None:
    """Keep what a browser brings with its first form; once, however often that is sent.

    What is not of this browser's sign-in, too old, or for an app that is gone, is not kept.
    """
    begun = _unsealed(held, seal)
    if begun is None or now >= begun.begun_at + LIFETIME:
        return
    wanted = begun.wanted
    app = await app_client(
        SessionReader(session),
        organization_id=held.entry.organization_id,
        client_id=wanted.client_id,
    )
    if app is None:
        return
    row = insert(SignIn).values(
        organization_id=held.entry.organization_id,
        id=begun.id,
        secret_digest=access.secret_digest(held.entry.secret),
        client_id=wanted.client_id,
        redirect_uri=wanted.redirect_uri,
        scopes=sorted(wanted.scopes),
        state=wanted.state,
        code_challenge=wanted.code_challenge,
        locale=wanted.locale,
        created_at=begun.begun_at,
        expires_at=begun.begun_at + LIFETIME,
    )
    await session.execute(row.on_conflict_do_nothing())


def _unsealed(held: Held, seal: bytes) -> _Begun | None:
    plain = rules.unsealed(held.sealed, seal)
    if plain is None:
        return None
    try:
        begun = _BEGUN.validate_json(plain)
    except ValidationError:
        # Another version of this program made it.
        return None
    named = (begun.wanted.organization_id, begun.id)
    is_same = access.is_same_secret(held.entry.secret, bytes.fromhex(begun.secret_digest))
    return begun if is_same and named == (held.entry.organization_id, held.entry.id) else None


async def load(
    session: AsyncSession, *, cookie: str | None, now: datetime, sign_in_id: UUID | None = None
) -> SignIn | None:
    """Find the sign-in of this browser, by its id or else the newest, and lock it.

    None unless it is live, of the organization whose transaction this is, this browser's own, and
    its app may still be answered at the address it named: an org_admin may have taken either back.
    """
    entry = rules.entry_of(cookie, sign_in_id)
    sign_in = None if entry is None else await queries.lock_live(session, entry, now=now)
    return await _answerable(session, sign_in)


async def load_finished(
    session: AsyncSession, *, cookie: str | None, now: datetime, sign_in_id: UUID
) -> SignIn | None:
    """Find a sign-in that was finished a moment ago, as `load` finds a live one, and lock it."""
    entry = rules.entry_of(cookie, sign_in_id)
    sign_in = None if entry is None else await queries.lock_just_finished(session, entry, now=now)
    return await _answerable(session, sign_in)


async def _answerable(session: AsyncSession, sign_in: SignIn | None) -> SignIn | None:
    if sign_in is None:
        return None
    app = await app_client(
        SessionReader(session), organization_id=sign_in.organization_id, client_id=sign_in.client_id
    )
    is_there = app is not None and matches_redirect(app.redirect_uris, sign_in.redirect_uri)
    return sign_in if is_there else None


async def finish(
    session: AsyncSession,
    sign_in: SignIn,
    *,
    person_id: UUID,
    issuer_name: str,
    auth_time: datetime,
    now: datetime,
) -> str:
    """Return where the browser goes with the code; the sign-in is over.

    `issuer_name` goes along, so that an app of several issuers knows whose answer it is (RFC 9207);
    `auth_time` is when the person showed who they are.
    """
    _end(sign_in, now)
    code = await issuer.give_code(
        session,
        organization_id=sign_in.organization_id,
        person_id=person_id,
        client_id=sign_in.client_id,
        redirect_uri=sign_in.redirect_uri,
        scopes=frozenset(map(Scope, sign_in.scopes)),
        code_challenge=sign_in.code_challenge,
        auth_time=auth_time,
        now=now,
    )
    return redirect_back(sign_in.redirect_uri, code=code, state=sign_in.state, iss=issuer_name)


async def cancel(sign_in: SignIn, *, issuer_name: str, now: datetime) -> str:
    """Return where the browser goes to say that the person does not want to."""
    _end(sign_in, now)
    return redirect_back(
        sign_in.redirect_uri, error="access_denied", state=sign_in.state, iss=issuer_name
    )


def _end(sign_in: SignIn, now: datetime) -> None:
    # The first time counts, however often the same form is sent again.
    sign_in.finished_at = sign_in.finished_at or now
    # Nobody needs it any more; the row itself goes with the next sweep.
    sign_in.address = None
