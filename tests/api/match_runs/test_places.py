"""The mentor of groups has time for so many mentees, whichever way these come."""

import asyncio
from typing import Any

import httpx
import pytest

from services.api.match_runs.jobs import Desk
from tests.support.apps import World
from tests.support.match_runs import Pool, gathered
from tests.support.mentorships import compose, crowd, member
from tests.support.participants import Somebody
from tests.support.programs import post


async def groups(world: World, *times: int, mentees: int, **track: Any) -> Pool:
    """Return mentors with time for so many mentees each, and mentees who wait."""
    pool = await gathered(
        world,
        *["mentor"] * len(times),
        *["mentee"] * mentees,
        **{
            "format": "group",
            "match_modes": ["pool", "fill", "coordinator"],
            "min_members": 2,
            "max_members": 4,
            **track,
        },
    )
    for mentor, time in zip(pool.mentors, times, strict=True):
        changed = await offer(pool, mentor, time)
        assert changed.status_code == 200, changed.text
    return pool


async def offer(pool: Pool, mentor: Somebody, time: int) -> httpx.Response:
    """Let a mentor have time for so many mentees."""
    role = {"track_id": pool.offer.track["id"], "role": "mentor", "capacity": time}
    return await mentor.client.patch(
        mentor.path,
        json={"track_roles": [role]},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )


def members(mentor: Somebody, *mentees: Somebody) -> list[dict[str, Any]]:
    """Return a group as a request states it."""
    return [member(mentor, "mentor"), *(member(one, "mentee") for one in mentees)]


async def propose(pool: Pool, people: list[dict[str, Any]], **more: Any) -> httpx.Response:
    """Propose a group by hand."""
    return await pool.coordinator.post(
        f"/v1/tracks/{pool.offer.track['id']}/proposals", json={"members": people, **more}
    )


async def begun(pool: Pool, mentor: Somebody, *mentees: Somebody) -> dict[str, Any]:
    """Put a group together."""
    return await compose(pool.offer, *members(mentor, *mentees))


async def load_of(somebody: Somebody) -> int:
    """Return how many places of somebody are taken."""
    [role] = (await somebody.now())["track_roles"]
    found: int = role["load"]
    return found


async def answer(pool: Pool, proposal: dict[str, Any], said: str) -> None:
    """Let the newcomer of a proposal answer it."""
    [newcomer] = proposal["members"]
    somebody = next(
        one for one in pool.mentees if one.participant["id"] == newcomer["participant_id"]
    )
    await post(somebody.client, f"/v1/proposals/{proposal['id']}/{said}", {})


async def part(pool: Pool, mentorship: dict[str, Any], somebody: Somebody, action: str) -> None:
    """Let somebody out of a group."""
    client = somebody.client if action == "leave" else pool.coordinator
    [own] = [
        one for one in mentorship["members"] if one["participant_id"] == somebody.participant["id"]
    ]
    await post(client, f"/v1/members/{own['id']}/{action}", {})


