"""Reactions to facts: once per fact, in order per aggregate, one failing alone."""

import asyncio
from datetime import datetime
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.events import operations as events
from services.api.events.jobs import QUEUE, Consumers, consume
from services.api.events.rules import CONSUMED, EVENT_TYPES
from services.api.people import queries as people
from services.api.resources import WorkerResources
from services.api.worker import CONSUMERS, TIMERS
from shared import ids
from tests.support.apps import World, found_world
from tests.support.participants import take_part
from tests.support.programs import open_registration
from tests.support.work import Bench, WorkerDiedError, bench


@pytest.fixture
def at_work(worker: WorkerResources, world: World) -> Bench:
    """Return a worker of a fresh organization."""
    return bench(worker, world)


class Witness:
    """A feature that writes down in the database what it reacted to, and may fail on the way."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.told: list[UUID] = []

    async def on_event(
        self, session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
    ) -> None:
        """Record an event as the effect, then fail if that is what comes next."""
        person = await people.lock(session, organization_id=organization_id, person_id=subject_id)
        events.record(session, "person.updated", person, now=now, changed=["reaction"])
        await session.flush()
        if self.failures:
            raise self.failures.pop(0)
        self.told.append(subject_id)

    @property
    def table(self) -> Consumers:
        """Return the table in which only this one reacts."""
        return {"person.deactivated": (self.on_event,)}


async def react(at_work: Bench, witness: Witness) -> int:
    """Take one turn for this organization."""
    return await consume(
        at_work.resources.database, witness.table, organization_id=at_work.organization_id
    )


async def leave(world: World) -> UUID:
    """Let somebody new leave."""
    person = await world.add_person()
    answer = await world.org_admin.post(f"/v1/people/{person['id']}/deactivate", json={})
    assert answer.status_code == 200, answer.text
    return ids.parse_id("person", person["id"])


async def reactions(at_work: Bench) -> list[UUID]:
    """Return to whom a reaction happened that lasted."""
    rows = await at_work.rows(
        "SELECT aggregate_id FROM outbox_message WHERE data->'changed'->>0 = 'reaction' ORDER BY id"
    )
    return [row[0] for row in rows]


def test_the_table_names_types_that_exist() -> None:
    assert CONSUMERS.keys() == CONSUMED
    assert EVENT_TYPES.keys() >= CONSUMED


def test_every_kind_of_timer_has_somebody_to_tell() -> None:
    assert {"program", "participant", "proposal", "mentorship"} <= TIMERS.keys()


async def test_a_fact_is_reacted_to_once(at_work: Bench) -> None:
    witness = Witness()
    person_id = await leave(at_work.world)

    assert [await react(at_work, witness), await react(at_work, witness)] == [1, 0]
    assert await reactions(at_work) == [person_id]


async def test_what_nobody_reacts_to_never_waits(at_work: Bench) -> None:
    await at_work.record(count=3)

    assert await at_work.rows("SELECT 1 FROM outbox_message WHERE consumed_at IS NULL") == []


async def test_a_failing_reaction_leaves_no_trace_and_is_tried_again(at_work: Bench) -> None:
    witness = Witness(ValueError("once"))
    first, second = await leave(at_work.world), await leave(at_work.world)

    assert await react(at_work, witness) == 1
    assert await reactions(at_work) == [second]
    at_work.clock.pass_time(5)
    assert await react(at_work, witness) == 1
    assert await reactions(at_work) == [second, first]


async def test_later_facts_of_an_aggregate_wait_for_its_earlier_ones(at_work: Bench) -> None:
    witness = Witness(ValueError("once"))
    person_id = await leave(at_work.world)
    public = (await at_work.world.org_admin.get("/v1/events")).json()["items"][-1]["data"]["id"]
    for action in ("reactivate", "deactivate"):
        answer = await at_work.world.org_admin.post(f"/v1/people/{public}/{action}", json={})
        assert answer.status_code == 200, answer.text

    assert await react(at_work, witness) == 0
    assert await react(at_work, witness) == 0
    at_work.clock.pass_time(5)
    assert [await react(at_work, witness) for _ in range(3)] == [1, 1, 0]
    assert witness.told == [person_id, person_id]


@pytest.mark.parametrize("death", [WorkerDiedError(), asyncio.CancelledError()])
async def test_a_worker_that_dies_in_the_middle_is_followed_by_one_that_does_it_once(
    at_work: Bench, death: BaseException
) -> None:
    person_id = await leave(at_work.world)
    with pytest.raises(type(death)):
        await react(at_work, Witness(death))
    assert await reactions(at_work) == []

    witness = Witness()
    assert await react(at_work, witness) == 0
    at_work.clock.pass_time(QUEUE.lease_seconds + 1)
    assert [await react(at_work, witness), await react(at_work, witness)] == [1, 0]
    assert await reactions(at_work) == [person_id]


async def test_a_failing_organization_holds_up_no_other(
    at_work: Bench, worker: WorkerResources
) -> None:
    await leave(at_work.world)
    other = await found_world(at_work.world.app)
    person_id = await leave(other)
    failing, working = Witness(*(ValueError("always") for _ in range(9))), Witness()

    assert await react(at_work, failing) == 0
    assert await react(bench(worker, other), working) == 1
    assert working.told == [person_id]


async def test_two_workers_at_once_react_to_every_fact_once(at_work: Bench) -> None:
    witness = Witness()
    left = [await leave(at_work.world) for _ in range(30)]

    await asyncio.gather(*(react(at_work, witness) for _ in range(4)))
    while await react(at_work, witness):
        pass

    assert sorted(await reactions(at_work)) == sorted(left)


async def test_somebody_who_left_is_taken_out_of_every_program(at_work: Bench) -> None:
    offer = await open_registration(at_work.world)
    mentor = await take_part(at_work.world, offer, "mentor")
    answer = await at_work.world.org_admin.post(
        f"/v1/people/{mentor.person['id']}/deactivate", json={}
    )
    assert answer.status_code == 200, answer.text

    while await consume(
        at_work.resources.database, CONSUMERS, organization_id=at_work.organization_id
    ):
        pass

    after = await offer.coordinator.get(mentor.path)
    assert after.json()["status"] == "removed"
