"""What becomes of locks with the real matching: what they keep, and what ends them."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from services.api.match_runs.jobs import Desk
from tests.api.match_runs.test_places import groups, propose
from tests.api.match_runs.test_places import members as group_of
from tests.support.apps import World
from tests.support.match_runs import Pool, gathered, members, waiting
from tests.support.participants import PREFERENCES, Somebody
from tests.support.programs import post

FRENCH = PREFERENCES | {"languages": ["fr"]}
SPOKEN = {"rule": "shared_language"}
CIRCLE: dict[str, Any] = {
    "format": "circle",
    "match_modes": ["pool"],
    "min_members": 4,
    "max_members": 4,
}


def people_of(proposal: dict[str, Any]) -> set[str]:
    return {one["participant_id"] for one in proposal["members"]}


def together(proposals: list[dict[str, Any]], *people: Somebody) -> list[dict[str, Any]]:
    """Return the proposals that have all of these people."""
    return [one for one in proposals if people_of(one) >= {who.participant["id"] for who in people}]


def lost(run: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return what a run says of locks that it could not keep."""
    return [
        (one["key"], one["params"]) for one in run["stats"]["warnings"] if one["rule"] == "locks"
    ]


async def change(client: httpx.AsyncClient, path: str, **values: Any) -> None:
    answer = await client.patch(
        path,
        json=values,
        headers={"If-Match": "*", "Content-Type": "application/merge-patch+json"},
    )
    assert answer.status_code == 200, answer.text


async def prefer(somebody: Somebody, said: dict[str, Any]) -> None:
    answer = await somebody.client.put(
        f"{somebody.path}/preferences", json=said, headers={"If-Match": "*"}
    )
    assert answer.status_code == 200, answer.text


async def govern(pool: Pool, *hard: dict[str, Any]) -> None:
    """Give the track a policy with such hard rules."""
    soft = [{"rule": "path_fit", "weight": 60}, {"rule": "offers_wants", "weight": 40}]
    body = {"program_id": pool.offer.program["id"], "name": "Strict", "hard": hard, "soft": soft}
    policy = await post(pool.coordinator, "/v1/policies", body)
    await change(pool.coordinator, f"/v1/tracks/{pool.offer.track['id']}", policy_id=policy["id"])


async def ignore(_pool: Pool, mentor: Somebody, mentee: Somebody) -> None:
    answer = await mentee.client.put(
        f"{mentee.path}/shortlist/{mentor.participant['id']}",
        json={"mark": "ignore"},
        headers={"If-None-Match": "*"},
    )
    assert answer.status_code == 201, answer.text


async def report(pool: Pool, mentor: Somebody, mentee: Somebody) -> None:
    path = f"/v1/people/{mentee.person['id']}"
    await change(pool.world.org_admin, path, manager_id=mentor.person["id"])


async def pause(_pool: Pool, _mentor: Somebody, mentee: Somebody) -> None:
    await post(mentee.client, f"{mentee.path}/pause-matching", {})


async def locked_pair(pool: Pool, desk: Desk) -> tuple[dict[str, Any], Somebody, Somebody]:
    """Return a run in review, and a mentor and a mentee of it who are locked."""
    run = await pool.reviewed(desk)
    proposal = (await pool.proposals_of(run))[0]
    await pool.act(proposal, "lock")
    known = {one.participant["id"]: one for one in pool.everybody}
    mentor, mentee = (known[one["participant_id"]] for one in proposal["members"])
    return run, mentor, mentee


@pytest.mark.parametrize("keep_apart", [ignore, report, pause])
async def test_a_lock_that_may_no_longer_be_is_counted_and_the_run_goes_on(
    world: World, desk: Desk, keep_apart: Callable[[Pool, Somebody, Somebody], Awaitable[None]]
) -> None:
    pool = await waiting(world, mentors=3, mentees=3)
    run, mentor, mentee = await locked_pair(pool, desk)
    await keep_apart(pool, mentor, mentee)

    dry = await pool.reviewed(desk, mode="dry_run")
    again = await pool.rerun(desk, run)

    for one, status in ((dry, "simulated"), (again, "review")):
        assert (one["status"], one["failure_code"]) == (status, None)
        assert lost(one) == [("doubt.locks_not_kept", {"locks": 1})]
        proposals = await pool.proposals_of(one)
        assert not together(proposals, mentor, mentee)
        assert len(proposals) == (2 if keep_apart is pause else 3)
        assert not any(one["is_locked"] for one in proposals)


