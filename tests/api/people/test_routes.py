"""The directory over HTTP: statuses, bodies, and who may see what."""

import asyncio

import pytest

from services.api.access.rules import Scope
from tests.api.credentials.test_routes import narrowed
from tests.support.apps import World, found_world

PATCH = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}


async def test_a_person_is_created_with_the_organizations_defaults(world: World) -> None:
    answer = await world.org_admin.post(
        "/v1/people",
        json={"email": "Ada@Example.ORG", "given_name": " Ada ", "family_name": "Example"},
    )

    assert answer.status_code == 201
    person = answer.json()
    assert answer.headers["Location"] == f"/v1/people/{person['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert person["email"] == "Ada@example.org"
    assert person["given_name"] == "Ada"
    assert person["timezone"] == "Europe/Berlin"
    assert (await world.org_admin.get(answer.headers["Location"])).json() == person


async def test_colleagues_see_directory_fields_only(world: World) -> None:
    person = await world.add_person(grade="Senior", title="Engineer", phone="+49 30 1")
    colleague = await world.as_person((await world.add_person())["id"])

    seen = (await colleague.get(f"/v1/people/{person['id']}")).json()

    assert seen["title"] == "Engineer"
    assert (seen["email"], seen["phone"], seen["grade"]) == (None, None, None)


async def test_people_see_all_of_themselves(world: World) -> None:
    person = await world.add_person(grade="Senior")
    themselves = await world.as_person(person["id"])

    me = (await themselves.get("/v1/me")).json()

    assert me["person"]["email"] == person["email"]
    assert me["person"]["grade"] == "Senior"


async def test_a_colleague_may_not_add_people(world: World) -> None:
    colleague = await world.as_person((await world.add_person())["id"])

    answer = await colleague.post(
        "/v1/people", json={"email": "x@example.org", "given_name": "X", "family_name": "Y"}
    )

    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"


async def test_a_change_needs_the_version_it_was_made_from(world: World) -> None:
    person = await world.add_person()
    path = f"/v1/people/{person['id']}"
    patch = {"Content-Type": "application/merge-patch+json"}

    unnamed = await world.org_admin.patch(path, json={"title": "Lead"}, headers=patch)
    stale = await world.org_admin.patch(
        path, json={"title": "Lead"}, headers=patch | {"If-Match": '"9"'}
    )
    current = await world.org_admin.patch(
        path, json={"title": "Lead"}, headers=patch | {"If-Match": '"1"'}
    )

    assert (unnamed.status_code, unnamed.json()["code"]) == (428, "precondition_required")
    assert (stale.status_code, stale.headers["ETag"]) == (412, '"1"')
    assert (current.status_code, current.headers["ETag"]) == (200, '"2"')
    assert current.json()["title"] == "Lead"


async def test_a_reporting_line_never_becomes_a_circle(world: World) -> None:
    head = await world.add_person()
    lead = await world.add_person(manager_id=head["id"])

    answer = await world.org_admin.patch(
        f"/v1/people/{head['id']}",
        json={"manager_id": lead["id"]},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )

    assert answer.status_code == 409
    assert answer.json()["code"] == "manager_cycle"


async def test_an_address_belongs_to_one_person(world: World) -> None:
    person = await world.add_person()

    answer = await world.org_admin.post(
        "/v1/people",
        json={"email": person["email"].upper(), "given_name": "A", "family_name": "B"},
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "duplicate_email")


async def test_an_unknown_manager_reads_like_a_missing_one(world: World) -> None:
    answer = await world.org_admin.post(
        "/v1/people",
        json={
            "email": "new@example.org",
            "given_name": "A",
            "family_name": "B",
            "manager_id": "per_01kajv7v1cefh8ws6q1fyv4m2z",
        },
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0] == {
        "pointer": "#/manager_id",
        "code": "unknown_reference",
        "detail": "This refers to nothing you can use.",
    }


async def test_a_leavers_token_ends_with_the_next_request(world: World) -> None:
    person = await world.add_person()
    themselves = await world.as_person(person["id"])
    assert (await themselves.get("/v1/me")).status_code == 200

    left = await world.org_admin.post(f"/v1/people/{person['id']}/deactivate", json={})

    assert left.json()["status"] == "inactive"
    assert (await themselves.get("/v1/me")).status_code == 401


async def test_pages_show_everybody_once(world: World) -> None:
    made = {(await world.add_person())["id"] for _ in range(5)} | {world.org_admin_id}

    seen: list[str] = []
    path = "/v1/people?limit=2"
    while path:
        answer = await world.org_admin.get(path)
        seen += [person["id"] for person in answer.json()["items"]]
        path = answer.links["next"]["url"] if "next" in answer.links else ""

    assert len(seen) == len(set(seen)) == len(made)
    assert set(seen) == made


