"""The steps of signing in on our pages; what comes of each is returned, never raised."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import codes
from services.api.access.rules import EVERY_SCOPE, Scope
from services.api.issuer.rules import (
    AppClient,
    TokenRefusal,
    matches_redirect,
    narrowed,
    parse_authorization,
    redirect_back,
)
from services.api.sign_in.email_codes import operations as email_codes
from services.api.sign_in.email_codes.operations import Admit
from services.api.sign_in.email_codes.rules import Off, Refused, TooMany
from services.api.sign_in.pages import queries, rules
from services.api.sign_in.pages.queries import Surroundings
from services.api.sign_in.pages.rules import Asked
from services.api.sign_in.requests import operations as requests
from services.api.sign_in.requests.operations import Wanted
from services.api.sign_in.requests.rules import Notice
from services.api.sign_in.requests.tables import SignIn
from shared import words
from shared.persistence.reads import Reader, SessionReader


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in begins in this browser."""

    wanted: Wanted
    where: Surroundings


@dataclass(frozen=True, slots=True)
class Answered:
    """The browser goes back to the app, at this address."""

    location: str


@dataclass(frozen=True, slots=True)
class UnknownApp:
    """No live app of this id has registered this address: nobody is sent anywhere."""


async def begin(
    reader: Reader, asked: Asked, *, languages: Sequence[str], issuer_name: str
) -> Begun | Answered | UnknownApp:
    """Take an app's request; only an address it has registered hears why it is refused."""
    where = await queries.surroundings(
        reader, organization_id=asked.organization_id, client_id=asked.client_id
    )
    if where is None or not matches_redirect(where.app.redirect_uris, asked.redirect_uri):
        return UnknownApp()
    try:
        wanted = _wanted(asked, where.app, words.choose(*languages, where.default_locale))
    except TokenRefusal as refusal:
        return Answered(_refused(asked, refusal, issuer_name))
    return Begun(wanted, where)


def _wanted(asked: Asked, app: AppClient, locale: str) -> Wanted:
    if asked.refusal is not None:
        raise asked.refusal
    request = parse_authorization(asked.fields)
    return Wanted(
        organization_id=request.organization_id,
        client_id=request.client_id,
        redirect_uri=request.redirect_uri,
        scopes=sorted(narrowed(request.scope, app.scopes, ceiling=EVERY_SCOPE)),
        state=request.state,
        code_challenge=request.code_challenge,
        locale=locale,
    )


def _refused(asked: Asked, refusal: TokenRefusal, issuer_name: str) -> str:
    return redirect_back(
        asked.redirect_uri,
        error=refusal.error,
        error_description=refusal.description,
        state=asked.state,
        iss=issuer_name,
    )


async def send_code(
    session: AsyncSession,
    sign_in: SignIn,
    *,
    address: str,
    pepper: bytes,
    limit: int,
    now: datetime,
) -> Notice | None:
    """Send a code to an address, if it is somebody's; a notice says why nobody gets one now.

    Asked twice in a moment, as by a double click, it sends one.
    """
    if sign_in.address == address and await queries.is_code_fresh(session, sign_in, now=now):
        return None
    outcome = await email_codes.start(
        session,
        organization_id=sign_in.organization_id,
        address=address,
        client_id=sign_in.client_id,
        scopes=frozenset(map(Scope, sign_in.scopes)),
        code_challenge=sign_in.code_challenge,
        sign_in_id=sign_in.id,
        pepper=pepper,
        limit=limit,
        now=now,
    )
    if isinstance(outcome, Off):
        return Notice.CODES_OFF
    if isinstance(outcome, TooMany):
        return Notice.BUSY
    sign_in.address, sign_in.email_code_id = address, outcome.id
    return None


async def answer_again(
    session: AsyncSession,
    sign_in: SignIn,
    *,
    typed: str,
    pepper: bytes,
    issuer_name: str,
    now: datetime,
) -> Answered | None:
    """Answer the app anew where the form that finished a sign-in is sent twice.

    The browser drops the first answer then. Only the code that was right is right again, so
    nothing is won by trying; the app still needs its verifier, and state, for either answer.
    """
    challenge = await queries.code_of(session, sign_in)
    if challenge is None or challenge.person_id is None or challenge.used_at is None:
        return None
    is_same = codes.is_code(
        pepper,
        rules.digits(typed) or "",
        organization_id=sign_in.organization_id,
        challenge_id=challenge.id,
    )
    reader = SessionReader(session)
    if not is_same or not await email_codes.is_still_theirs(reader, challenge, pepper=pepper):
        return None
    return Answered(
        await requests.finish(
            session,
            sign_in,
            person_id=challenge.person_id,
            issuer_name=issuer_name,
            auth_time=now,
            now=now,
        )
    )


async def try_code(
    session: AsyncSession,
    sign_in: SignIn,
    *,
    typed: str,
    admit: Admit,
    pepper: bytes,
    issuer_name: str,
    now: datetime,
) -> Answered | Notice | str:
    """Sign in with what was typed: where to go then, else why to start again, or the mistake.

    Something that cannot be a code is no attempt.
    """
    if sign_in.email_code_id is None:
        return Notice.CODE_EXPIRED
    code = rules.digits(typed)
    if code is None:
        return "malformed"
    outcome = await email_codes.verify(
        session,
        organization_id=sign_in.organization_id,
        challenge_id=sign_in.email_code_id,
        code=code,
        admit=admit,
        pepper=pepper,
        sign_in_id=sign_in.id,
        now=now,
    )
    if isinstance(outcome, Off):
        return Notice.CODES_OFF
    if isinstance(outcome, Refused):
        return await queries.why_code_is_over(session, sign_in, now=now) or "wrong"
    return Answered(
        await requests.finish(
            session,
            sign_in,
            person_id=outcome.person_id,
            issuer_name=issuer_name,
            auth_time=now,
            now=now,
        )
    )
