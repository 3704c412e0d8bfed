"""Timers: each fires once, in order, on its organization's clock, whatever dies on the way."""

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import and_
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.events import operations as events
from services.api.organizations.tables import Organization
from services.api.resources import WorkerResources
from services.api.timers import operations as timers
from services.api.timers.jobs import CLOCKS, QUEUE, TIMERS, fire_due
from shared import ids
from shared.persistence import leases
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World, found_world
from tests.support.work import Bench, WorkerDiedError, bench, soon


@pytest.fixture
def at_work(worker: WorkerResources, world: World) -> Bench:
    """Return a worker of a fresh organization."""
    return bench(worker, world)


class Witness:
    """A feature that writes down in the database what it was told, and may fail on the way."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.told: list[tuple[str, UUID, datetime]] = []

    async def on_timer(
        self,
        session: AsyncSession,
        *,
        organization_id: UUID,
        kind: str,
        subject_id: UUID,
        now: datetime,
    ) -> None:
        """Record an event as the effect, then fail if that is what comes next."""
        subject = await session.get_one(Organization, organization_id)
        events.record(session, "organization.changed", subject, now=now, changed=[kind])
        await session.flush()
        if self.failures:
            raise self.failures.pop(0)
        self.told.append((kind, subject_id, now))


async def schedule(at_work: Bench, kind: str, *, due_at: datetime, **options: Any) -> UUID:
    """Set a timer and return its subject."""
    subject_id = options.pop("subject_id", None) or ids.new_id()
    tenant = Tenant(at_work.organization_id)
    async with transaction(at_work.resources.database.sessions, tenant) as session:
        await timers.schedule(
            session,
            organization_id=at_work.organization_id,
            kind=kind,
            subject_id=subject_id,
            due_at=due_at,
        )
    return subject_id


async def fire(at_work: Bench, witness: Witness) -> int:
    """Take one turn for this organization."""
    return await fire_due(
        at_work.resources.database,
        {"witness": witness.on_timer},
        organization_id=at_work.organization_id,
    )


async def effects(at_work: Bench) -> list[str]:
    """Return which timers had an effect that lasted."""
    rows = await at_work.rows(
        "SELECT data->'changed'->>0 FROM outbox_message"
        " WHERE type = 'organization.changed' ORDER BY id"
    )
    return [row[0] for row in rows]


async def test_a_timer_fires_once_when_it_is_due_and_not_before(at_work: Bench) -> None:
    witness = Witness()
    await schedule(at_work, "witness.later", due_at=soon(3600))
    subject_id = await schedule(at_work, "witness.now", due_at=soon(-1))

    assert [await fire(at_work, witness), await fire(at_work, witness)] == [1, 0]
    assert [one[:2] for one in witness.told] == [("witness.now", subject_id)]


async def test_what_is_due_first_fires_first(at_work: Bench) -> None:
    witness = Witness()
    for seconds in (-10, -30, -20):
        await schedule(at_work, f"witness.at{-seconds}", due_at=soon(seconds))

    await fire(at_work, witness)

    assert await effects(at_work) == ["witness.at30", "witness.at20", "witness.at10"]


async def test_a_timer_is_due_on_the_clock_of_its_organization(at_work: Bench) -> None:
    witness = Witness()
    await schedule(at_work, "witness.later", due_at=soon(3600))
    await at_work.rows("UPDATE organization_clock SET offset_seconds = 7200 RETURNING 1")

    assert await fire(at_work, witness) == 1
    assert witness.told[0][2] > soon(7000)


async def test_a_failing_timer_leaves_no_trace_and_is_tried_again(at_work: Bench) -> None:
    witness = Witness(ValueError("once"))
    await schedule(at_work, "witness.fails", due_at=soon(-2))
    await schedule(at_work, "witness.works", due_at=soon(-1))

    assert await fire(at_work, witness) == 1
    assert await effects(at_work) == ["witness.works"]
    at_work.clock.pass_time(5)
    assert await fire(at_work, witness) == 1
    assert await effects(at_work) == ["witness.works", "witness.fails"]


async def test_a_hopeless_timer_is_given_up_in_sight_of_everybody(at_work: Bench) -> None:
    witness = Witness(*(ValueError("always") for _ in range(20)))
    await schedule(at_work, "witness.fails", due_at=soon(-1))

    for _ in range(QUEUE.max_attempts + 3):
        await fire(at_work, witness)
        at_work.clock.pass_time(120)

    rows = await at_work.rows(
        "SELECT attempts, failure, done_at FROM timer WHERE kind = 'witness.fails'"
    )
    assert [tuple(row) for row in rows] == [(QUEUE.max_attempts, "ValueError", None)]
    assert await effects(at_work) == []


@pytest.mark.parametrize("death", [WorkerDiedError(), asyncio.CancelledError()])
async def test_a_worker_that_dies_in_the_middle_is_followed_by_one_that_does_it_once(
    at_work: Bench, death: BaseException
) -> None:
    await schedule(at_work, "witness.now", due_at=soon(-1))
    with pytest.raises(type(death)):
        await fire(at_work, Witness(death))
    assert await effects(at_work) == []

    witness = Witness()
    assert await fire(at_work, witness) == 0
    at_work.clock.pass_time(QUEUE.lease_seconds + 1)
    assert [await fire(at_work, witness), await fire(at_work, witness)] == [1, 0]
    assert await effects(at_work) == ["witness.now"]


async def test_two_workers_at_once_fire_every_timer_once(at_work: Bench) -> None:
    witness = Witness()
    for number in range(60):
        await schedule(at_work, f"witness.number{number}", due_at=soon(-1))

    worked = await asyncio.gather(*(fire(at_work, witness) for _ in range(5)))

    assert sum(worked) == 60
    assert len(set(await effects(at_work))) == 60


async def test_a_long_backlog_of_one_organization_keeps_no_other_waiting(
    at_work: Bench, api: FastAPI
) -> None:
    database, other = at_work.resources.database, await found_world(api)
    waiting = other.id
    backlog = [(at_work.organization_id, 30, -3600), (waiting, 2, -1)]
    for organization_id, count, seconds in backlog:
        async with transaction(database.sessions, Tenant(organization_id)) as session:
            await timers.schedule_each(
                session,
                organization_id=organization_id,
                kind="witness.late",
                subject_ids=[ids.new_id() for _ in range(count)],
                due_at=soon(seconds),
            )

    theirs = TIMERS.c.organization_id.in_([at_work.organization_id, waiting])
    search = leases.Search(
        QUEUE, and_(TIMERS.c.done_at.is_(None), theirs), limit=10, organizations=CLOCKS
    )
    claims = await leases.claim(database.claims, search, now=database.clock())

    claimed = Counter(one.organization_id for one in claims)
    assert claimed == {at_work.organization_id: 8, waiting: 2}


async def test_a_timer_that_its_handler_sets_again_stays_set(at_work: Bench) -> None:
    async def again(
        session: AsyncSession,
        *,
        organization_id: UUID,
        kind: str,
        subject_id: UUID,
        now: datetime,
    ) -> None:
        assert now > soon(-60)
        await timers.schedule(
            session,
            organization_id=organization_id,
            kind=kind,
            subject_id=subject_id,
            due_at=soon(3600),
        )

    await schedule(at_work, "again.hourly", due_at=soon(-1))
    await fire_due(
        at_work.resources.database, {"again": again}, organization_id=at_work.organization_id
    )

    rows = await at_work.rows(
        "SELECT done_at, leased_until, attempts FROM timer WHERE kind = 'again.hourly'"
    )
    assert [tuple(row) for row in rows] == [(None, None, 0)]


async def test_a_timer_moved_while_it_is_held_fires_at_its_new_time_only(at_work: Bench) -> None:
    subject_id = await schedule(at_work, "witness.first", due_at=soon(-2))
    moved = await schedule(at_work, "witness.second", due_at=soon(-1))

    class Mover(Witness):
        """Moves the second timer while the worker holds both."""

        async def on_timer(self, session: AsyncSession, **options: Any) -> None:
            """Move the other one, as a request would."""
            await super().on_timer(session, **options)
            await schedule(at_work, "witness.second", due_at=soon(3600), subject_id=moved)

    witness = Mover()
    await fire(at_work, witness)

    assert [one[1] for one in witness.told] == [subject_id]