async def test_a_cursor_serves_its_own_filters_only(world: World) -> None:
    for _ in range(2):
        await world.add_person()
    cursor = (await world.org_admin.get("/v1/people?limit=1")).json()["next_cursor"]

    answer = await world.org_admin.get(f"/v1/people?limit=1&cursor={cursor}&status=active")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_one_intent_has_one_effect(world: World) -> None:
    body = {"email": "once@example.org", "given_name": "A", "family_name": "B"}
    headers = {"Idempotency-Key": "3f1d"}

    first = await world.org_admin.post("/v1/people", json=body, headers=headers)
    again = await world.org_admin.post("/v1/people", json=body, headers=headers)
    other = await world.org_admin.post(
        "/v1/people", json=body | {"given_name": "C"}, headers=headers
    )

    assert again.status_code == first.status_code == 201
    assert again.content == first.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


async def test_fifty_identical_posts_make_one_person(world: World) -> None:
    body = {"email": "race@example.org", "given_name": "A", "family_name": "B"}

    answers = await asyncio.gather(
        *[
            world.org_admin.post("/v1/people", json=body, headers={"Idempotency-Key": "race"})
            for _ in range(50)
        ]
    )

    created = {one.json()["id"] for one in answers if one.status_code == 201}
    assert len(created) == 1
    assert {one.status_code for one in answers} <= {201, 409, 503}


async def test_a_race_for_an_address_or_an_external_id_is_refused_as_the_rule_says(
    world: World,
) -> None:
    def person(number: int, **values: object) -> dict[str, object]:
        return {"given_name": "A", "family_name": str(number)} | values

    one_address = [person(number, email="first@example.org") for number in range(8)]
    external_ids = [{"source": "hr", "external_id": "4711"}]
    one_external_id = [
        person(number, email=f"{number}@example.org", external_ids=external_ids)
        for number in range(8)
    ]

    for bodies, code in (
        (one_address, "duplicate_email"),
        (one_external_id, "duplicate_external_id"),
    ):
        answers = await asyncio.gather(
            *[world.org_admin.post("/v1/people", json=body) for body in bodies]
        )
        made = [one for one in answers if one.status_code == 201]
        refused = {(one.status_code, one.json()["code"]) for one in answers if one not in made}
        assert len(made) == 1
        assert refused - {(503, "overloaded")} == {(409, code)}


