"""Putting people together over HTTP."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.support.apps import World
from tests.support.mentorships import (
    compose,
    crowd,
    in_format,
    matching,
    member,
    other_track,
    pair_up,
    plain,
)
from tests.support.participants import take_part
from tests.support.programs import UNREVIEWED, Offer, draft, open_registration, post


async def refused(client: httpx.AsyncClient, path: str, body: Any = None) -> tuple[int, str]:
    answer = await client.post(path, json=body)
    return answer.status_code, answer.json()["code"]


async def attempt(offer: Offer, *members: dict[str, Any], **changes: Any) -> httpx.Response:
    return await offer.coordinator.post(
        f"/v1/tracks/{offer.track['id']}/mentorships",
        json={"members": list(members), **changes},
    )


async def test_a_coordinator_puts_two_people_together(world: World) -> None:
    pair = await pair_up(world)

    made = pair.mentorship
    assert (made["status"], made["format"], made["source"]) == (
        "pending_start",
        "one_to_one",
        "coordinator",
    )
    assert made["driver_person_id"] == pair.mentee.person["id"]
    assert [one["role"] for one in made["members"]] == ["mentor", "mentee"]
    assert made["allowed"] == ["end-early"]
    assert (await pair.now())["allowed"] == ["start", "end-early"]
    assert (await pair.mentor.now())["status"] == "at_capacity"
    assert (await pair.mentee.now())["track_roles"][0]["load"] == 1


async def test_the_first_mentorship_starts_the_program(world: World) -> None:
    pair = await pair_up(world)

    program = await pair.offer.coordinator.get(f"/v1/programs/{pair.offer.program['id']}")
    assert program.json()["status"] == "running"


async def test_a_program_takes_no_mentorship_before_matching_nor_after_it(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    pair = member(mentor, "mentor"), member(mentee, "mentee")

    early = await attempt(offer, *pair)
    await offer.act("close-registration")
    later = await attempt(offer, *pair)
    path = f"/v1/programs/{offer.program['id']}/cancel"
    await post(world.org_admin, path, {"live_mentorships": 0})
    late = await attempt(offer, *pair)

    for answer in (early, later):
        assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
        assert [one["code"] for one in answer.json()["errors"]] == ["program_status"]
    assert (late.status_code, late.json()["code"]) == (409, "program_closed")


async def test_only_a_coordinator_of_the_program_composes(world: World) -> None:
    pair, other = await pair_up(world), await open_registration(world)
    path = f"/v1/tracks/{pair.offer.track['id']}/mentorships"
    body = {"members": [member(pair.mentor, "mentor"), member(pair.mentee, "mentee")]}

    assert await refused(other.coordinator, path, body) == (403, "forbidden")
    assert await refused(pair.mentee.client, path, body) == (403, "forbidden")
    assert await refused(world.org_admin, path, body) == (403, "forbidden")


async def test_members_are_participants_of_this_program(world: World) -> None:
    offer, other = await open_registration(world), await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    stranger = await take_part(world, other, "mentee")
    await matching(offer)

    answer = await attempt(offer, member(mentor, "mentor"), member(stranger, "mentee"))

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "#/members/1/participant_id"


async def test_nobody_plays_a_role_they_did_not_register_for(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    await matching(offer)

    answer = await attempt(offer, member(mentor, "mentee"), member(mentee, "mentor"))

    assert (answer.status_code, answer.json()["code"]) == (409, "not_available")


async def test_somebody_who_pauses_is_not_available(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    await matching(offer)
    await post(mentor.client, f"{mentor.path}/pause-matching", {})

    answer = await attempt(offer, member(mentor, "mentor"), member(mentee, "mentee"))

    assert (answer.status_code, answer.json()["code"]) == (409, "not_available")


async def test_the_format_says_who_may_be_in_it(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentees = [await take_part(world, offer, "mentee") for _ in range(2)]
    await matching(offer)

    answer = await attempt(
        offer, member(mentor, "mentor"), *(member(one, "mentee") for one in mentees)
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "format_rule_broken")
    assert [one["code"] for one in answer.json()["errors"]] == ["members_1_1"]


async def test_grades_count_where_the_track_says_so(world: World) -> None:
    offer = await other_track(
        await draft(world), format="one_to_one", seniority="mentor_higher", grade_gap_min=1
    )
    await offer.act("publish")
    await offer.act("open-registration")
    mentor = await take_part(world, offer, "mentor", grade="Junior")
    mentee = await take_part(world, offer, "mentee", grade="Lead")
    await matching(offer)

    answer = await attempt(offer, member(mentor, "mentor"), member(mentee, "mentee"))

    assert [one["code"] for one in answer.json()["errors"]] == ["seniority"]


@pytest.mark.parametrize("mentor_is_above", [True, False])
async def test_nobody_is_matched_within_their_reporting_line(
    world: World, *, mentor_is_above: bool
) -> None:
    offer = await open_registration(world)
    top = await take_part(world, offer, "mentor" if mentor_is_above else "mentee")
    middle = await world.add_person(manager_id=top.person["id"])
    low = await take_part(
        world, offer, "mentee" if mentor_is_above else "mentor", manager_id=middle["id"]
    )
    mentor, mentee = (top, low) if mentor_is_above else (low, top)
    await matching(offer)

    answer = await attempt(offer, member(mentor, "mentor"), member(mentee, "mentee"))

    assert (answer.status_code, answer.json()["code"]) == (409, "reporting_line")


async def test_the_last_seat_goes_to_one_of_fifty(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor")
    mentee = await take_part(world, offer, "mentee")
    await matching(offer)

    answers = await crowd(
        lambda: attempt(offer, member(mentor, "mentor"), member(mentee, "mentee"))
    )

    outcomes = Counter((one.status_code, one.json().get("code")) for one in answers)
    assert outcomes == {(201, None): 1, (409, "seat_taken"): 49}


async def test_mentees_race_for_one_mentor_without_deadlock(world: World) -> None:
    offer = await open_registration(world)
    mentor = await take_part(world, offer, "mentor", capacity=2)
    mentees = [await take_part(world, offer, "mentee") for _ in range(6)]
    await matching(offer)

    answers = await asyncio.gather(
        *(attempt(offer, member(one, "mentee"), member(mentor, "mentor")) for one in mentees)
    )

    assert Counter(one.status_code for one in answers) == {201: 2, 409: 4}
    assert (await mentor.now())["track_roles"][0]["load"] == 2


async def test_in_a_running_program_all_come_about_that_fit(world: World) -> None:
    offer = await open_registration(world, **UNREVIEWED)
    mentor = await take_part(world, offer, "mentor", capacity=7)
    first, *mentees = [await take_part(world, offer, "mentee") for _ in range(9)]
    await matching(offer)
    # The first starts the program; before, every composition waits for the program's own row.
    assert (await attempt(offer, member(mentor, "mentor"), member(first, "mentee"))).is_success

    answers = await asyncio.gather(
        *(attempt(offer, member(mentor, "mentor"), member(one, "mentee")) for one in mentees)
    )

    outcomes = Counter((one.status_code, one.json().get("code")) for one in answers)
    assert outcomes == {(201, None): 6, (409, "seat_taken"): 2}
    assert (await mentor.now())["track_roles"][0]["load"] == 7


async def test_a_circle_says_what_its_members_share(world: World) -> None:
    offer, members = await in_format(
        world, "facilitator", "mentor", "mentee", "mentee", format="circle"
    )

    bare = await attempt(offer, *plain(members))
    made = await compose(
        offer, *plain(members), common_ground="New managers, all of us.", name="Circle"
    )

    assert [one["code"] for one in bare.json()["errors"]] == ["common_ground_missing"]
    assert made["driver_person_id"] == members[0]["somebody"].person["id"]
    assert made["name"] == "Circle"


async def test_a_flash_meeting_is_with_somebody_new(world: World) -> None:
    offer, members = await in_format(
        world, "mentor", "mentee", format="flash", match_modes=["roulette"]
    )
    made = await compose(offer, *plain(members))
    mentee = members[1]["somebody"]
    await post(mentee.client, f"/v1/mentorships/{made['id']}/start", {})
    await post(mentee.client, f"/v1/mentorships/{made['id']}/end-early", {})

    answer = await attempt(offer, *plain(members))

    assert [one["code"] for one in answer.json()["errors"]] == ["already_met"]
