"""The whole way against a provider that others wrote: Canaille over HTTP, run by pytest-iam."""

import asyncio
import secrets
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pytest_iam import Server, iam_configuration, iam_server, iam_server_port

from tests.api.sign_in.upstream.conftest import Desk, connect, local
from tests.api.sign_in.upstream.test_routes import notice, redeemed
from tests.support.apps import World
from tests.support.canaille import account, issuer_of, register_at
from tests.support.pages import Browser, Page, sent_to

__all__ = ["iam_configuration", "iam_server", "iam_server_port"]

CALLBACK = "http://127.0.0.1:8000/oauth/callback"


@pytest.fixture
async def works(world: World, iam_server: Server) -> Desk:
    """Return an organization that is connected to the real provider."""
    return await connect(world, issuer_of(iam_server), **register_at(iam_server, CALLBACK))


async def signed_in(desk: Desk, server: Server, who: Any, browser: Browser | None = None) -> Page:
    """Go to the provider, be somebody there, and come back."""
    browser = browser or Browser(desk.world.app)
    location = await desk.leave(browser)
    return await browser.open(local(await asyncio.to_thread(answered, server, who, location)))


def answered(server: Server, who: Any, location: str) -> str:
    """Be somebody at the provider, and return where it sends the browser."""
    server.login(who)
    server.consent(who)
    try:
        answer = httpx.get(location, timeout=10)
    finally:
        server.logout()
    assert answer.status_code == 302, answer.text
    return answer.headers["Location"]


async def test_it_passes_the_test(works: Desk) -> None:
    answer = await works.world.org_admin.post(f"/v1/connections/{works.connection['id']}/test")

    assert answer.json()["is_working"] is True, answer.text


async def test_somebody_signs_in_by_a_declared_claim(works: Desk, iam_server: Server) -> None:
    who = account(iam_server)
    person = await works.employ(who.user_name)

    for _ in range(2):
        page = await signed_in(works, iam_server, who)
        assert (await redeemed(works, page))["id"] == person["id"]


async def test_somebody_signs_in_by_their_name_there(works: Desk, iam_server: Server) -> None:
    who = account(iam_server, display_name=secrets.token_hex(6))
    person = await works.employ(who.display_name)
    await works.world.org_admin.patch(
        f"/v1/connections/{works.connection['id']}",
        json={"oidc": {"external_id_claim": None}},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )

    page = await signed_in(works, iam_server, who)

    assert (await redeemed(works, page))["id"] == person["id"]


async def test_somebody_the_directory_does_not_know_stays_outside(
    works: Desk, iam_server: Server
) -> None:
    who = account(iam_server)
    await works.world.add_person(email=who.emails[0])

    assert notice(await signed_in(works, iam_server, who)) == "not_provisioned"


async def test_somebody_who_left_stays_outside(works: Desk, iam_server: Server) -> None:
    who = account(iam_server)
    person = await works.employ(who.user_name)
    await redeemed(works, await signed_in(works, iam_server, who))
    await works.world.org_admin.post(
        f"/v1/people/{person['id']}/deactivate", json={}, headers={"If-Match": "*"}
    )

    assert notice(await signed_in(works, iam_server, who)) == "not_provisioned"


async def test_a_code_of_it_works_once_and_for_its_own_sign_in(
    works: Desk, iam_server: Server
) -> None:
    who = account(iam_server)
    await works.employ(who.user_name)
    mine, theirs = Browser(works.world.app), Browser(works.world.app)
    ways = [await works.leave(mine), await works.leave(theirs)]
    mine_answer = await asyncio.to_thread(answered, iam_server, who, ways[0])
    stolen = parse_qs(urlsplit(mine_answer).query)["code"][0]
    state = parse_qs(urlsplit(ways[1]).query)["state"][0]
    issuer = issuer_of(iam_server)

    injected = f"/oauth/callback?code={stolen}&state={state}&iss={issuer}"
    assert notice(await theirs.open(injected)) == "provider_failed"


async def test_a_wrong_secret_is_noticed(works: Desk, iam_server: Server) -> None:
    who = account(iam_server)
    await works.employ(who.user_name)
    await works.world.org_admin.patch(
        f"/v1/connections/{works.connection['id']}",
        json={"oidc": {"client_secret": "not this one"}},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )

    assert notice(await signed_in(works, iam_server, who)) == "provider_failed"


async def test_a_sign_in_outlives_the_visit_to_the_provider(
    works: Desk, iam_server: Server
) -> None:
    who = account(iam_server)
    await works.employ(who.user_name)
    browser = Browser(works.world.app)

    page = await signed_in(works, iam_server, who, browser)

    assert "code" in sent_to(page)[1]
    assert browser.cookie is None
