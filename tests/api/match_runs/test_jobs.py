"""Runs with the real matching: what they find, and what becomes of them when something dies."""

import asyncio
import hashlib
import re
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from services.api.match_runs import jobs, operations
from services.api.match_runs.jobs import QUEUE, Desk, turn
from services.api.match_runs.operations import LeaseLostError
from services.api.participants import jobs as participants
from services.api.participants.tables import TextVector
from services.local import postgres
from services.matching import text
from shared import ids
from shared.persistence import leases
from shared.persistence.leases import Claim
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.schemas.matching import ProgressLine
from tests.support.apps import World
from tests.support.database import Databases
from tests.support.match_runs import Pool, gathered, waiting
from tests.support.matching_server import Matching
from tests.support.participants import PREFERENCES, Somebody, take_part
from tests.support.pools import peers, until
from tests.support.programs import open_registration, post
from tests.support.work import Bench, WorkerDiedError


def pairs(proposals: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return who is proposed to whom, the mentor first."""
    return {
        (one["members"][0]["participant_id"], one["members"][1]["participant_id"])
        for one in proposals
    }


async def claim(desk: Desk) -> Claim:
    """Take the one run that is due."""
    search = replace(jobs.DUE, limit=5)
    found = await leases.claim(desk.database.claims, search, now=desk.database.clock())
    assert len(found) == 1
    return found[0]


async def test_a_run_proposes_everybody_a_place_with_reasons(world: World, desk: Desk) -> None:
    pool = await waiting(world, mentors=3, mentees=2)

    run = await pool.reviewed(desk)

    proposals = await pool.proposals_of(run)
    assert (run["status"], run["allowed"]) == ("review", ["rerun", "discard", "publish"])
    assert run["input_hash"].startswith("sha256:")
    assert (run["stats"]["people"], run["stats"]["matched"]) == (5, 4)
    assert run["certificate"]["kind"] == "optimal"
    assert run["proposals_by_status"] == {"proposed": 2}
    assert [one["role"] for one in run["unmatched"]] == ["mentor"]
    assert run["unmatched"][0]["participant_id"].startswith("par_")
    assert len(proposals) == 2
    assert all(0 <= one["score"] <= 100 for one in proposals)
    assert {part["rule"] for part in proposals[0]["parts"]} <= {"offers_wants", "path_fit"}
    fairness = await pool.coordinator.get(f"/v1/match-runs/{run['id']}/fairness")
    assert fairness.json()["fairness"] == run["stats"]["fairness"]


async def test_who_came_without_a_place_is_told_so(world: World, desk: Desk) -> None:
    offer = await open_registration(world)
    for role in ("mentor", "mentor", "mentee"):
        await take_part(world, offer, role)
    alone = await take_part(world, offer, "mentee", capacity=0)
    await offer.act("close-registration")
    await offer.act("start-matching")
    pool = Pool(world, offer)

    run = await pool.reviewed(desk)
    readiness = await pool.coordinator.get(f"/v1/programs/{pool.offer.program['id']}/readiness")
    forecast = await pool.coordinator.get(
        f"/v1/programs/{pool.offer.program['id']}/capacity-forecast"
    )

    told = {one["participant_id"]: (one["key"], one["free"]) for one in run["unmatched"]}
    assert (run["stats"]["people"], run["stats"]["matched"]) == (4, 2)
    assert told[alone.participant["id"]] == ("unmatched.no_place", 0)
    assert readiness.json()["blocked"] == [
        {"reason": "no_places", "participant_ids": [alone.participant["id"]], "count": 1}
    ]
    assert (forecast.json()["mentees"], forecast.json()["unmatched_expected"]) == (1, 0)
    await pool.publish(run)


async def test_the_coordinators_and_the_starter_are_told_once(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world)

    await pool.reviewed(desk)

    rows = await work.rows(
        "SELECT type, data->'recipients' FROM outbox_message"
        " WHERE type LIKE 'match_run.%' OR type LIKE 'proposal.%' ORDER BY id"
    )
    me = [str(ids.parse_id("person", pool.offer.coordinator_id))]
    assert [tuple(row) for row in rows] == [
        ("match_run.queued", {}),
        ("match_run.running", {}),
        ("proposal.awaiting_approval", {"coordinators": me}),
        ("proposal.awaiting_approval", {}),
        ("match_run.completed", {"starter": me}),
    ]


needs_words = pytest.mark.skipif(
    text.WORDS not in text.names(), reason="no text model here has vectors"
)
NOW, TARGET = str(PREFERENCES["path_now"]), str(PREFERENCES["path_target"])
KEPT = "SELECT model, text_hash, vector, created_at FROM text_vector ORDER BY text_hash"


async def told(desk: Desk, pool: Pool) -> dict[str, Any]:
    """Return what matching is told of people when a run begins."""
    await pool.start()
    task = await jobs.read(desk, await claim(desk))
    assert task is not None
    organization_id = pool.world.id
    return dict((await jobs.embedded(desk, organization_id, task.problem))["participants"])


@needs_words
async def test_texts_are_embedded_once_and_brought_along(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world, mentors=1, mentees=1)

    people = await told(desk, pool)

    kept = await work.rows(KEPT)
    texts = {NOW, TARGET}
    hashes = {hashlib.sha256(one.encode()).digest() for one in texts}
    assert {row.text_hash for row in kept} == hashes
    assert {(row.model, len(row.vector)) for row in kept} == {(text.WORDS, 256)}
    made = text.encoded(text.vectors([NOW, TARGET]))
    assert people["vector_model"] == text.WORDS
    assert people["path_now_vector"] == [made[0]] * 2
    assert people["path_target_vector"] == [made[1]] * 2


@needs_words
async def test_what_was_embedded_is_not_embedded_again(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world, mentors=1, mentees=1)
    first = await pool.reviewed(desk)
    kept = await work.rows(KEPT)
    work.clock.pass_time(60)

    again = await pool.reviewed(desk)

    assert await work.rows(KEPT) == kept
    assert again["certificate"]["digest"] == first["certificate"]["digest"]
    assert all(one["rule"] != "path_fit" for one in again["stats"]["warnings"])


async def test_a_policy_compares_letters_where_words_are_not_english(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world, mentors=1, mentees=1)
    policy = await post(
        pool.coordinator,
        "/v1/policies",
        {
            "program_id": pool.offer.program["id"],
            "name": "In any language",
            "soft": [{"rule": "path_fit", "weight": 100}],
            "text_model": "letters",
        },
    )

    run = await pool.reviewed(desk, policy_id=policy["id"])

    assert policy["text_model"] == "letters"
    assert run["certificate"]["text_model"] == text.LETTERS
    assert run["stats"]["warnings"] == []
    assert await work.rows(KEPT) == []


@needs_words
async def test_vectors_of_a_former_model_are_left_alone(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world, mentors=1, mentees=1)
    hashed = hashlib.sha256(NOW.encode()).digest()
    async with transaction(desk.database.sessions, Tenant(work.organization_id)) as session:
        session.add(
            TextVector(
                organization_id=work.organization_id,
                model="a-former-one",
                text_hash=hashed,
                vector=b"former",
                created_at=desk.database.clock(),
            )
        )

    people = await told(desk, pool)

    assert people["path_now_vector"] == text.encoded(text.vectors([NOW] * 2))


async def test_a_run_knows_which_words_mean_one_skill(world: World, desk: Desk) -> None:
    pool = await waiting(world, mentors=1, mentees=1)
    skill = {"key": "coding", "label": {"en": "Coding"}, "synonyms": ["Python", "Programming"]}
    changed = await world.org_admin.patch(
        "/v1/organization",
        json={"skills": [skill]},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    mentee = pool.mentees[0]
    asked = await mentee.client.put(
        f"{mentee.path}/preferences",
        json=PREFERENCES | {"wants_skills": ["programming"]},
        headers={"If-Match": "*"},
    )
    assert (changed.status_code, asked.status_code) == (200, 200)

    run = await pool.reviewed(desk)

    [proposal] = await pool.proposals_of(run)
    told = {part["rule"]: part["params"] for part in proposal["parts"]}
    assert told["offers_wants"] == {"covered": ["coding"], "missing": []}


async def test_without_vectors_a_run_has_its_texts(
    world: World, desk: Desk, work: Bench, matching: Matching
) -> None:
    pool = await waiting(world, mentors=1, mentees=1)
    client = matching.client_of_nobody()

    people = await told(replace(desk, matching=client), pool)

    await client.close()
    assert people["path_now"] == [NOW] * 2
    assert "vector_model" not in people
    assert await work.rows(KEPT) == []


@needs_words
async def test_vectors_go_with_the_last_text_they_were_made_of(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world, mentors=1, mentees=1)
    await pool.reviewed(desk)
    for somebody in (pool.mentors[0], pool.mentees[0]):
        changed = await somebody.client.put(
            f"{somebody.path}/preferences",
            json=PREFERENCES | {"path_now": "Something else by now."},
            headers={"If-Match": "*"},
        )
        assert changed.status_code == 200, changed.text

    await participants.forget_vectors(desk.database)
    after_the_change = await work.rows(KEPT)
    work.clock.pass_time(timedelta(days=366).total_seconds())
    await participants.forget_vectors(desk.database)

    target = hashlib.sha256(TARGET.encode()).digest()
    assert [row.text_hash for row in after_the_change] == [target]
    assert await work.rows(KEPT) == []


async def test_matching_sees_no_name_no_address_and_no_id_of_ours(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    await pool.start()

    task = await jobs.read(desk, await claim(desk))

    assert task is not None
    told = str(task.problem)
    for somebody in [*pool.mentors, *pool.mentees]:
        assert somebody.person["family_name"] not in told
        assert somebody.person["email"] not in told
        assert str(ids.parse_id("person", somebody.person["id"])) not in told
        assert str(ids.parse_id("participant", somebody.participant["id"])) not in told


async def test_the_same_input_gives_the_same_proposals(world: World, desk: Desk) -> None:
    pool = await waiting(world, mentors=4, mentees=4)

    first = await pool.reviewed(desk, mode="dry_run")
    second = await pool.reviewed(desk, mode="dry_run")

    assert first["status"] == "simulated"
    assert first["input_hash"] == second["input_hash"]
    assert first["certificate"]["digest"] == second["certificate"]["digest"]
    assert pairs(await pool.proposals_of(first)) == pairs(await pool.proposals_of(second))


async def test_what_was_only_simulated_is_not_decided_on(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    run = await pool.reviewed(desk, mode="dry_run")
    proposal, other = await pool.proposals_of(run)

    answers = [
        await pool.coordinator.post(f"/v1/proposals/{proposal['id']}/{action}", json=body)
        for action, body in (
            ("approve", None),
            ("reject", None),
            ("lock", None),
            ("swap", {"with_proposal_id": other["id"]}),
        )
    ]

    assert proposal["allowed"] == []
    assert [(one.status_code, one.json()["code"]) for one in answers] == [
        (409, "invalid_transition")
    ] * 4
    [real, _] = await pool.proposals_of(await pool.reviewed(desk))
    assert real["allowed"] == ["approve", "reject", "swap", "lock"]


async def test_nobody_is_proposed_within_their_reporting_line(world: World, desk: Desk) -> None:
    offer = await open_registration(world)
    pool = Pool(world, offer)
    boss = await take_part(world, offer, "mentor", capacity=2)
    middle = await world.add_person(manager_id=boss.person["id"])
    report = await take_part(world, offer, "mentee", manager_id=middle["id"])
    free = await take_part(world, offer, "mentee")
    await offer.act("close-registration")
    await offer.act("start-matching")

    run = await pool.reviewed(desk)

    assert pairs(await pool.proposals_of(run)) == {(boss.participant["id"], free.participant["id"])}
    left = {one["participant_id"] for one in run["unmatched"] if one["role"] == "mentee"}
    assert left == {report.participant["id"]}


async def test_people_on_leave_and_paused_ones_stay_out(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world, mentors=3, mentees=3)
    paused, away = pool.mentors[0], pool.mentees[0]
    await post(paused.client, f"{paused.path}/pause-matching", {})
    await work.rows(
        "UPDATE person SET status = 'on_leave' WHERE id = :id RETURNING id",
        id=ids.parse_id("person", away.person["id"]),
    )

    run = await pool.reviewed(desk)

    assert run["stats"]["people"] == 4
    matched = {one for pair in pairs(await pool.proposals_of(run)) for one in pair}
    assert matched.isdisjoint({paused.participant["id"], away.participant["id"]})


async def test_published_proposals_ask_their_people_and_begin_mentorships(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world)
    run = await pool.reviewed(desk)
    for proposal in await pool.proposals_of(run):
        await pool.act(proposal, "approve")

    published = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})

    assert (published["status"], published["proposals_by_status"]) == (
        "published",
        {"awaiting_people": 2},
    )
    for somebody in [*pool.mentors, *pool.mentees]:
        own = (await somebody.client.get("/v1/me/proposals")).json()["items"]
        await post(somebody.client, f"/v1/proposals/{own[0]['id']}/consent", {})
    accepted = await pool.proposals_of(run, status="accepted")
    assert len(accepted) == 2
    mentorship = await pool.mentees[0].client.get(f"/v1/mentorships/{accepted[0]['mentorship_id']}")
    assert mentorship.status_code in {200, 404}


async def test_who_is_undecided_at_publication_is_asked_once_approved(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world, mentors=3, mentees=3)
    run = await pool.reviewed(desk)
    first, late, never = await pool.proposals_of(run)
    await pool.act(first, "approve")

    published = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})
    undecided = await pool.proposals_of(run, status="proposed")
    approved = await pool.act(late, "approve")
    rejected = await pool.act(never, "reject")

    assert published["proposals_by_status"] == {"awaiting_people": 1, "proposed": 2}
    assert {one["id"] for one in undecided} == {late["id"], never["id"]}
    assert (approved["status"], rejected["status"]) == ("awaiting_people", "rejected")
    assert all(one["is_asked"] for one in approved["members"])
    assert [one["is_asked"] for one in rejected["members"]] == [False, False]


async def test_who_was_together_is_remembered_even_without_the_mentorship(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world, mentors=1, mentees=1, capacity=2)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    proposal = await pool.compose(mentor, mentee)
    await pool.act(proposal, "approve")
    for somebody in (mentor, mentee):
        await post(somebody.client, f"/v1/proposals/{proposal['id']}/consent", {})
    role = {"track_id": pool.offer.track["id"], "role": "mentee", "capacity": 2}
    more = await mentee.client.patch(
        mentee.path,
        json={"track_roles": [role]},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    assert more.status_code == 200, more.text

    together = await frozen(work, await pool.reviewed(desk, mode="dry_run"))
    await work.rows("UPDATE mentorship SET status = 'cancelled' RETURNING id")
    apart = await frozen(work, await pool.reviewed(desk, mode="dry_run"))

    assert len(together["live"]) == 1
    assert together["past"] == together["live"] == apart["past"]
    assert apart["live"] == []


async def frozen(work: Bench, run: dict[str, Any]) -> dict[str, Any]:
    """Return what a run was frozen to."""
    rows = await work.rows(
        "SELECT snapshot->'input' FROM match_run WHERE id = :id",
        id=ids.parse_id("match_run", run["id"]),
    )
    found: dict[str, Any] = rows[0][0]
    return found


async def test_a_run_whose_people_changed_is_stale(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    run = await pool.reviewed(desk)
    await pool.act((await pool.proposals_of(run))[0], "approve")
    await post(pool.mentors[0].client, f"{pool.mentors[0].path}/withdraw", {})

    answer = await pool.coordinator.post(f"/v1/match-runs/{run['id']}/publish")

    assert (answer.status_code, answer.json()["code"]) == (409, "stale_run")
    assert answer.json()["allowed"] == ["rerun", "discard"]


async def test_decisions_in_review_do_not_make_a_run_stale(world: World, desk: Desk) -> None:
    pool = await waiting(world, mentors=4, mentees=4)
    run = await pool.reviewed(desk)
    approved, rejected, first, second = await pool.proposals_of(run)
    await pool.act(approved, "approve")
    await pool.act(approved, "lock")
    await pool.act(rejected, "reject")
    swapped = await post(
        pool.coordinator,
        f"/v1/proposals/{first['id']}/swap",
        {"with_proposal_id": second["id"]},
    )
    for proposal in swapped["items"]:
        await pool.act(proposal, "approve")

    published = await pool.coordinator.post(f"/v1/match-runs/{run['id']}/publish")

    assert published.status_code == 200, published.text
    assert all(isinstance(one["score"], int) for one in swapped["items"])
    assert all(one["parts"] for one in swapped["items"])
    assert published.json()["proposals_by_status"] == {
        "awaiting_people": 3,
        "rejected": 1,
        "swapped": 2,
    }


async def test_nobody_can_tell_from_themselves_or_others_that_a_proposal_waits(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world, mentors=1, mentees=2)
    run = await pool.reviewed(desk)
    (proposal,) = await pool.proposals_of(run)
    everybody = [*pool.mentors, *pool.mentees]

    async def seen() -> list[Any]:
        reads = [
            await reader.client.get(path)
            for reader in everybody
            for path in ("/v1/me/home", *(one.path for one in everybody))
        ]
        return [(one.status_code, one.headers.get("ETag"), one.json()) for one in reads]

    before = await seen()
    await pool.act(proposal, "approve")
    assert await seen() == before

    await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})
    mentor = await pool.mentors[0].now()
    assert (mentor["status"], mentor["track_roles"][0]["load"]) == ("at_capacity", 1)


async def test_a_rerun_knows_what_the_run_before_had_put_together(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world, mentors=3, mentees=3)
    run = await pool.reviewed(desk)
    first, *_ = await pool.proposals_of(run)
    await pool.act(first, "reject")

    again = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/rerun", {})
    assert await turn(desk) == 1

    assert (await frozen(work, run))["current"] == []
    assert len((await frozen(work, again))["current"]) == 2


async def test_a_rerun_keeps_what_is_locked_and_avoids_what_was_rejected(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world, mentors=3, mentees=3)
    run = await pool.reviewed(desk)
    locked, rejected, other = await pool.proposals_of(run)
    await pool.act(locked, "approve")
    await pool.act(locked, "lock")
    await pool.act(rejected, "reject")

    again = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/rerun", {"seed": 4})
    assert await turn(desk) == 1

    after = await pool.run_of(again)
    proposals = await pool.proposals_of(again)
    assert (after["previous_run_id"], after["seed"], after["status"]) == (run["id"], 4, "review")
    assert (await pool.run_of(run))["status"] == "discarded"
    assert pairs([locked]) <= pairs(proposals)
    assert pairs([rejected]).isdisjoint(pairs(proposals))
    kept = [one for one in proposals if one["is_locked"]]
    assert pairs(kept) == pairs([locked])
    old = {one["id"]: one for one in await pool.proposals_of(run)}
    assert {old[one["id"]]["status"] for one in (locked, rejected, other)} == {"rejected"}
    assert old[locked["id"]]["is_locked"] is False


async def test_a_discarded_run_holds_no_seats(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    run = await pool.reviewed(desk)
    await pool.act((await pool.proposals_of(run))[0], "approve")

    discarded = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/discard", {})

    assert discarded["status"] == "discarded"
    assert [(await one.now())["status"] for one in pool.mentors] == ["available", "available"]
    late = await pool.coordinator.post(f"/v1/match-runs/{run['id']}/publish")
    assert (late.status_code, late.json()["code"]) == (409, "invalid_transition")


async def test_a_proposal_left_open_asks_its_people_when_approved_later(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world)
    run = await pool.reviewed(desk)
    await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})
    late = (await pool.proposals_of(run))[0]

    approved = await pool.act(late, "approve")

    assert (late["status"], approved["status"]) == ("proposed", "awaiting_people")


async def test_pairs_are_explained_to_coordinators_and_to_themselves_once_asked(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world, mentors=2, mentees=2)
    run = await pool.reviewed(desk)
    path = f"/v1/match-runs/{run['id']}/explanations"
    (mentor, mentee), other = pairs(await pool.proposals_of(run))
    clients = {one.participant["id"]: one.client for one in [*pool.mentors, *pool.mentees]}

    matched = await pool.coordinator.get(path, params={"pair": f"{mentor},{mentee}"})
    apart = await pool.coordinator.get(path, params={"pair": f"{mentor},{other[1]}"})
    early = await clients[mentee].get(path, params={"pair": f"{mentor},{mentee}"})
    for proposal in await pool.proposals_of(run):
        await pool.act(proposal, "approve")
    await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})
    own = await clients[mentee].get(path, params={"pair": f"{mentor},{mentee}"})
    foreign = await clients[mentee].get(path, params={"pair": f"{other[0]},{other[1]}"})

    assert matched.status_code == 200, matched.text
    assert (matched.json()["is_matched"], matched.json()["is_allowed"]) == (True, True)
    assert apart.json()["is_matched"] is False
    assert apart.json()["why_not"] != []
    assert early.status_code == 404
    assert own.status_code == 200
    assert (own.json()["alternatives"], own.json()["why_not"]) == ([], [])
    assert foreign.status_code == 404


async def test_somebody_outside_the_run_is_not_explained(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    run = await pool.reviewed(desk)
    stranger = "par_01kajv7v1cefh8ws6q1fyv4m2z"

    answer = await pool.coordinator.get(
        f"/v1/match-runs/{run['id']}/explanations",
        params={"pair": f"{pool.mentors[0].participant['id']},{stranger}"},
    )

    assert answer.status_code == 404


async def test_coordinators_are_told_what_forcing_a_pair_would_do(world: World, desk: Desk) -> None:
    pool = await waiting(world, mentors=2, mentees=2)
    run = await pool.reviewed(desk)
    path = f"/v1/match-runs/{run['id']}/explanations"
    found = await pool.proposals_of(run)
    (mentor, mentee), (other_mentor, other_mentee) = pairs(found)

    async def explained(client: httpx.AsyncClient, *pair: str, **query: str) -> dict[str, Any]:
        answer = await client.get(path, params={"pair": ",".join(pair), **query})
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    plain = await explained(pool.coordinator, mentor, other_mentee)
    forced = await explained(pool.coordinator, mentor, other_mentee, what_if="true")
    opposite = await explained(pool.coordinator, other_mentor, mentee)
    together = await explained(pool.coordinator, mentor, mentee, what_if="true")
    await pool.publish(run)
    clients = {one.participant["id"]: one.client for one in [*pool.mentors, *pool.mentees]}
    own = await explained(clients[mentee], mentor, mentee, what_if="true")

    [alternative] = plain["alternatives"]
    assert 0 <= alternative["costs_at_least"] <= -forced["what_if"]["change"] + 0.01
    assert (plain["what_if"], together["what_if"], own["what_if"]) == (None, None, None)
    told = forced["what_if"]
    instead = forced["score"] + opposite["score"]
    assert told["change"] == pytest.approx(
        instead - run["stats"]["mean_score"] * len(found), abs=0.005
    )
    assert (told["is_possible"], told["reasons"], told["moves_count"]) == (True, [], 4)
    assert {
        one["participant_id"]: (one["from_participant_ids"], one["to_participant_ids"])
        for one in told["moves"]
    } == {
        mentor: ([mentee], [other_mentee]),
        other_mentor: ([other_mentee], [mentee]),
        mentee: ([mentor], [other_mentor]),
        other_mentee: ([other_mentor], [mentor]),
    }


async def test_a_pair_that_cannot_be_forced_says_why(world: World, desk: Desk) -> None:
    pool = await waiting(world, mentors=2, mentees=2)
    run = await pool.reviewed(desk)
    locked = (await pool.proposals_of(run))[0]
    [(mentor, mentee)] = pairs([locked])
    await pool.act(locked, "lock")
    again = await pool.rerun(desk, run)
    other = next(one for one in pool.mentees if one.participant["id"] != mentee)

    answer = await pool.coordinator.get(
        f"/v1/match-runs/{again['id']}/explanations",
        params={"pair": f"{mentor},{other.participant['id']}", "what_if": "true"},
    )

    told = answer.json()["what_if"]
    assert (told["is_possible"], told["change"], told["moves"]) == (False, None, [])
    assert [(one["key"], one["params"]) for one in told["reasons"]] == [
        ("why_not.places_locked", {"who": mentor})
    ]
    assert answer.json()["why_not"] == told["reasons"]


async def test_two_of_one_side_are_no_pair_to_explain(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    run = await pool.reviewed(desk)

    for side in (pool.mentors, pool.mentees):
        answer = await pool.coordinator.get(
            f"/v1/match-runs/{run['id']}/explanations",
            params={"pair": ",".join(one.participant["id"] for one in side)},
        )

        assert answer.status_code == 400
        [told] = answer.json()["errors"]
        assert (told["pointer"], told["code"]) == ("query.pair", "members_1_1")
        assert "one side" in told["detail"]


async def test_explanations_wait_for_matching_and_swaps_do_without(
    world: World, desk: Desk, matching: Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await waiting(world)
    run = await pool.reviewed(desk)
    first, second = await pool.proposals_of(run)
    monkeypatch.setattr(world.app.state.resources, "matching", matching.client_of_nobody())

    explained = await pool.coordinator.get(
        f"/v1/match-runs/{run['id']}/explanations",
        params={"pair": f"{pool.mentors[0].participant['id']},{pool.mentees[0].participant['id']}"},
    )
    swapped = await post(
        pool.coordinator,
        f"/v1/proposals/{first['id']}/swap",
        {"with_proposal_id": second["id"]},
    )

    assert (explained.status_code, explained.json()["code"]) == (503, "matching_unavailable")
    assert explained.headers["Retry-After"] == "5"
    assert [one["score"] for one in swapped["items"]] == [None, None]
    assert [one["parts"] for one in swapped["items"]] == [[], []]


# What dies, and what then


async def die_after_claiming(desk: Desk) -> None:
    await claim(desk)


async def die_after_reading(desk: Desk) -> None:
    await jobs.read(desk, await claim(desk))


async def die_after_calling(desk: Desk) -> None:
    claimed = await claim(desk)
    task = await jobs.read(desk, claimed)
    assert task is not None
    await jobs.call(desk, claimed, task)


async def die_while_writing(desk: Desk) -> None:
    claimed = await claim(desk)
    task = await jobs.read(desk, claimed)
    assert task is not None
    line = await jobs.call(desk, claimed, task)

    def die(*_arguments: Any, **_options: Any) -> None:
        raise WorkerDiedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "advance_run", die)
        with pytest.raises(WorkerDiedError):
            await jobs.write(desk, claimed, task, line)


@pytest.mark.parametrize(
    "death", [die_after_claiming, die_after_reading, die_after_calling, die_while_writing]
)
async def test_a_dead_worker_costs_time_and_nothing_else(
    world: World, desk: Desk, work: Bench, death: Any
) -> None:
    pool = await waiting(world)
    run = await pool.start()
    await death(desk)

    idle = await turn(desk)
    work.clock.pass_time(QUEUE.lease_seconds + 1)
    busy = await turn(desk)

    assert (idle, busy) == (0, 1)
    assert (await pool.run_of(run))["status"] == "review"
    assert len(await pool.proposals_of(run)) == 2
    completed = await work.rows(
        "SELECT count(*) FROM outbox_message WHERE type = 'match_run.completed'"
    )
    assert completed[0][0] == 1


async def test_a_worker_that_wakes_up_late_writes_nothing(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world)
    run = await pool.start()
    slow = await claim(desk)
    task = await jobs.read(desk, slow)
    assert task is not None
    line = await jobs.call(desk, slow, task)
    work.clock.pass_time(QUEUE.lease_seconds + 1)
    await turn(desk)

    with pytest.raises(LeaseLostError):
        await jobs.write(desk, slow, task, line)

    assert len(await pool.proposals_of(run)) == 2


async def test_progress_is_told_and_prolongs_the_lease(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world)
    run = await pool.start()
    claimed = await claim(desk)
    await jobs.read(desk, claimed)
    work.clock.pass_time(20)
    line = ProgressLine(phase="scoring", done=3, total=4, eta_seconds=1.5)

    await jobs._tell(desk, claimed, line, now=desk.database.clock())
    work.clock.pass_time(20)

    shown = await pool.run_of(run)
    assert shown["progress"] == {"phase": "scoring", "done": 3, "total": 4, "eta_seconds": 1.5}
    assert await turn(desk) == 0


async def test_two_workers_share_runs_and_double_none(world: World, desk: Desk) -> None:
    pools = [await waiting(world), await waiting(world)]
    runs = [await pool.start() for pool in pools]

    worked = await asyncio.gather(*(turn(desk) for _ in range(4)))

    assert sum(worked) == 2
    for pool, run in zip(pools, runs, strict=True):
        assert (await pool.run_of(run))["status"] == "review"
        assert len(await pool.proposals_of(run)) == 2


async def test_a_run_waits_for_matching_without_being_tried_less(
    world: World, desk: Desk, work: Bench, matching: Matching
) -> None:
    pool = await waiting(world)
    run = await pool.start()
    alone = replace(desk, matching=matching.client_of_nobody())

    for _ in range(6):
        assert await turn(alone) == 1
        assert await turn(alone) == 0
        work.clock.pass_time(jobs.WAITING.ceiling * 2)
    waited = await pool.run_of(run)
    rows = await work.rows("SELECT attempts, progress->>'waits' FROM match_run")
    await turn(desk)

    assert (waited["status"], waited["progress"]["phase"]) == ("running", "waiting_for_matching")
    assert tuple(rows[0]) == (0, "6")
    assert (await pool.run_of(run))["status"] == "review"


async def test_a_run_that_goes_wrong_fails_after_two_more_tries(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world, mentors=3, mentees=3)
    run = await pool.start()
    claimed = await claim(desk)
    await work.rows(
        "UPDATE match_run SET input_hash = 'sha256:spoilt', snapshot = '{}'"
        " WHERE id = :id RETURNING id",
        id=claimed.id,
    )
    work.clock.pass_time(QUEUE.lease_seconds + 1)

    states = []
    for _ in range(3):
        await turn(desk)
        states.append((await pool.run_of(run))["status"])
        work.clock.pass_time(jobs.RETRYING.ceiling * 2)

    assert states == ["running", "failed", "failed"]
    failed = await pool.run_of(run)
    assert failed["failure_code"] is not None
    rows = await work.rows(
        "SELECT data->'recipients' FROM outbox_message WHERE type = 'match_run.failed'"
    )
    assert rows[0][0] == {"starter": [str(ids.parse_id("person", pool.offer.coordinator_id))]}


async def test_a_run_says_what_matching_refused(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    policy = await post(
        pool.coordinator,
        "/v1/policies",
        {
            "program_id": pool.offer.program["id"],
            "name": "Of nobody",
            "hard": [{"rule": "attribute_equal", "params": {"attribute": "shoe_size"}}],
            "soft": [{"rule": "path_fit", "weight": 1}],
        },
    )
    run = await pool.start(policy_id=policy["id"])
    checked = await post(
        pool.coordinator,
        "/v1/policy-checks",
        {"policy_id": policy["id"], "track_id": pool.offer.track["id"]},
    )

    # It would be refused again, so it is not tried again.
    await turn(desk)

    failed = await pool.run_of(run)
    assert (failed["status"], failed["failure_code"]) == ("failed", "invalid_request")
    assert [(one["pointer"], one["code"]) for one in failed["failure_errors"]] == [
        ("#/policy/hard/0/params/attribute", "unknown_attribute")
    ]
    assert (checked["valid"], checked["findings"][0]["key"]) == (False, "fault.unknown_attribute")


async def test_a_run_that_kills_its_workers_is_given_up_in_sight(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world)
    run = await pool.start()
    for _ in range(jobs.MOST_ATTEMPTS):
        await claim(desk)
        work.clock.pass_time(QUEUE.lease_seconds + 1)

    await turn(desk)

    failed = await pool.run_of(run)
    assert (failed["status"], failed["failure_code"]) == ("failed", "worker_lost")


async def test_a_sandbox_that_is_ahead_does_not_keep_its_runs_waiting(
    world: World, desk: Desk, work: Bench
) -> None:
    pool = await waiting(world)
    await work.rows(
        "UPDATE organization_clock SET offset_seconds = 86400 RETURNING organization_id"
    )

    run = await pool.reviewed(desk)

    assert run["status"] == "review"
    assert run["updated_at"] > (desk.database.clock() + timedelta(hours=23)).isoformat()


async def _mark(by: Somebody, about: Somebody, mark: str) -> None:
    answer = await by.client.put(
        f"{by.path}/shortlist/{about.participant['id']}",
        json={"mark": mark},
        headers={"If-None-Match": "*"},
    )
    assert answer.status_code == 201, answer.text


async def test_whom_somebody_ignores_is_never_proposed_to_them(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    before = await pool.reviewed(desk, mode="dry_run")
    await _mark(mentor, mentee, "ignore")

    run = await pool.reviewed(desk, mode="dry_run")

    apart = (mentor.participant["id"], mentee.participant["id"])
    proposed = pairs(await pool.proposals_of(run))
    assert run["input_hash"] != before["input_hash"]
    assert len(proposed) == 2
    assert apart not in proposed
    explained = await pool.coordinator.get(
        f"/v1/match-runs/{run['id']}/explanations", params={"pair": ",".join(apart)}
    )
    assert [one["rule"] for one in explained.json()["broken"]] == ["not_blocked"]


async def test_a_favorite_counts_and_only_its_effect_is_seen(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    policy = await post(
        pool.coordinator,
        "/v1/policies",
        {
            "program_id": pool.offer.program["id"],
            "name": "Wishes",
            "soft": [{"rule": "shortlisted", "weight": 50}, {"rule": "path_fit", "weight": 50}],
        },
    )
    wish = (pool.mentors[1], pool.mentees[0])
    await _mark(wish[1], wish[0], "favorite")

    run = await pool.reviewed(desk, policy_id=policy["id"])

    proposals = await pool.proposals_of(run)
    found = next(
        one for one in proposals if one["members"][1]["participant_id"] == wish[1].participant["id"]
    )
    assert found["members"][0]["participant_id"] == wish[0].participant["id"]
    parts = {one["rule"]: one for one in found["parts"]}
    assert parts["shortlisted"]["points"] > 0
    assert parts["shortlisted"]["params"] == {}
    await pool.act(found, "approve")
    await post(pool.coordinator, f"/v1/match-runs/{run['id']}/publish", {})
    asked = (await wish[0].client.get(f"/v1/proposals/{found['id']}")).json()
    assert {one["rule"] for one in asked["parts"]} == {"path_fit"}
    assert asked["score"] == round(parts["path_fit"]["value"] * 100)
    explained = await wish[0].client.get(
        f"/v1/match-runs/{run['id']}/explanations",
        params={"pair": ",".join(one.participant["id"] for one in wish)},
    )
    assert {one["rule"] for one in explained.json()["parts"]} == {"path_fit"}
    for one in wish:
        answered = await post(one.client, f"/v1/proposals/{found['id']}/consent", {})
    mentorship = await wish[0].client.get(f"/v1/mentorships/{answered['mentorship_id']}")
    assert "shortlisted" not in mentorship.text


async def test_members_are_told_what_they_share_and_not_what_the_other_wants(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world, mentors=1, mentees=1)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    policy = await post(
        pool.coordinator,
        "/v1/policies",
        {
            "program_id": pool.offer.program["id"],
            "name": "Style",
            "soft": [
                {"rule": "style_fit", "weight": 50},
                {"rule": "offers_wants", "weight": 50},
                {"rule": "location", "weight": 10},
            ],
        },
    )
    for one in (mentor, mentee):
        strength = {"encouragement": 2, "challenge": 5}
        said = PREFERENCES | {"wants": strength, "offers": strength, "wants_skills": ["Python"]}
        path = f"{one.path}/preferences"
        assert (await one.client.put(path, json=said, headers={"If-Match": "*"})).is_success
    run = await pool.reviewed(desk, policy_id=policy["id"])
    await pool.publish(run)
    [whole] = await pool.proposals_of(run)
    pair = f"{mentor.participant['id']},{mentee.participant['id']}"
    paths = (
        f"/v1/proposals/{whole['id']}",
        f"/v1/match-runs/{run['id']}/explanations?pair={pair}",
    )

    own = [_params((await mentee.client.get(path)).json()["parts"]) for path in paths]
    decided = [_params((await pool.coordinator.get(path)).json()["parts"]) for path in paths]
    for one in (mentor, mentee):
        answered = await post(one.client, f"/v1/proposals/{whole['id']}/consent", {})
    mentorship = await mentee.client.get(f"/v1/mentorships/{answered['mentorship_id']}")

    covered = {"covered": ["python"]}
    strong = {
        kind: {"offers": level, "wants": level}
        for kind, level in (("encouragement", 2), ("challenge", 5))
    }
    nothing: dict[str, Any] = {"location": {"shared": []}}
    assert (
        decided == [{"style_fit": strong, "offers_wants": {**covered, "missing": []}} | nothing] * 2
    )
    assert own == [{"offers_wants": covered, "location": {}}] * 2
    assert _params(mentorship.json()["because"]) == {"offers_wants": covered}


def _params(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["rule"]: one["params"] for one in parts}


async def test_what_members_are_told_does_not_depend_on_whom_others_marked(
    world: World, desk: Desk
) -> None:
    marked = await _told_of_a_pair(world, desk, by=["mentor"])
    both = await _told_of_a_pair(world, desk, by=["mentor", "mentee"])
    neither = await _told_of_a_pair(world, desk, by=[])

    assert marked.members == both.members == neither.members
    assert '"run_id":"an id"' in marked.members[0]
    assert neither.score < marked.score < both.score


@dataclass(frozen=True, slots=True)
class _Told:
    """What members read of a pair, word for word but for ids and times, and its whole score."""

    members: list[str]
    score: int


async def _told_of_a_pair(world: World, desk: Desk, *, by: list[str]) -> _Told:
    """Match one mentor and one mentee of whom some marked the other, and ask both of it."""
    pool = await waiting(world, mentors=1, mentees=1)
    pair = {"mentor": pool.mentors[0], "mentee": pool.mentees[0]}
    policy = await post(
        pool.coordinator,
        "/v1/policies",
        {
            "program_id": pool.offer.program["id"],
            "name": "Wishes",
            "soft": [
                *({"rule": "offers_wants", "weight": 50}, {"rule": "path_fit", "weight": 30}),
                *({"rule": "style_fit", "weight": 20}, {"rule": "shortlisted", "weight": 20}),
            ],
        },
    )
    for one in by:
        other = pair["mentee" if one == "mentor" else "mentor"]
        await _mark(pair[one], other, "favorite")
    run = await pool.reviewed(desk, policy_id=policy["id"])
    await pool.publish(run)
    [proposal] = await pool.proposals_of(run)
    people = ",".join(one.participant["id"] for one in pair.values())
    paths = (
        f"/v1/proposals/{proposal['id']}",
        "/v1/me/proposals",
        f"/v1/match-runs/{run['id']}/explanations?pair={people}&what_if=true",
    )
    answers = [await one.client.get(path) for path in paths for one in pair.values()]
    assert {one.status_code for one in answers} == {200}
    told = [re.sub(r"\b[a-z]{3,4}_[0-9a-z]{26}\b", "an id", one.text) for one in answers]
    return _Told(
        [re.sub(r"\d{4}-\d\d-\d\dT[^\"]*", "a time", one) for one in told], proposal["score"]
    )


async def test_a_run_that_members_know_opens_nothing_but_their_own_explanation(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world)
    run = await pool.reviewed(desk)
    await pool.publish(run)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    [own] = (await mentor.client.get("/v1/me/proposals")).json()["items"]
    path = f"/v1/match-runs/{own['run_id']}"

    explained = await mentor.client.get(
        f"{path}/explanations",
        params={"pair": ",".join(one["participant_id"] for one in own["members"])},
    )
    others = [
        one["participant_id"]
        for proposal in await pool.proposals_of(run)
        for one in proposal["members"]
        if proposal["id"] != own["id"]
    ]
    foreign = await mentor.client.get(f"{path}/explanations", params={"pair": ",".join(others)})
    reads = [
        await one.client.get(f"{path}{what}")
        for one in (mentor, mentee)
        for what in ("", "/fairness", "/proposals")
    ]
    compared = await mentor.client.post(
        "/v1/match-run-diffs", json={"base_run_id": run["id"], "other_run_id": run["id"]}
    )

    assert own["run_id"] == run["id"]
    assert (explained.status_code, explained.json()["is_matched"]) == (200, True)
    assert {one.status_code for one in [foreign, compared, *reads]} <= {403, 404}


async def group_of_two(world: World) -> Pool:
    """Let a mentor wait for a group, and two mentees."""
    return await gathered(
        world,
        *("mentor", "mentee", "mentee"),
        capacity=2,
        format="group",
        match_modes=["pool"],
        min_members=2,
        max_members=3,
    )


async def test_of_a_group_everybody_is_explained_their_own_pair(world: World, desk: Desk) -> None:
    pool = await group_of_two(world)
    run = await pool.reviewed(desk)
    await pool.publish(run)
    mentor, [mentee, other] = pool.mentors[0], pool.mentees

    async def explained(to: Somebody, about: Somebody) -> int:
        answer = await to.client.get(
            f"/v1/match-runs/{run['id']}/explanations",
            params={"pair": f"{mentor.participant['id']},{about.participant['id']}"},
        )
        return answer.status_code

    assert [await explained(mentor, mentee), await explained(mentor, other)] == [200, 200]
    assert [await explained(mentee, mentee), await explained(mentee, other)] == [200, 404]


async def test_the_mean_of_a_group_is_for_those_who_decide(world: World, desk: Desk) -> None:
    pool = await group_of_two(world)
    run = await pool.reviewed(desk)
    [proposed] = await pool.proposals_of(run)
    await pool.publish(run)

    for somebody in (*pool.mentors, *pool.mentees):
        [own] = (await somebody.client.get("/v1/me/proposals")).json()["items"]
        assert (own["id"], own["score"], own["parts"]) == (proposed["id"], None, [])
    assert proposed["score"] is not None
    assert [one["points"] for one in proposed["parts"]] != []


async def test_a_mark_made_after_a_run_makes_it_stale(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    run = await pool.reviewed(desk)
    await _mark(pool.mentees[0], pool.mentors[0], "favorite")

    answer = await pool.coordinator.post(f"/v1/match-runs/{run['id']}/publish")

    assert (answer.status_code, answer.json()["code"]) == (409, "stale_run")


async def test_a_run_that_waits_is_cancelled_and_makes_room_for_another(
    world: World, desk: Desk
) -> None:
    pool = await waiting(world)
    run = await pool.start()

    discarded = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/discard", {})

    assert (run["allowed"], discarded["status"], discarded["allowed"]) == (
        ["discard"],
        "discarded",
        [],
    )
    assert await turn(desk) == 0
    assert (await pool.reviewed(desk))["status"] == "review"


async def test_a_run_is_cancelled_while_its_people_are_being_read(
    world: World, desk: Desk, databases: Databases
) -> None:
    pool = await waiting(world)
    run = await pool.start()
    other = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE past_pair IN ACCESS EXCLUSIVE MODE")
            reading = asyncio.create_task(turn(desk))
            async with asyncio.timeout(20):
                while not await waiting_for(other, "past_pair"):  # noqa: ASYNC110 - told by none
                    await asyncio.sleep(0)
            discarded = await post(pool.coordinator, f"/v1/match-runs/{run['id']}/discard", {})
            is_still_read = await waiting_for(other, "past_pair")
        await reading
    finally:
        await other.close()

    assert is_still_read
    assert discarded["status"] == (await pool.run_of(run))["status"] == "discarded"


async def waiting_for(connection: Any, table: str) -> int:
    """Count the locks of a table that are not granted."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_locks WHERE relation = $1::regclass AND NOT granted", table
    )
    return count


