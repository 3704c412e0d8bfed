"""Mentorships over HTTP: who is put together, how it goes on, and who may know."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.support.apps import World
from tests.support.mentorships import compose, matching, member, pair_up
from tests.support.participants import take_part
from tests.support.programs import open_registration, post

TODAY = datetime.now(UTC).date()


def day(after: int) -> str:
    return (TODAY + timedelta(days=after)).isoformat()


async def refused(client: httpx.AsyncClient, path: str, body: Any = None) -> tuple[int, str]:
    answer = await client.post(path, json=body)
    return answer.status_code, answer.json()["code"]


async def test_members_can_reach_each_other_and_outsiders_learn_nothing(world: World) -> None:
    pair = await pair_up(world)
    outsider = await world.as_person((await world.add_person())["id"])
    fellow = await pair_up(world)

    seen = await pair.now()
    assert [one["contact"]["email"] for one in seen["members"]] == [
        pair.mentor.person["email"],
        pair.mentee.person["email"],
    ]
    for client in (outsider, fellow.mentee.client):
        assert (await client.get(pair.path)).status_code == 404
        assert await refused(client, f"{pair.path}/start") == (404, "not_found")
        assert await refused(client, f"{pair.path}/end-early", {}) == (404, "not_found")


async def test_staff_and_services_know_and_a_scope_is_needed(world: World) -> None:
    pair, other = await pair_up(world), await open_registration(world)
    key = await world.add_key("mentorships:read")
    blind = await world.add_key("people:read")

    for client in (pair.offer.coordinator, world.org_admin, key):
        assert (await client.get(pair.path)).status_code == 200
    assert (await other.coordinator.get(pair.path)).status_code == 404
    assert (await blind.get(pair.path)).json()["code"] == "insufficient_scope"
    assert await refused(world.org_admin, f"{pair.path}/start") == (403, "forbidden")
    assert await refused(pair.offer.coordinator, f"{pair.path}/start") == (403, "forbidden")


async def test_a_people_manager_sees_how_it_stands_where_the_program_says_so(
    world: World,
) -> None:
    manager = await world.add_person()
    offer = await open_registration(world, people_manager_visibility="status")
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee", manager_id=manager["id"])
    await matching(offer)
    made = await compose(offer, member(mentor, "mentor"), member(mentee, "mentee"))
    client = await world.as_person(manager["id"])

    seen = (await client.get(f"/v1/mentorships/{made['id']}")).json()

    assert seen["status"] == "pending_start"
    assert [one["person_id"] for one in seen["members"]] == [mentee.person["id"]]
    assert [one["contact"] for one in seen["members"]] == [None]
    assert (seen["driver_person_id"], seen["allowed"]) == (None, [])
    assert await refused(client, f"/v1/mentorships/{made['id']}/start") == (403, "forbidden")


async def test_a_people_manager_is_told_nothing_otherwise(world: World) -> None:
    manager = await world.add_person()
    offer = await open_registration(world, people_manager_visibility="participates")
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee", manager_id=manager["id"])
    await matching(offer)
    made = await compose(offer, member(mentor, "mentor"), member(mentee, "mentee"))
    client = await world.as_person(manager["id"])

    assert (await client.get(f"/v1/mentorships/{made['id']}")).status_code == 404


async def test_a_coordinator_has_no_special_rights_on_their_own_mentorship(world: World) -> None:
    offer = await open_registration(world)
    mentee = await take_part(world, offer, "mentee")
    path = f"/v1/programs/{offer.program['id']}/participants"
    own = await post(
        offer.coordinator,
        path,
        {
            "track_roles": [{"track_id": offer.track["id"], "role": "mentor"}],
            "answers": {"goals": "To give."},
        },
    )
    await post(
        offer.coordinator, f"/v1/participants/{own['id']}/submit", {"preview_acknowledged": True}
    )
    await post(offer.coordinator, f"/v1/participants/{own['id']}/approve", {})
    await matching(offer)
    made = await compose(
        offer, {"participant_id": own["id"], "role": "mentor"}, member(mentee, "mentee")
    )

    path = f"/v1/mentorships/{made['id']}/change-driver"
    assert await refused(offer.coordinator, path, {"person_id": offer.coordinator_id}) == (
        403,
        "forbidden",
    )


async def test_a_mentorship_lasts_as_long_as_its_track_and_program(world: World) -> None:
    pair = await pair_up(world, started=True)

    assert pair.mentorship["status"] == "active"
    assert pair.mentorship["starts_on"] == day(0)
    assert pair.mentorship["ends_on"] == day(180)


async def test_a_pause_keeps_its_reason_to_its_author(world: World) -> None:
    pair = await pair_up(world, started=True)
    body = {"to_on": day(30), "reason": "My own matter."}

    paused = await post(pair.mentee.client, f"{pair.path}/pause", body)

    assert (paused["status"], paused["pause"]) == (
        "paused",
        {"from_on": day(0), "to_on": day(30)},
    )
    assert [one["reason"] for one in paused["own_reasons"]] == ["My own matter."]
    for client in (pair.mentor.client, pair.offer.coordinator, world.org_admin):
        assert (await pair.now(client))["own_reasons"] == []
        assert "My own matter." not in (await client.get(pair.path)).text
    resumed = await post(pair.mentor.client, f"{pair.path}/resume", {})
    assert (resumed["status"], resumed["pause"]) == ("active", None)


async def test_a_pause_has_an_end_within_ninety_days(world: World) -> None:
    pair = await pair_up(world, started=True)
    path = f"{pair.path}/pause"

    assert await refused(pair.mentee.client, path, {"to_on": day(91)}) == (409, "pause_too_long")
    assert await refused(pair.mentee.client, path, {}) == (400, "invalid_request")
    assert await refused(pair.offer.coordinator, path, {"to_on": day(9)}) == (403, "forbidden")


async def test_only_safeguarding_ends_the_pause_of_safeguarding(world: World) -> None:
    pair = await pair_up(world, started=True)
    person = await world.add_person()
    await post(
        world.org_admin,
        "/v1/role-assignments",
        {"person_id": person["id"], "role": "safeguarding"},
    )
    guard = await world.as_person(person["id"])

    await post(guard, f"{pair.path}/pause", {})

    assert (await pair.now())["pause"] == {"from_on": day(0), "to_on": None}
    assert await refused(pair.mentee.client, f"{pair.path}/resume") == (403, "forbidden")
    assert (await post(guard, f"{pair.path}/resume", {}))["status"] == "active"
    await post(pair.mentee.client, f"{pair.path}/pause", {"to_on": day(3)})
    assert await refused(guard, f"{pair.path}/resume") == (403, "forbidden")


async def test_both_sides_extend(world: World) -> None:
    pair = await pair_up(world, started=True)
    path = f"{pair.path}/extend"

    proposed = await post(pair.mentee.client, path, {"ends_on": day(200)})
    again = await refused(pair.mentee.client, path, {"ends_on": day(200)})
    counter = await post(pair.mentor.client, path, {"ends_on": day(190)})
    agreed = await post(pair.mentee.client, path, {"ends_on": day(190)})

    assert proposed["extension"] == {
        "ends_on": day(200),
        "agreed_by": [pair.mentee.person["id"]],
    }
    assert proposed["ends_on"] == day(180)
    assert again == (409, "other_side_needed")
    assert counter["extension"]["agreed_by"] == [pair.mentor.person["id"]]
    assert (agreed["ends_on"], agreed["extension"]) == (day(190), None)
    assert await refused(pair.mentee.client, path, {"ends_on": "2028-01-01"}) == (
        409,
        "beyond_program",
    )


async def test_both_sides_complete_and_give_their_seats_back(world: World) -> None:
    pair = await pair_up(world, started=True)
    early = await refused(pair.mentee.client, f"{pair.path}/complete")
    closing = await post(pair.mentor.client, f"{pair.path}/begin-closing", {})

    first = await post(pair.mentee.client, f"{pair.path}/complete", {})
    again = await refused(pair.mentee.client, f"{pair.path}/complete")
    done = await post(pair.mentor.client, f"{pair.path}/complete", {})

    assert early == (409, "invalid_transition")
    assert (closing["status"], closing["closing_reason"]) == ("closing", "completed")
    assert (first["status"], first["completed_by"]) == ("closing", [pair.mentee.person["id"]])
    assert again == (409, "other_side_needed")
    assert (done["status"], done["ended_on"]) == ("completed", day(0))
    assert (await pair.mentor.now())["status"] == "available"
    assert (await pair.mentee.now())["track_roles"][0]["load"] == 0
    assert all(one["contact"] for one in done["members"])


async def test_an_extension_leads_out_of_closing(world: World) -> None:
    pair = await pair_up(world, started=True)
    await post(pair.mentor.client, f"{pair.path}/begin-closing", {})
    await post(pair.mentee.client, f"{pair.path}/complete", {})

    await post(pair.mentee.client, f"{pair.path}/extend", {"ends_on": day(200)})
    on = await post(pair.mentor.client, f"{pair.path}/extend", {"ends_on": day(200)})

    assert (on["status"], on["completed_by"], on["closing_reason"]) == ("active", [], None)


async def test_before_the_start_ending_cancels_and_nobody_is_told_by_whom(world: World) -> None:
    pair = await pair_up(world)
    key = await world.add_key("events:read")

    ended = await post(
        pair.mentee.client,
        f"{pair.path}/end-early",
        {"reason": "no_fit", "private_reason": "We did not click."},
    )

    assert (ended["status"], ended["closing_reason"]) == ("cancelled", None)
    assert (await pair.now(pair.offer.coordinator))["closing_reason"] == "no_fit"
    assert "We did not click." not in (await pair.mentor.client.get(pair.path)).text
    told = [
        one
        for one in (await key.get("/v1/events", params={"limit": 200})).json()["items"]
        if one["type"] == "mentorship.cancelled"
    ]
    assert [one["data"]["actor_id"] for one in told] == [None]
    assert (await pair.mentor.now())["status"] == "available"
    listed = await pair.mentee.client.get("/v1/me/past-mentorships")
    assert listed.json()["items"] == []


async def test_coordinators_end_early_too(world: World) -> None:
    pair = await pair_up(world, started=True)

    ended = await post(pair.offer.coordinator, f"{pair.path}/end-early", {"reason": "moved"})

    assert ended["status"] == "ended_early"
    assert await refused(pair.mentee.client, f"{pair.path}/end-early", {}) == (
        409,
        "invalid_transition",
    )


async def test_a_stale_version_changes_nothing(world: World) -> None:
    pair = await pair_up(world)

    answer = await pair.mentee.client.post(f"{pair.path}/start", headers={"If-Match": '"9"'})

    assert (answer.status_code, answer.headers["ETag"]) == (412, '"1"')


async def test_lists_are_filtered_and_paged(world: World) -> None:
    pair, other = await pair_up(world, started=True), await pair_up(world)
    program = pair.offer.program["id"]

    async def listed(client: httpx.AsyncClient, path: str, **params: Any) -> list[str]:
        answer = await client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["items"]]

    own, foreign = pair.mentorship["id"], other.mentorship["id"]
    path = "/v1/mentorships"
    assert await listed(world.org_admin, path) == [own, foreign]
    assert await listed(world.org_admin, path, status=["active", "paused"]) == [own]
    assert await listed(world.org_admin, path, program_id=program) == [own]
    assert await listed(world.org_admin, path, track_id=other.offer.track["id"]) == [foreign]
    assert await listed(pair.offer.coordinator, path) == [own]
    assert await listed(pair.mentee.client, path) == [own]
    assert await listed(pair.mentee.client, "/v1/me/mentorships") == [own]
    assert await listed(pair.mentee.client, "/v1/me/past-mentorships") == []
    first = (await world.org_admin.get(path, params={"limit": 1})).json()
    second = await world.org_admin.get(path, params={"limit": 1, "cursor": first["next_cursor"]})
    assert [one["id"] for one in second.json()["items"]] == [foreign]
    await post(pair.mentee.client, f"{pair.path}/end-early", {})
    assert await listed(pair.mentee.client, "/v1/me/mentorships") == []
    assert await listed(pair.mentee.client, "/v1/me/past-mentorships") == [own]
    unknown = await world.org_admin.get(path, params={"color": "blue"})
    assert unknown.status_code == 400
