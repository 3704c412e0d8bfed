"""Runs that fill groups and circles which are there, with the real matching."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from services.api.match_runs.jobs import Desk
from services.api.proposals import jobs
from shared import ids
from tests.support.apps import World
from tests.support.match_runs import Pool, gathered
from tests.support.mentorships import compose, crowd, member
from tests.support.mentorships import work as transaction_of
from tests.support.participants import PREFERENCES, Somebody
from tests.support.programs import post
from tests.support.work import Bench


async def group(
    world: World, *, inside: int = 2, waiting: int = 1, time: int | None = None, **track: Any
) -> tuple[Pool, dict[str, Any]]:
    """Return a group of a mentor and some mentees, and others who wait; it takes three mentees.

    The mentor has `time` for so many mentees, as a rule for as many as the group takes.
    """
    pool = await gathered(
        world,
        "mentor",
        *["mentee"] * (inside + waiting),
        **{
            "format": "group",
            "match_modes": ["pool", "fill"],
            "min_members": 2,
            "max_members": 3,
            **track,
        },
    )
    await take_more(pool, pool.mentors[0], mentor=time or pool.offer.track["max_members"])
    return pool, await grouped(pool, pool.mentors[0], *pool.mentees[:inside])


async def take_more(pool: Pool, somebody: Somebody, **capacity: int) -> None:
    """Give somebody so many places in each role."""
    changed = await somebody.client.patch(
        somebody.path,
        json={
            "track_roles": [
                {"track_id": pool.offer.track["id"], "role": role, "capacity": places}
                for role, places in capacity.items()
            ]
        },
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    assert changed.status_code == 200, changed.text


async def grouped(pool: Pool, mentor: Somebody, *mentees: Somebody) -> dict[str, Any]:
    """Put a mentor and mentees into a group."""
    return await compose(
        pool.offer, member(mentor, "mentor"), *(member(one, "mentee") for one in mentees)
    )


async def circle(
    world: World, *, mentors: int = 2, mentees: int = 3, leads: int = 1, **track: Any
) -> tuple[Pool, dict[str, Any]]:
    """Return a circle of a facilitator, a mentor and two mentees, and others who wait."""
    pool = await gathered(
        world,
        "facilitator",
        *["mentor"] * mentors,
        *["mentee"] * mentees,
        leads=leads,
        **{
            "format": "circle",
            "match_modes": ["pool", "fill"],
            "min_members": 4,
            "max_members": 6,
            **track,
        },
    )
    made = await compose(
        pool.offer,
        member(pool.others[0], "facilitator"),
        member(pool.mentors[0], "mentor"),
        *(member(one, "mentee") for one in pool.mentees[:2]),
        common_ground="Leading for the first time",
    )
    return pool, made


async def filled(desk: Desk, pool: Pool, **changes: Any) -> dict[str, Any]:
    """Run once over what is there."""
    return await pool.reviewed(desk, kind="fill", **changes)


async def now(pool: Pool, mentorship: dict[str, Any]) -> dict[str, Any]:
    """Return a mentorship as it is."""
    answer = await pool.coordinator.get(f"/v1/mentorships/{mentorship['id']}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def inside(mentorship: dict[str, Any]) -> set[str]:
    """Return who is in a mentorship now."""
    return {one["participant_id"] for one in mentorship["members"] if one["status"] == "active"}


def who(proposal: dict[str, Any]) -> str:
    """Return the one whom a proposal puts into a mentorship."""
    [one] = proposal["members"]
    found: str = one["participant_id"]
    return found


async def decide(pool: Pool, proposal: dict[str, Any], action: str) -> httpx.Response:
    """Decide on a proposal, whatever comes of it."""
    return await pool.coordinator.post(f"/v1/proposals/{proposal['id']}/{action}", json={})


async def answer(
    somebody: Somebody, proposal: dict[str, Any], said: str = "consent"
) -> httpx.Response:
    """Answer a proposal."""
    return await somebody.client.post(f"/v1/proposals/{proposal['id']}/{said}", json={})


async def ignore(by: Somebody, about: Somebody) -> None:
    """Let somebody ignore another."""
    marked = await by.client.put(
        f"{by.path}/shortlist/{about.participant['id']}",
        json={"mark": "ignore"},
        headers={"If-None-Match": "*"},
    )
    assert marked.status_code == 201, marked.text


async def prefer(somebody: Somebody, **said: Any) -> None:
    """Let somebody say something else of themselves."""
    changed = await somebody.client.put(
        f"{somebody.path}/preferences", json=PREFERENCES | said, headers={"If-Match": "*"}
    )
    assert changed.status_code == 200, changed.text


async def amend(pool: Pool, **track: Any) -> None:
    """Change the track."""
    changed = await pool.coordinator.patch(
        f"/v1/tracks/{pool.offer.track['id']}",
        json=track,
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    assert changed.status_code == 200, changed.text


# Groups.


async def test_a_group_is_filled_by_who_waits_and_nobody_in_it_is_asked(
    world: World, desk: Desk, work: Bench
) -> None:
    pool, mentorship = await group(world)
    newcomer = pool.mentees[2]

    run = await filled(desk, pool)

    [proposal] = await pool.proposals_of(run)
    assert (who(proposal), proposal["mentorship_id"]) == (
        newcomer.participant["id"],
        mentorship["id"],
    )
    assert [(one["participant_id"], one["role"]) for one in proposal["present"]] == [
        (pool.mentors[0].participant["id"], "mentor"),
        *((one.participant["id"], "mentee") for one in pool.mentees[:2]),
    ]
    assert {one["key"] for one in proposal["parts"]} == {
        "because.offers_wants",
        "because.path_fit",
    }
    stats = run["stats"]
    assert (stats["people"], stats["matched"], stats["proposals"]) == (1, 1, 1)
    assert round(stats["min_score"]) == proposal["score"]
    assert run["certificate"]["kind"] == "optimal"
    assert run["unmatched"] == []

    published = await pool.publish(run)

    assert published["proposals_by_status"] == {"awaiting_people": 1}
    own = (await newcomer.client.get("/v1/me/proposals")).json()["items"]
    assert [len(one["present"]) for one in own] == [3]
    for somebody in (pool.mentors[0], pool.mentees[0]):
        assert (await somebody.client.get("/v1/me/proposals")).json()["items"] == []
        assert (await answer(somebody, proposal)).status_code == 404
    assert inside(await now(pool, mentorship)) == inside(mentorship)

    accepted = await answer(newcomer, proposal)

    assert (accepted.status_code, accepted.json()["status"]) == (200, "accepted")
    assert accepted.json()["mentorship_id"] == mentorship["id"]
    assert accepted.json()["present"] == []
    current = await now(pool, mentorship)
    assert inside(current) == {one.participant["id"] for one in pool.everybody}
    assert (current["status"], current["driver_person_id"]) == (
        "pending_start",
        mentorship["driver_person_id"],
    )
    assert (await newcomer.client.get(f"/v1/mentorships/{mentorship['id']}")).status_code == 200
    assert (await newcomer.now())["track_roles"][0]["load"] == 1
    [(told,)] = await work.rows("SELECT data FROM outbox_message WHERE type = 'member.joined'")
    assert {name: len(people) for name, people in told["recipients"].items()} == {
        "members": 3,
        "person": 1,
    }
    assert told["ids"] == {
        "mentorship_id": str(ids.parse_id("mentorship", mentorship["id"])),
        "person_id": str(ids.parse_id("person", newcomer.person["id"])),
    }


async def test_nobody_is_asked_where_nobody_has_to_agree(world: World, desk: Desk) -> None:
    pool, mentorship = await group(world, waiting=2, max_members=4, consent_sides="mentor_side")

    published = await pool.publish(await filled(desk, pool))

    assert published["proposals_by_status"] == {"accepted": 2}
    assert len(inside(await now(pool, mentorship))) == 5


async def test_a_group_takes_no_more_than_it_has_places(world: World, desk: Desk) -> None:
    pool, _mentorship = await group(world, waiting=3)

    run = await filled(desk, pool)

    assert len(await pool.proposals_of(run)) == 1
    assert [one["role"] for one in run["unmatched"]] == ["mentee", "mentee"]
    assert (run["stats"]["people"], run["stats"]["matched"]) == (3, 1)


async def test_of_two_groups_of_one_mentor_each_keeps_its_own_places(
    world: World, desk: Desk
) -> None:
    pool, first = await group(world, inside=3, waiting=5, time=8, max_members=4)
    second = await grouped(pool, pool.mentors[0], *pool.mentees[3:5])
    await ignore(pool.mentees[3], pool.mentees[5])

    run = await filled(desk, pool)

    found = {who(one): one["mentorship_id"] for one in await pool.proposals_of(run)}
    waiting = [one.participant["id"] for one in pool.mentees[5:]]
    assert found == {
        waiting[0]: first["id"],
        waiting[1]: second["id"],
        waiting[2]: second["id"],
    }


async def test_who_is_ignored_by_anybody_inside_is_kept_out_and_told_why(
    world: World, desk: Desk
) -> None:
    pool, _mentorship = await group(world, waiting=2)
    await ignore(pool.mentees[0], pool.mentees[2])

    run = await filled(desk, pool)

    [proposal] = await pool.proposals_of(run)
    assert who(proposal) == pool.mentees[3].participant["id"]
    [left] = run["unmatched"]
    assert left["participant_id"] == pool.mentees[2].participant["id"]
    assert (left["key"], left["params"]) == (
        "unmatched.kept_apart",
        {"pairs": {"not_blocked": 1}},
    )


async def test_who_reports_to_somebody_inside_is_kept_out(world: World, desk: Desk) -> None:
    pool, _mentorship = await group(world)
    managed = await world.org_admin.patch(
        f"/v1/people/{pool.mentees[2].person['id']}",
        json={"manager_id": pool.mentees[0].person["id"]},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    assert managed.status_code == 200, managed.text

    run = await filled(desk, pool)

    assert await pool.proposals_of(run) == []
    [left] = run["unmatched"]
    assert left["params"]["pairs"] == {"reporting_line_distance": 1}


async def test_nobody_joins_the_group_they_are_in(world: World, desk: Desk) -> None:
    pool, _mentorship = await group(world, waiting=0)
    await take_more(pool, pool.mentees[0], mentee=2)

    run = await filled(desk, pool)

    assert await pool.proposals_of(run) == []
    assert [one["key"] for one in run["unmatched"]] == ["unmatched.kept_apart"]


async def test_who_joins_a_group_is_explained_as_a_pair_with_its_mentor(
    world: World, desk: Desk
) -> None:
    pool, _mentorship = await group(world, time=6, waiting=3)
    await grouped(pool, pool.mentors[0], *pool.mentees[2:4])
    newcomer, mentor = pool.mentees[4], pool.mentors[0].participant["id"]
    run = await filled(desk, pool)

    async def explained(client: httpx.AsyncClient, somebody: Somebody) -> httpx.Response:
        return await client.get(
            f"/v1/match-runs/{run['id']}/explanations",
            params={"pair": f"{mentor},{somebody.participant['id']}"},
        )

    told = await explained(pool.coordinator, newcomer)
    absent = await explained(pool.coordinator, pool.mentees[0])
    early = await explained(newcomer.client, newcomer)
    await pool.publish(run)
    own = await explained(newcomer.client, newcomer)
    of_others = await explained(pool.mentees[0].client, newcomer)

    assert told.status_code == 200, told.text
    assert (told.status_code, told.json()["is_matched"]) == (200, True)
    assert told.json()["participant_ids"][0] == mentor
    assert (own.status_code, own.json()["is_matched"]) == (200, True)
    assert {one.status_code for one in (absent, early, of_others)} == {404}


# Circles.


async def test_a_circle_is_filled_and_none_is_formed(world: World, desk: Desk) -> None:
    pool, mentorship = await circle(world, mentees=6, leads=2)

    run = await filled(desk, pool)

    proposals = await pool.proposals_of(run)
    assert [one["mentorship_id"] for one in proposals] == [mentorship["id"]] * 2
    assert {one["key"] for one in run["unmatched"]} == {"unmatched.too_few_facilitators"}
    assert (run["stats"]["people"], run["stats"]["matched"]) == (5, 2)
    assert len(run["unmatched"]) == 3
    for proposal in proposals:
        assert len(proposal["present"]) == 4
        assert proposal["present"][0]["role"] == "facilitator"
        keys = {one["key"] for one in proposal["parts"]}
        assert keys == {
            *("because.offers_wants.group", "because.path_fit.group"),
            "because.common_ground",
        }
    await pool.publish(run)
    newcomers = {one.participant["id"]: one for one in pool.everybody}
    for proposal in proposals:
        assert (await answer(newcomers[who(proposal)], proposal)).status_code == 200
    current = await now(pool, mentorship)
    assert len(inside(current)) == 6
    assert current["common_ground"] == "Leading for the first time"


async def test_who_joins_a_circle_is_kept_from_nobody_in_it(world: World, desk: Desk) -> None:
    pool, _mentorship = await circle(world, mentors=1, mentees=5)
    await ignore(pool.mentees[0], pool.mentees[2])
    await ignore(pool.mentees[3], pool.others[0])

    run = await filled(desk, pool)

    [proposal] = await pool.proposals_of(run)
    assert who(proposal) == pool.mentees[4].participant["id"]
    assert {one["participant_id"] for one in run["unmatched"]} == {
        one.participant["id"] for one in pool.mentees[2:4]
    }


async def test_a_circle_keeps_people_whom_rules_would_keep_apart_today(
    world: World, desk: Desk
) -> None:
    pool, _mentorship = await circle(world, mentors=1)
    await ignore(pool.mentees[0], pool.mentees[1])

    run = await filled(desk, pool)

    assert [who(one) for one in await pool.proposals_of(run)] == [pool.mentees[2].participant["id"]]
    assert (await pool.publish(run))["proposals_by_status"] == {"awaiting_people": 1}


async def test_a_facilitator_who_is_the_mentor_too_counts_once(world: World, desk: Desk) -> None:
    pool = await gathered(
        world,
        "facilitator",
        *["mentee"] * 5,
        format="circle",
        match_modes=["fill"],
        min_members=3,
        max_members=4,
    )
    leader = pool.others[0]
    await take_more(pool, leader, facilitator=1, mentor=1)
    await compose(
        pool.offer,
        *(member(leader, role) for role in ("facilitator", "mentor")),
        *(member(one, "mentee") for one in pool.mentees[:2]),
        common_ground="Leading",
    )

    run = await filled(desk, pool)

    assert len(await pool.proposals_of(run)) == 1
    assert run["unmatched_count"] == 2


async def test_no_place_in_a_circle_is_explained(world: World, desk: Desk) -> None:
    pool, _mentorship = await circle(world)
    run = await filled(desk, pool)
    pair = [one.participant["id"] for one in (pool.mentors[0], pool.mentees[2])]

    told = await pool.coordinator.get(
        f"/v1/match-runs/{run['id']}/explanations", params={"pair": ",".join(pair)}
    )

    assert (told.status_code, told.json()["code"]) == (409, "not_explainable")


# What a coordinator decides, and what comes of it.


async def test_a_run_needs_somebody_who_waits_and_a_place(world: World) -> None:
    full, _mentorship = await group(world, inside=3)
    nobody, _mentorship = await group(world, waiting=0)
    pool, _mentorship = await group(world, match_modes=["pool"])

    refused = [
        await one.coordinator.post(
            one.runs, json={"track_id": one.offer.track["id"], "kind": "fill"}
        )
        for one in (full, nobody, pool)
    ]

    assert {(one.status_code, one.json()["code"]) for one in refused} == {(409, "not_ready")}
    assert [one.json()["errors"][0]["code"] for one in refused] == [
        *("no_free_place", "nobody", "match_modes")
    ]


async def test_who_was_rejected_is_not_proposed_again_in_a_rerun(world: World, desk: Desk) -> None:
    pool, mentorship = await group(world, waiting=2)
    run = await filled(desk, pool)
    [first] = await pool.proposals_of(run)
    await pool.act(first, "reject")

    again = await pool.rerun(desk, run)

    [second] = await pool.proposals_of(again)
    assert (again["kind"], second["mentorship_id"]) == ("fill", mentorship["id"])
    assert {who(first), who(second)} == {one.participant["id"] for one in pool.mentees[2:]}
    assert [one["participant_id"] for one in again["unmatched"]] == [who(first)]
    assert (await pool.publish(again))["proposals_by_status"] == {"awaiting_people": 1}


async def test_who_is_locked_to_a_group_stays_in_a_rerun(world: World, desk: Desk) -> None:
    pool, _mentorship = await group(world, waiting=2)
    run = await filled(desk, pool)
    [locked] = await pool.proposals_of(run)
    await pool.act(locked, "lock")

    again = await pool.rerun(desk, run)

    [kept] = await pool.proposals_of(again)
    assert (who(kept), kept["is_locked"]) == (who(locked), True)
    [old] = await pool.proposals_of(run)
    assert old["is_locked"] is False
    elsewhere = await pool.reviewed(desk, kind="pool", mode="dry_run")
    assert elsewhere["status"] == "simulated"


async def test_who_is_locked_to_a_circle_stays_in_a_rerun(world: World, desk: Desk) -> None:
    pool, _mentorship = await circle(world, mentors=1, mentees=5, max_members=5)
    run = await filled(desk, pool)
    [locked] = await pool.proposals_of(run)
    await pool.act(locked, "lock")

    again = await pool.rerun(desk, run)

    [kept] = await pool.proposals_of(again)
    assert (who(kept), kept["is_locked"]) == (who(locked), True)
    assert (await pool.publish(again))["proposals_by_status"] == {"awaiting_people": 1}


@pytest.mark.parametrize(
    ("there", "sizes"), [(group, {"waiting": 2}), (circle, {"mentees": 5, "max_members": 5})]
)
async def test_who_is_locked_in_against_a_later_policy_comes_with_the_rule(
    world: World, desk: Desk, there: Callable[..., Awaitable[Any]], sizes: dict[str, int]
) -> None:
    pool, _mentorship = await there(world, **sizes)
    [locked] = await pool.proposals_of(await filled(desk, pool))
    await pool.act(locked, "lock")
    newcomer = next(one for one in pool.everybody if one.participant["id"] == who(locked))
    await prefer(newcomer, languages=["fr"])
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

    later = await filled(desk, pool, mode="dry_run", policy_id=policy["id"])

    [kept] = await pool.proposals_of(later)
    assert (who(kept), kept["is_locked"]) == (who(locked), True)
    assert [one["rule"] for one in kept["forced"]] == ["shared_language"]


async def test_who_declines_gives_the_place_back_and_is_not_asked_again(
    world: World, desk: Desk
) -> None:
    pool, mentorship = await group(world, waiting=2)
    run = await filled(desk, pool)
    [proposal] = await pool.proposals_of(run)
    await pool.publish(run)
    by_id = {one.participant["id"]: one for one in pool.mentees}
    declining = by_id[who(proposal)]

    declined = await answer(declining, proposal, "decline")

    assert declined.json()["status"] == "declined"
    assert declined.json()["present"] == []
    assert inside(await now(pool, mentorship)) == inside(mentorship)
    assert (await declining.now())["track_roles"][0]["load"] == 0
    again = await filled(desk, pool)
    [other] = await pool.proposals_of(again)
    assert who(other) != who(proposal)
    await pool.publish(again)
    assert (await answer(by_id[who(other)], other)).json()["status"] == "accepted"
    assert len(inside(await now(pool, mentorship))) == 4


async def test_mentees_of_two_groups_change_places(world: World, desk: Desk) -> None:
    pool, run, proposals = await two_groups(world, desk)
    one, other = proposals.values()

    swapped = await post(
        pool.coordinator, f"/v1/proposals/{one['id']}/swap", {"with_proposal_id": other["id"]}
    )

    made = swapped["items"]
    assert [who(each) for each in made] == [who(other), who(one)]
    assert all(each["score"] is not None for each in made)
    assert [each["mentorship_id"] for each in made] == [
        one["mentorship_id"],
        other["mentorship_id"],
    ]
    for each in made:
        await pool.act(each, "approve")
    published = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})
    assert published["proposals_by_status"] == {"swapped": 2, "awaiting_people": 2}


async def test_a_swap_is_refused_where_the_policy_keeps_somebody_from_a_group(
    world: World, desk: Desk
) -> None:
    pool, _run, _proposals = await two_groups(world, desk)
    await prefer(pool.mentors[0], languages=["en", "fr"])
    await prefer(pool.mentees[4], languages=["fr"])
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
    await amend(pool, policy_id=policy["id"])
    one, other = await pool.proposals_of(await filled(desk, pool))

    refused = await pool.coordinator.post(
        f"/v1/proposals/{one['id']}/swap", json={"with_proposal_id": other["id"]}
    )

    assert (refused.status_code, refused.json()["code"]) == (409, "hard_rule_failed")
    assert [each["code"] for each in refused.json()["errors"]] == ["shared_language"]


async def test_two_runs_that_fill_are_compared_by_who_leads(world: World, desk: Desk) -> None:
    pool, _mentorship = await group(world, waiting=2)
    base = await filled(desk, pool)
    [proposal] = await pool.proposals_of(base)
    await pool.act(proposal, "reject")
    other = await pool.rerun(desk, base)

    told = await post(
        pool.coordinator,
        "/v1/match-run-diffs",
        {"base_run_id": base["id"], "other_run_id": other["id"]},
    )

    mentor = pool.mentors[0].participant["id"]
    assert [one["participant_ids"][0] for one in told["pairs"]["new"]] == [mentor]
    assert [one["participant_ids"][1] for one in told["pairs"]["lost"]] == [who(proposal)]


# Places that go, and mentorships that end.


async def test_the_last_place_goes_to_one_of_two_runs(world: World, desk: Desk) -> None:
    pool, mentorship = await group(world, waiting=2)
    [first] = await pool.proposals_of(await filled(desk, pool))
    away = next(one for one in pool.mentees if one.participant["id"] == who(first))
    await ignore(away, pool.mentees[0])
    [second] = await pool.proposals_of(await filled(desk, pool))
    back = await away.client.delete(
        f"{away.path}/shortlist/{pool.mentees[0].participant['id']}", headers={"If-Match": "*"}
    )
    assert back.status_code == 204, back.text
    assert who(first) != who(second)

    answers = await asyncio.gather(*(decide(pool, one, "approve") for one in (first, second)))

    assert sorted(one.status_code for one in answers) == [200, 409]
    [refused] = [one.json() for one in answers if one.status_code == 409]
    assert refused["code"] == "full"
    assert inside(await now(pool, mentorship)) == inside(mentorship)


async def test_of_many_who_approve_at_once_one_wins(world: World, desk: Desk) -> None:
    pool, mentorship = await group(world, consent_sides="none")
    run = await filled(desk, pool)
    [proposal] = await pool.proposals_of(run)
    await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})

    answers = await crowd(lambda: decide(pool, proposal, "approve"))

    assert {one.status_code for one in answers} == {200, 409}
    assert sum(one.status_code == 200 for one in answers) == 1
    assert len(inside(await now(pool, mentorship))) == 4


async def test_a_smaller_track_lets_nobody_in_who_was_not_asked_yet(
    world: World, desk: Desk
) -> None:
    pool, mentorship = await group(world, waiting=2, max_members=4)
    run = await filled(desk, pool)
    await pool.publish(run)
    proposals = await pool.proposals_of(run)
    await amend(pool, max_members=3)
    by_id = {one.participant["id"]: one for one in pool.mentees}

    answers = [await answer(by_id[who(one)], one) for one in proposals]

    assert [one.status_code for one in answers] == [200, 409]
    assert answers[1].json()["code"] == "full"
    assert len(inside(await now(pool, mentorship))) == 4


async def two_groups(
    world: World, desk: Desk
) -> tuple[Pool, dict[str, Any], dict[str, dict[str, Any]]]:
    """Return two groups with one place each, a run that fills both, and its proposals by group."""
    pool = await gathered(
        world,
        *["mentor"] * 2,
        *["mentee"] * 6,
        format="group",
        match_modes=["pool", "fill"],
        min_members=2,
        max_members=3,
    )
    for index, mentor in enumerate(pool.mentors):
        await take_more(pool, mentor, mentor=3)
        await grouped(pool, mentor, *pool.mentees[2 * index : 2 * index + 2])
    run = await filled(desk, pool)
    return pool, run, {one["mentorship_id"]: one for one in await pool.proposals_of(run)}


async def end(pool: Pool, mentorship_id: str) -> None:
    """End a mentorship at once."""
    await post(pool.coordinator, f"/v1/mentorships/{mentorship_id}/end-early", {"reason": "other"})


async def test_a_group_that_ended_before_publication_loses_nobody_elsewhere(
    world: World, desk: Desk
) -> None:
    pool, run, proposals = await two_groups(world, desk)
    ended, lasting = sorted(proposals)
    for proposal in proposals.values():
        await pool.act(proposal, "approve")
    await end(pool, ended)

    published = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})

    assert published["proposals_by_status"] == {"rejected": 1, "awaiting_people": 1}
    current = {one["mentorship_id"]: one["status"] for one in await pool.proposals_of(run)}
    assert current == {ended: "rejected", lasting: "awaiting_people"}
    lost = next(one for one in pool.mentees if one.participant["id"] == who(proposals[ended]))
    assert (await lost.client.get("/v1/me/proposals")).json()["items"] == []
    again = await pool.reviewed(desk, mode="dry_run")
    # They wait with the mentor and the mentees of the group that ended.
    assert again["stats"]["people"] == 4


async def test_nobody_is_approved_for_a_group_that_ended(world: World, desk: Desk) -> None:
    pool, _run, proposals = await two_groups(world, desk)
    ended, lasting = sorted(proposals)
    await end(pool, ended)

    refused = await decide(pool, proposals[ended], "approve")
    approved = await decide(pool, proposals[lasting], "approve")

    assert (refused.status_code, refused.json()["code"]) == (409, "already_ended")
    assert approved.status_code == 200


async def test_whoever_is_asked_when_a_group_ends_is_told_that_it_will_not_be(
    world: World, desk: Desk
) -> None:
    pool, run, proposals = await two_groups(world, desk)
    await pool.publish(run)
    ended, lasting = sorted(proposals)
    asked = next(one for one in pool.mentees if one.participant["id"] == who(proposals[ended]))
    await end(pool, ended)

    late = await answer(asked, proposals[ended])
    async with transaction_of(world) as session:
        await jobs.on_mentorship_ended(
            session,
            organization_id=world.id,
            subject_id=ids.parse_id("mentorship", ended),
            now=desk.database.clock(),
        )

    assert (late.status_code, late.json()["code"]) == (409, "already_ended")
    current = {one["mentorship_id"]: one["status"] for one in await pool.proposals_of(run)}
    assert current == {ended: "expired", lasting: "awaiting_people"}
    assert (await asked.now())["track_roles"][0]["load"] == 0


async def test_a_group_that_rests_takes_nobody(world: World, desk: Desk, work: Bench) -> None:
    pool, _run, proposals = await two_groups(world, desk)
    resting, _other = sorted(proposals)
    await work.rows(
        "UPDATE mentorship SET status = 'paused' WHERE id = :id RETURNING id",
        id=ids.parse_id("mentorship", resting),
    )

    refused = await decide(pool, proposals[resting], "approve")

    assert (refused.status_code, refused.json()["code"]) == (409, "not_available")


async def test_only_what_its_proposals_rest_on_makes_a_run_stale(world: World, desk: Desk) -> None:
    pool, run, proposals = await two_groups(world, desk)
    approved, other = (proposals[one] for one in sorted(proposals))
    await pool.act(approved, "approve")

    async def change(participant_id: str) -> None:
        somebody = next(one for one in pool.mentees if one.participant["id"] == participant_id)
        await prefer(somebody, values=["calm"])

    await change(who(approved))
    stale = await pool.coordinator.post(f"/v1/match-runs/{run['id']}/publish", json={})
    again = await pool.rerun(desk, run)
    current = {one["mentorship_id"]: one for one in await pool.proposals_of(again)}
    await pool.act(current[approved["mentorship_id"]], "approve")
    await change(who(current[other["mentorship_id"]]))

    published = await post(pool.coordinator, f"/v1/match-runs/{again['id']}/publish", {})

    assert (stale.status_code, stale.json()["code"]) == (409, "stale_run")
    assert published["proposals_by_status"] == {"awaiting_people": 1, "proposed": 1}


async def test_a_group_that_is_filled_again_is_no_longer_closed_for_its_size(
    world: World, desk: Desk, work: Bench
) -> None:
    pool, mentorship = await group(world, consent_sides="none")
    leaving = next(
        one
        for one in mentorship["members"]
        if one["participant_id"] == pool.mentees[0].participant["id"]
    )
    await post(pool.mentees[0].client, f"/v1/members/{leaving['id']}/leave", {})
    closing = "SELECT id FROM timer WHERE kind = 'mentorship.refill'"
    assert len(await work.rows(closing)) == 1

    await pool.publish(await filled(desk, pool))

    assert len(inside(await now(pool, mentorship))) == 3
    assert await work.rows(closing) == []
