"""What ends when somebody loses something, and who is told."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from services.api.feed.jobs import Relay, relay
from services.api.resources import WorkerResources
from shared import ids
from tests.api.credentials.test_routes import (
    events_of,
    new_app,
    new_client,
    new_key,
    opens,
    posted,
    rotated,
    token,
)
from tests.support.apps import World, client
from tests.support.imports import csv, importing
from tests.support.issuer import families, stored
from tests.support.work import Bench, bench


@pytest.fixture
def beside(worker: WorkerResources, world: World) -> Bench:
    """Open a worker beside the application."""
    return bench(worker, world)


async def second_admin(world: World) -> tuple[str, World]:
    """Add another org admin and return them with the world as they see it."""
    person = await world.add_person()
    grant = {"person_id": person["id"], "role": "org_admin"}
    await posted(world.org_admin, "/v1/role-assignments", grant)
    return person["id"], World(
        world.app,
        world.slug,
        world.organization_id,
        person["id"],
        await world.as_person(person["id"]),
    )


async def role_of(world: World, person_id: str) -> str:
    """Return the grant a person holds."""
    found = await world.org_admin.get(f"/v1/role-assignments?person_id={person_id}")
    grant: str = found.json()["items"][0]["id"]
    return grant


async def lose_office(world: World, person_id: str) -> None:
    """Take the role back."""
    taken = await world.org_admin.delete(
        f"/v1/role-assignments/{await role_of(world, person_id)}", headers={"If-Match": "*"}
    )
    assert taken.status_code == 204, taken.text


async def leave(world: World, person_id: str) -> None:
    """Let the person leave."""
    await posted(world.org_admin, f"/v1/people/{person_id}/deactivate", {}, 200)


@pytest.mark.parametrize("loses", [lose_office, leave])
async def test_what_somebody_made_for_machines_ends_with_their_office(
    world: World, loses: Any
) -> None:
    person_id, theirs = await second_admin(world)
    key, service = await new_key(theirs), await new_client(theirs)
    app = await new_app(theirs)
    own = await new_key(world)
    given = (await token(world, service, service["client_secret"])).json()["access_token"]
    assert [await opens(world, one) for one in (key["key"], given)] == [200, 200]

    await loses(world, person_id)

    assert [await opens(world, one) for one in (key["key"], given)] == [401, 401]
    assert (await token(world, service, service["client_secret"])).status_code == 401
    assert await opens(world, own["key"]) == 200
    name = ids.format_id("oauth_client", app.id)
    assert (await world.org_admin.get(f"/v1/oauth-clients/{name}")).json()["revoked_at"] is None


async def run_out(world: World, person_id: str) -> None:
    """Let the role of a person have been granted until a moment ago."""
    await stored(
        world,
        "UPDATE role_assignment SET expires_at = now() - interval '1 second'"
        " WHERE person_id = :person_id RETURNING id",
        person_id=ids.parse_id("person", person_id),
    )


async def test_what_somebody_made_for_machines_ends_as_their_role_runs_out(world: World) -> None:
    person_id, theirs = await second_admin(world)
    key, service = await new_key(theirs), await new_client(theirs)
    app = await new_app(theirs)
    own = [await new_key(world), await new_client(world)]
    given = (await token(world, service, service["client_secret"])).json()["access_token"]
    signed_in = await app.sign_in(world.org_admin_id)
    assert [await opens(world, one) for one in (key["key"], given)] == [200, 200]

    await run_out(world, person_id)

    assert [await opens(world, one) for one in (key["key"], given)] == [401, 401]
    assert (await token(world, service, service["client_secret"])).status_code == 401
    assert await opens(world, own[0]["key"]) == 200
    assert (await token(world, own[1], own[1]["client_secret"])).status_code == 200
    assert await opens(world, signed_in["access_token"]) == 200
    assert (await app.refresh(signed_in["refresh_token"])).status_code == 200


async def test_what_ended_as_a_role_ran_out_is_taken_over_until_the_role_is_taken_back(
    world: World,
) -> None:
    person_id, theirs = await second_admin(world)
    key, service = await new_key(theirs), await new_client(theirs)
    late = [await new_key(theirs), await new_client(theirs)]
    await run_out(world, person_id)

    after = [
        await rotated(world, "/v1/api-keys", key),
        await rotated(world, "/v1/oauth-clients", service),
    ]
    await lose_office(world, person_id)

    assert [await opens(world, one["key"]) for one in (key, after[0])] == [401, 200]
    assert (await token(world, service, after[1]["client_secret"])).status_code == 200
    for path, one in zip(("/v1/api-keys", "/v1/oauth-clients"), late, strict=True):
        answer = await world.org_admin.post(f"{path}/{one['id']}/rotate", json={})
        assert (answer.status_code, answer.json()["code"]) == (409, "already_ended")


@pytest.mark.parametrize("loses", [lose_office, leave])
async def test_what_somebody_else_rotated_is_theirs_and_outlives_its_maker(
    world: World, loses: Any
) -> None:
    person_id, theirs = await second_admin(world)
    key, service = await new_key(theirs), await new_client(theirs)
    kept = [
        await rotated(world, "/v1/api-keys", key),
        await rotated(world, "/v1/oauth-clients", service),
    ]
    assert [one["created_by"] for one in kept] == [world.org_admin_id] * 2

    await loses(world, person_id)

    assert [await opens(world, one["key"]) for one in (key, kept[0])] == [401, 200]
    given = await token(world, service, kept[1]["client_secret"])
    assert given.status_code == 200, given.text
    assert await opens(world, given.json()["access_token"]) == 200
    # Its old secret is the service's, which has not ended: it goes on until its grace is over.
    assert (await token(world, service, service["client_secret"])).status_code == 200


async def test_what_somebody_rotated_ends_with_their_office_and_not_with_its_makers(
    world: World,
) -> None:
    person_id, theirs = await second_admin(world)
    service = await new_client(world)
    taken_over = await rotated(theirs, "/v1/oauth-clients", service)

    await lose_office(world, person_id)

    for one in (service, taken_over):
        assert (await token(world, service, one["client_secret"])).status_code == 401
    (event,) = await events_of(world, "oauth_client.revoked")
    assert event["data"]["ids"] == {"created_by": str(ids.parse_id("person", person_id))}


@pytest.mark.parametrize("_attempt", range(3))
async def test_a_service_is_taken_over_while_its_makers_office_is_taken(
    world: World, _attempt: int
) -> None:
    person_id, theirs = await second_admin(world)
    service = await new_client(theirs)

    after, _ = await asyncio.gather(
        world.org_admin.post(f"/v1/oauth-clients/{service['id']}/rotate", json={}),
        lose_office(world, person_id),
    )

    # Either it was taken over first and lives, or it ended first and was not taken over.
    if after.status_code == 200:
        secret = after.json()["client_secret"]
        assert (await token(world, service, secret)).status_code == 200
    else:
        assert (after.status_code, after.json()["code"]) == (409, "already_ended")


async def test_no_service_is_taken_over_by_who_loses_their_office_meanwhile(world: World) -> None:
    person_id, theirs = await second_admin(world)
    service = await new_client(world)

    after, _ = await asyncio.gather(
        theirs.org_admin.post(f"/v1/oauth-clients/{service['id']}/rotate", json={}),
        lose_office(world, person_id),
    )

    if after.status_code == 200:
        secret = after.json()["client_secret"]
        assert (await token(world, service, secret)).status_code == 401
    else:
        assert after.status_code in {401, 403}, after.text
        assert (await token(world, service, service["client_secret"])).status_code == 200


@pytest.mark.parametrize("loses", [lose_office, leave])
async def test_the_other_org_admins_hear_of_keys_that_ended_by_themselves(
    world: World, loses: Any
) -> None:
    person_id, theirs = await second_admin(world)
    third_id, _ = await second_admin(world)
    await new_key(theirs)
    await new_client(theirs)

    await loses(world, person_id)

    expected = {str(ids.parse_id("person", one)) for one in (world.org_admin_id, third_id)}
    for kind in ("api_key.revoked", "oauth_client.revoked"):
        (event,) = await events_of(world, kind)
        assert set(event["data"]["recipients"]["org_admins"]) == expected
        assert event["data"]["ids"] == {"created_by": str(ids.parse_id("person", person_id))}


async def test_who_revokes_a_key_by_hand_tells_nobody_but_the_feed(world: World) -> None:
    key = await new_key(world)
    await posted(world.org_admin, f"/v1/api-keys/{key['id']}/revoke", {}, 200)
    await posted(world.org_admin, f"/v1/api-keys/{key['id']}/revoke", {}, 200)

    (event,) = await events_of(world, "api_key.revoked")

    assert event["data"]["recipients"] == {}


async def test_losing_another_role_ends_sign_ins_but_no_keys(world: World) -> None:
    person_id, theirs = await second_admin(world)
    key = await new_key(theirs)
    granted = await posted(
        world.org_admin, "/v1/role-assignments", {"person_id": person_id, "role": "safeguarding"}
    )
    app = await new_app(world)
    tokens = await app.sign_in(person_id)

    taken = await world.org_admin.delete(
        f"/v1/role-assignments/{granted['id']}", headers={"If-Match": "*"}
    )

    assert taken.status_code == 204
    assert await opens(world, key["key"]) == 200
    assert await opens(world, tokens["access_token"]) == 401
    assert (await app.refresh(tokens["refresh_token"])).status_code == 400
    assert [one["revoked_because"] for one in await families(world)] == ["access_changed"]


async def test_a_role_that_is_granted_holds_on_the_next_request(world: World) -> None:
    person = await world.add_person()
    holder = await world.as_person(person["id"])
    assert (await holder.get("/v1/organization")).status_code == 403

    grant = {"person_id": person["id"], "role": "org_admin"}
    await posted(world.org_admin, "/v1/role-assignments", grant)

    assert (await holder.get("/v1/organization")).status_code == 200


async def test_no_key_is_made_while_its_makers_office_is_taken(world: World) -> None:
    person_id, theirs = await second_admin(world)
    body = {"label": "Just in time", "scopes": ["people:read"]}

    made, _ = await asyncio.gather(
        theirs.org_admin.post("/v1/api-keys", json=body), lose_office(world, person_id)
    )

    if made.status_code == 201:
        assert await opens(world, made.json()["key"]) == 401
    else:
        assert made.status_code in {401, 403}, made.text


async def test_signing_out_everywhere_ends_sessions_and_no_keys(world: World) -> None:
    key = await new_key(world)
    apps = [await new_app(world), await new_app(world)]
    person = await world.add_person()
    tokens = [await app.sign_in(person["id"]) for app in apps]
    developer = await world.as_person(person["id"])
    others = await apps[0].sign_in(world.org_admin_id)

    answer = await client(world.app, tokens[0]["access_token"]).post("/v1/me/sign-out-everywhere")

    assert answer.status_code == 204, answer.text
    assert (await developer.get("/v1/people")).status_code == 401
    for app, given in zip(apps, tokens, strict=True):
        assert await opens(world, given["access_token"]) == 401
        assert (await app.refresh(given["refresh_token"])).status_code == 400
    assert await opens(world, key["key"]) == 200
    assert await opens(world, others["access_token"]) == 200
    ended = [one["revoked_because"] for one in await families(world)]
    assert ended == ["signed_out", "signed_out", None]
    assert await opens(world, (await apps[0].sign_in(person["id"]))["access_token"]) == 200


async def test_who_signed_out_everywhere_is_told_each_time(world: World) -> None:
    person = await world.add_person()

    for _ in range(2):
        caller = await world.as_person(person["id"])
        assert (await caller.post("/v1/me/sign-out-everywhere")).status_code == 204

    events = await events_of(world, "person.signed_out_everywhere")
    told: list[Mapping[str, Any]] = [one["data"] for one in events]
    assert [one["recipients"] for one in told] == [
        {"person": [str(ids.parse_id("person", person["id"]))]}
    ] * 2
    assert [one["actor_id"] for one in told] == [None, None]


async def test_a_machine_has_no_sessions_to_sign_out_of(world: World) -> None:
    machine = await world.add_key("people:read", "admin")

    answer = await machine.post(
        "/v1/me/sign-out-everywhere", headers={"Idempotency-Key": "everywhere"}
    )

    assert answer.status_code == 403


async def test_a_leaver_found_in_a_people_file_takes_their_keys_along(
    world: World, beside: Bench
) -> None:
    desk = await importing(world, beside.resources.database)
    team = [{"id": "1"}, {"id": "2"}]
    await desk.bring(csv(*team))
    person_id = (await desk.people())["2"]["id"]
    grant = {"person_id": person_id, "role": "org_admin"}
    await posted(world.org_admin, "/v1/role-assignments", grant)
    theirs = World(
        *(world.app, world.slug, world.organization_id, person_id),
        await world.as_person(person_id),
    )
    key, service = await new_key(theirs), await new_client(theirs)
    own = await new_key(world)

    await desk.bring(csv(team[0]), mode="full", on_missing="deactivate")

    assert (await desk.people())["2"]["status"] == "inactive"
    assert await opens(world, key["key"]) == 401
    assert (await token(world, service, service["client_secret"])).status_code == 401
    assert await opens(world, own["key"]) == 200


async def test_the_others_read_of_it_in_their_inbox(world: World, beside: Bench) -> None:
    person_id, theirs = await second_admin(world)
    key = await new_key(theirs)
    third_id, third = await second_admin(world)

    await leave(world, person_id)
    caller = await world.as_person(third_id)
    assert (await caller.post("/v1/me/sign-out-everywhere")).status_code == 204
    work = Relay(
        beside.resources.database,
        world.app.state.resources.notifications,
        beside.resources.pepper,
    )
    while await relay(work, organization_id=beside.organization_id):
        pass

    third.org_admin = await world.as_person(third_id)
    items = (await third.org_admin.get("/v1/inbox-items")).json()["items"]
    assert {one["kind"] for one in items} == {"api_key.revoked", "person.signed_out_everywhere"}
    (about,) = [one for one in items if one["kind"] == "api_key.revoked"]
    assert about["resource_id"] == key["id"]
    # Who let them go knows what that ended.
    assert (await world.org_admin.get("/v1/inbox-items")).json()["items"] == []
