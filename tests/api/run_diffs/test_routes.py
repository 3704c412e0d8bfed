"""Two runs of a track side by side, explained by the real matching."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.api.match_runs.jobs import Desk, turn
from services.api.run_diffs import rules
from services.api.run_diffs.rules import Change
from shared.errors import InvalidError
from tests.support.apps import World
from tests.support.match_runs import Pool, waiting
from tests.support.matching_server import Matching
from tests.support.participants import PREFERENCES, Somebody
from tests.support.programs import post

STRICT = {"hard": [{"rule": "shared_language"}], "soft": [{"rule": "path_fit", "weight": 100}]}


async def found(desk: Desk, pool: Pool, **changes: Any) -> dict[str, Any]:
    """Return a dry run that is over."""
    run = await pool.start(mode="dry_run", **changes)
    assert await turn(desk) == 1
    return run


async def compare(pool: Pool, base: dict[str, Any], other: dict[str, Any]) -> httpx.Response:
    return await pool.coordinator.post(
        "/v1/match-run-diffs", json={"base_run_id": base["id"], "other_run_id": other["id"]}
    )


async def compared(pool: Pool, base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    answer = await compare(pool, base, other)
    assert answer.status_code == 200, answer.text
    diff: dict[str, Any] = answer.json()
    return diff


async def strict(pool: Pool) -> str:
    policy = await post(
        pool.coordinator,
        "/v1/policies",
        {"program_id": pool.offer.program["id"], "name": "Strict", **STRICT},
    )
    policy_id: str = policy["id"]
    return policy_id


async def speaks(somebody: Somebody, *languages: str) -> None:
    answer = await somebody.client.put(
        f"{somebody.path}/preferences",
        json=PREFERENCES | {"languages": languages},
        headers={"If-Match": "*"},
    )
    assert answer.status_code == 200, answer.text


async def test_the_same_input_gives_no_difference(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    base, other = await found(desk, pool), await found(desk, pool)

    diff = await compared(pool, base, other)

    assert diff["same"] == {"input": True, "policy": True, "seed": True}
    assert (diff["pairs"]["kept_count"], diff["people"]) == (2, [])
    assert diff["base"]["fairness"] == diff["other"]["fairness"]
    assert diff["base"]["match_run_id"] == base["id"]


async def test_what_was_found_is_compared_and_not_what_was_decided(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world)
    base = await pool.reviewed(desk)
    for proposal in await pool.proposals_of(base):
        await pool.act(proposal, "reject")
    # Neither does another run know of it: only a rerun keeps apart who was turned down.
    other = await pool.reviewed(desk)

    diff = await compared(pool, base, other)

    assert (diff["pairs"]["kept_count"], diff["people"]) == (2, [])


async def test_a_stricter_policy_loses_a_pair_and_says_by_which_rule(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world)
    lonely = pool.mentees[0]
    await speaks(lonely, "fr")
    base = await found(desk, pool)
    other = await found(desk, pool, policy_id=await strict(pool))

    diff = await compared(pool, base, other)

    assert diff["same"] == {"input": True, "policy": False, "seed": True}
    assert (diff["base"]["matched"], diff["other"]["matched"]) == (4, 2)
    assert (diff["pairs"]["lost_count"], diff["pairs"]["new_count"]) == (1, 0)
    assert lonely.participant["id"] in diff["pairs"]["lost"][0]["participant_ids"]
    people = {one["participant_id"]: one for one in diff["people"]}
    left = people[lonely.participant["id"]]
    assert left["change"] == "lost"
    assert [one["rule"] for one in left["why"]] == ["shared_language"]
    assert (left["other_score"], left["other_partner_ids"]) == (None, [])
    assert {one["rule"] for one in left["parts"]} == {"offers_wants", "path_fit"}
    points = sum(one["base_points"] for one in left["parts"])
    assert (left["base_score"], points % 1 == 0) == (pytest.approx(points), False)
    assert diff["is_explained"] is True


async def test_somebody_matched_at_last_reads_why_not_before(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    lonely = pool.mentees[0]
    await speaks(lonely, "fr")
    base = await found(desk, pool, policy_id=await strict(pool))
    other = await found(desk, pool)

    people = {one["participant_id"]: one for one in (await compared(pool, base, other))["people"]}

    assert people[lonely.participant["id"]]["change"] == "new"
    assert {one["rule"] for one in people[lonely.participant["id"]]["why"]} == {"shared_language"}


async def test_who_was_parted_by_a_lock_reads_whose_places_it_took(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world)
    base = await found(desk, pool)
    proposal, other_proposal = await pool.proposals_of(base)
    (mentor, _), (_, mentee) = (
        [one["participant_id"] for one in two["members"]] for two in (proposal, other_proposal)
    )
    known = {one.participant["id"]: one for one in pool.everybody}
    await pool.act(await pool.compose(known[mentor], known[mentee]), "lock")
    other = await found(desk, pool)

    people = {one["participant_id"]: one for one in (await compared(pool, base, other))["people"]}

    assert [(one["key"], one["params"]) for one in people[mentor]["why"]] == [
        ("why_not.places_locked", {"who": mentor})
    ]


async def test_who_left_and_who_came_is_told(world: World, desk: Desk) -> None:
    pool = await waiting(world, mentors=2, mentees=1)
    staying, coming = pool.mentors
    await post(coming.client, f"{coming.path}/pause-matching", {})
    base = await found(desk, pool)
    await post(staying.client, f"{staying.path}/pause-matching", {})
    await post(coming.client, f"{coming.path}/resume-matching", {})
    other = await found(desk, pool)

    diff = await compared(pool, base, other)

    people = {one["participant_id"]: one for one in diff["people"]}
    assert people[staying.participant["id"]]["change"] == "left_pool"
    assert people[coming.participant["id"]]["change"] == "joined_pool"
    mentee = people[pool.mentees[0].participant["id"]]
    assert mentee["change"] == "changed"
    assert mentee["base_partner_ids"] == [staying.participant["id"]]
    assert mentee["other_partner_ids"] == [coming.participant["id"]]
    assert mentee["why"] == [
        {
            "rule": "pool",
            "key": "diff.not_in_pool",
            "params": {"who": staying.participant["id"]},
        }
    ]
    assert diff["pairs"]["changed_count"] == 1


async def test_without_matching_the_stored_points_still_tell(
    world: World, desk: Desk, matching: Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await waiting(world)
    await speaks(pool.mentees[0], "fr")
    base = await found(desk, pool)
    other = await found(desk, pool, policy_id=await strict(pool))
    nobody = matching.client_of_nobody()
    monkeypatch.setattr(world.app.state.resources, "matching", nobody)

    diff = await compared(pool, base, other)

    assert diff["is_explained"] is False
    assert diff["people"][0]["parts"]
    assert diff["people"][0]["why"] == []
    await nobody.close()


async def test_runs_that_cannot_be_compared_are_refused(world: World, desk: Desk) -> None:
    pool, elsewhere = await waiting(world), await waiting(world)
    base = await found(desk, pool)
    abroad = await found(desk, elsewhere)
    pending = await pool.start(mode="dry_run")

    same = await compare(pool, base, base)
    unfinished = await compare(pool, base, pending)
    foreign = await compare(pool, base, abroad)
    by_admin = await world.org_admin.post(
        "/v1/match-run-diffs", json={"base_run_id": base["id"], "other_run_id": pending["id"]}
    )

    assert same.json()["errors"][0]["code"] == "not_unique"
    assert (unfinished.status_code, unfinished.json()["code"]) == (409, "not_ready")
    assert unfinished.json()["errors"][0]["pointer"] == "#/other_run_id"
    assert (foreign.status_code, foreign.json()["errors"][0]["pointer"]) == (
        400,
        "#/other_run_id",
    )
    assert by_admin.status_code == 403


def test_a_run_of_another_track_is_no_match() -> None:
    base = {"id": uuid4(), "track_id": uuid4(), "status": "review", "stats": {"people": 1}}

    with pytest.raises(InvalidError) as refused:
        rules.require_comparable(base, base | {"id": uuid4(), "track_id": uuid4()})

    assert refused.value.errors[0].code == "another_track"


def test_everybody_is_told_once_and_the_unchanged_not_at_all() -> None:
    ann, ben, cem, dee = (uuid4() for _ in range(4))

    def run(*pairs: tuple[Any, Any], pool: tuple[Any, ...]) -> rules.Found:
        return rules.found(
            [
                {
                    "members": [(mentor, "mentor"), (mentee, "mentee")],
                    "score": 50,
                    "parts": [],
                    "mentorship_id": None,
                }
                for mentor, mentee in pairs
            ],
            pool,
        )

    base = run((ann, ben), pool=(ann, ben, cem))
    other = run((ann, ben), (dee, cem), pool=(ann, ben, cem, dee))

    people = {one.participant_id: one.change for one in rules.people_changed(base, other)}

    assert people == {str(cem): Change.NEW, str(dee): Change.JOINED_POOL}
