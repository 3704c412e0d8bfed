"""A sandbox's time: in order, once, the same in one go as day by day, and a fresh start."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.resources import WorkerResources
from services.api.sandbox.jobs import QUEUE, Desk, turn
from services.api.sandbox.queries import KEPT_WHOLE, emptied
from services.api.timers import operations as timers
from services.api.worker import CONSUMERS, TIMERS
from services.local import postgres
from shared import ids
from shared.http import ServiceClient
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import found_world
from tests.support.database import Databases
from tests.support.mentorships import pair_up
from tests.support.notifications import (
    client_of,
    notifications_settings,
    running_notifications,
    running_postbox,
)
from tests.support.programs import draft, open_registration, post
from tests.support.work import Bench, WorkerDiedError, bench


@pytest.fixture
async def at_work(api: FastAPI, databases: Databases, worker: WorkerResources) -> Bench:
    """Return a worker of a fresh sandbox, the only one whose clock is to move."""
    await hold_clocks(databases)
    return bench(worker, await found_world(api, kind="sandbox"))


async def hold_clocks(databases: Databases) -> None:
    """Let no sandbox of another test go on: a worker takes whichever waits."""
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    try:
        await connection.execute("UPDATE organization_clock SET advance_to = NULL, reset_at = NULL")
    finally:
        await connection.close()


def desk(at_work: Bench, **changes: Any) -> Desk:
    """Return the desk of a worker that has no notifications to tell."""
    resources = at_work.resources
    alone = Desk(resources.database, TIMERS, CONSUMERS, None, resources.pepper)
    return replace(alone, **changes)


async def advance(at_work: Bench, days: int, *, using: Desk | None = None) -> None:
    """Move the clock and do what is due on the way."""
    answer = await at_work.world.org_admin.post("/v1/sandbox/clock/advance", json={"days": days})
    assert answer.status_code == 202, answer.text
    await finish(at_work, using=using)


async def finish(at_work: Bench, *, using: Desk | None = None) -> None:
    """Take turns until the sandbox is at rest."""
    while await turn(using or desk(at_work)):
        at_work.clock.pass_time(0.3)
    clock = (await at_work.world.org_admin.get("/v1/sandbox/clock")).json()
    assert (clock["is_advancing"], clock["is_resetting"]) == (False, False)


async def told(at_work: Bench) -> Sequence[tuple[str, str, str | None, date]]:
    """Return what happened, to which kind of thing, on which day."""
    rows = await at_work.rows(
        "SELECT type, data->>'to', occurred_at FROM outbox_message ORDER BY occurred_at, id"
    )
    return [(row[0], row[0].partition(".")[0], row[1], row[2].date()) for row in rows]


def days_from_now(days: int) -> str:
    """Return a day so far from today, as requests name it."""
    return (datetime.now(UTC).date() + timedelta(days=days)).isoformat()


async def half_a_year_of_life(at_work: Bench) -> None:
    """Let a mentorship start, a registration go unanswered and a program be planned."""
    await pair_up(
        at_work.world,
        started=True,
        registration_opens_on=days_from_now(-30),
        registration_closes_on=days_from_now(5),
        starts_on=days_from_now(6),
        ends_on=days_from_now(200),
    )
    offer = await draft(
        at_work.world,
        registration_opens_on=days_from_now(10),
        registration_closes_on=days_from_now(40),
        starts_on=days_from_now(45),
        ends_on=days_from_now(150),
    )
    await offer.act("publish")


async def test_a_clock_arrives_where_it_was_sent(at_work: Bench) -> None:
    await advance(at_work, 30)

    clock = (await at_work.world.org_admin.get("/v1/sandbox/clock")).json()
    assert 30 * 86400 - 60 < clock["offset_seconds"] <= 30 * 86400 + 60
    made = await at_work.world.add_person()
    assert datetime.fromisoformat(made["created_at"]) > datetime.now(UTC) + timedelta(days=29)


async def test_every_timer_fires_once_in_the_order_it_is_due(at_work: Bench) -> None:
    fired: list[tuple[str, datetime]] = []

    async def on_timer(
        session: AsyncSession,
        *,
        organization_id: UUID,
        kind: str,
        subject_id: UUID,
        now: datetime,
    ) -> None:
        fired.append((kind, now))
        if kind == "test.day20":
            # Set on the way, due on the way.
            await timers.schedule(
                session,
                organization_id=organization_id,
                kind="test.day25",
                subject_id=subject_id,
                due_at=now + timedelta(days=5),
            )

    async with transaction(
        at_work.resources.database.sessions, Tenant(at_work.organization_id)
    ) as session:
        for day in (30, 10, 20, 40):
            await timers.schedule(
                session,
                organization_id=at_work.organization_id,
                kind=f"test.day{day}",
                subject_id=ids.new_id(),
                due_at=datetime.now(UTC) + timedelta(days=day),
            )

    start = datetime.now(UTC)
    await advance(at_work, 35, using=desk(at_work, handlers={"test": on_timer}))

    assert [kind for kind, _now in fired] == [f"test.day{day}" for day in (10, 20, 25, 30)]
    for kind, now in fired:
        day = int(kind.removeprefix("test.day"))
        assert abs(now - start - timedelta(days=day)) < timedelta(minutes=1)


async def test_six_months_at_once_equal_six_months_day_by_day(
    at_work: Bench, worker: WorkerResources
) -> None:
    await half_a_year_of_life(at_work)
    await advance(at_work, 182)

    other = await found_world(at_work.world.app, kind="sandbox")
    beside = bench(worker, other)
    await half_a_year_of_life(beside)
    for _ in range(182):
        await beside.world.org_admin.post("/v1/sandbox/clock/advance", json={"days": 1})
        while await turn(desk(beside)):
            beside.clock.pass_time(0.3)
    await finish(beside)
    day_by_day = await told(beside)

    at_once = await told(at_work)
    assert at_once == day_by_day
    assert {"program.registration_opened", "program.registration_closed"} <= {
        one[0] for one in at_once
    }
    assert any(one[0].startswith("mentorship.closing") for one in at_once)


@pytest.mark.parametrize("death", [WorkerDiedError(), asyncio.CancelledError()])
async def test_a_worker_killed_on_the_way_is_followed_by_one_that_goes_on(
    at_work: Bench, death: BaseException
) -> None:
    deaths = [death]
    fired: list[str] = []

    async def on_timer(_session: AsyncSession, *, kind: str, **_rest: Any) -> None:
        if kind == "test.day20" and deaths:
            raise deaths.pop()
        fired.append(kind)

    async with transaction(
        at_work.resources.database.sessions, Tenant(at_work.organization_id)
    ) as session:
        for day in (10, 20, 30):
            await timers.schedule(
                session,
                organization_id=at_work.organization_id,
                kind=f"test.day{day}",
                subject_id=ids.new_id(),
                due_at=datetime.now(UTC) + timedelta(days=day),
            )
    using = desk(at_work, handlers={"test": on_timer})
    await at_work.world.org_admin.post("/v1/sandbox/clock/advance", json={"days": 40})
    with pytest.raises(type(death)):
        await turn(using)

    assert await turn(using) == 0
    at_work.clock.pass_time(QUEUE.lease_seconds + 1)
    await finish(at_work, using=using)

    assert fired == ["test.day10", "test.day20", "test.day30"]


async def test_what_waits_holds_the_clock_until_it_was_done(at_work: Bench) -> None:
    failures = [ValueError("once"), ValueError("twice")]
    fired: list[str] = []

    async def on_timer(_session: AsyncSession, *, kind: str, **_rest: Any) -> None:
        if failures:
            raise failures.pop()
        fired.append(kind)

    async with transaction(
        at_work.resources.database.sessions, Tenant(at_work.organization_id)
    ) as session:
        for day in (10, 20):
            await timers.schedule(
                session,
                organization_id=at_work.organization_id,
                kind=f"test.day{day}",
                subject_id=ids.new_id(),
                due_at=datetime.now(UTC) + timedelta(days=day),
            )

    await advance(at_work, 30, using=desk(at_work, handlers={"test": on_timer}))

    assert fired == ["test.day10", "test.day20"]


async def test_an_invitation_nobody_answers_expires_on_the_way(at_work: Bench) -> None:
    offer = await open_registration(at_work.world)
    person = await at_work.world.add_person()
    invited = await post(
        offer.coordinator,
        f"/v1/programs/{offer.program['id']}/invitations",
        {
            "person_ids": [person["id"]],
            "track_roles": [{"track_id": offer.track["id"], "role": "mentee"}],
        },
    )

    await advance(at_work, 30)

    after = await offer.coordinator.get(f"/v1/participants/{invited['items'][0]['id']}")
    assert after.json()["status"] == "expired"


async def test_a_reset_leaves_the_organization_its_admins_and_its_keys(
    at_work: Bench, databases: Databases
) -> None:
    world = at_work.world
    machine = await world.add_key("events:read")
    await half_a_year_of_life(at_work)
    await advance(at_work, 30)

    answer = await world.org_admin.post("/v1/sandbox/reset")
    assert answer.status_code == 202, answer.text
    assert answer.json()["is_resetting"] is True
    await finish(at_work)

    people = (await world.org_admin.get("/v1/people")).json()["items"]
    assert [one["id"] for one in people] == [world.org_admin_id]
    assert (await world.org_admin.get("/v1/programs")).json()["items"] == []
    assert (await machine.get("/v1/events")).json()["items"] == []
    clock = (await world.org_admin.get("/v1/sandbox/clock")).json()
    assert clock["offset_seconds"] == 0
    await half_a_year_of_life(at_work)
    left = await _tables_with_rows(databases, at_work.organization_id)
    assert left["person"] > 1


async def test_a_reset_empties_every_table_that_it_does_not_keep(
    at_work: Bench, databases: Databases
) -> None:
    await half_a_year_of_life(at_work)
    await at_work.world.org_admin.post("/v1/sandbox/reset")
    await finish(at_work)

    left = await _tables_with_rows(databases, at_work.organization_id)

    named = {table.name for table, _goes in emptied()}
    assert left.keys() == named | KEPT_WHOLE
    assert {name for name, count in left.items() if count} == {
        *("organization", "organization_clock", "person", "access_subject", "role_assignment"),
        "idempotency",
    } - ({"idempotency"} if not left["idempotency"] else set())


@pytest.fixture
async def peer(
    at_work: Bench, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ServiceClient]:
    """Run notifications beside the api, and let both the api and its worker call it."""
    async with running_postbox() as postbox:
        settings = notifications_settings(databases, smtp_port=postbox.port)
        async with running_notifications(settings) as app:
            client = client_of(app)
            monkeypatch.setattr(at_work.world.app.state.resources, "notifications", client)
            yield client
            await client.close()
            assert postbox.mails == []


async def test_messages_on_the_way_are_captured_in_order_and_none_leaves(
    at_work: Bench, peer: ServiceClient
) -> None:
    org_admin, using = at_work.world.org_admin, desk(at_work, notifications=peer)
    pair = await pair_up(at_work.world)

    await advance(at_work, 30, using=using)

    assert await at_work.rows("SELECT 1 FROM outbox_message WHERE sent_at IS NULL") == []
    shown = (await org_admin.get("/v1/sandbox/messages")).json()
    assert "mentorship.created" in {one["kind"] for one in shown["items"]}
    moments = [datetime.fromisoformat(one["captured_at"]) for one in shown["items"]]
    assert moments == sorted(moments)
    first = (await org_admin.get("/v1/sandbox/messages", params={"limit": 1})).json()
    second = await org_admin.get(
        "/v1/sandbox/messages", params={"limit": 1, "cursor": first["next_cursor"]}
    )
    assert [*first["items"], *second.json()["items"]] == shown["items"][:2]
    theirs = await org_admin.get(
        "/v1/sandbox/messages", params={"person_id": pair.mentee.person["id"]}
    )
    assert {one["person_id"] for one in theirs.json()["items"]} == {pair.mentee.person["id"]}

    await org_admin.post("/v1/sandbox/reset")
    await finish(at_work, using=using)

    assert (await org_admin.get("/v1/sandbox/messages")).json()["items"] == []


async def _tables_with_rows(databases: Databases, organization_id: UUID) -> Mapping[str, int]:
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    try:
        names = await connection.fetch(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND column_name = 'organization_id'"
        )
        return {
            name: await connection.fetchval(
                f"SELECT count(*) FROM {name} WHERE organization_id = $1",  # noqa: S608 - of the catalogue
                organization_id,
            )
            for (name,) in names
        }
    finally:
        await connection.close()