async def test_a_key_must_name_its_intent(world: World) -> None:
    machine = await world.add_key("people:write")

    answer = await machine.post(
        "/v1/people", json={"email": "k@example.org", "given_name": "A", "family_name": "B"}
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "header.Idempotency-Key"


async def test_a_key_stays_within_its_scopes(world: World) -> None:
    machine = await world.add_key("people:write")

    answer = await machine.get("/v1/people")

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


async def test_another_organization_sees_nothing(world: World) -> None:
    person = await world.add_person()
    stranger = await found_world(world.app)

    foreign = await stranger.org_admin.get(f"/v1/people/{person['id']}")
    random = await stranger.org_admin.get("/v1/people/per_01kajv7v1cefh8ws6q1fyv4m2z")

    assert foreign.status_code == random.status_code == 404
    same = {"type", "title", "status", "detail", "code"}
    assert {k: foreign.json()[k] for k in same} == {k: random.json()[k] for k in same}


async def test_whoever_alone_runs_the_organization_does_not_leave(world: World) -> None:
    path = f"/v1/people/{world.org_admin_id}/deactivate"
    second = await world.add_person()

    alone = await world.org_admin.post(path, json={})
    await world.org_admin.post(
        "/v1/role-assignments", json={"person_id": second["id"], "role": "org_admin"}
    )
    successor = await world.as_person(second["id"])
    left = await world.org_admin.post(f"/v1/people/{second['id']}/deactivate", json={})
    again = await world.org_admin.post(path, json={})

    assert (alone.status_code, alone.json()["code"]) == (409, "last_org_admin")
    assert (await successor.get("/v1/me")).status_code == 401
    assert left.status_code == 200
    assert (again.status_code, again.json()["code"]) == (409, "last_org_admin")


async def test_of_two_org_admins_who_leave_at_once_one_stays(world: World) -> None:
    second = await world.add_person()
    await world.org_admin.post(
        "/v1/role-assignments", json={"person_id": second["id"], "role": "org_admin"}
    )
    successor = await world.as_person(second["id"])

    answers = await asyncio.gather(
        world.org_admin.post(f"/v1/people/{second['id']}/deactivate", json={}),
        successor.post(f"/v1/people/{world.org_admin_id}/deactivate", json={}),
    )

    assert [one.status_code for one in answers].count(200) == 1


async def test_only_whoever_waits_or_is_away_is_activated(world: World) -> None:
    person = await world.add_person()

    answer = await world.org_admin.post(f"/v1/people/{person['id']}/activate")

    assert answer.status_code == 409
    assert answer.json()["code"] == "invalid_transition"
    assert "deactivate" in answer.json()["allowed"]


@pytest.mark.parametrize("role", ["org_admin", "safeguarding"])
async def test_no_machine_moves_the_address_that_a_role_signs_in_with(
    world: World, role: str
) -> None:
    person = await world.add_person()
    path = f"/v1/people/{person['id']}"
    grant = await world.org_admin.post(
        "/v1/role-assignments", json={"person_id": person["id"], "role": role}
    )
    assert grant.status_code == 201, grant.text
    machine = await world.add_key("people:write", "people:read")
    moved = {"email": f"moved-{person['email']}"}

    refused = await machine.patch(path, json=moved | {"title": "Lead"}, headers=PATCH)
    others = await machine.patch(path, json={"title": "Lead"}, headers=PATCH)

    assert (refused.status_code, refused.json()["code"]) == (409, "holds_a_role")
    assert (others.status_code, others.json()["email"]) == (200, person["email"])
    assert (await world.org_admin.patch(path, json=moved, headers=PATCH)).status_code == 200
    await world.org_admin.delete(
        f"/v1/role-assignments/{grant.json()['id']}", headers={"If-Match": "*"}
    )
    back = {"email": person["email"]}
    assert (await machine.patch(path, json=back, headers=PATCH)).status_code == 200


async def granted(world: World, person_id: str, role: str = "safeguarding") -> None:
    """Grant a role of the organization."""
    body = {"person_id": person_id, "role": role}
    answer = await world.org_admin.post("/v1/role-assignments", json=body)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("role", ["org_admin", "safeguarding"])
async def test_a_narrow_app_moves_no_address_that_a_role_signs_in_with(
    world: World, role: str
) -> None:
    """An org_admin who uses it would otherwise hand it the role: the code comes to the address."""
    person, colleague = await world.add_person(), await world.add_person()
    await granted(world, person["id"], role)
    narrow = await narrowed(world, Scope.PEOPLE_READ, Scope.PEOPLE_WRITE)
    wide = await narrowed(world, Scope.PEOPLE_WRITE, Scope.ADMIN)

    answers = [
        await caller.org_admin.patch(
            f"/v1/people/{one['id']}", json={"email": f"moved-{one['email']}"}, headers=PATCH
        )
        for caller, one in ((narrow, person), (narrow, colleague), (wide, person))
    ]

    assert [answer.status_code for answer in answers] == [409, 200, 200]
    assert answers[0].json()["code"] == "holds_a_role"


@pytest.mark.parametrize("scopes", [("people:write",), ("people:write", "admin")])
async def test_no_machine_lets_in_who_holds_a_role(world: World, scopes: tuple[str, ...]) -> None:
    person, colleague = await world.add_person(), await world.add_person()
    await granted(world, person["id"])
    machine = await world.add_key(*scopes)
    for one in (person, colleague):
        left = await world.org_admin.post(f"/v1/people/{one['id']}/deactivate", json={})
        assert left.status_code == 200, left.text

    refused = await machine.post(
        f"/v1/people/{person['id']}/reactivate", headers={"Idempotency-Key": "one"}
    )
    taken_back = await machine.post(
        f"/v1/people/{colleague['id']}/reactivate", headers={"Idempotency-Key": "two"}
    )

    assert (refused.status_code, refused.json()["code"]) == (409, "holds_a_role")
    assert taken_back.status_code == 200, taken_back.text
    seen = await world.org_admin.get(f"/v1/people/{person['id']}")
    assert seen.json()["status"] == "inactive"
    by_admin = await world.org_admin.post(f"/v1/people/{person['id']}/reactivate")
    assert by_admin.status_code == 200, by_admin.text


async def test_a_narrow_app_lets_nobody_in_who_holds_a_role(world: World) -> None:
    person = await world.add_person()
    await granted(world, person["id"])
    narrow = await narrowed(world, Scope.PEOPLE_WRITE)
    path = f"/v1/people/{person['id']}"
    assert (await world.org_admin.post(f"{path}/deactivate", json={})).status_code == 200

    refused = await narrow.org_admin.post(f"{path}/reactivate")

    assert (refused.status_code, refused.json()["code"]) == (409, "holds_a_role")
