"""Which accounts sign somebody in, and what becomes of them once one is removed."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from services.api.sign_in.upstream import queries
from services.api.sign_in.upstream.queries import Account
from shared import ids
from tests.api.sign_in.upstream.conftest import Desk, connect
from tests.support.apps import World, client, found_world
from tests.support.email_codes import REDIRECT
from tests.support.identity_links import link_account
from tests.support.identity_provider import IdentityProvider
from tests.support.pages import sent_to

QUEUED = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
ANY = {"If-Match": "*"}


async def tokens_of(desk: Desk, provider: IdentityProvider) -> httpx.Response:
    """Sign in at the provider and redeem the code that the app was given."""
    return await redeem(desk, await code_of(desk, provider))


async def code_of(desk: Desk, provider: IdentityProvider) -> str:
    """Sign in at the provider and return the code that the app was given."""
    place, answer = sent_to(await desk.sign_in(provider))
    assert place == REDIRECT
    return answer["code"]


async def redeem(desk: Desk, code: str, **changes: str) -> httpx.Response:
    """Redeem a code."""
    form = {
        "grant_type": "authorization_code",
        "client_id": desk.app.client_id,
        "redirect_uri": REDIRECT,
        "code": code,
        "code_verifier": desk.app.verifier,
    }
    return await desk.app.caller.post("/oauth/token", data=form | changes)


async def links_of(world: World, person: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the accounts of a person as their org_admin sees them."""
    answer = await world.org_admin.get(f"/v1/people/{person['id']}/identity-links")
    assert answer.status_code == 200, answer.text
    assert answer.json()["next_cursor"] is None
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def place_of(link: dict[str, Any]) -> str:
    """Return the address of a link."""
    return f"/v1/people/{link['person_id']}/identity-links/{link['id']}"


async def events_of(world: World) -> list[dict[str, Any]]:
    """Return what happened to links."""
    items = (await world.org_admin.get("/v1/events?limit=200")).json()["items"]
    return [one for one in items if one["type"].startswith("identity_link.")]


