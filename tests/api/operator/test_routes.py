"""The operator's doors: a slug founds one organization, and nobody stays locked out of theirs."""

import asyncio
import secrets

import pytest
from fastapi import FastAPI

from tests.support.apps import client, found_world, operator
from tests.support.email_codes import add_app


async def test_founding_at_once_founds_one_organization(api: FastAPI) -> None:
    wanted = {
        "slug": f"org-{secrets.token_hex(6)}",
        "name": "At once",
        "org_admin": {
            "given_name": "Ada",
            "family_name": "Admin",
            "email": "ada.admin@example.org",
        },
    }
    door = operator(api)

    answers = await asyncio.gather(
        *(door.post("/operator/organizations", json=wanted) for _ in range(6))
    )

    assert sorted(one.status_code for one in answers) == [200] * 5 + [201]
    assert len({(one.json()["id"], one.json()["org_admin_person_id"]) for one in answers}) == 1


async def test_the_operator_lets_in_again_whom_a_wrong_provider_keeps_out(api: FastAPI) -> None:
    app = await add_app(await found_world(api))
    person = await app.world.add_person()
    await app.add_provider()
    body = app.wanted(person["email"])
    assert (await app.caller.post("/v1/auth/email-codes", json=body)).status_code == 403
    before = (await app.world.org_admin.get("/v1/organization")).json()

    answers = [
        await operator(api).post(
            "/operator/email-codes", json={"organization_slug": app.world.slug}
        )
        for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    shown = {"id": before["id"], "slug": app.world.slug, "email_codes": "on"}
    assert [answer.json() for answer in answers] == [shown, shown]
    challenge_id = await app.ask(person["email"])
    assert (await app.answer(challenge_id, app.code(challenge_id))).status_code == 200
    # Once, and it says what changed; the second time nothing did.
    after = (await app.world.org_admin.get("/v1/organization")).json()
    assert after["version"] == before["version"] + 1
    assert after | {"version": 0, "updated_at": ""} == before | {
        "version": 0,
        "updated_at": "",
        "email_codes": "on",
    }


@pytest.mark.parametrize("token", [None, "", "wrong", "mk_wrong"])
async def test_only_the_operator_opens_that_way(api: FastAPI, token: str | None) -> None:
    app = await add_app(await found_world(api))
    await app.add_provider()
    body = {"organization_slug": app.world.slug}

    for caller in (client(api, token), app.world.org_admin):
        answer = await caller.post("/operator/email-codes", json=body)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")

    shut = await app.caller.post("/v1/auth/email-codes", json=app.wanted("nobody@example.org"))
    assert shut.status_code == 403


async def test_nobody_is_let_into_an_organization_that_is_not_there(api: FastAPI) -> None:
    door = operator(api)

    unknown = await door.post("/operator/email-codes", json={"organization_slug": "not-there"})
    malformed = await door.post("/operator/email-codes", json={"organization_slug": "Not there"})
    more = await door.post(
        "/operator/email-codes", json={"organization_slug": "not-there", "email_codes": "off"}
    )

    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert (malformed.status_code, more.status_code) == (400, 400)
