"""The operator's doors: a slug founds one organization, and nobody stays locked out of theirs."""

import asyncio
import secrets
from typing import Any

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


def _wanted_app(slug: str, **changes: Any) -> dict[str, Any]:
    body = {
        "organization_slug": slug,
        "label": "Set-up",
        "scopes": ["people:read", "admin"],
        "redirect_uris": ["https://app.example.org/signed-in"],
    }
    return body | changes


async def test_the_operator_registers_the_first_app_once(api: FastAPI) -> None:
    world = await found_world(api)
    door = operator(api)
    body = _wanted_app(world.slug)

    answers = await asyncio.gather(
        *(door.post("/operator/oauth-clients", json=body) for _ in range(4))
    )

    assert sorted(one.status_code for one in answers) == [200] * 3 + [201]
    (registered,) = {one.text: one.json() for one in answers}.values()
    assert (registered["organization_id"], registered["label"]) == (world.organization_id, "Set-up")
    shown = await world.org_admin.get(f"/v1/oauth-clients/{registered['id']}")
    made = shown.json()
    assert {name: made[name] for name in ("client_id", "scopes", "redirect_uris")} == {
        "client_id": registered["client_id"],
        "scopes": body["scopes"],
        "redirect_uris": body["redirect_uris"],
    }
    assert (made["kind"], made["created_by"], made["last_four"]) == ("app", None, None)
    (event,) = [
        one
        for one in (await world.org_admin.get("/v1/events?limit=200")).json()["items"]
        if one["type"] == "oauth_client.created"
    ]
    assert (event["data"]["actor_id"], event["data"]["id"]) == (None, registered["id"])


async def test_a_label_is_free_again_once_its_app_has_ended(api: FastAPI) -> None:
    world = await found_world(api)
    door, body = operator(api), _wanted_app(world.slug)
    first = (await door.post("/operator/oauth-clients", json=body)).json()
    other = await door.post("/operator/oauth-clients", json=body | {"label": "Another"})
    wider = body | {"scopes": ["people:read", "people:write"]}

    same = await door.post("/operator/oauth-clients", json=wider)
    ended = await world.org_admin.post(f"/v1/oauth-clients/{first['id']}/revoke", json={})
    new = await door.post("/operator/oauth-clients", json=wider)

    assert (same.status_code, same.json()) == (200, first)
    assert (ended.status_code, other.status_code, new.status_code) == (200, 201, 201)
    assert len({first["id"], other.json()["id"], new.json()["id"]}) == 3
    assert new.json()["scopes"] == wider["scopes"]


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"redirect_uris": ["http://app.example.org/"]}, "#/redirect_uris/0", "malformed"),
        ({"redirect_uris": ["com.example:/x"]}, "#/redirect_uris/0", "malformed"),
        ({"scopes": []}, "#/scopes", "too_short"),
        ({"scopes": ["everything"]}, "#/scopes/0", "not_allowed"),
        ({"label": ""}, "#/label", "too_short"),
        ({"kind": "service"}, "#/kind", "unknown_field"),
    ],
)
async def test_an_app_that_no_org_admin_could_make_the_operator_cannot_make_either(
    api: FastAPI, changes: dict[str, Any], pointer: str, code: str
) -> None:
    world = await found_world(api)

    answer = await operator(api).post(
        "/operator/oauth-clients", json=_wanted_app(world.slug, **changes)
    )

    assert answer.status_code == 400
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(pointer, code)]


async def test_nobody_but_the_operator_registers_an_app_there(api: FastAPI) -> None:
    world = await found_world(api)

    for caller in (client(api), client(api, "wrong"), world.org_admin):
        answer = await caller.post("/operator/oauth-clients", json=_wanted_app(world.slug))
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    unknown = await operator(api).post("/operator/oauth-clients", json=_wanted_app("not-there"))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
