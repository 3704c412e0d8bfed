"""Runs over circles with the real matching: who leads, who is in, and what becomes of them."""

from typing import Any

from services.api.match_runs.jobs import Desk
from tests.support.apps import World
from tests.support.match_runs import Pool, gathered
from tests.support.participants import PREFERENCES, Somebody
from tests.support.programs import post


async def circles(
    world: World,
    *,
    facilitators: int = 2,
    mentors: int = 2,
    mentees: int = 4,
    leads: int = 1,
    **track: Any,
) -> Pool:
    """Return people who wait for circles; of the usual number there are two with four in each."""
    return await gathered(
        world,
        *["facilitator"] * facilitators,
        *["mentor"] * mentors,
        *["mentee"] * mentees,
        leads=leads,
        **{
            "format": "circle",
            "match_modes": ["pool"],
            "min_members": 4,
            "max_members": 4,
            **track,
        },
    )


def people_of(proposal: dict[str, Any]) -> set[str]:
    """Return who is in a circle."""
    return {one["participant_id"] for one in proposal["members"]}


def roles_of(proposal: dict[str, Any]) -> list[str]:
    """Return as what its members are told, in their order."""
    return [one["role"] for one in proposal["members"]]


def ids_of(several: list[Somebody]) -> set[str]:
    """Return the participants that people are."""
    return {one.participant["id"] for one in several}


async def test_a_run_proposes_a_circle_that_becomes_a_mentorship(world: World, desk: Desk) -> None:
    pool = await circles(world, facilitators=1, mentees=3, max_members=8)

    run = await pool.reviewed(desk)

    [proposal] = await pool.proposals_of(run)
    assert roles_of(proposal) == ["facilitator", "mentor", "mentor", "mentee", "mentee", "mentee"]
    assert people_of(proposal) == ids_of(pool.everybody)
    ground = proposal["parts"].pop()
    assert (ground["rule"], ground["key"]) == ("common_ground", "because.common_ground")
    assert ground["params"] == {"column": "values", "shared": PREFERENCES["values"]}
    assert {one["key"] for one in proposal["parts"]} == {
        "because.offers_wants.group",
        "because.path_fit.group",
    }
    assert proposal["score"] == round(run["stats"]["mean_score"])
    assert (run["stats"]["people"], run["stats"]["matched"], run["unmatched"]) == (6, 6, [])
    assert (run["stats"]["blocking_pairs"], run["stats"]["repeated"]) == (-1, None)
    assert run["stats"]["fairness"]["minimum"] is not None
    assert run["certificate"]["kind"] in {"optimal", "heuristic"}
    await pool.publish(run)
    for somebody in pool.everybody:
        answered = await post(somebody.client, f"/v1/proposals/{proposal['id']}/consent", {})
    mentorship = (
        await pool.mentees[0].client.get(f"/v1/mentorships/{answered['mentorship_id']}")
    ).json()
    assert (mentorship["format"], mentorship["common_ground"]) == ("circle", "curiosity")
    assert mentorship["driver_person_id"] == pool.others[0].person["id"]
    assert sorted(one["role"] for one in mentorship["members"]) == sorted(roles_of(proposal))
    loads = [(await one.now())["track_roles"][0]["load"] for one in pool.everybody]
    assert loads == [1] * 6


async def test_without_a_value_of_all_a_circle_is_about_its_track(world: World, desk: Desk) -> None:
    pool = await circles(
        world, facilitators=1, mentors=1, mentees=2, consent_sides="none", name="New managers"
    )
    changed = await pool.mentees[0].client.put(
        f"{pool.mentees[0].path}/preferences",
        json=PREFERENCES | {"values": ["calm"]},
        headers={"If-Match": "*"},
    )
    assert changed.status_code == 200, changed.text
    run = await pool.reviewed(desk)

    await pool.publish(run)

    [accepted] = await pool.proposals_of(run)
    mentorship = await pool.mentees[0].client.get(f"/v1/mentorships/{accepted['mentorship_id']}")
    assert mentorship.json()["common_ground"] == "New managers"
    assert "common_ground" not in {one["rule"] for one in accepted["parts"]}


async def test_circles_are_as_large_as_the_track_says(world: World, desk: Desk) -> None:
    pool = await circles(world, mentees=5)

    run = await pool.reviewed(desk)

    proposals = await pool.proposals_of(run)
    usual = ["facilitator", "mentor", "mentee", "mentee"]
    assert [roles_of(one) for one in proposals] == [usual, usual]
    assert [one["role"] for one in run["unmatched"]] == ["mentee"]
    assert people_of(proposals[0]).isdisjoint(people_of(proposals[1]))


async def test_without_anybody_to_facilitate_there_is_no_circle(world: World, desk: Desk) -> None:
    pool = await circles(world, facilitators=0)

    run = await pool.reviewed(desk)

    assert await pool.proposals_of(run) == []
    assert run["unmatched_count"] == 6
    assert {one["key"] for one in run["unmatched"]} == {"unmatched.too_few_facilitators"}


