"""What becomes of proposals without anybody asking."""

from typing import Any

from services.api.match_runs import jobs as match_runs
from services.api.proposals import jobs
from shared import ids
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World
from tests.support.match_runs import Pool, told, waiting
from tests.support.programs import post


async def on_timer(pool: Pool, kind: str, proposal: dict[str, Any]) -> None:
    resources = pool.world.app.state.resources
    organization = pool.world.id
    async with transaction(resources.sessions, Tenant(organization)) as session:
        await jobs.on_timer(
            session,
            organization_id=organization,
            kind=kind,
            subject_id=ids.parse_id("proposal", proposal["id"]),
            now=resources.clock(),
        )


async def test_silence_is_reminded_of_and_then_ends(world: World) -> None:
    pool = await waiting(world)
    mentor, mentee = pool.mentors[0], pool.mentees[0]
    proposal = await pool.compose(mentor, mentee)
    await pool.act(proposal, "approve")
    await post(mentor.client, f"/v1/proposals/{proposal['id']}/consent", {})

    await on_timer(pool, "proposal.remind", proposal)
    await on_timer(pool, "proposal.expire", proposal)
    await on_timer(pool, "proposal.remind", proposal)

    after = (await pool.coordinator.get(f"/v1/proposals/{proposal['id']}")).json()
    assert after["status"] == "expired"
    assert (await mentor.now())["status"] == "available"
    silent = str(ids.parse_id("person", mentee.person["id"]))
    assert await told(pool, "proposal.reminder_due") == [{"asked": [silent]}]


async def test_whoever_leaves_takes_their_open_proposals_along(world: World) -> None:
    pool = await waiting(world)
    mentor = pool.mentors[0]
    asked = await pool.compose(mentor, pool.mentees[0])
    await pool.act(asked, "approve")
    resources = world.app.state.resources
    organization = world.id

    async with transaction(resources.sessions, Tenant(organization)) as session:
        await jobs.on_participant_left(
            session,
            organization_id=organization,
            subject_id=ids.parse_id("participant", mentor.participant["id"]),
            now=resources.clock(),
        )

    after = (await pool.coordinator.get(f"/v1/proposals/{asked['id']}")).json()
    assert after["status"] == "expired"
    assert (await pool.mentees[0].now())["status"] == "available"


async def test_a_program_that_closes_ends_what_was_open(world: World) -> None:
    pool = await waiting(world)
    proposal = await pool.compose(pool.mentors[0], pool.mentees[0])
    run = await pool.start()
    resources = world.app.state.resources
    organization = world.id

    async with transaction(resources.sessions, Tenant(organization)) as session:
        for react in (match_runs.on_program_closed, jobs.on_program_closed):
            await react(
                session,
                organization_id=organization,
                subject_id=ids.parse_id("program", pool.offer.program["id"]),
                now=resources.clock(),
            )

    ended = (await pool.coordinator.get(f"/v1/match-runs/{run['id']}")).json()
    assert (ended["status"], ended["failure_code"]) == ("failed", "program_closed")
    after = (await pool.coordinator.get(f"/v1/proposals/{proposal['id']}")).json()
    assert after["status"] == "rejected"