async def filled(desk: Desk, pool: Pool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a run that fills what is there, and its proposals."""
    run = await pool.reviewed(desk, kind="fill")
    return run, await pool.proposals_of(run)


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Return how a request was refused."""
    return response.status_code, response.json()["code"]


async def test_one_run_after_another_fills_the_time_of_a_mentor_and_no_more(
    world: World, desk: Desk
) -> None:
    pool = await groups(world, 4, mentees=7, consent_sides="none")
    [mentor] = pool.mentors
    by_hand = await propose(pool, members(mentor, *pool.mentees[:2]))
    await pool.act(by_hand.json(), "approve")
    taken = await load_of(mentor)
    forecast = f"/v1/programs/{pool.offer.program['id']}/capacity-forecast"
    left = (await pool.coordinator.get(forecast)).json()["mentor_seats"]

    first = await pool.reviewed(desk)
    published = await pool.publish(first)
    second = await pool.reviewed(desk)

    assert (taken, left) == (2, 2)
    assert [len(one["members"]) for one in await pool.proposals_of(first)] == [3]
    assert published["proposals_by_status"] == {"accepted": 1}
    assert (await load_of(mentor), (await mentor.now())["status"]) == (4, "at_capacity")
    assert await pool.proposals_of(second) == []
    assert len(second["unmatched"]) == 3


async def test_nobody_composes_a_larger_group_than_its_mentor_has_time_for(world: World) -> None:
    pool = await groups(world, 2, mentees=3)
    people = members(pool.mentors[0], *pool.mentees)

    proposed = await propose(pool, people, force=True)
    composed = await pool.coordinator.post(
        f"/v1/tracks/{pool.offer.track['id']}/mentorships", json={"members": people}
    )

    assert (refusal(proposed), refusal(composed)) == ((409, "seat_taken"), (409, "seat_taken"))
    assert composed.json()["errors"][0]["pointer"] == "#/members/0/participant_id"
    assert await load_of(pool.mentors[0]) == 0


async def test_of_many_groups_composed_at_once_as_many_come_about_as_there_is_time_for(
    world: World,
) -> None:
    pool = await groups(world, 5, mentees=8)

    answers = await asyncio.gather(
        *(
            pool.coordinator.post(
                f"/v1/tracks/{pool.offer.track['id']}/mentorships",
                json={"members": members(pool.mentors[0], *pool.mentees[one : one + 2])},
            )
            for one in range(0, 8, 2)
        )
    )

    assert sorted(one.status_code for one in answers) == [201, 201, 409, 409]
    assert {one.json()["code"] for one in answers if one.status_code == 409} == {"seat_taken"}
    assert await load_of(pool.mentors[0]) == 4


async def test_of_two_proposals_approved_at_once_one_gets_the_last_time_of_a_mentor(
    world: World,
) -> None:
    pool = await groups(world, 3, mentees=4)
    proposals = [
        (await propose(pool, members(pool.mentors[0], *pool.mentees[one : one + 2]))).json()
        for one in (0, 2)
    ]

    answers = await asyncio.gather(
        *(pool.coordinator.post(f"/v1/proposals/{one['id']}/approve", json={}) for one in proposals)
    )

    assert sorted(one.status_code for one in answers) == [200, 409]
    assert [refusal(one) for one in answers if one.status_code == 409] == [(409, "seat_taken")]


async def test_a_group_takes_no_more_than_its_mentor_has_time_for(world: World, desk: Desk) -> None:
    pool = await groups(world, 3, mentees=4)
    await begun(pool, pool.mentors[0], *pool.mentees[:2])

    run, [proposal] = await filled(desk, pool)
    await pool.publish(run)
    asked = await load_of(pool.mentors[0])
    again = await pool.coordinator.post(
        pool.runs, json={"track_id": pool.offer.track["id"], "kind": "fill"}
    )
    await answer(pool, proposal, "consent")

    assert (asked, await load_of(pool.mentors[0])) == (3, 3)
    assert (refusal(again), again.json()["errors"][0]["code"]) == (
        (409, "not_ready"),
        "no_free_place",
    )


async def test_two_groups_of_one_mentor_share_what_time_is_left(world: World, desk: Desk) -> None:
    pool = await groups(world, 6, mentees=8)
    older = await begun(pool, pool.mentors[0], *pool.mentees[:3])
    younger = await begun(pool, pool.mentors[0], *pool.mentees[3:5])
    await part(pool, older, pool.mentees[0], "leave")

    _run, proposals = await filled(desk, pool)

    assert [one["mentorship_id"] for one in proposals] == [older["id"]] * 2
    assert younger["id"] != older["id"]


async def test_whoever_is_approved_for_a_younger_group_keeps_the_place(
    world: World, desk: Desk
) -> None:
    pool = await groups(world, 8, mentees=8, max_members=3)
    older = await begun(pool, pool.mentors[0], *pool.mentees[:2])
    younger = await begun(pool, pool.mentors[0], *pool.mentees[2:4])
    run, proposals = await filled(desk, pool)
    [approved] = [one for one in proposals if one["mentorship_id"] == younger["id"]]
    await pool.act(approved, "approve")
    lowered = await offer(pool, pool.mentors[0], 5)
    [other] = [one for one in proposals if one["mentorship_id"] == older["id"]]

    refused = await pool.coordinator.post(f"/v1/proposals/{other['id']}/approve", json={})
    published = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})

    assert lowered.status_code == 200, lowered.text
    assert refusal(refused) == (409, "seat_taken")
    assert published["proposals_by_status"] == {"proposed": 1, "awaiting_people": 1}
    assert await load_of(pool.mentors[0]) == 5


