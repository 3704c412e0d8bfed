"""Signing in by a code that comes by mail, for front ends that draw their own forms."""

from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Path, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import codes
from services.api.access.rules import EVERY_SCOPE, Scope, parse_client_name
from services.api.dependencies import (
    Opening,
    OpeningDep,
    ResourcesDep,
    admit_to_organization,
    public_door,
    too_many_sign_ins,
)
from services.api.issuer import operations as issuer
from services.api.issuer import queries as apps
from services.api.issuer.rules import CODE_LIFETIME, AppClient, TokenRefusal, narrowed
from services.api.organizations import queries as organizations
from services.api.sign_in.email_codes import operations, rules
from services.api.sign_in.email_codes.rules import Off, Refused, TooMany, Verified
from services.api.sign_in.email_codes.schemas import (
    ChallengeId,
    EmailCodeAnswer,
    EmailCodeStart,
    EmailCodeView,
    SignedInView,
)
from shared.errors import ForbiddenError, InvalidError, Violation, unknown_reference
from shared.persistence.reads import SessionReader
from shared.web import responses

# The list of slugs belongs to no organization; the nil tenant sees nothing else.
NOBODYS = UUID(int=0)

router = public_door("sign-in")


@router.post(
    "/auth/email-codes",
    summary="Ask for a code by mail",
    status_code=202,
    response_model=EmailCodeView,
)
async def ask_for_email_code(
    *, opening: OpeningDep, resources: ResourcesDep, body: EmailCodeStart
) -> Response:
    """Send eight digits to an address, so that its owner signs in without a password.

    The answer is the same whether anybody has the address. A code works once, for ten minutes and
    five tries. An address gets five codes an hour; what is asked for beyond that is not sent.

    An organization with an identity provider of its own may take no codes: `email_codes_off`, for
    every address. Then send the person to `/oauth/authorize`.
    """
    organization_id = await _organization(opening, body.organization)
    async with opening(organization_id) as session:
        app = await _app(session, organization_id, body.client_id)
        scopes = _scopes(body.scope, app)
        # Only now: what names no real app uses up its own network's share, and not everybody's.
        admit_to_organization(resources.code_requests, organization_id)
        outcome = await operations.start(
            session,
            organization_id=organization_id,
            address=body.email,
            client_id=app.client_id,
            scopes=scopes,
            code_challenge=body.code_challenge,
            sign_in_id=None,
            pepper=resources.pepper,
            limit=resources.settings.sign_in_organization_rate_limit,
            now=resources.clock(),
        )
    if isinstance(outcome, Off):
        raise _off()
    if isinstance(outcome, TooMany):
        raise too_many_sign_ins(outcome.retry_after_seconds)
    view = EmailCodeView(challenge_id=str(outcome), expires_in=int(codes.LIFETIME.total_seconds()))
    return _unstored(responses.one(view, status=202))


def _off() -> ForbiddenError:
    return ForbiddenError(
        "This organization signs in at its identity provider, not with codes by mail.",
        code="email_codes_off",
    )


async def _organization(opening: Opening, slug: str) -> UUID:
    async with opening(NOBODYS) as session:
        organization_id = await organizations.find(session, slug=slug)
    if organization_id is None:
        raise unknown_reference("#/organization")
    return organization_id


async def _app(session: AsyncSession, organization_id: UUID, name: str) -> AppClient:
    named, client_id = parse_client_name(name)
    app = await apps.app_client(
        SessionReader(session), organization_id=organization_id, client_id=client_id
    )
    if app is None or named != organization_id:
        raise unknown_reference("#/client_id")
    return app


def _scopes(wanted: str | None, app: AppClient) -> frozenset[Scope]:
    try:
        return narrowed(wanted, app.scopes, ceiling=EVERY_SCOPE)
    except TokenRefusal as refusal:
        raise InvalidError(
            errors=[Violation("#/scope", "inconsistent", refusal.description)]
        ) from None


@router.post(
    "/auth/email-codes/{challenge_id}/verify",
    summary="Sign in with a code",
    response_model=SignedInView,
)
async def verify_email_code(
    *,
    opening: OpeningDep,
    resources: ResourcesDep,
    challenge_id: Annotated[ChallengeId, Path(description="What asking for the code answered.")],
    body: EmailCodeAnswer,
) -> Response:
    """Trade the digits of the mail for an authorization code, which your app redeems.

    Redeem it within a minute at `/oauth/token`: `grant_type=authorization_code`, `client_id`, the
    `code` and your `code_verifier`, without `redirect_uri`. Every refusal is `code_invalid`,
    whether the code is wrong, too old, used, tried too often or was never sent. Only where codes
    were switched off meanwhile, it is `email_codes_off`.
    """
    organization_id, named = rules.parse_challenge(challenge_id)
    now = resources.clock()
    async with opening(organization_id) as session:
        outcome = await operations.verify(
            session,
            organization_id=organization_id,
            challenge_id=named,
            code=body.code,
            admit=partial(admit_to_organization, resources.code_answers, organization_id),
            pepper=resources.pepper,
            now=now,
        )
        code = await _given(session, organization_id, outcome, now)
    if isinstance(outcome, Off):
        raise _off()
    # Behind the COMMIT: a refusal that took the counted attempt back would allow endless guesses.
    if code is None:
        raise InvalidError(
            "This code does not fit, or fits no longer. After a few wrong ones, ask for a new one.",
            code="code_invalid",
        )
    view = SignedInView(code=code, expires_in=int(CODE_LIFETIME.total_seconds()))
    return _unstored(responses.one(view))


async def _given(
    session: AsyncSession, organization_id: UUID, outcome: Verified | Refused | Off, now: datetime
) -> str | None:
    if not isinstance(outcome, Verified) or outcome.code_challenge is None:
        return None
    return await issuer.give_code(
        session,
        organization_id=organization_id,
        person_id=outcome.person_id,
        client_id=outcome.client_id,
        redirect_uri=None,
        scopes=outcome.scopes,
        code_challenge=outcome.code_challenge,
        auth_time=now,
        now=now,
    )


def _unstored(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
