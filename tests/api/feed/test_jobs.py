"""The relay: everything arrives once and in order, whoever dies, stalls or competes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from services.api.clients import notifications as calls
from services.api.feed import jobs, queries
from services.api.feed.jobs import LEASE_SECONDS, Relay, give_back, relay, take
from services.api.resources import WorkerResources
from services.local import postgres
from shared import ids
from shared.errors import UnavailableError
from shared.http import ServiceClient
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.schemas.events import EventBatch
from tests.support.apps import World, found_world
from tests.support.database import Databases
from tests.support.mentorships import pair_up
from tests.support.notifications import (
    client_of,
    notifications_settings,
    running_notifications,
    running_postbox,
    unreachable,
)
from tests.support.participants import take_part
from tests.support.programs import open_registration
from tests.support.work import Bench, WorkerDiedError, bench


@dataclass(slots=True)
class Line:
    """A relay of one organization, on a line to notifications that can be cut."""

    at_work: Bench
    databases: Databases
    client: ServiceClient
    batches: list[list[UUID]] = field(default_factory=list)

    @property
    def relay(self) -> Relay:
        """Return the relay."""
        return Relay(self.at_work.resources.database, self.client, self.at_work.resources.pepper)

    async def turn(self) -> int:
        """Take one turn for this organization."""
        return await relay(self.relay, organization_id=self.at_work.organization_id)

    async def drain(self) -> int:
        """Take turns until nothing waits."""
        sent = 0
        while worked := await self.turn():
            sent += worked
        return sent

    async def unsent(self) -> int:
        """Return how much waits."""
        rows = await self.at_work.rows("SELECT count(*) FROM outbox_message WHERE sent_at IS NULL")
        count: int = rows[0][0]
        return count

    async def received(self) -> set[UUID]:
        """Return what notifications remembers of the organization."""
        connection = await asyncpg.connect(self.databases.url(postgres.SUPERUSER, "notifications"))
        try:
            rows = await connection.fetch(
                "SELECT event_id FROM inbox WHERE organization_id = $1",
                self.at_work.organization_id,
            )
        finally:
            await connection.close()
        return {row["event_id"] for row in rows}

    async def recorded(self) -> set[UUID]:
        """Return everything that happened."""
        return {row[0] for row in await self.at_work.rows("SELECT id FROM outbox_message")}


async def begin_anew(databases: Databases) -> None:
    """Let nothing of other tests wait, and every bucket be as if nobody had served it yet."""
    connection = await asyncpg.connect(databases.url(postgres.SUPERUSER, "api"))
    await connection.execute("UPDATE outbox_message SET sent_at = now() WHERE sent_at IS NULL")
    await connection.execute("UPDATE relay_lease SET leased_until = NULL, lease_token = NULL")
    await connection.close()


@pytest.fixture
async def notifications(databases: Databases) -> AsyncIterator[FastAPI]:
    """Run notifications on the databases of this run."""
    async with running_postbox() as postbox:
        settings = notifications_settings(databases, smtp_port=postbox.port)
        async with running_notifications(settings) as app:
            yield app


@pytest.fixture
async def line(
    worker: WorkerResources, databases: Databases, world: World, notifications: FastAPI
) -> AsyncIterator[Line]:
    """Return the relay of a fresh organization."""
    client = client_of(notifications)
    yield Line(bench(worker, world), databases, client)
    await client.close()


async def test_everything_arrives_once(line: Line) -> None:
    made = await line.at_work.record(count=5)

    await line.drain()

    assert await line.unsent() == 0
    assert set(made) <= await line.received()
    assert await line.received() == await line.recorded()


async def test_people_are_told_and_named_as_the_directory_knows_them(line: Line) -> None:
    offer = await open_registration(line.at_work.world)
    mentor = await take_part(line.at_work.world, offer, "mentor")
    rows = await line.at_work.rows(
        "SELECT bucket FROM outbox_message WHERE type = 'participant.approved'"
    )
    tenant = Tenant(line.at_work.organization_id)

    async with transaction(line.at_work.resources.database.sessions, tenant) as session:
        batch = await jobs.read_batch(
            session,
            organization_id=line.at_work.organization_id,
            bucket=rows[0][0],
            pepper=line.relay.pepper,
        )

    (fact,) = [one for one in batch.events if one.type == "participant.approved"]
    card = next(
        one for one in fact.render.people if one.id == ids.parse_id("person", mentor.person["id"])
    )
    assert card.email == mentor.person["email"]
    assert card.name == f"{mentor.person['given_name']} {mentor.person['family_name']}"
    assert fact.audiences["person"] == [card.id]
    assert fact.render.program is not None
    assert fact.render.program.name == offer.program["name"]
    assert "recipients" not in fact.data


async def test_a_mentorship_fills_inboxes(line: Line) -> None:
    pair = await pair_up(line.at_work.world)

    await line.drain()

    person_id = ids.parse_id("person", pair.mentee.person["id"])
    counts = await calls.inbox_counts(
        line.client, organization_id=line.at_work.organization_id, person_id=person_id
    )
    assert counts.unread > 0


async def test_while_notifications_is_down_facts_wait_and_then_catch_up(line: Line) -> None:
    there = line.client
    line.client = unreachable(line.at_work.world.app)
    await line.at_work.record(count=4)
    with pytest.raises(UnavailableError):
        await line.turn()
    assert await line.received() == set()
    await line.client.close()

    line.client = there
    await line.drain()

    assert await line.received() == await line.recorded()


class Cut(httpx.AsyncBaseTransport):
    """A line on which something happens before or after a request has done its work."""

    def __init__(
        self,
        app: FastAPI,
        *,
        before: Callable[[], Awaitable[None]] | None = None,
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Take the application behind the line."""
        self._inner = httpx.ASGITransport(app=app)
        self._before, self._after = before, after

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a request on."""
        if self._before is not None:
            await self._before()
        response = await self._inner.handle_async_request(request)
        if self._after is not None:
            await self._after()
        return response


def cut(client: ServiceClient, transport: Cut) -> ServiceClient:
    """Lay the client's calls over another line."""
    client._http = httpx.AsyncClient(transport=transport, base_url="http://notifications.test")
    return client


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("death", [WorkerDiedError, asyncio.CancelledError])
async def test_a_relay_that_dies_around_the_call_is_followed_by_one_that_doubles_nothing(
    line: Line, notifications: FastAPI, moment: str, death: type[BaseException]
) -> None:
    async def die() -> None:
        raise death

    made = await line.at_work.record(count=3)
    there = line.client
    lost = cut(client_of(notifications), Cut(notifications, **{moment: die}))
    line.client = lost
    with pytest.raises(death):
        await line.turn()
    await lost.close()

    line.client = there
    line.at_work.clock.pass_time(LEASE_SECONDS + 1)
    await line.drain()

    assert await line.unsent() == 0
    assert set(made) <= await line.received()


