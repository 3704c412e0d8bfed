"""Members over HTTP: whose move it is, and who leaves."""

from typing import Any

import httpx

from tests.support.apps import World
from tests.support.mentorships import Pair, compose, in_format, pair_up, plain
from tests.support.programs import post


async def refused(client: httpx.AsyncClient, path: str, body: Any = None) -> tuple[int, str]:
    answer = await client.post(path, json=body)
    return answer.status_code, answer.json()["code"]


async def test_the_driver_passes_the_drive_to_a_member(world: World) -> None:
    pair = await pair_up(world)
    path = f"{pair.path}/change-driver"
    stranger = await world.add_person()

    assert await refused(pair.mentor.client, path, {"person_id": stranger["id"]}) == (
        403,
        "forbidden",
    )
    assert await refused(pair.mentee.client, path, {"person_id": stranger["id"]}) == (
        409,
        "not_a_member",
    )
    changed = await post(pair.mentee.client, path, {"person_id": pair.mentor.person["id"]})
    assert changed["driver_person_id"] == pair.mentor.person["id"]
    back = await post(pair.offer.coordinator, path, {"person_id": pair.mentee.person["id"]})
    assert back["driver_person_id"] == pair.mentee.person["id"]


async def test_peers_are_sides_of_their_own_and_both_may_pass_the_drive(world: World) -> None:
    offer, members = await in_format(world, "peer", "peer", format="peer")
    made = await compose(offer, *plain(members))
    first, second = (one["somebody"] for one in members)
    pair = Pair(offer, first, second, made)

    assert made["driver_person_id"] == first.person["id"]
    await post(second.client, f"{pair.path}/start", {})
    passed = await post(
        second.client, f"{pair.path}/change-driver", {"person_id": second.person["id"]}
    )
    assert passed["driver_person_id"] == second.person["id"]
    await post(first.client, f"{pair.path}/begin-closing", {})
    await post(first.client, f"{pair.path}/complete", {})
    assert (await post(second.client, f"{pair.path}/complete", {}))["status"] == "completed"


async def test_a_group_goes_on_without_a_member_and_says_what_it_lacks(world: World) -> None:
    offer, members = await in_format(world, "mentor", "mentee", "mentee", format="group")
    made = await compose(offer, *plain(members))
    mentor, first, second = (one["somebody"] for one in members)
    pair = Pair(offer, mentor, first, made)
    await post(first.client, f"{pair.path}/start", {})
    of = {one["person_id"]: one["id"] for one in made["members"]}
    leaving = f"/v1/members/{of[first.person['id']]}/leave"

    mentors_way = await refused(mentor.client, f"/v1/members/{of[mentor.person['id']]}/leave")
    foreign = await refused(second.client, leaving)
    alone = await refused(first.client, f"{pair.path}/end-early", {})
    left = await post(first.client, leaving, {})
    removed = await post(offer.coordinator, f"/v1/members/{of[mentor.person['id']]}/remove", {})

    assert mentors_way == (409, "last_mentor")
    assert (foreign, alone) == ((403, "forbidden"), (403, "forbidden"))
    assert left["flags"] == {"below_minimum": True, "needs_mentor": False}
    assert left["driver_person_id"] == second.person["id"]
    assert removed["flags"] == {"below_minimum": True, "needs_mentor": True}
    assert (await first.now())["track_roles"][0]["load"] == 0
    assert await refused(first.client, leaving) == (409, "already_ended")
    listed = await first.client.get("/v1/me/past-mentorships")
    assert [one["id"] for one in listed.json()["items"]] == [made["id"]]


async def test_a_circle_keeps_somebody_who_facilitates(world: World) -> None:
    offer, members = await in_format(
        world, "facilitator", "mentor", "mentee", "mentee", format="circle"
    )
    made = await compose(offer, *plain(members), common_ground="New managers.")
    facilitator = members[0]["somebody"]

    answer = await refused(facilitator.client, f"/v1/members/{made['members'][0]['id']}/leave")

    assert answer == (409, "last_facilitator")


async def test_two_people_do_not_leave_but_end(world: World) -> None:
    pair = await pair_up(world, started=True)
    path = f"/v1/members/{pair.mentorship['members'][1]['id']}/leave"

    answer = await pair.mentee.client.post(path)

    assert answer.json()["code"] == "invalid_transition"
    assert answer.json()["allowed"] == ["end-early"]
    unknown = "/v1/members/mbr_01kajv7v1cefh8ws6q1fyv4m2z/leave"
    assert await refused(pair.mentee.client, unknown) == (404, "not_found")
