"""The start page: what waits for somebody, and nothing of anybody else."""

from typing import Any

import httpx

from tests.support.apps import World
from tests.support.meetings import arrange, hour
from tests.support.mentorships import matching, member, pair_up
from tests.support.participants import take_part
from tests.support.programs import open_registration, post


async def home(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/v1/me/home")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def test_a_newcomer_finds_their_name_and_nothing_to_do(world: World) -> None:
    person = await world.add_person(preferred_name="Addie")
    await pair_up(world)

    page = await home(await world.as_person(person["id"]))

    assert page == {
        "person": {
            "id": person["id"],
            "given_name": "Addie",
            "family_name": person["family_name"],
            "locale": person["locale"],
            "timezone": person["timezone"],
        },
        "participations": [],
        "proposals": [],
        "mentorships": [],
        "meetings": [],
    }


async def test_a_member_finds_where_they_take_part_whom_they_are_with_and_when(
    world: World,
) -> None:
    pair = await pair_up(world)
    offered = await arrange(pair, proposed_times=[hour(90)])
    booked = await arrange(pair, starts_at=hour(48), location="Room Ada")
    await arrange(pair, starts_at=hour(-9), logged_after=True)

    page = await home(pair.mentor.client)

    assert page["participations"] == [
        {
            "id": pair.mentor.participant["id"],
            "status": "at_capacity",
            "allowed": ["pause-matching", "withdraw"],
            "program_id": pair.offer.program["id"],
            "program_name": "Spring cohort",
            "program_status": "running",
        }
    ]
    (mentorship,) = page["mentorships"]
    assert (mentorship["id"], mentorship["status"]) == (pair.mentorship["id"], "active")
    assert (mentorship["is_driver"], mentorship["waits_for_you"]) == (False, False)
    assert [one["role"] for one in mentorship["members"]] == ["mentor", "mentee"]
    meetings = page["meetings"]
    assert [one["id"] for one in meetings] == [offered["id"], booked["id"]]
    assert [one["waits_for_you"] for one in meetings] == [True, False]
    assert meetings[1]["location"] == "Room Ada"


async def test_what_the_other_side_said_waits_for_an_answer(world: World) -> None:
    pair = await pair_up(world, started=True)
    await post(pair.mentor.client, f"{pair.path}/begin-closing", {})
    await post(pair.mentor.client, f"{pair.path}/complete", {})

    mine, theirs = await home(pair.mentee.client), await home(pair.mentor.client)

    assert mine["mentorships"][0]["waits_for_you"] is True
    assert theirs["mentorships"][0]["waits_for_you"] is False


async def test_a_proposal_waits_until_it_is_answered(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    await matching(offer)
    made = await post(
        offer.coordinator,
        f"/v1/tracks/{offer.track['id']}/proposals",
        {"members": [member(mentor, "mentor"), member(mentee, "mentee")]},
    )
    before = await home(mentee.client)
    await post(offer.coordinator, f"/v1/proposals/{made['id']}/approve", {})

    asked = await home(mentee.client)
    await post(mentee.client, f"/v1/proposals/{made['id']}/consent", {})

    assert (before["proposals"], (await home(mentee.client))["proposals"]) == ([], [])
    (proposal,) = asked["proposals"]
    assert proposal["id"] == made["id"]
    assert {one["person_id"] for one in proposal["members"]} == {
        mentor.person["id"],
        mentee.person["id"],
    }
    assert len((await home(mentor.client))["proposals"]) == 1


async def test_a_machine_has_no_start_page(world: World) -> None:
    key = await world.add_key("mentorships:read", "meetings:read")

    assert (await key.get("/v1/me/home")).status_code == 403