async def test_a_mentor_who_takes_fewer_loses_the_newest_and_holds_up_nobody_else(
    world: World, desk: Desk
) -> None:
    pool = await groups(world, 4, 3, mentees=7, consent_sides="none")
    there = [
        await begun(pool, mentor, *pool.mentees[2 * index : 2 * index + 2])
        for index, mentor in enumerate(pool.mentors)
    ]
    run, proposals = await filled(desk, pool)
    for proposal in proposals:
        await pool.act(proposal, "approve")
    lowered = await offer(pool, pool.mentors[0], 3)

    published = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})

    assert lowered.status_code == 200, lowered.text
    assert published["proposals_by_status"] == {"rejected": 1, "accepted": 2}
    [older, newer] = sorted(
        one["id"] for one in proposals if one["mentorship_id"] == there[0]["id"]
    )
    now = {one["id"]: one["status"] for one in await pool.proposals_of(run)}
    assert (now[older], now[newer]) == ("accepted", "rejected")
    assert [await load_of(one) for one in pool.mentors] == [3, 3]
    assert (await offer(pool, pool.mentors[0], 4)).status_code == 200
    _again, [proposal] = await filled(desk, pool)
    assert proposal["mentorship_id"] == there[0]["id"]


@pytest.mark.parametrize("most", [3, 4, 6])
async def test_a_smaller_track_holds_up_nobody_who_still_fits(
    world: World, desk: Desk, most: int
) -> None:
    pool = await groups(world, 8, mentees=5, max_members=8, consent_sides="none")
    await begun(pool, pool.mentors[0], *pool.mentees[:2])
    run, proposals = await filled(desk, pool)
    for proposal in proposals:
        await pool.act(proposal, "approve")
    smaller = await pool.coordinator.patch(
        f"/v1/tracks/{pool.offer.track['id']}",
        json={"max_members": most},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )

    published = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})

    assert smaller.status_code == 200, smaller.text
    by_status = {"accepted": min(3, most - 2), "rejected": max(0, 5 - most)}
    assert published["proposals_by_status"] == {
        status: count for status, count in by_status.items() if count
    }


async def test_nobody_is_asked_into_a_group_whose_mentor_has_gone(world: World, desk: Desk) -> None:
    pool = await groups(world, 8, 8, mentees=6, max_members=3)
    there = [
        await begun(pool, mentor, *pool.mentees[2 * index : 2 * index + 2])
        for index, mentor in enumerate(pool.mentors)
    ]
    run, proposals = await filled(desk, pool)
    [first, second] = [
        next(one for one in proposals if one["mentorship_id"] == group["id"]) for group in there
    ]
    for proposal in (first, second):
        await pool.act(proposal, "approve")
    await post(pool.mentors[0].client, f"{pool.mentors[0].path}/withdraw", {})

    published = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})

    assert published["proposals_by_status"] == {"rejected": 1, "awaiting_people": 1}
    now = {one["id"]: one["status"] for one in await pool.proposals_of(run)}
    assert (now[first["id"]], now[second["id"]]) == ("rejected", "awaiting_people")


async def test_nobody_is_approved_for_a_group_whose_mentor_has_gone(
    world: World, desk: Desk
) -> None:
    pool = await groups(world, 8, mentees=3, max_members=8)
    await begun(pool, pool.mentors[0], *pool.mentees[:2])
    _run, [proposal] = await filled(desk, pool)
    await post(pool.mentors[0].client, f"{pool.mentors[0].path}/withdraw", {})

    approved = await pool.coordinator.post(f"/v1/proposals/{proposal['id']}/approve", json={})

    assert refusal(approved) == (409, "not_available")


