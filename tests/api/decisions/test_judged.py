"""What is composed by hand is judged by the policy as a run's proposals are."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from services.api.match_runs.jobs import Desk
from tests.support.apps import World
from tests.support.match_runs import Pool, gathered
from tests.support.matching_server import Matching
from tests.support.mentorships import compose as begin
from tests.support.mentorships import member
from tests.support.participants import PREFERENCES, Somebody
from tests.support.programs import post

LANGUAGE = {"rule": "shared_language"}
CIRCLE: dict[str, Any] = {
    "format": "circle",
    "match_modes": ["pool", "fill"],
    "min_members": 4,
    "max_members": 4,
}
GROUP: dict[str, Any] = {
    "format": "group",
    "match_modes": ["pool", "fill"],
    "min_members": 2,
    "max_members": 4,
}


async def circles(world: World, *, many: int = 2, **track: Any) -> Pool:
    """Return the people of so many circles of four."""
    return await gathered(
        world,
        *["facilitator"] * many,
        *["mentor"] * many,
        *["mentee"] * 2 * many,
        **{**CIRCLE, **track},
    )


async def groups(world: World) -> Pool:
    """Return two mentors with two places each, and four mentees."""
    return await gathered(world, *["mentor"] * 2, *["mentee"] * 4, capacity=2, **GROUP)


async def govern(pool: Pool, *hard: dict[str, Any]) -> None:
    """Give the track a policy with such hard rules."""
    policy = await post(
        pool.coordinator,
        "/v1/policies",
        {
            "program_id": pool.offer.program["id"],
            "name": "Strict",
            "hard": list(hard),
            "soft": [{"rule": "path_fit", "weight": 60}, {"rule": "offers_wants", "weight": 40}],
        },
    )
    changed = await pool.coordinator.patch(
        f"/v1/tracks/{pool.offer.track['id']}",
        json={"policy_id": policy["id"]},
        headers={"If-Match": "*", "Content-Type": "application/merge-patch+json"},
    )
    assert changed.status_code == 200, changed.text


async def prefer(somebody: Somebody, **said: Any) -> None:
    """Change what somebody says of themselves."""
    changed = await somebody.client.put(
        f"{somebody.path}/preferences", json=PREFERENCES | said, headers={"If-Match": "*"}
    )
    assert changed.status_code == 200, changed.text


def as_members(*people: Somebody) -> list[dict[str, Any]]:
    """Return people as a request states them, in the role in which they wait."""
    return [
        {
            "participant_id": one.participant["id"],
            "role": one.participant["track_roles"][0]["role"],
        }
        for one in people
    ]


async def compose(pool: Pool, *people: Somebody, **more: Any) -> httpx.Response:
    """Put people together by hand."""
    return await pool.coordinator.post(
        f"/v1/tracks/{pool.offer.track['id']}/proposals",
        json={"members": as_members(*people), **more},
    )


async def swap(pool: Pool, *proposals: dict[str, Any], role: str = "mentee") -> httpx.Response:
    """Let one in this role of each of two proposals change places."""
    return await pool.coordinator.post(
        f"/v1/proposals/{proposals[0]['id']}/swap",
        json={"with_proposal_id": proposals[1]["id"], "role": role},
    )


async def swapped(
    pool: Pool, *proposals: dict[str, Any], role: str = "mentee"
) -> list[dict[str, Any]]:
    """Return what a swap has made."""
    answer = await swap(pool, *proposals, role=role)
    assert answer.status_code == 200, answer.text
    made: list[dict[str, Any]] = answer.json()["items"]
    return made


def assert_forbidden(answer: httpx.Response) -> None:
    """Assert that the rule about languages was named."""
    assert (answer.status_code, answer.json()["code"]) == (409, "hard_rule_failed")
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [
        ("#/members", "shared_language")
    ]


def shared_by(proposal: dict[str, Any]) -> list[list[str]]:
    """Return what all of a circle share."""
    return [one["params"]["shared"] for one in proposal["parts"] if one["rule"] == "common_ground"]


def judged(proposal: dict[str, Any]) -> tuple[Any, ...]:
    """Return what matching has said of a proposal."""
    return (
        proposal["score"],
        proposal["parts"],
        {one["participant_id"] for one in proposal["members"]},
    )


async def test_a_circle_composed_by_hand_is_judged_as_a_run_would_have_done(
    world: World, desk: Desk
) -> None:
    pool = await circles(world, many=1)
    await govern(pool, LANGUAGE)
    [proposed] = await pool.proposals_of(await pool.reviewed(desk, mode="dry_run"))

    made = await compose(pool, *pool.everybody)

    assert made.status_code == 201, made.text
    assert judged(made.json()) == judged(proposed)
    assert made.json()["score"] is not None
    assert shared_by(made.json()) == [PREFERENCES["values"]]
    assert made.json()["forced"] == []


async def test_a_circle_that_the_policy_forbids_is_refused_unless_it_is_forced(
    world: World,
) -> None:
    pool = await circles(world, many=1)
    await govern(pool, LANGUAGE)
    await prefer(pool.mentees[1], languages=["fr"])

    refused = await compose(pool, *pool.everybody)
    forced = await compose(pool, *pool.everybody, force=True)

    assert_forbidden(refused)
    assert forced.status_code == 201, forced.text
    assert [one["rule"] for one in forced.json()["forced"]] == ["shared_language"]
    assert forced.json()["score"] is not None
    assert shared_by(forced.json()) == [PREFERENCES["values"]]


async def test_between_two_mentees_of_a_circle_only_rules_about_people_hold(
    world: World,
) -> None:
    pool = await circles(world, many=1)
    await govern(pool, LANGUAGE)
    for one, spoken in zip(pool.mentees, ("de", "fr"), strict=True):
        await prefer(one, languages=[spoken])
    await prefer(pool.mentors[0], languages=["de", "fr"])

    made = await compose(pool, *pool.everybody)

    assert made.status_code == 201, made.text


async def test_a_circle_without_a_mentor_is_refused_by_its_format_first(world: World) -> None:
    pool = await circles(world, many=1)
    await govern(pool, LANGUAGE)
    await prefer(pool.mentees[0], languages=["fr"])

    answer = await compose(pool, pool.others[0], *pool.mentees)

    assert answer.status_code == 409
    assert "shared_language" not in {one["code"] for one in answer.json()["errors"]}


async def test_a_circle_that_only_matching_can_judge_waits_for_it(
    world: World, matching: Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await circles(world, many=1)
    await govern(pool, LANGUAGE)
    nobody = matching.client_of_nobody()
    monkeypatch.setattr(world.app.state.resources, "matching", nobody)

    answer = await compose(pool, *pool.everybody)

    assert (answer.status_code, answer.json()["code"]) == (503, "matching_unavailable")
    await nobody.close()


async def test_circles_after_a_swap_are_judged_anew_with_what_they_share(
    world: World, desk: Desk
) -> None:
    pool = await circles(world)
    await prefer(pool.mentors[0], values=["calm"], path_now="Painting.")
    first, second = await pool.proposals_of(await pool.reviewed(desk))

    made = await swapped(pool, first, second, role="mentor")
    back = await swapped(pool, *made, role="mentor")

    assert all(one["score"] is not None for one in made)
    assert [shared_by(one) for one in made] == [shared_by(second), shared_by(first)]
    assert sorted(map(len, map(shared_by, made))) == [0, 1]
    assert [judged(one) for one in back] == [judged(first), judged(second)]


async def test_groups_after_a_swap_are_scored_as_a_run_scores_them(
    world: World, desk: Desk
) -> None:
    pool = await groups(world)
    await prefer(pool.mentors[0], path_now="Painting.")
    first, second = await pool.proposals_of(await pool.reviewed(desk))

    made = await swapped(pool, first, second, role="mentor")
    back = await swapped(pool, *made, role="mentor")

    assert all(one["score"] is not None for one in made)
    assert {one["key"] for one in made[0]["parts"]} == {
        "because.path_fit.group",
        "because.offers_wants.group",
    }
    assert [judged(one) for one in back] == [judged(first), judged(second)]


@pytest.mark.parametrize("gather", [circles, groups])
async def test_a_swap_that_the_policy_forbids_is_refused(
    world: World, desk: Desk, gather: Callable[[World], Awaitable[Pool]]
) -> None:
    pool = await gather(world)
    await govern(pool, LANGUAGE)
    for one in (pool.mentors[0], *pool.mentees[:2]):
        await prefer(one, languages=["fr"])
    first, second = await pool.proposals_of(await pool.reviewed(desk))

    assert_forbidden(await swap(pool, first, second))


async def test_a_group_composed_by_hand_has_a_score_and_says_each_rule_once(
    world: World,
) -> None:
    pool = await groups(world)
    await govern(pool, LANGUAGE)

    made = await compose(pool, pool.mentors[0], *pool.mentees[:2])
    for one in pool.mentees[2:]:
        await prefer(one, languages=["fr"])
    forced = await compose(pool, pool.mentors[1], *pool.mentees[2:], force=True)

    assert made.status_code == 201, made.text
    assert made.json()["score"] is not None
    assert made.json()["forced"] == []
    assert forced.status_code == 201, forced.text
    assert [one["rule"] for one in forced.json()["forced"]] == ["shared_language"]


async def test_a_swap_of_what_was_composed_by_hand_is_judged_by_the_pool(world: World) -> None:
    pool = await circles(world)
    await govern(pool, LANGUAGE)
    first, second = [
        (await compose(pool, pool.others[at], pool.mentors[at], *mentees)).json()
        for at, mentees in enumerate((pool.mentees[:2], pool.mentees[2:]))
    ]

    made = await swapped(pool, first, second, role="mentor")
    await prefer(pool.mentors[0], languages=["fr"])

    assert [judged(one)[0] is not None for one in made] == [True, True]
    assert_forbidden(await swap(pool, *made, role="mentor"))


async def joined(world: World) -> Pool:
    """Return two circles that have begun, each with a place, and two mentees who wait."""
    pool = await gathered(
        world,
        *["facilitator"] * 2,
        *["mentor"] * 2,
        *["mentee"] * 6,
        **CIRCLE | {"max_members": 5},
    )
    for at, mentees in enumerate((pool.mentees[:2], pool.mentees[2:4])):
        await begin(
            pool.offer,
            member(pool.others[at], "facilitator"),
            member(pool.mentors[at], "mentor"),
            *(member(one, "mentee") for one in mentees),
            common_ground="Leading for the first time",
        )
    return pool


async def test_who_joins_a_circle_by_a_swap_is_judged_by_who_is_in_it(
    world: World, desk: Desk
) -> None:
    pool = await joined(world)
    await prefer(pool.mentors[0], path_now="Painting.")
    first, second = await pool.proposals_of(await pool.reviewed(desk, kind="fill"))

    made = await swapped(pool, first, second)
    back = await swapped(pool, *made)

    assert all(one["score"] is not None for one in made)
    assert [judged(one) for one in back] == [judged(first), judged(second)]


async def test_a_swap_of_who_joins_is_refused_where_the_policy_keeps_them_from_a_circle(
    world: World, desk: Desk
) -> None:
    pool = await joined(world)
    await govern(pool, LANGUAGE)
    for one in (pool.mentors[0], pool.mentees[4]):
        await prefer(one, languages=["fr"])
    first, second = await pool.proposals_of(await pool.reviewed(desk, kind="fill"))

    assert_forbidden(await swap(pool, first, second))


async def test_a_flash_meeting_composed_by_hand_is_judged_as_a_pair(world: World) -> None:
    pool = await gathered(
        world, "mentor", "mentee", format="flash", match_modes=["roulette"], meeting_minutes=20
    )
    await govern(pool, LANGUAGE)
    await prefer(pool.mentees[0], languages=["fr"])

    assert_forbidden(await compose(pool, pool.mentors[0], pool.mentees[0]))
