"""Suggestions over HTTP, ranked by the real matching."""

from typing import Any

import httpx
import pytest

from services.api.match_runs.jobs import Desk, turn
from services.api.participants.rules import ParticipantStatus
from services.api.pools import rules as pools
from services.api.programs.rules import ProgramStatus, TrackRole
from services.api.suggestions import rules
from shared.errors import ConflictError
from tests.support.apps import World
from tests.support.match_runs import Pool, waiting
from tests.support.participants import PREFERENCES, Somebody
from tests.support.programs import post

CHOOSING = {"match_modes": ["pool", "request"]}


async def choosing(world: World, **options: Any) -> Pool:
    """Return people who may choose each other."""
    return await waiting(world, track=CHOOSING, **options)


async def suggested(to: Somebody, **query: Any) -> list[dict[str, Any]]:
    """Return who is suggested."""
    answer = await asked(to, **query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def asked(to: Somebody, **query: Any) -> httpx.Response:
    return await to.client.get(f"{to.path}/suggestions", params=query)


def named(items: list[dict[str, Any]]) -> list[str]:
    return [one["participant_id"] for one in items]


async def prefer(somebody: Somebody, **changes: Any) -> None:
    answer = await somebody.client.put(
        f"{somebody.path}/preferences", json=PREFERENCES | changes, headers={"If-Match": "*"}
    )
    assert answer.status_code == 200, answer.text


async def mark(by: Somebody, about: Somebody, what: str) -> None:
    answer = await by.client.put(
        f"{by.path}/shortlist/{about.participant['id']}",
        json={"mark": what},
        headers={"If-None-Match": "*"},
    )
    assert answer.status_code == 201, answer.text


async def test_the_best_come_first_with_what_both_share(world: World) -> None:
    pool = await choosing(world, mentors=3)
    mentee, better = pool.mentees[0], pool.mentors[2]
    await prefer(better, offers_skills=["Leadership"])

    items = await suggested(mentee)

    assert named(items)[0] == better.participant["id"]
    assert set(named(items)) == {one.participant["id"] for one in pool.mentors}
    assert items[0]["score"] > items[1]["score"]
    part = next(one for one in items[0]["parts"] if one["rule"] == "offers_wants")
    assert part["key"]
    assert "leadership" in str(part["params"]).casefold()
    assert items[0]["person_id"] == better.person["id"]
    assert len(await suggested(mentee, limit=1)) == 1


async def test_a_mentor_is_suggested_mentees(world: World) -> None:
    pool = await choosing(world)

    items = await suggested(pool.mentors[0])

    assert set(named(items)) == {one.participant["id"] for one in pool.mentees}


async def test_who_is_kept_apart_or_full_is_left_out_whoever_wished_so(world: World) -> None:
    pool = await choosing(world, mentors=4, mentees=3)
    mentee = pool.mentees[0]
    ignoring, ignored, full, left = pool.mentors
    await mark(ignoring, mentee, "ignore")
    await mark(mentee, ignored, "ignore")
    await together(pool, full, pool.mentees[1])

    items = await suggested(mentee)

    assert named(items) == [left.participant["id"]]


async def together(pool: Pool, mentor: Somebody, mentee: Somebody) -> dict[str, Any]:
    """Put two together who both agree."""
    proposal = await pool.compose(mentor, mentee)
    await pool.act(proposal, "approve")
    for one in (mentor, mentee):
        proposal = await post(one.client, f"/v1/proposals/{proposal['id']}/consent", {})
    return proposal


async def test_whom_one_was_with_is_left_out(world: World) -> None:
    pool = await choosing(world, mentors=2, mentees=2)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    made = await together(pool, mentor, mentee)
    ended = await mentee.client.post(
        f"/v1/mentorships/{made['mentorship_id']}/end-early", json={"reason": "no_fit"}
    )
    assert ended.status_code == 200, ended.text

    items = await suggested(mentee)

    assert named(items) == [pool.mentors[1].participant["id"]]


async def test_what_is_approved_and_told_to_nobody_cannot_be_seen(world: World, desk: Desk) -> None:
    pool = await choosing(world)
    before = [await suggested(one) for one in (pool.mentees[0], pool.mentors[1])]
    run = await pool.start()
    assert await turn(desk) == 1
    proposals = await pool.coordinator.get(f"/v1/match-runs/{run['id']}/proposals")
    for one in proposals.json()["items"]:
        await pool.act(one, "approve")

    after = [await suggested(one) for one in (pool.mentees[0], pool.mentors[1])]

    assert after == before


async def test_a_favorite_counts_for_whoever_marked_and_tells_the_other_nothing(
    world: World,
) -> None:
    pool = await choosing(world)
    await follow(pool, [{"rule": "shortlisted", "weight": 100}])
    mentor, mentee = pool.mentors[1], pool.mentees[1]
    unmoved = await suggested(mentor)
    await mark(mentee, mentor, "favorite")

    own = await suggested(mentee)

    assert named(own)[0] == mentor.participant["id"]
    assert [one["is_favorite"] for one in own] == [True, False]
    assert await suggested(mentor) == unmoved


ANSWER = {"key": "band", "label": {"en": "Band"}, "type": "single_choice", "options": ["a", "b"]}


async def test_nobody_finds_out_by_changing_their_own_side_of_a_comparison(world: World) -> None:
    pool = await choosing(world)
    program = pool.offer.program["id"]
    for role in ("mentor", "mentee"):
        fields = [ANSWER | {"matchable": True}]
        form = await post(
            pool.coordinator, f"/v1/programs/{program}/forms", {"role": role, "fields": fields}
        )
        await post(pool.coordinator, f"/v1/forms/{form['id']}/publish", {})
    soft = [
        {"rule": "path_fit", "weight": 1},
        {"rule": "attribute_equal", "weight": 50, "params": {"attribute": "band"}},
        {"rule": "level_distance", "weight": 50},
        {"rule": "style_fit", "weight": 50},
    ]
    await follow(pool, soft)
    for mentor, said in zip(pool.mentors, ("a", "b"), strict=True):
        await say(mentor, said)
    mentee = pool.mentees[0]

    await say(mentee, "a")
    first = await suggested(mentee)
    await say(mentee, "b")
    second = await suggested(mentee)

    assert first == second
    assert {one["rule"] for item in first for one in item["parts"]} == {"path_fit", "style_fit"}
    [seeker, *_] = await suggested(pool.mentors[0])
    assert [one["rule"] for one in seeker["parts"]] == ["path_fit"]


async def follow(pool: Pool, soft: list[dict[str, Any]]) -> None:
    """Let the track be matched by such criteria."""
    body = {"program_id": pool.offer.program["id"], "name": "New", "soft": soft}
    policy = await post(pool.coordinator, "/v1/policies", body)
    changed = await pool.coordinator.patch(
        f"/v1/tracks/{pool.offer.track['id']}",
        json={"policy_id": policy["id"]},
        headers={"If-Match": "*", "Content-Type": "application/merge-patch+json"},
    )
    assert changed.status_code == 200, changed.text


async def say(somebody: Somebody, answer: str) -> None:
    """Answer the question that is for coordinators."""
    changed = await somebody.client.patch(
        somebody.path,
        json={"answers": {"band": answer}},
        headers={"If-Match": "*", "Content-Type": "application/merge-patch+json"},
    )
    assert changed.status_code == 200, changed.text


async def test_a_favorite_shows_whatever_the_policy_weighs(world: World) -> None:
    pool = await choosing(world)
    before = await suggested(pool.mentees[0])
    await mark(pool.mentees[0], pool.mentors[1], "favorite")

    after = await suggested(pool.mentees[0])

    marked = [one["participant_id"] for one in after if one["is_favorite"]]
    assert marked == [pool.mentors[1].participant["id"]]
    assert [one["score"] for one in after] == [one["score"] for one in before]


async def test_two_or_three_are_compared_in_the_order_asked(world: World) -> None:
    pool = await choosing(world, mentors=3)
    mentee = pool.mentees[0]
    await mark(pool.mentors[1], mentee, "ignore")
    wanted = [pool.mentors[2], pool.mentors[1], pool.mentors[0]]

    items = await suggested(mentee, compare=",".join(one.participant["id"] for one in wanted))

    assert named(items) == [one.participant["id"] for one in wanted]
    assert [one["is_available"] for one in items] == [True, False, True]
    assert (items[1]["score"], items[1]["parts"]) == (None, [])
    listed = {one["participant_id"]: one["score"] for one in await suggested(mentee)}
    assert items[0]["score"] == listed[items[0]["participant_id"]]


@pytest.mark.parametrize("count", [1, 4])
async def test_only_two_or_three_are_compared(world: World, count: int) -> None:
    pool = await choosing(world, mentors=4)

    answer = await asked(
        pool.mentees[0],
        compare=",".join(one.participant["id"] for one in pool.mentors[:count]),
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "query.compare"


async def test_somebody_elsewhere_cannot_be_compared(world: World) -> None:
    pool = await choosing(world)
    elsewhere = await choosing(world, mentors=1, mentees=0)
    pair = [pool.mentors[0], elsewhere.mentors[0]]

    answer = await asked(pool.mentees[0], compare=",".join(one.participant["id"] for one in pair))

    assert answer.status_code == 404


async def test_a_track_that_a_coordinator_matches_suggests_nobody(world: World) -> None:
    pool = await waiting(world)

    answer = await asked(pool.mentees[0])

    assert (answer.status_code, answer.json()["code"]) == (409, "not_available")
    assert answer.json()["errors"][0]["code"] == "match_modes"


async def test_whoever_paused_is_suggested_nobody(world: World) -> None:
    pool = await choosing(world)
    await post(pool.mentees[0].client, f"{pool.mentees[0].path}/pause-matching", {})

    answer = await asked(pool.mentees[0])

    assert (answer.status_code, answer.json()["code"]) == (409, "not_available")
    assert answer.json()["errors"][0]["code"] == "participant_status"


async def test_nobody_looks_for_somebody_else(world: World) -> None:
    pool = await choosing(world)

    answers = [
        await one.get(f"{pool.mentees[0].path}/suggestions")
        for one in (pool.mentors[0].client, pool.coordinator, world.org_admin)
    ]

    assert [one.status_code for one in answers] == [403, 403, 403]


async def test_a_role_or_track_that_is_not_ones_own_is_refused(world: World) -> None:
    pool = await choosing(world)
    elsewhere = await choosing(world, mentors=0, mentees=1)

    role = await asked(pool.mentees[0], role="mentor")
    track = await asked(pool.mentees[0], track_id=elsewhere.offer.track["id"])

    assert (role.status_code, role.json()["code"]) == (409, "not_available")
    assert (track.status_code, track.json()["errors"][0]["pointer"]) == (400, "query.track_id")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"modes": ["pool"]}, "match_modes"),
        ({"has_policy": False}, "no_policy"),
        ({"program": ProgramStatus.WINDING_DOWN}, "program_status"),
        ({"is_paused": True}, "matching_paused"),
        ({"participant": ParticipantStatus.AT_CAPACITY}, "participant_status"),
    ],
)
def test_each_reason_is_named(changes: dict[str, Any], reason: str) -> None:
    usual: dict[str, Any] = {
        "modes": ["request"],
        "has_policy": True,
        "program": ProgramStatus.RUNNING,
        "is_paused": False,
        "participant": ParticipantStatus.AVAILABLE,
    }
    rules.require_offered(**usual)

    with pytest.raises(ConflictError) as refused:
        rules.require_offered(**usual | changes)

    assert [one.code for one in refused.value.errors] == [reason]


def test_a_problem_is_narrowed_to_some_people_in_some_roles() -> None:
    problem = {
        "participants": {"id": ["a", "b", "c"], "values": [["x"], ["y"], []], "attributes": {}},
        "places": {
            "participant": [0, 0, 1, 2],
            "role": ["mentor", "mentee"] * 2,
            "capacity": [2, 1, 3, 1],
        },
        "current_pairs": {"first": ["a"], "second": ["b"]},
        "locks": {"first": ["a"], "second": ["b"]},
        "blocks": {"first": ["a", "b"], "second": ["b", "c"]},
        "past_pairs": {"first": [], "second": []},
    }

    told = pools.narrowed(problem, {"b": {TrackRole.MENTOR}, "c": {TrackRole.MENTEE}})

    assert told["participants"] == {"id": ["b", "c"], "values": [["y"], []], "attributes": {}}
    assert told["places"] == {
        "participant": [0, 1],
        "role": ["mentor", "mentee"],
        "capacity": [3, 1],
    }
    assert told["locks"] == {"first": [], "second": []}
    assert told["blocks"] == {"first": ["b"], "second": ["c"]}