async def test_a_relay_that_dies_before_it_marks_sends_again_and_doubles_nothing(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_arguments: Any, **_named: Any) -> None:
        raise WorkerDiedError

    await line.at_work.record(count=3)
    with monkeypatch.context() as patched:
        patched.setattr(queries, "mark_sent", die)
        with pytest.raises(WorkerDiedError):
            await line.turn()
    assert await line.unsent() > 0

    await line.drain()

    assert await line.unsent() == 0
    assert await line.received() == await line.recorded()


async def test_one_relay_at_a_time_serves_a_bucket(line: Line) -> None:
    database, organization_id = line.relay.database, line.at_work.organization_id
    await line.drain()
    await line.at_work.record()

    first = await take(database, organization_id=organization_id)
    assert first is not None
    assert await take(database, organization_id=organization_id) is None

    line.at_work.clock.pass_time(LEASE_SECONDS + 1)
    second = await take(database, organization_id=organization_id)
    assert second is not None
    assert await jobs.renew(database, first) is False
    await give_back(database, second)


async def test_two_relays_at_once_send_everything_in_order(
    line: Line, notifications: FastAPI
) -> None:
    arrived: list[tuple[UUID, UUID]] = []

    class Watched(httpx.AsyncBaseTransport):
        """Writes down what arrives, in the order it arrives."""

        inner = httpx.ASGITransport(app=notifications)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            """Pass a request on."""
            batch = EventBatch.model_validate_json(request.content)
            arrived.extend((one.aggregate_id, one.id) for one in batch.events)
            return await self.inner.handle_async_request(request)

    def relay_of() -> Relay:
        client = client_of(notifications)
        client._http = httpx.AsyncClient(transport=Watched(), base_url="http://notifications.test")
        return Relay(line.relay.database, client, line.relay.pepper)

    async def write() -> None:
        for _ in range(6):
            await line.at_work.world.add_person()
            await line.at_work.record(count=3)

    relays = [relay_of() for _ in range(2)]
    writing = asyncio.create_task(write())

    async def run(work: Relay) -> None:
        is_last = False
        while not is_last:
            is_last = writing.done()
            while await relay(work, organization_id=line.at_work.organization_id):
                is_last = False

    await asyncio.gather(writing, *(run(one) for one in relays))
    await run(relays[0])
    for one in relays:
        await one.notifications.close()

    assert await line.received() == await line.recorded()
    for aggregate_id in {one[0] for one in arrived}:
        order = [event_id for about, event_id in arrived if about == aggregate_id]
        assert order == sorted(order)
        assert len(order) == len(set(order))


async def test_one_organization_that_cannot_be_told_holds_up_no_other(
    line: Line, worker: WorkerResources, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Turns go by when a bucket was last served, and other tests serve with clocks that run ahead.
    await begin_anew(line.databases)
    other = await found_world(line.at_work.world.app)
    refused = line.at_work.organization_id
    await line.at_work.record(count=2)
    send = jobs.send

    async def failing(work: Relay, *, organization_id: UUID, bucket: int) -> int:
        if organization_id == refused:
            raise ValueError("its facts cannot be read")
        return await send(work, organization_id=organization_id, bucket=bucket)

    monkeypatch.setattr(jobs, "send", failing)
    beside = bench(worker, other)
    # Which bucket is served first is not known.
    for _ in range(100):
        with suppress(ValueError):
            await relay(line.relay)
        waits = await beside.rows("SELECT 1 FROM outbox_message WHERE sent_at IS NULL")
        if not waits:
            break
    assert waits == []
    assert await line.unsent() > 0