async def linked(desk: Desk, provider: IdentityProvider) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sign somebody in for the first time, and return them with their link."""
    person = await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    await code_of(desk, provider)
    [link] = await links_of(desk.world, person)
    return person, link


async def test_a_first_sign_in_is_seen_as_the_provider_names_it(
    desk: Desk, provider: IdentityProvider
) -> None:
    person, link = await linked(desk, provider)

    assert link["person_id"] == person["id"]
    assert link["connection_id"] == desk.connection["id"]
    assert (link["issuer"], link["subject"]) == (provider.issuer, "subject-1")
    assert link["last_used_at"] >= link["created_at"]
    assert link["version"] == 1


async def test_somebody_without_an_account_has_none_and_nobody_is_not_found(desk: Desk) -> None:
    person = await desk.employ("10026")
    nobody = ids.format_id("person", ids.new_id())

    assert await links_of(desk.world, person) == []
    answer = await desk.world.org_admin.get(f"/v1/people/{nobody}/identity-links")
    assert answer.status_code == 404


async def test_a_list_is_of_one_person_and_goes_on_page_by_page(desk: Desk) -> None:
    person, other = await desk.employ("10026"), await desk.employ("10027")
    made = [
        await link_account(desk.world, person_id=one["id"], connection_id=desk.connection["id"])
        for one in (person, other, person, person)
    ]

    path = f"/v1/people/{person['id']}/identity-links"
    first = (await desk.world.org_admin.get(path, params={"limit": 2})).json()
    rest = await desk.world.org_admin.get(path, params={"limit": 2, "cursor": first["next_cursor"]})

    seen = [one["id"] for one in first["items"] + rest.json()["items"]]
    assert seen == [made[0], made[2], made[3]]
    assert rest.json()["next_cursor"] is None


async def test_a_removed_account_signs_its_person_out_everywhere(
    desk: Desk, provider: IdentityProvider
) -> None:
    person, link = await linked(desk, provider)
    tokens = (await tokens_of(desk, provider)).json()
    waiting = await code_of(desk, provider)
    caller = client(desk.world.app, tokens["access_token"])
    assert (await caller.get("/v1/me")).status_code == 200

    answer = await desk.world.org_admin.delete(place_of(link), headers={"If-Match": '"1"'})

    assert (answer.status_code, answer.content) == (204, b"")
    assert await links_of(desk.world, person) == []
    assert (await caller.get("/v1/me")).status_code == 401
    renewal = {
        "grant_type": "refresh_token",
        "client_id": desk.app.client_id,
        "refresh_token": tokens["refresh_token"],
    }
    renewed = await desk.app.caller.post("/oauth/token", data=renewal)
    assert (renewed.status_code, renewed.json()["error"]) == (400, "invalid_grant")
    late = await redeem(desk, waiting)
    assert (late.status_code, late.json()["error"]) == (400, "invalid_grant")


async def test_a_removal_is_recorded_once_and_names_no_account(
    desk: Desk, provider: IdentityProvider
) -> None:
    person, link = await linked(desk, provider)

    answers = [await desk.world.org_admin.delete(place_of(link), headers=ANY) for _ in range(2)]

    assert [one.status_code for one in answers] == [204, 404]
    [created, removed] = await events_of(desk.world)
    assert (created["type"], removed["type"]) == ("identity_link.created", "identity_link.removed")
    assert removed["data"]["actor_id"] == desk.world.org_admin_id
    assert removed["data"]["ids"] == {
        "person_id": person["id"],
        "connection_id": desk.connection["id"],
    }
    assert "subject-1" not in str(removed)


async def test_the_next_sign_in_of_a_removed_account_is_matched_anew(
    desk: Desk, provider: IdentityProvider
) -> None:
    wrong, link = await linked(desk, provider)
    right = await desk.employ("10027")
    provider.claims = {"employee_id": "10027"}
    await code_of(desk, provider)
    assert len(await links_of(desk.world, wrong)) == 1, "the account counts, whatever it claims"

    await desk.world.org_admin.delete(place_of(link), headers=ANY)
    tokens = (await tokens_of(desk, provider)).json()

    me = (await client(desk.world.app, tokens["access_token"]).get("/v1/me")).json()
    assert me["person"]["id"] == right["id"]
    assert await links_of(desk.world, wrong) == []
    assert [one["subject"] for one in await links_of(desk.world, right)] == ["subject-1"]


async def test_removing_bars_nobody_whose_claims_stay_the_same(
    desk: Desk, provider: IdentityProvider
) -> None:
    person, link = await linked(desk, provider)
    await desk.world.org_admin.delete(place_of(link), headers=ANY)

    assert (await tokens_of(desk, provider)).status_code == 200
    [again] = await links_of(desk.world, person)
    assert again["id"] != link["id"]


async def test_a_link_is_found_at_its_own_person_and_organization_only(
    desk: Desk, provider: IdentityProvider, lenient_api: FastAPI
) -> None:
    person, link = await linked(desk, provider)
    other = await desk.employ("10027")
    foreign = await connect(await found_world(lenient_api), provider.issuer)
    random = ids.format_id("identity_link", ids.new_id())

    at_other = place_of({"person_id": other["id"], "id": link["id"]})
    unknown = place_of({"person_id": person["id"], "id": random})
    asked = [
        await desk.world.org_admin.delete(at_other, headers=ANY),
        await desk.world.org_admin.delete(unknown, headers=ANY),
        await foreign.world.org_admin.delete(place_of(link), headers=ANY),
        await foreign.world.org_admin.get(f"/v1/people/{person['id']}/identity-links"),
    ]

    assert [one.status_code for one in asked] == [404] * 4
    assert await links_of(desk.world, person) == [link]


async def test_nobody_but_an_org_admin_sees_or_removes_them(
    desk: Desk, provider: IdentityProvider
) -> None:
    person, link = await linked(desk, provider)
    callers = [
        await desk.world.as_person(person["id"]),
        await desk.world.add_key("people:read", "people:write"),
        await desk.world.add_key("admin"),
    ]

    for caller in callers:
        seen = await caller.get(f"/v1/people/{person['id']}/identity-links")
        gone = await caller.delete(place_of(link), headers=ANY)
        assert (seen.status_code, gone.status_code) == (403, 403)
        assert "subject-1" not in seen.text
    assert await links_of(desk.world, person) == [link]


@pytest.mark.parametrize(("headers", "status"), [({}, 428), ({"If-Match": '"7"'}, 412)])
async def test_a_removal_names_the_version_it_saw_and_else_changes_nothing(
    desk: Desk, provider: IdentityProvider, headers: dict[str, str], status: int
) -> None:
    person, link = await linked(desk, provider)
    tokens = (await tokens_of(desk, provider)).json()

    answer = await desk.world.org_admin.delete(place_of(link), headers=headers)

    assert answer.status_code == status
    assert len(await links_of(desk.world, person)) == 1
    me = await client(desk.world.app, tokens["access_token"]).get("/v1/me")
    assert me.status_code == 200
    assert [one["type"] for one in await events_of(desk.world)] == ["identity_link.created"]


async def test_a_removal_waits_for_a_sign_in_of_the_account_under_way(
    desk: Desk, provider: IdentityProvider
) -> None:
    _person, link = await linked(desk, provider)
    account = Account(desk.app.organization_id, link["issuer"], link["subject"])

    async with desk.app.open() as session:
        await queries.hold_account(session, account)
        removal = asyncio.create_task(desk.world.org_admin.delete(place_of(link), headers=ANY))
        async with asyncio.timeout(5):
            while not await session.scalar(QUEUED):
                assert not removal.done()
        left = await session.scalar(text("SELECT count(*) FROM identity_link"))
        assert left == 1

    assert (await removal).status_code == 204


async def test_equal_removals_at_once_count_once(desk: Desk, provider: IdentityProvider) -> None:
    _person, link = await linked(desk, provider)

    answers = await asyncio.gather(
        *(desk.world.org_admin.delete(place_of(link), headers=ANY) for _ in range(5))
    )

    assert sorted(one.status_code for one in answers) == [204, 404, 404, 404, 404]
    kinds = [one["type"] for one in await events_of(desk.world)]
    assert kinds == ["identity_link.created", "identity_link.removed"]