async def test_of_many_who_approve_for_two_groups_at_once_one_gets_the_last_time(
    world: World, desk: Desk
) -> None:
    pool = await groups(world, 6, mentees=6, max_members=3)
    for first in (0, 2):
        await begun(pool, pool.mentors[0], *pool.mentees[first : first + 2])
    run, proposals = await filled(desk, pool)
    await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})
    await offer(pool, pool.mentors[0], 5)
    turns = iter(range(50))

    answers = await crowd(
        lambda: pool.coordinator.post(
            f"/v1/proposals/{proposals[next(turns) % 2]['id']}/approve", json={}
        )
    )

    assert len(proposals) == 2
    assert {one.status_code for one in answers} == {200, 409}
    assert sum(one.status_code == 200 for one in answers) == 1
    assert await load_of(pool.mentors[0]) == 5


async def test_who_declines_or_is_rejected_gives_the_mentor_their_time_back(
    world: World, desk: Desk
) -> None:
    pool = await groups(world, 4, mentees=4)
    await begun(pool, pool.mentors[0], *pool.mentees[:2])
    run, [declined, rejected] = await filled(desk, pool)
    await pool.act(rejected, "approve")
    await pool.act(rejected, "reject")
    await pool.act(declined, "approve")
    await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})
    asked = await load_of(pool.mentors[0])

    await answer(pool, declined, "decline")

    assert (asked, await load_of(pool.mentors[0])) == (3, 2)
    lowered = await pool.mentors[0].client.patch(
        pool.mentors[0].path,
        json={
            "track_roles": [{"track_id": pool.offer.track["id"], "role": "mentor", "capacity": 2}]
        },
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    assert lowered.status_code == 200, lowered.text


async def test_a_declined_group_gives_its_mentor_all_time_back(world: World) -> None:
    pool = await groups(world, 3, mentees=3)
    made = (await propose(pool, members(pool.mentors[0], *pool.mentees))).json()
    await pool.act(made, "approve")
    asked = await load_of(pool.mentors[0])

    await post(pool.mentees[0].client, f"/v1/proposals/{made['id']}/decline", {})

    assert (asked, await load_of(pool.mentors[0])) == (3, 0)
    assert (await pool.mentors[0].now())["status"] == "available"


async def test_who_leaves_and_what_ends_gives_the_mentor_time(world: World) -> None:
    pool = await groups(world, 3, mentees=3)
    [mentor] = pool.mentors
    mentorship = await begun(pool, mentor, *pool.mentees)
    full = (await mentor.now())["status"]

    await part(pool, mentorship, pool.mentees[0], "leave")
    one_left = (await load_of(mentor), (await mentor.now())["status"])
    await post(
        pool.coordinator, f"/v1/mentorships/{mentorship['id']}/end-early", {"reason": "other"}
    )

    assert (full, one_left) == ("at_capacity", (2, "available"))
    assert [await load_of(one) for one in pool.everybody] == [0, 0, 0, 0]


async def test_a_mentor_who_left_a_group_has_nothing_taken_whoever_joins_it(
    world: World, desk: Desk
) -> None:
    pool = await groups(world, 4, mentees=4)
    [mentor] = pool.mentors
    mentorship = await begun(pool, mentor, *pool.mentees[:2])
    run, proposals = await filled(desk, pool)
    await pool.publish(run)
    asked = await load_of(mentor)

    await part(pool, mentorship, mentor, "remove")
    left = await load_of(mentor)
    await answer(pool, proposals[0], "consent")
    await answer(pool, proposals[1], "decline")
    await part(pool, mentorship, pool.mentees[0], "leave")

    assert (asked, left, await load_of(mentor)) == (4, 2, 0)


async def test_a_swap_gives_no_mentor_more_than_they_have_time_for(
    world: World, desk: Desk
) -> None:
    pool = await groups(world, 2, 3, mentees=5)
    run = await pool.reviewed(desk)
    one, other = await pool.proposals_of(run)

    mentors = await pool.coordinator.post(
        f"/v1/proposals/{one['id']}/swap",
        json={"with_proposal_id": other["id"], "role": "mentor"},
    )
    mentees = await pool.coordinator.post(
        f"/v1/proposals/{one['id']}/swap",
        json={"with_proposal_id": other["id"], "role": "mentee"},
    )

    assert sorted([len(one["members"]), len(other["members"])]) == [3, 4]
    assert refusal(mentors) == (409, "seat_taken")
    assert mentees.status_code == 200, mentees.text
