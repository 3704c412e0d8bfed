"""Proposals over HTTP: who decides, who answers, and when anybody is told."""

import asyncio
from typing import Any

import httpx
import pytest

from services.api.match_runs.jobs import Desk
from shared import ids
from tests.support.apps import World, found_world
from tests.support.match_runs import Pool, events_of, members, told, waiting
from tests.support.matching_server import Matching
from tests.support.participants import PREFERENCES, Somebody, take_part
from tests.support.programs import open_registration, post

ADMITTED = 20
"""As many requests at once as one organization is admitted."""


async def recorded(pool: Pool) -> list[str]:
    """Return the types of events about proposals, oldest first."""
    rows = await events_of(pool)
    return [row["type"] for row in rows if row["type"].startswith("proposal.")]


async def test_two_people_put_together_by_hand_agree_and_begin(world: World) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]

    proposal = await pool.compose(mentor, mentee)
    asked = await pool.act(proposal, "approve")
    first = await post(mentor.client, f"/v1/proposals/{proposal['id']}/consent", {})
    last = await post(mentee.client, f"/v1/proposals/{proposal['id']}/consent", {})

    assert (proposal["status"], proposal["score"]) == ("proposed", None)
    assert asked["status"] == "awaiting_people"
    assert (first["status"], first["mentorship_id"]) == ("awaiting_people", None)
    assert last["status"] == "accepted"
    mentorship = await mentee.client.get(f"/v1/mentorships/{last['mentorship_id']}")
    assert mentorship.status_code == 200
    assert (await mentor.now())["track_roles"][0]["load"] == 1
    assert await recorded(pool) == [
        "proposal.awaiting_approval",
        "proposal.approved",
        "proposal.awaiting_people",
        "proposal.accepted",
    ]


async def test_two_who_agree_at_once_begin_one_mentorship(world: World) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    proposal = await pool.compose(mentor, mentee)
    await pool.act(proposal, "approve")
    path = f"/v1/proposals/{proposal['id']}/consent"

    answers = await asyncio.gather(mentor.client.post(path), mentee.client.post(path))

    assert [one.status_code for one in answers] == [200, 200]
    assert sorted(one.json()["status"] for one in answers) == ["accepted", "awaiting_people"]
    assert await recorded(pool) == [
        "proposal.awaiting_approval",
        "proposal.approved",
        "proposal.awaiting_people",
        "proposal.accepted",
    ]


async def test_nobody_knows_of_a_proposal_before_they_are_asked(world: World) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    proposal = await pool.compose(mentor, mentee)
    path = f"/v1/proposals/{proposal['id']}"

    hidden = [await one.client.get(path) for one in (mentor, mentee)]
    unasked = await mentee.client.post(f"{path}/consent")
    listed = await mentee.client.get("/v1/me/proposals")
    await pool.act(proposal, "approve")
    shown = await mentee.client.get(path)
    bystander = await pool.mentees[1].client.get(path)

    assert [one.status_code for one in hidden] == [404, 404]
    assert unasked.status_code == 404
    assert listed.json()["items"] == []
    assert shown.status_code == 200
    assert shown.json()["is_locked"] is None
    assert bystander.status_code == 404
    own = (await mentee.client.get("/v1/me/proposals")).json()["items"]
    assert [one["id"] for one in own] == [proposal["id"]]
    assert await told(pool, "proposal.awaiting_approval") == [{}]
    assert await told(pool, "proposal.approved") == [{}]
    asked = (await told(pool, "proposal.awaiting_people"))[0]["asked"]
    assert len(asked) == 2