async def test_a_policy_is_checked_whatever_became_of_locks(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    _run, mentor, mentee = await locked_pair(pool, desk)
    await ignore(pool, mentor, mentee)
    policy = {"soft": [{"rule": "path_fit", "weight": 1}]}

    checked = await pool.coordinator.post(
        "/v1/policy-checks", json={"track_id": pool.offer.track["id"], "policy": policy}
    )
    simulated = await pool.coordinator.post(
        "/v1/policy-simulations", json={"track_id": pool.offer.track["id"], "policy": policy}
    )

    assert checked.status_code == 200, checked.text
    assert checked.json()["valid"]
    assert simulated.status_code == 200, simulated.text


async def test_who_was_forced_together_and_locked_stays_so(world: World, desk: Desk) -> None:
    pool = await waiting(world, mentors=2, mentees=2)
    await govern(pool, SPOKEN)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    await prefer(mentee, FRENCH)
    forced = await post(
        pool.coordinator,
        f"/v1/tracks/{pool.offer.track['id']}/proposals",
        {"members": members(mentor, mentee), "force": True},
    )
    await pool.act(forced, "lock")

    dry = await pool.reviewed(desk, mode="dry_run")
    [shown] = together(await pool.proposals_of(dry), mentor, mentee)
    run = await pool.reviewed(desk)
    [first] = together(await pool.proposals_of(run), mentor, mentee)
    again = await pool.rerun(desk, run)
    [second] = together(await pool.proposals_of(again), mentor, mentee)

    assert [one["is_locked"] for one in (shown, first, second)] == [True] * 3
    assert [one["stats"]["matched"] for one in (dry, run, again)] == [4] * 3
    assert [lost(one) for one in (dry, run, again)] == [[]] * 3
    assert [one["forced"] for one in (shown, first, second)] == [forced["forced"]] * 3
    assert [one["rule"] for one in forced["forced"]] == ["shared_language"]
    assert (await pool.publish(again))["status"] == "published"


async def test_a_rule_that_a_later_policy_sets_against_a_lock_is_named(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world)
    run, mentor, mentee = await locked_pair(pool, desk)
    await prefer(mentee, FRENCH)
    await govern(pool, SPOKEN)

    dry, real = await pool.reviewed(desk, mode="dry_run"), await pool.reviewed(desk)

    for one in (dry, real):
        proposals = await pool.proposals_of(one)
        [kept] = together(proposals, mentor, mentee)
        assert kept["is_locked"]
        assert [reason["key"] for reason in kept["forced"]] == ["apart.shared_language"]
        assert [other["forced"] for other in proposals if other != kept] == [[]]
    [former] = together(await pool.proposals_of(run), mentor, mentee)
    assert former["forced"] == []

    await pool.publish(real)
    pair = ",".join(one.participant["id"] for one in (mentor, mentee))
    broken, allowed = {}, {}
    for who, client in (("decides", pool.coordinator), ("member", mentee.client)):
        answer = await client.get(
            f"/v1/match-runs/{real['id']}/explanations", params={"pair": pair}
        )
        broken[who] = [one["rule"] for one in answer.json()["broken"]]
        allowed[who] = answer.json()["is_allowed"]
    assert broken == {"decides": ["shared_language"], "member": []}
    assert allowed == {"decides": False, "member": None}


async def test_no_force_overrules_who_ignores_whom(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    await govern(pool, SPOKEN, {"rule": "not_blocked"})
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    composed = await pool.compose(mentor, mentee)
    await pool.act(composed, "lock")
    await ignore(pool, mentor, mentee)

    run = await pool.reviewed(desk)

    assert not together(await pool.proposals_of(run), mentor, mentee)
    assert lost(run) == [("doubt.locks_not_kept", {"locks": 1})]


async def test_a_locked_circle_in_which_two_are_kept_apart_is_formed_anew(
    world: World, desk: Desk
) -> None:
    roles = ["facilitator"] * 2 + ["mentor"] * 2 + ["mentee"] * 4
    pool = await gathered(world, *roles, **CIRCLE)
    run = await pool.reviewed(desk)
    proposals = await pool.proposals_of(run)
    for one in proposals:
        await pool.act(one, "lock")
    [mentor] = [one for one in pool.mentors if together(proposals[:1], one)]
    mentee = next(one for one in pool.mentees if together(proposals[:1], one))
    await ignore(pool, mentor, mentee)

    again = await pool.rerun(desk, run)

    assert (again["status"], lost(again)) == (
        "review",
        [("doubt.locks_not_kept", {"locks": 1})],
    )
    found = await pool.proposals_of(again)
    assert not together(found, mentor, mentee)
    assert [people_of(one) for one in found if one["is_locked"]] == [people_of(proposals[1])]


@pytest.mark.parametrize("go", ["withdraw", "pause-matching"])
async def test_a_locked_group_stays_together_without_a_mentee_who_is_gone(
    world: World, desk: Desk, go: str
) -> None:
    pool = await groups(world, 3, 3, mentees=5)
    mentor, gone, *others = pool.mentors[0], *pool.mentees[:3]
    composed = await propose(pool, group_of(mentor, gone, *others))
    await pool.act(composed.json(), "lock")
    await post(gone.client, f"{gone.path}/{go}", {})

    run = await pool.reviewed(desk)

    found = await pool.proposals_of(run)
    [kept] = together(found, mentor, *others)
    assert kept["is_locked"]
    assert together(found, gone) == []
    assert lost(run) == [("doubt.locks_not_kept", {"locks": 1})]


async def test_a_circle_that_was_forced_and_locked_stays_together(world: World, desk: Desk) -> None:
    pool = await gathered(world, "facilitator", "mentor", "mentee", "mentee", **CIRCLE)
    await govern(pool, SPOKEN)
    await prefer(pool.mentees[0], FRENCH)
    people = [
        {"participant_id": one.participant["id"], "role": one.participant["track_roles"][0]["role"]}
        for one in pool.everybody
    ]
    forced = await post(
        pool.coordinator,
        f"/v1/tracks/{pool.offer.track['id']}/proposals",
        {"members": people, "force": True},
    )
    await pool.act(forced, "lock")

    run = await pool.reviewed(desk)

    [kept] = await pool.proposals_of(run)
    assert (people_of(kept), kept["is_locked"], lost(run)) == (people_of(forced), True, [])
    assert kept["forced"] == forced["forced"] != []


@pytest.mark.parametrize("is_asked", [True, False])
async def test_a_lock_ends_with_what_somebody_turned_down(
    world: World, desk: Desk, *, is_asked: bool
) -> None:
    pool = await waiting(world)
    run, mentor, mentee = await locked_pair(pool, desk)
    [locked] = together(await pool.proposals_of(run), mentor, mentee)
    if is_asked:
        await pool.publish(run)
        await post(mentee.client, f"/v1/proposals/{locked['id']}/decline", {"reason": "no_time"})
    else:
        await pool.act(locked, "reject")

    [now] = together(await pool.proposals_of(run), mentor, mentee)

    assert locked["is_locked"]
    assert (now["status"], now["is_locked"]) == ("declined" if is_asked else "rejected", False)
    assert "unlock" not in now["allowed"]


async def test_a_dry_run_neither_takes_a_lock_nor_gives_one(world: World, desk: Desk) -> None:
    pool = await waiting(world, mentors=3, mentees=3)
    run, mentor, mentee = await locked_pair(pool, desk)
    [real] = together(await pool.proposals_of(run), mentor, mentee)

    dry = await pool.reviewed(desk, mode="dry_run")
    [shown] = together(await pool.proposals_of(dry), mentor, mentee)
    await pool.act(real, "unlock")
    again = await pool.rerun(desk, run)

    assert shown["is_locked"]
    assert not any(one["is_locked"] for one in await pool.proposals_of(again))


@pytest.mark.parametrize("action", ["lock", "unlock"])
async def test_a_proposal_that_was_only_simulated_is_not_locked(
    world: World, desk: Desk, action: str
) -> None:
    pool = await waiting(world)
    _run, mentor, mentee = await locked_pair(pool, desk)
    dry = await pool.proposals_of(await pool.reviewed(desk, mode="dry_run"))
    [shown] = together(dry, mentor, mentee)

    refused = await pool.coordinator.post(f"/v1/proposals/{shown['id']}/{action}")

    assert (shown["is_locked"], shown["allowed"]) == (True, [])
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_transition")


async def test_what_was_put_aside_can_lose_its_lock(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    run, mentor, mentee = await locked_pair(pool, desk)
    await post(pool.coordinator, f"/v1/match-runs/{run['id']}/discard", {})
    [aside] = together(await pool.proposals_of(run), mentor, mentee)

    unlocked = await pool.act(aside, "unlock")

    assert (aside["status"], aside["allowed"]) == ("rejected", ["unlock"])
    assert (unlocked["is_locked"], unlocked["allowed"]) == (False, [])