async def test_whom_somebody_ignores_is_never_in_their_circle(world: World, desk: Desk) -> None:
    pool = await circles(world)
    by, about = pool.mentees[0], pool.mentors[0]
    marked = await by.client.put(
        f"{by.path}/shortlist/{about.participant['id']}",
        json={"mark": "ignore"},
        headers={"If-None-Match": "*"},
    )
    assert marked.status_code == 201, marked.text

    run = await pool.reviewed(desk)

    proposals = await pool.proposals_of(run)
    assert len(proposals) == 2
    assert not any(people_of(one) >= ids_of([by, about]) for one in proposals)


async def test_a_rerun_keeps_a_locked_circle_and_avoids_a_rejected_one(
    world: World, desk: Desk
) -> None:
    pool = await circles(world)
    run = await pool.reviewed(desk)
    locked, rejected = await pool.proposals_of(run)
    await pool.act(locked, "lock")
    await pool.act(rejected, "reject")

    again = await pool.rerun(desk, run)

    [kept] = await pool.proposals_of(again)
    assert (people_of(kept), kept["is_locked"]) == (people_of(locked), True)
    assert {one["participant_id"] for one in again["unmatched"]} == people_of(rejected)
    old = {one["id"]: one for one in await pool.proposals_of(run)}
    assert old[locked["id"]]["is_locked"] is False


async def test_two_locked_circles_of_one_facilitator_stay_two(world: World, desk: Desk) -> None:
    pool = await circles(world, facilitators=1, leads=2)
    run = await pool.reviewed(desk)
    proposals = await pool.proposals_of(run)
    for proposal in proposals:
        await pool.act(proposal, "lock")

    again = await pool.rerun(desk, run)

    kept = await pool.proposals_of(again)
    assert len(kept) == 2
    assert sorted(map(sorted, map(people_of, kept))) == sorted(
        map(sorted, map(people_of, proposals))
    )
    assert all(one["is_locked"] for one in kept)
    assert (await pool.publish(again))["proposals_by_status"] == {"awaiting_people": 2}


async def test_who_declines_a_circle_is_kept_apart_and_the_others_are_not(
    world: World, desk: Desk
) -> None:
    pool = await circles(world, facilitators=1, mentors=1, mentees=3, min_members=3, max_members=5)
    run = await pool.reviewed(desk)
    [proposal] = await pool.proposals_of(run)
    await pool.publish(run)
    await post(pool.mentees[0].client, f"/v1/proposals/{proposal['id']}/decline", {})

    again = await pool.reviewed(desk)

    [smaller] = await pool.proposals_of(again)
    assert people_of(smaller) == ids_of([*pool.others, *pool.mentors, *pool.mentees[1:]])
    assert [one["participant_id"] for one in again["unmatched"]] == [
        pool.mentees[0].participant["id"]
    ]


async def test_mentees_of_two_circles_change_places(world: World, desk: Desk) -> None:
    pool = await circles(world)
    run = await pool.reviewed(desk)
    first, second = await pool.proposals_of(run)

    swapped = await post(
        pool.coordinator, f"/v1/proposals/{first['id']}/swap", {"with_proposal_id": second["id"]}
    )

    made = swapped["items"]
    assert [len(people_of(one) & people_of(first)) for one in made] == [3, 1]
    assert all(one["score"] is not None for one in made)


async def test_nobody_is_proposed_twice_for_one_circle(world: World) -> None:
    pool = await circles(world, facilitators=1, mentors=1, mentees=2)
    twice = pool.mentors[0].participant["id"]
    members = [
        {"participant_id": twice, "role": "facilitator"},
        {"participant_id": twice, "role": "mentor"},
        *({"participant_id": one, "role": "mentee"} for one in sorted(ids_of(pool.mentees))),
    ]

    answer = await pool.coordinator.post(
        f"/v1/tracks/{pool.offer.track['id']}/proposals", json={"members": members}
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "hard_rule_failed")
    assert "not_unique" in {one["code"] for one in answer.json()["errors"]}


async def test_no_pair_of_a_circle_is_explained(world: World, desk: Desk) -> None:
    pool = await circles(world, facilitators=1, mentors=1, mentees=2)
    run = await pool.reviewed(desk)
    pair = [one.participant["id"] for one in (pool.mentors[0], pool.mentees[0])]

    answer = await pool.coordinator.get(
        f"/v1/match-runs/{run['id']}/explanations", params={"pair": ",".join(pair)}
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "not_explainable")


async def test_two_runs_over_circles_are_compared_by_what_is_stored(
    world: World, desk: Desk
) -> None:
    pool = await circles(world)
    base = await pool.reviewed(desk, mode="dry_run")
    other = await pool.reviewed(desk, mode="dry_run", seed=9)

    told = await post(
        pool.coordinator,
        "/v1/match-run-diffs",
        {"base_run_id": base["id"], "other_run_id": other["id"]},
    )

    assert base["input_hash"] == other["input_hash"]
    assert told["is_explained"] is False


async def test_a_forecast_counts_places_of_circles(world: World) -> None:
    pool = await circles(world)

    answer = await pool.coordinator.get(
        f"/v1/programs/{pool.offer.program['id']}/capacity-forecast"
    )

    assert answer.status_code == 200, answer.text
    assert {one["format"]: one["method"] for one in answer.json()["tracks"]}["circle"] == "seats"