@pytest.mark.parametrize("last", ["mentor", "mentee"])
async def test_whoever_has_left_is_put_together_with_nobody(world: World, last: str) -> None:
    pool = await waiting(world)
    people = {"mentor": pool.mentors[0], "mentee": pool.mentees[0]}
    gone = people["mentee"]
    path = f"/v1/proposals/{(await pool.compose(*people.values()))['id']}"
    await pool.coordinator.post(f"{path}/approve")
    answering = people.pop(last)
    await post(next(iter(people.values())).client, f"{path}/consent", {})

    await post(gone.client, f"{gone.path}/withdraw", {})
    # No worker has ended the proposal yet.
    answer = await answering.client.post(f"{path}/consent")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_available")
    assert (await pool.coordinator.get(path)).json()["status"] == "awaiting_people"


async def test_offering_less_tells_nobody_that_a_place_is_held(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    run = await pool.reviewed(desk)
    for proposal in await pool.proposals_of(run):
        await pool.act(proposal, "approve")
    role = {"track_id": pool.offer.track["id"], "role": "mentor"}

    for mentor in pool.mentors:
        changed = await mentor.client.patch(
            mentor.path,
            json={"track_roles": [role | {"capacity": 0}]},
            headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
        )
        assert changed.status_code == 200, changed.text
    published = await pool.coordinator.post(f"/v1/match-runs/{run['id']}/publish")
    await post(pool.coordinator, f"/v1/match-runs/{run['id']}/discard", {})

    assert (published.status_code, published.json()["code"]) == (409, "stale_run")
    again = await pool.reviewed(desk)
    assert await pool.proposals_of(again) == []


async def test_only_coordinators_decide(world: World) -> None:
    pool = await waiting(world)
    proposal = await pool.compose(pool.mentors[0], pool.mentees[0])
    path = f"/v1/proposals/{proposal['id']}"
    body = {"members": members(pool.mentors[0], pool.mentees[0])}

    by_mentor = await pool.mentors[0].client.post(f"{path}/approve")
    by_admin = await world.org_admin.post(f"{path}/approve")
    composed = await pool.mentors[0].client.post(
        f"/v1/tracks/{pool.offer.track['id']}/proposals", json=body
    )
    await pool.act(proposal, "approve")
    by_asked = await pool.mentors[0].client.post(f"{path}/reject")
    answered = await pool.coordinator.post(f"{path}/consent")
    abroad = await (await found_world(world.app)).org_admin.get(path)

    assert (by_mentor.status_code, by_admin.status_code) == (403, 403)
    assert composed.status_code == 403
    assert by_asked.status_code == 403
    assert answered.status_code == 403
    assert abroad.status_code == 404
    assert (await world.org_admin.get(path)).status_code == 200


async def test_declining_frees_the_seats_and_tells_the_other_side(world: World) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    proposal = await pool.compose(mentor, mentee)
    await pool.act(proposal, "approve")
    held = await mentor.now()

    declined = await post(mentee.client, f"/v1/proposals/{proposal['id']}/decline", {})
    late = await mentor.client.post(f"/v1/proposals/{proposal['id']}/consent")

    assert (held["status"], held["track_roles"][0]["load"]) == ("at_capacity", 1)
    assert declined["status"] == "declined"
    after = await mentor.now()
    assert (after["status"], after["track_roles"][0]["load"]) == ("available", 0)
    assert (late.status_code, late.json()["code"]) == (409, "invalid_transition")
    others = (await told(pool, "proposal.declined"))[0]
    assert others == {"others": [str(ids.parse_id("person", mentor.person["id"]))]}


async def test_members_see_their_own_answer_only(world: World) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    proposal = await pool.compose(mentor, mentee)
    await pool.act(proposal, "approve")
    own = await post(mentor.client, f"/v1/proposals/{proposal['id']}/consent", {})

    other = (await mentee.client.get(f"/v1/proposals/{proposal['id']}")).json()
    staff = (await pool.coordinator.get(f"/v1/proposals/{proposal['id']}")).json()

    assert [one["answer"] for one in own["members"]] == ["consented", None]
    assert [one["answer"] for one in other["members"]] == [None, None]
    assert [one["answer"] for one in staff["members"]] == ["consented", None]


async def test_a_track_may_ask_one_side_only(world: World) -> None:
    pool = await waiting(world, track={"consent_sides": "mentee_side"})
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    proposal = await pool.compose(mentor, mentee)
    await pool.act(proposal, "approve")
    path = f"/v1/proposals/{proposal['id']}"

    unasked = await mentor.client.get(path)
    accepted = await post(mentee.client, f"{path}/consent", {})

    assert unasked.status_code == 404
    assert accepted["status"] == "accepted"
    assert (await mentor.client.get(path)).status_code == 200


async def test_a_track_may_ask_nobody(world: World) -> None:
    pool = await waiting(world, track={"consent_sides": "none"})
    proposal = await pool.compose(pool.mentors[0], pool.mentees[0])

    accepted = await pool.act(proposal, "approve")

    assert accepted["status"] == "accepted"
    assert accepted["mentorship_id"] is not None


async def test_nobody_is_put_together_with_their_own_manager(world: World) -> None:
    offer = await open_registration(world)
    pool = Pool(world, offer)
    boss = await take_part(world, offer, "mentor")
    middle = await world.add_person(manager_id=boss.person["id"])
    report = await take_part(world, offer, "mentee", manager_id=middle["id"])
    await offer.act("close-registration")
    await offer.act("start-matching")

    answer = await offer.coordinator.post(
        f"/v1/tracks/{offer.track['id']}/proposals", json={"members": members(boss, report)}
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "hard_rule_failed")
    assert answer.json()["errors"][0]["code"] == "reporting_line_distance"
    assert await recorded(pool) == []


async def test_always_on_rules_hold_for_proposals_made_by_hand(world: World) -> None:
    pool = await waiting(world)
    path = f"/v1/tracks/{pool.offer.track['id']}/proposals"
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    two_mentors = [
        {"participant_id": one.participant["id"], "role": "mentor"} for one in pool.mentors
    ]

    crowd = await pool.coordinator.post(path, json={"members": two_mentors})
    role = await pool.coordinator.post(
        path,
        json={
            "members": [
                {"participant_id": mentee.participant["id"], "role": "mentor"},
                {"participant_id": pool.mentees[1].participant["id"], "role": "mentee"},
            ]
        },
    )
    unknown = await pool.coordinator.post(
        path,
        json={
            "members": [
                {"participant_id": "par_01kajv7v1cefh8ws6q1fyv4m2z", "role": "mentor"},
                {"participant_id": mentee.participant["id"], "role": "mentee"},
            ]
        },
    )
    await post(mentor.client, f"{mentor.path}/pause-matching", {})
    away = await pool.coordinator.post(path, json={"members": members(mentor, mentee)})

    assert (crowd.status_code, crowd.json()["code"]) == (409, "hard_rule_failed")
    assert (role.status_code, role.json()["errors"][0]["code"]) == (409, "role")
    assert unknown.status_code == 400
    assert unknown.json()["errors"][0]["code"] == "unknown_reference"
    assert away.json()["errors"][0]["code"] == "not_available"


async def test_a_full_mentor_is_refused(world: World) -> None:
    pool = await waiting(world)
    first = await pool.compose(pool.mentors[0], pool.mentees[0])
    second = await pool.compose(pool.mentors[0], pool.mentees[1])
    await pool.act(first, "approve")

    approved = await pool.coordinator.post(f"/v1/proposals/{second['id']}/approve")
    composed = await pool.coordinator.post(
        f"/v1/tracks/{pool.offer.track['id']}/proposals",
        json={"members": members(pool.mentors[0], pool.mentees[1])},
    )

    assert (approved.status_code, approved.json()["code"]) == (409, "seat_taken")
    assert (composed.status_code, composed.json()["code"]) == (409, "seat_taken")


async def test_of_fifty_approvals_for_the_last_seat_one_wins(world: World) -> None:
    pool = await waiting(world, mentors=1, mentees=10)
    proposals = [await pool.compose(pool.mentors[0], mentee) for mentee in pool.mentees] * 5

    gate = asyncio.Semaphore(ADMITTED)

    async def approve(proposal: dict[str, Any]) -> httpx.Response:
        async with gate:
            return await pool.coordinator.post(f"/v1/proposals/{proposal['id']}/approve")

    answers = await asyncio.gather(*(approve(one) for one in proposals))

    winners = [one for one in answers if one.status_code == 200]
    losers = [one for one in answers if one.status_code != 200]
    assert len(winners) == 1
    assert {(one.status_code, one.json()["code"]) for one in losers} <= {
        (409, "seat_taken"),
        (409, "invalid_transition"),
    }
    assert (await pool.mentors[0].now())["track_roles"][0]["load"] == 1


async def test_a_rejected_proposal_gives_its_seats_back(world: World) -> None:
    pool = await waiting(world)
    proposal = await pool.compose(pool.mentors[0], pool.mentees[0])

    rejected = await pool.act(proposal, "reject")
    again = await pool.coordinator.post(f"/v1/proposals/{proposal['id']}/approve")

    assert rejected["status"] == "rejected"
    assert (again.status_code, again.json()["code"]) == (409, "invalid_transition")
    assert await told(pool, "proposal.rejected") == [{}]


async def test_two_proposals_exchange_their_mentees(world: World) -> None:
    pool = await waiting(world)
    first = await pool.compose(pool.mentors[0], pool.mentees[0])
    second = await pool.compose(pool.mentors[1], pool.mentees[1])

    swapped = await post(
        pool.coordinator,
        f"/v1/proposals/{first['id']}/swap",
        {"with_proposal_id": second["id"]},
    )

    made = [
        [member["participant_id"] for member in proposal["members"]]
        for proposal in swapped["items"]
    ]
    assert made == [
        [pool.mentors[0].participant["id"], pool.mentees[1].participant["id"]],
        [pool.mentors[1].participant["id"], pool.mentees[0].participant["id"]],
    ]
    assert [one["status"] for one in swapped["items"]] == ["proposed", "proposed"]
    old = await pool.coordinator.get(f"/v1/proposals/{first['id']}")
    assert old.json()["status"] == "swapped"


async def test_a_swap_is_repeated_by_its_key(world: World) -> None:
    pool = await waiting(world)
    first = await pool.compose(pool.mentors[0], pool.mentees[0])
    second = await pool.compose(pool.mentors[1], pool.mentees[1])
    request: dict[str, Any] = {
        "json": {"with_proposal_id": second["id"]},
        "headers": {"Idempotency-Key": "one"},
    }

    made = await pool.coordinator.post(f"/v1/proposals/{first['id']}/swap", **request)
    again = await pool.coordinator.post(f"/v1/proposals/{first['id']}/swap", **request)

    assert made.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_a_swap_with_itself_or_with_nothing_is_refused(world: World) -> None:
    pool = await waiting(world)
    first = await pool.compose(pool.mentors[0], pool.mentees[0])
    path = f"/v1/proposals/{first['id']}/swap"

    itself = await pool.coordinator.post(path, json={"with_proposal_id": first["id"]})
    nothing = await pool.coordinator.post(
        path, json={"with_proposal_id": "prp_01kajv7v1cefh8ws6q1fyv4m2z"}
    )
    stranger = await pool.mentors[0].client.post(path, json={"with_proposal_id": first["id"]})

    assert (itself.status_code, nothing.status_code) == (400, 400)
    assert nothing.json()["errors"][0]["code"] == "unknown_reference"
    assert stranger.status_code == 403


async def test_who_is_locked_together_changes_no_places(world: World) -> None:
    pool = await waiting(world)
    first = await pool.compose(pool.mentors[0], pool.mentees[0])
    second = await pool.compose(pool.mentors[1], pool.mentees[1])
    locked = await pool.act(second, "lock")

    refused = await pool.coordinator.post(
        f"/v1/proposals/{first['id']}/swap", json={"with_proposal_id": second["id"]}
    )

    assert (first["allowed"], locked["allowed"]) == (
        ["approve", "reject", "swap", "lock"],
        ["approve", "reject", "unlock"],
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "proposal_locked")
    assert [one["pointer"] for one in refused.json()["errors"]] == ["#/with_proposal_id"]
    await pool.act(second, "unlock")
    await pool.act(first, "swap", with_proposal_id=second["id"])


async def test_a_proposal_is_locked_and_unlocked_while_it_is_open(world: World) -> None:
    pool = await waiting(world)
    proposal = await pool.compose(pool.mentors[0], pool.mentees[0])

    locked = [await pool.act(proposal, "lock") for _ in range(2)]
    unlocked = [await pool.act(proposal, "unlock") for _ in range(2)]
    await pool.act(proposal, "reject")
    late = await pool.coordinator.post(f"/v1/proposals/{proposal['id']}/lock")

    assert locked[0] == locked[1]
    assert unlocked[0] == unlocked[1]
    assert (locked[0]["is_locked"], unlocked[0]["is_locked"]) == (True, False)
    assert locked[0]["allowed"] == ["approve", "reject", "unlock"]
    assert unlocked[0]["allowed"] == proposal["allowed"]
    assert (late.status_code, late.json()["code"]) == (409, "invalid_transition")


async def test_a_refusal_names_the_lock_among_what_can_be_done(world: World) -> None:
    pool = await waiting(world)
    proposal = await pool.compose(pool.mentors[0], pool.mentees[0])
    await pool.act(proposal, "lock")
    await pool.act(proposal, "approve")

    again = await pool.coordinator.post(f"/v1/proposals/{proposal['id']}/approve")

    assert (again.status_code, again.json()["code"]) == (409, "invalid_transition")
    assert again.json()["allowed"] == ["consent", "decline", "unlock"]


async def test_a_stale_version_is_not_decided_on(world: World) -> None:
    pool = await waiting(world)
    proposal = await pool.compose(pool.mentors[0], pool.mentees[0])

    answer = await pool.coordinator.post(
        f"/v1/proposals/{proposal['id']}/approve", headers={"If-Match": '"7"'}
    )

    assert answer.status_code == 412


async def strict(world: World, **options: Any) -> Pool:
    """Return a pool whose policy wants a language that two have in common."""
    pool = await waiting(world, **options)
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
    changed = await pool.coordinator.patch(
        f"/v1/tracks/{pool.offer.track['id']}",
        json={"policy_id": policy["id"]},
        headers={"If-Match": "*", "Content-Type": "application/merge-patch+json"},
    )
    assert changed.status_code == 200, changed.text
    spoken = await pool.mentees[0].client.put(
        f"{pool.mentees[0].path}/preferences",
        json=PREFERENCES | {"languages": ["fr"]},
        headers={"If-Match": "*"},
    )
    assert spoken.status_code == 200, spoken.text
    return pool


async def test_a_pair_that_the_policy_forbids_is_refused_by_the_name_of_the_rule(
    world: World,
) -> None:
    pool = await strict(world)
    body = {"members": members(pool.mentors[0], pool.mentees[0])}

    refused = await pool.coordinator.post(
        f"/v1/tracks/{pool.offer.track['id']}/proposals", json=body
    )
    fitting = await pool.compose(pool.mentors[0], pool.mentees[1])

    assert (refused.status_code, refused.json()["code"]) == (409, "hard_rule_failed")
    assert [(one["pointer"], one["code"]) for one in refused.json()["errors"]] == [
        ("#/members", "shared_language")
    ]
    assert fitting["forced"] == []
    assert isinstance(fitting["score"], int)
    assert [one["rule"] for one in fitting["parts"]] == ["path_fit"]


async def test_a_forced_pair_says_so_to_those_who_decide(world: World) -> None:
    pool = await strict(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]

    forced = await post(
        pool.coordinator,
        f"/v1/tracks/{pool.offer.track['id']}/proposals",
        {"members": members(mentor, mentee), "force": True},
    )
    await pool.act(forced, "approve")

    assert [one["rule"] for one in forced["forced"]] == ["shared_language"]
    asked = (await mentee.client.get(f"/v1/proposals/{forced['id']}")).json()
    assert (asked["status"], asked["forced"]) == ("awaiting_people", None)


async def test_force_moves_no_rule_that_always_holds(world: World) -> None:
    pool = await strict(world)
    mentor = pool.mentors[0]
    report = await standing_under(pool, manager_id=mentor.person["id"])

    answer = await pool.coordinator.post(
        f"/v1/tracks/{pool.offer.track['id']}/proposals",
        json={"members": members(mentor, report), "force": True},
    )

    assert answer.status_code == 409
    assert [one["code"] for one in answer.json()["errors"]] == ["reporting_line_distance"]


async def standing_under(pool: Pool, **person: Any) -> Somebody:
    """Make somebody of the pool stand under somebody else."""
    mentee = pool.mentees[1]
    changed = await pool.world.org_admin.patch(
        f"/v1/people/{mentee.person['id']}",
        json=person,
        headers={"If-Match": "*", "Content-Type": "application/merge-patch+json"},
    )
    assert changed.status_code == 200, changed.text
    return mentee


async def test_a_rule_only_matching_can_judge_waits_for_it_and_others_do_not(
    world: World, matching: Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, plain = await strict(world), await waiting(world)
    nobody = matching.client_of_nobody()
    monkeypatch.setattr(world.app.state.resources, "matching", nobody)

    judged = await pool.coordinator.post(
        f"/v1/tracks/{pool.offer.track['id']}/proposals",
        json={"members": members(pool.mentors[0], pool.mentees[1])},
    )
    unjudged = await plain.compose(plain.mentors[0], plain.mentees[0])

    assert (judged.status_code, judged.json()["code"]) == (503, "matching_unavailable")
    assert unjudged["status"] == "proposed"
    await nobody.close()


async def test_what_is_wrong_before_any_policy_is_told_first(world: World) -> None:
    pool = await strict(world, mentors=3)
    path = f"/v1/tracks/{pool.offer.track['id']}/proposals"
    full = await pool.compose(pool.mentors[1], pool.mentees[1])
    await pool.act(full, "approve")
    two_mentors = [members(one, pool.mentees[0])[0] for one in (pool.mentors[0], pool.mentors[2])]
    other_role = [
        members(pool.mentors[0], pool.mentees[0])[0],
        {"participant_id": pool.mentors[2].participant["id"], "role": "mentee"},
    ]

    answers = [
        await pool.coordinator.post(path, json={"members": one})
        for one in (two_mentors, other_role, members(pool.mentors[1], pool.mentees[0]))
    ]

    assert [(one.status_code, one.json()["code"]) for one in answers] == [
        (409, "hard_rule_failed"),
        (409, "hard_rule_failed"),
        (409, "seat_taken"),
    ]
    assert [{one["code"] for one in two.json()["errors"]} for two in answers[:2]] == [
        {"members_1_1"},
        {"role"},
    ]


async def test_a_swap_into_a_pair_that_the_policy_forbids_is_refused(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world)
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
    for one in (pool.mentors[0], pool.mentees[0]):
        spoken = await one.client.put(
            f"{one.path}/preferences",
            json=PREFERENCES | {"languages": ["fr"]},
            headers={"If-Match": "*"},
        )
        assert spoken.status_code == 200, spoken.text
    run = await pool.reviewed(desk, policy_id=policy["id"])
    first, second = await pool.proposals_of(run)

    answer = await pool.coordinator.post(
        f"/v1/proposals/{first['id']}/swap", json={"with_proposal_id": second["id"]}
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "hard_rule_failed")
    assert [one["code"] for one in answer.json()["errors"]] == ["shared_language"]