async def test_a_run_that_is_cancelled_stops_matching_within_two_seconds(
    world: World, desk: Desk, matching: Matching
) -> None:
    pool = await waiting(world)
    run = await pool.start()
    claimed = await claim(desk)
    task = await jobs.read(desk, claimed)
    assert task is not None
    calling = asyncio.create_task(jobs.call(desk, claimed, replace(task, problem=peers(2000))))
    await until(lambda: bool(matching.busy))
    before = (await pool.run_of(run))["status"]
    [worker] = matching.busy

    began = time.monotonic()
    await post(pool.coordinator, f"/v1/match-runs/{run['id']}/discard", {})
    with pytest.raises(LeaseLostError):
        await calling
    await until(lambda: worker not in matching.busy)

    assert time.monotonic() - began < 2
    assert before == "running"
    after = await pool.run_of(run)
    assert (after["status"], after["progress"]["phase"]) == ("discarded", None)
    assert (await pool.start())["status"] == "queued"


async def test_what_a_cancelled_run_has_found_is_not_stored(world: World, desk: Desk) -> None:
    pool = await waiting(world)
    run = await pool.start()
    claimed = await claim(desk)
    task = await jobs.read(desk, claimed)
    assert task is not None
    line = await jobs.call(desk, claimed, task)
    await post(pool.coordinator, f"/v1/match-runs/{run['id']}/discard", {})

    with pytest.raises(LeaseLostError):
        await jobs.write(desk, claimed, task, line)

    assert await pool.proposals_of(run) == []
