"""Capacity forecasts over HTTP, counted by the real matching."""

from typing import Any

import pytest

from services.api.match_runs.jobs import Desk
from tests.support.apps import World
from tests.support.match_runs import Pool, gathered, waiting
from tests.support.matching_server import Matching
from tests.support.participants import PREFERENCES, Somebody, register, submit
from tests.support.programs import Offer, open_registration, post


async def forecast(offer: Offer, **headers: Any) -> dict[str, Any]:
    """Return the forecast of a program."""
    path = f"/v1/programs/{offer.program['id']}/capacity-forecast"
    answer = await offer.coordinator.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def options(found: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the numbers of each option of one kind."""
    return [one["params"] for one in found["options"] if one["key"] == f"option.{key}"]


async def speaks(somebody: Somebody, *languages: str) -> None:
    answer = await somebody.client.put(
        f"{somebody.path}/preferences",
        json=PREFERENCES | {"languages": languages},
        headers={"If-Match": "*"},
    )
    assert answer.status_code == 200, answer.text


async def strict(pool: Pool) -> None:
    policy = await post(
        pool.coordinator,
        "/v1/policies",
        {
            "program_id": pool.offer.program["id"],
            "name": "Strict",
            "hard": [{"rule": "shared_language"}],
            "soft": [{"rule": "path_fit", "weight": 100}],
        },
    )
    await _change_track(pool.offer, policy_id=policy["id"])


async def _change_track(offer: Offer, **changes: Any) -> None:
    answer = await offer.coordinator.patch(
        f"/v1/tracks/{offer.track['id']}",
        json=changes,
        headers={"If-Match": "*", "Content-Type": "application/merge-patch+json"},
    )
    assert answer.status_code == 200, answer.text


async def test_too_many_mentees_need_groups_or_more_mentors(world: World) -> None:
    pool = await waiting(world, mentors=2, mentees=5)

    found = await forecast(pool.offer)

    assert (found["mentor_seats"], found["mentees"], found["unmatched_expected"]) == (2, 5, 3)
    assert found["approved"] == 7
    [track] = found["tracks"]
    assert track["method"] == "flow"
    assert track["reasons"] == [{"rule": "capacity", "key": "unmatched.places_taken", "count": 3}]
    groups = options(found, "groups")
    assert [(one["size"], one["mentorships"], one["unmatched"]) for one in groups] == [
        (2, 2, 1),
        (3, 2, 0),
    ]
    assert {one["method"] for one in groups} == {"flow"}
    assert options(found, "recruit_mentors") == [
        {"mentors": 3, "seats_each": 1, "unmatched": 3, "topics": ["Leadership"]}
    ]
    assert found["by_topic"] == [
        {"topic": "Leadership", "wanted": 5, "offered_seats": 0, "short": 5}
    ]


async def test_a_rule_leaves_people_alone_beside_free_places(world: World) -> None:
    pool = await waiting(world, mentors=2, mentees=2)
    await strict(pool)
    await speaks(pool.mentees[0], "fr")

    found = await forecast(pool.offer)

    assert (found["mentor_seats"], found["mentees"], found["unmatched_expected"]) == (2, 2, 1)
    assert found["tracks"][0]["reasons"] == [
        {"rule": "shared_language", "key": "unmatched.kept_apart", "count": 1}
    ]
    assert options(found, "groups") == []
    assert options(found, "recruit_mentors")[0]["mentors"] == 1


async def test_who_could_only_meet_themselves_is_told_the_same_before_and_after_a_run(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world, mentors=2, mentees=1)
    both, idle = pool.mentors
    await _take_places(pool, both, mentor=1, mentee=1)
    await _take_places(pool, idle, mentor=0)

    found = await forecast(pool.offer)
    run = await pool.reviewed(desk)

    assert found["tracks"][0]["reasons"] == [
        {"rule": "not_oneself", "key": "unmatched.kept_apart", "count": 1}
    ]
    [told] = [one for one in run["unmatched"] if one["role"] == "mentee"]
    assert told["participant_id"] == both.participant["id"]
    assert (told["rule"], told["key"]) == ("not_oneself", "unmatched.kept_apart")
    assert told["params"] == {"pairs": {"not_oneself": 1}}


async def _take_places(pool: Pool, somebody: Somebody, **capacity: int) -> None:
    """Give somebody so many places in each role."""
    roles = [
        {"track_id": pool.offer.track["id"], "role": role, "capacity": places}
        for role, places in capacity.items()
    ]
    answer = await somebody.client.patch(
        somebody.path,
        json={"track_roles": roles},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    assert answer.status_code == 200, answer.text


async def test_whoever_is_still_in_review_counts_and_who_only_began_does_not(
    world: World,
) -> None:
    offer = await open_registration(world)
    await submit(await register(world, offer, "mentor", capacity=3))
    await submit(await register(world, offer, "mentee"))
    await register(world, offer, "mentee")

    found = await forecast(offer)

    assert (found["approved"], found["in_review"]) == (0, 2)
    assert (found["mentor_seats"], found["mentees"], found["unmatched_expected"]) == (3, 1, 0)
    assert options(found, "recruit_mentees") == [{"mentees": 2}]


async def test_a_place_that_is_taken_is_no_place(world: World) -> None:
    pool = await waiting(world, mentors=1, mentees=2, capacity=2)
    proposal = await pool.compose(pool.mentors[0], pool.mentees[0])
    await pool.act(proposal, "approve")

    found = await forecast(pool.offer)

    assert (found["mentor_seats"], found["mentees"], found["unmatched_expected"]) == (1, 1, 0)


async def test_without_matching_places_are_counted_and_said_so(
    world: World, matching: Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await waiting(world, mentors=2, mentees=5)
    nobody = matching.client_of_nobody()
    monkeypatch.setattr(world.app.state.resources, "matching", nobody)

    found = await forecast(pool.offer)

    assert (found["unmatched_expected"], found["tracks"][0]["method"]) == (3, "seats")
    groups = options(found, "groups")
    assert [(one["size"], one["mentorships"], one["unmatched"]) for one in groups] == [
        (2, 2, 1),
        (3, 2, 0),
    ]
    assert {one["method"] for one in groups} == {"seats"}
    await nobody.close()


async def test_an_analyst_reads_it_without_what_a_few_have_asked_for(world: World) -> None:
    pool = await waiting(world, mentors=1, mentees=2)
    person = await world.add_person()
    await post(
        world.org_admin,
        "/v1/role-assignments",
        {"person_id": person["id"], "role": "analyst", "program_id": pool.offer.program["id"]},
    )
    analyst = await world.as_person(person["id"])

    path = f"/v1/programs/{pool.offer.program['id']}/capacity-forecast"
    found = (await analyst.get(path)).json()

    assert (found["unmatched_expected"], found["by_topic"]) == (1, [])
    assert options(found, "recruit_mentors")[0]["topics"] == []
    assert (await world.org_admin.get(path)).status_code == 403
    assert (await pool.mentors[0].client.get(path)).status_code == 403


async def test_circles_are_counted_by_who_leads_them_and_by_their_sizes(world: World) -> None:
    roles = [*["facilitator"], *["mentor"] * 2, *["mentee"] * 5]
    pool = await gathered(
        world, *roles, format="circle", match_modes=["pool"], min_members=4, max_members=5
    )

    found = await forecast(pool.offer)

    track = next(one for one in found["tracks"] if one["format"] == "circle")
    assert (track["facilitators"], track["mentors"], track["mentees"]) == (1, 2, 5)
    assert (track["mentor_seats"], track["unmatched_expected"]) == (2, 3)
    assert options(found, "recruit_facilitators") == [
        {"facilitators": 1, "circles_each": 1, "unmatched": 3}
    ]
    assert options(found, "recruit_mentors") == []


async def test_a_group_below_its_minimum_is_no_way_out(world: World) -> None:
    pool = await gathered(
        world,
        *["mentor", *["mentee"] * 3],
        capacity=3,
        format="group",
        match_modes=["pool"],
        min_members=5,
        max_members=8,
    )

    found = await forecast(pool.offer)

    track = next(one for one in found["tracks"] if one["format"] == "group")
    assert (track["mentor_seats"], track["unmatched_expected"]) == (0, track["mentees"])
    assert {one["key"] for one in track["reasons"]} == {"unmatched.group_too_small"}
    assert options(found, "groups") == []
    assert options(found, "recruit_mentors")[0]["seats_each"] == 5


async def seats_of_mentors(pool: Pool) -> tuple[int, int]:
    """Return the places of mentors as the forecast and as the readiness report count them."""
    path = f"/v1/programs/{pool.offer.program['id']}/readiness"
    readiness = (await pool.coordinator.get(path)).json()
    [track] = [one for one in readiness["tracks"] if one["track_id"] == pool.offer.track["id"]]
    return (await forecast(pool.offer))["mentor_seats"], track["free_seats_by_role"]["mentor"]


@pytest.mark.parametrize(
    ("capacity", "seats", "left", "groups"),
    [(1, 0, 7, []), (3, 3, 4, []), (4, 4, 3, []), (8, 4, 3, [(2, 3, 1), (3, 2, 1), (4, 2, 0)])],
)
async def test_a_mentor_of_groups_has_the_places_they_have_time_for(
    world: World, capacity: int, seats: int, left: int, groups: list[tuple[int, int, int]]
) -> None:
    pool = await gathered(
        world,
        *["mentor", *["mentee"] * 7],
        capacity=capacity,
        format="group",
        match_modes=["pool"],
        min_members=2,
        max_members=4,
    )
    for one in pool.mentees:
        await _take_places(pool, one, mentee=1)

    found = await forecast(pool.offer)

    assert await seats_of_mentors(pool) == (seats, seats)
    assert found["unmatched_expected"] == left
    offered = options(found, "groups")
    assert [(one["size"], one["mentorships"], one["unmatched"]) for one in offered] == groups
    assert all(one["method"] == "flow" for one in offered)
