"""Sign-ins in progress, kept for one browser and answered once."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access.rules import CredentialKind, Scope, parse_credential
from services.api.issuer.tables import AuthorizationCode
from services.api.resources import Resources
from services.api.sign_in.requests import operations, rules
from services.api.sign_in.requests.operations import Wanted
from services.api.sign_in.requests.rules import LIFETIME
from services.api.sign_in.requests.tables import SignIn
from shared import ids
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ISSUER = "https://mentoring.example.org"
SEAL, ANOTHER_SEAL = (secrets.token_bytes(32) for _ in range(2))
REDIRECT = "https://app.example.org/in?from=mentoring"


@pytest.fixture
async def wanted(world: World) -> Wanted:
    """Return what an app of a fresh organization asks for."""
    app = {
        "label": "an app",
        "kind": "app",
        "scopes": ["people:read"],
        "redirect_uris": [REDIRECT],
    }
    answer = await world.org_admin.post("/v1/oauth-clients", json=app)
    assert answer.status_code == 201, answer.text
    return Wanted(
        organization_id=world.id,
        client_id=ids.parse_id("oauth_client", answer.json()["id"]),
        redirect_uri=REDIRECT,
        scopes=[Scope.PEOPLE_READ],
        state="a state",
        code_challenge="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        locale="en",
    )


@pytest.fixture
async def session(world: World, wanted: Wanted) -> AsyncIterator[AsyncSession]:
    """Open a transaction of that organization."""
    resources: Resources = world.app.state.resources
    async with transaction(resources.sessions, Tenant(wanted.organization_id)) as opened:
        yield opened


async def begun(session: AsyncSession, wanted: Wanted) -> tuple[SignIn, str]:
    """Begin a sign-in, keep it, and return it with the cookie of its browser."""
    held = operations.begin(wanted, seal=SEAL, now=NOW)
    await operations.keep(session, held, seal=SEAL, now=NOW)
    sign_in = await session.get_one(SignIn, (wanted.organization_id, held.entry.id))
    return sign_in, rules.with_entry(None, held.entry)


async def test_what_an_app_asked_for_is_kept_once(session: AsyncSession, wanted: Wanted) -> None:
    sign_in, cookie = await begun(session, wanted)
    entry = parse_credential(cookie, CredentialKind.SIGN_IN)
    sign_in.address = "somebody@example.org"
    await session.flush()
    again = replace(operations.begin(wanted, seal=SEAL, now=NOW), entry=entry)

    await operations.keep(session, again, seal=SEAL, now=NOW)

    await session.refresh(sign_in)
    assert sign_in.address == "somebody@example.org"
    assert (sign_in.client_id, sign_in.redirect_uri) == (wanted.client_id, wanted.redirect_uri)
    assert (sign_in.scopes, sign_in.state) == (["people:read"], "a state")
    assert (sign_in.created_at, sign_in.expires_at) == (NOW, NOW + LIFETIME)
    assert await all_kept(session, wanted) == 1


async def test_nothing_is_kept_before_a_form_is_sent(session: AsyncSession, wanted: Wanted) -> None:
    held = operations.begin(wanted, seal=SEAL, now=NOW)

    cookie = rules.with_entry(None, held.entry)
    assert await operations.load(session, cookie=cookie, now=NOW) is None
    assert await all_kept(session, wanted) == 0


async def test_what_we_did_not_seal_for_this_sign_in_is_not_kept(
    session: AsyncSession, wanted: Wanted
) -> None:
    held, other = (operations.begin(wanted, seal=SEAL, now=NOW) for _ in range(2))
    by_another_key = operations.begin(wanted, seal=ANOTHER_SEAL, now=NOW)
    elsewhere = replace(wanted, organization_id=ids.new_id())
    of_another = operations.begin(elsewhere, seal=SEAL, now=NOW)
    of_no_app = replace(wanted, client_id=ids.new_id())
    foreign = [
        replace(held, sealed=sealed)
        for sealed in (
            *("", "junk", "a.b.c.d.e", "ü", "\ud800", "Ä.b", other.sealed),
            *(held.sealed[:-2], held.sealed + ".", "x" + held.sealed, held.sealed.upper()),
        )
    ]
    foreign += [
        by_another_key,
        replace(held, entry=replace(held.entry, secret="0" * len(held.entry.secret))),
        replace(
            of_another, entry=replace(of_another.entry, organization_id=wanted.organization_id)
        ),
        operations.begin(of_no_app, seal=SEAL, now=NOW),
    ]

    for one in foreign:
        await operations.keep(session, one, seal=SEAL, now=NOW)
    await operations.keep(session, held, seal=SEAL, now=NOW + LIFETIME)

    assert await all_kept(session, wanted) == 0


async def all_kept(session: AsyncSession, wanted: Wanted) -> int:
    """Count the sign-ins that are kept for the organization."""
    mine = col(SignIn.organization_id) == wanted.organization_id
    return len((await session.execute(select(col(SignIn.id)).where(mine))).all())


async def test_a_sign_in_is_found_by_its_own_browser(session: AsyncSession, wanted: Wanted) -> None:
    sign_in, cookie = await begun(session, wanted)

    assert await operations.load(session, cookie=cookie, now=NOW) is sign_in
    found = await operations.load(session, cookie=cookie, now=NOW, sign_in_id=sign_in.id)
    assert found is sign_in


async def test_a_sign_in_for_another_address_than_the_apps_is_none(
    session: AsyncSession, wanted: Wanted
) -> None:
    moved = replace(wanted, redirect_uri="https://moved.example.org/in")
    _, cookie = await begun(session, moved)

    assert await operations.load(session, cookie=cookie, now=NOW) is None


async def test_the_cookie_is_kept_as_a_digest_only(session: AsyncSession, wanted: Wanted) -> None:
    sign_in, cookie = await begun(session, wanted)

    assert parse_credential(cookie, CredentialKind.SIGN_IN).secret not in str(sign_in.model_dump())


async def test_another_browser_finds_nothing(session: AsyncSession, wanted: Wanted) -> None:
    sign_in, cookie = await begun(session, wanted)
    own = parse_credential(cookie, CredentialKind.SIGN_IN)
    _, other_cookie = await begun(session, wanted)
    other = parse_credential(other_cookie, CredentialKind.SIGN_IN)

    for guess in (
        None,
        "",
        other_cookie.replace(ids.encode(other.id), ids.encode(own.id)),
        cookie[:-1],
        cookie.upper(),
    ):
        found = await operations.load(session, cookie=guess, now=NOW, sign_in_id=sign_in.id)
        assert found is None


async def test_a_sign_in_of_another_organization_is_not_found(
    session: AsyncSession, wanted: Wanted
) -> None:
    sign_in, cookie = await begun(session, wanted)
    elsewhere = ids.encode(ids.new_id())
    moved = cookie.replace(ids.encode(sign_in.organization_id), elsewhere)

    assert await operations.load(session, cookie=moved, now=NOW) is None


async def test_a_sign_in_ends_after_ten_minutes(session: AsyncSession, wanted: Wanted) -> None:
    sign_in, cookie = await begun(session, wanted)
    nearly = NOW + LIFETIME - timedelta(seconds=1)

    assert await operations.load(session, cookie=cookie, now=nearly) is sign_in
    assert await operations.load(session, cookie=cookie, now=NOW + LIFETIME) is None


async def test_the_app_gets_a_code_its_state_and_the_name_of_the_issuer(
    session: AsyncSession, wanted: Wanted, world: World
) -> None:
    sign_in, cookie = await begun(session, wanted)
    sign_in.address = "somebody@example.org"

    where = await operations.finish(
        session,
        sign_in,
        person_id=admin_of(world),
        issuer_name=ISSUER,
        auth_time=NOW - timedelta(hours=3),
        now=NOW,
    )

    parts = urlsplit(where)
    answer = parse_qs(parts.query)
    assert (parts.netloc, parts.path) == ("app.example.org", "/in")
    assert answer["from"] == ["mentoring"]
    assert (answer["state"], answer["iss"]) == (["a state"], [ISSUER])
    code = parse_credential(answer["code"][0], CredentialKind.AUTHORIZATION_CODE)
    kept = await session.get_one(AuthorizationCode, (wanted.organization_id, code.id))
    assert kept.person_id == admin_of(world)
    assert (kept.client_id, kept.redirect_uri) == (wanted.client_id, wanted.redirect_uri)
    assert kept.auth_time == NOW - timedelta(hours=3)
    assert (kept.scopes, kept.code_challenge) == (["people:read"], wanted.code_challenge)
    assert sign_in.address is None
    assert await operations.load(session, cookie=cookie, now=NOW) is None


async def test_the_app_is_told_when_somebody_does_not_want_to(
    session: AsyncSession, wanted: Wanted
) -> None:
    sign_in, cookie = await begun(session, replace(wanted, state=None))

    where = await operations.cancel(sign_in, issuer_name=ISSUER, now=NOW)

    answer = parse_qs(urlsplit(where).query)
    assert answer == {"from": ["mentoring"], "error": ["access_denied"], "iss": [ISSUER]}
    assert await operations.load(session, cookie=cookie, now=NOW) is None
    codes = select(AuthorizationCode).where(
        col(AuthorizationCode.organization_id) == wanted.organization_id
    )
    assert (await session.execute(codes)).first() is None


def admin_of(world: World) -> UUID:
    """Return the id of the person who runs the organization."""
    return ids.parse_id("person", world.org_admin_id)
