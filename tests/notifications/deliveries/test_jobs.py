"""Sending: what is due goes out once, what fails waits, what dies is tried again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from sqlmodel import col

from services.api.clients import notifications as calls
from services.notifications.channels.mail import Letter
from services.notifications.channels.results import Accepted, Result
from services.notifications.deliveries import jobs, operations, queries
from services.notifications.deliveries.operations import Finish
from services.notifications.deliveries.rules import (
    MAX_ATTEMPTS,
    WAITS,
    AttemptResult,
    DeliveryState,
    Outcome,
)
from services.notifications.deliveries.tables import Attempt, Delivery, Organization
from shared.persistence import leases
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.schemas.notifications import ClockMove
from tests.support.database import Databases
from tests.support.notifications import (
    Place,
    Postbox,
    Somebody,
    notifications_settings,
    running_notifications,
)


@pytest.fixture
async def sandbox(databases: Databases, postbox: Postbox) -> AsyncIterator[Place]:
    """Return a sandbox whose mail must not leave."""
    settings = notifications_settings(databases, smtp_port=postbox.port)
    async with running_notifications(settings) as app:
        yield Place(app, postbox, kind="sandbox")


async def approve(place: Place, *people: Somebody) -> None:
    """Tell each of these people that they take part."""
    await place.tell(
        *(place.fact("participant.approved", [one], audiences={"person": [one]}) for one in people)
    )


async def delivery_of(place: Place) -> Delivery:
    """Return the organization's only delivery."""
    async with transaction(place.resources.sessions, Tenant(place.id)) as session:
        return (await session.scalars(select(Delivery))).one()


async def attempts_of(place: Place) -> list[tuple[int, str]]:
    """Return number and result of each attempt."""
    async with transaction(place.resources.sessions, Tenant(place.id)) as session:
        rows = await session.scalars(select(Attempt).order_by(col(Attempt.no)))
        return [(one.no, one.result.value) for one in rows]


async def make_due(place: Place) -> None:
    """Let the wait be over."""
    async with transaction(place.resources.sessions, Tenant(place.id)) as session:
        await session.execute(update(Delivery).values(due_at=datetime.now(UTC)))


async def claim_own(place: Place) -> leases.Claim:
    """Claim this organization's delivery as a worker does."""
    (claimed,) = await jobs._claim(
        place.resources, queries.DUE_IN, organization_id=place.id, due_until=datetime.now(UTC)
    )
    return claimed


async def let_the_lease_run_out(place: Place) -> None:
    """Let the lease end as if its worker had been killed."""
    async with transaction(place.resources.sessions, Tenant(place.id)) as session:
        await session.execute(
            update(Delivery).values(leased_until=datetime.now(UTC) - timedelta(seconds=1))
        )


async def test_a_turn_of_the_worker_sends_what_is_due(place: Place) -> None:
    ada = Somebody("Ada")
    await approve(place, ada)

    while await jobs.deliver(place.resources, asyncio.Event()):
        pass

    (mail,) = place.postbox.to(str(ada.email))
    delivery = await delivery_of(place)
    assert delivery.state is DeliveryState.SENT
    assert str(mail["Message-ID"]) == place.resources.mail.mailer.message_id(delivery.id)
    assert await attempts_of(place) == [(1, "succeeded")]


async def test_many_mails_share_few_connections(place: Place) -> None:
    people = [Somebody(f"P{number}") for number in range(30)]
    await approve(place, *people)

    await place.work()

    assert len(place.postbox.mails) == 30
    assert place.postbox.connections <= place.resources.settings.smtp_connections


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        ("550 no such person", "bounced", "refused_by_server"),
        ("451 later please", "pending", "deferred_by_server"),
    ],
)
async def test_the_servers_word_decides_what_becomes_of_one_recipient(
    place: Place, answer: str, state: str, reason: str
) -> None:
    ada, ben = Somebody("Ada"), Somebody("Ben")
    place.postbox.refuse = lambda address: answer if address == ada.email else None
    await approve(place, ben)
    await place.work()
    await approve(place, ada)

    await place.work()

    async with transaction(place.resources.sessions, Tenant(place.id)) as session:
        rows = {one.person_id: one for one in await session.scalars(select(Delivery))}
    assert (rows[ada.id].state, rows[ada.id].reason) == (state, reason)
    assert rows[ben.id].state is DeliveryState.SENT


async def test_a_deferred_mail_is_tried_seven_times_and_then_dead(place: Place) -> None:
    ada = Somebody("Ada")
    place.postbox.refuse = lambda _address: "451 later please"
    await approve(place, ada)

    waited = []
    for _ in range(MAX_ATTEMPTS):
        before = datetime.now(UTC)
        await place.work()
        waited.append((await delivery_of(place)).due_at - before)
        await make_due(place)

    delivery = await delivery_of(place)
    assert delivery.state is DeliveryState.DEAD
    assert [one[1] for one in await attempts_of(place)] == ["failed"] * MAX_ATTEMPTS
    for actual, planned in zip(waited, WAITS, strict=False):
        assert abs(actual - planned) < timedelta(seconds=30)


async def test_a_server_that_is_away_bounces_nobody(place: Place) -> None:
    ada = Somebody("Ada")
    place.resources.mail._pool._settings.smtp_port = 1
    await approve(place, ada)

    await place.work()

    delivery = await delivery_of(place)
    assert (delivery.state, delivery.reason) == ("pending", "server_away")


async def test_a_worker_that_dies_after_the_claim_leaves_a_trace_and_the_work(
    place: Place,
) -> None:
    ada = Somebody("Ada")
    await approve(place, ada)
    await claim_own(place)
    assert place.postbox.mails == []

    await let_the_lease_run_out(place)
    await place.work()

    assert len(place.postbox.to(str(ada.email))) == 1
    assert await attempts_of(place) == [(1, "unknown"), (2, "succeeded")]


async def test_a_worker_that_dies_after_sending_repeats_the_same_message_id(place: Place) -> None:
    ada = Somebody("Ada")
    await approve(place, ada)
    claimed = await claim_own(place)
    async with transaction(place.resources.sessions, Tenant(place.id)) as session:
        found = await queries.parcels(session, organization_id=place.id, delivery_ids=[claimed.id])
    await place.resources.mail.send(jobs.letter_of(found[claimed.id]))

    await let_the_lease_run_out(place)
    await place.work()

    first, second = place.postbox.to(str(ada.email))
    assert first["Message-ID"] == second["Message-ID"]
    assert (await delivery_of(place)).state is DeliveryState.SENT


async def test_a_worker_that_lost_its_lease_changes_nothing(place: Place) -> None:
    await approve(place, Somebody("Ada"))
    claimed = await claim_own(place)
    await let_the_lease_run_out(place)
    await place.work()

    async with transaction(place.resources.sessions, Tenant(place.id)) as session:
        is_ours = await operations.finish(
            session,
            claimed,
            Finish(Outcome.GIVE_UP, AttemptResult.FAILED, "late"),
            real_now=datetime.now(UTC),
            now=datetime.now(UTC),
        )

    assert not is_ours
    assert (await delivery_of(place)).state is DeliveryState.SENT


async def test_a_row_that_kills_its_worker_runs_out_of_attempts(place: Place) -> None:
    await approve(place, Somebody("Ada"))
    for _ in range(MAX_ATTEMPTS):
        await claim_own(place)
        await let_the_lease_run_out(place)

    await jobs.bury(place.resources)

    delivery = await delivery_of(place)
    assert (delivery.state, delivery.reason) == ("dead", "attempts_exhausted")
    assert {result for _no, result in await attempts_of(place)} == {"unknown"}


async def test_a_worker_told_to_stop_gives_back_what_it_holds(place: Place) -> None:
    await approve(place, Somebody("Ada"))
    stop = asyncio.Event()
    stop.set()
    turn = jobs.Turn(place.resources, lambda parcel: parcel.delivery.due_at, stop)

    await jobs._work(turn, [await claim_own(place)])

    delivery = await delivery_of(place)
    assert (delivery.state, delivery.attempts, delivery.lease_token) == ("pending", 0, None)
    assert await attempts_of(place) == []


async def test_a_lease_is_renewed_while_a_server_takes_its_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await approve(place, Somebody("Ada"))
    monkeypatch.setattr(jobs, "RENEW_SECONDS", 0.01)
    ends: list[datetime | None] = []

    async def slowly(_letter: Letter) -> Result:
        async with asyncio.timeout(5):
            while len(set(ends)) < 3:
                ends.append((await delivery_of(place)).leased_until)
        return Accepted("250 at last")

    monkeypatch.setattr(place.resources.mail, "send", slowly)
    await place.work()

    assert (await delivery_of(place)).state is DeliveryState.SENT


async def test_whoever_left_meanwhile_is_not_written_to(place: Place) -> None:
    ada = Somebody("Ada")
    await approve(place, ada)
    ada.is_reachable = False
    await place.tell(place.fact("person.deactivated", [ada], audiences={}))

    await place.work()

    delivery = await delivery_of(place)
    assert (delivery.state, delivery.reason) == ("superseded", "person_left")
    assert place.postbox.mails == []


async def test_mail_goes_to_the_address_of_now(place: Place) -> None:
    ada = Somebody("Ada")
    await approve(place, ada)
    ada.email = "ada.new@example.org"
    await place.tell(place.fact("person.updated", [ada], audiences={}))

    await place.work()

    assert len(place.postbox.to("ada.new@example.org")) == 1


async def test_news_that_is_too_old_is_not_sent(place: Place) -> None:
    await approve(place, Somebody("Ada"))
    month = 31 * 24 * 3600
    async with transaction(place.resources.sessions, Tenant(place.id)) as session:
        await session.execute(update(Organization).values(clock_offset_seconds=month))

    while await jobs.deliver(place.resources, asyncio.Event()):
        pass

    delivery = await delivery_of(place)
    assert (delivery.state, delivery.reason) == ("expired", "too_late")


async def test_nothing_of_a_sandbox_leaves(sandbox: Place) -> None:
    ada = Somebody("Ada")
    await approve(sandbox, ada)

    await sandbox.work()

    found = await calls.captured_messages(sandbox.client, organization_id=sandbox.id)
    (message,) = found.items
    assert sandbox.postbox.connections == 0
    assert message.headers["Subject"] == "You take part in Rise"
    assert [one.content_type for one in message.parts] == ["text/plain", "text/html"]
    assert (await delivery_of(sandbox)).state is DeliveryState.SENT


async def test_a_local_stack_lets_a_sandbox_write_to_its_sink(
    databases: Databases, postbox: Postbox
) -> None:
    settings = notifications_settings(databases, smtp_port=postbox.port, sandbox_smtp=True)
    async with running_notifications(settings) as app:
        place = Place(app, postbox, kind="sandbox")
        ada = Somebody("Ada")
        await approve(place, ada)
        await place.work()

        found = await calls.captured_messages(place.client, organization_id=place.id)

    assert len(postbox.to(str(ada.email))) == len(found.items) == 1


async def test_a_sandboxs_clock_runs_what_is_due_in_order(
    databases: Databases, postbox: Postbox
) -> None:
    postbox.refuse = lambda _address: "451 later please"
    settings = notifications_settings(databases, smtp_port=postbox.port, sandbox_smtp=True)
    move = ClockMove(offset_seconds=86_400, run_until=datetime.now(UTC) + timedelta(days=1))
    async with running_notifications(settings) as app:
        place = Place(app, postbox, kind="sandbox")
        await approve(place, Somebody("Ada"))

        state = await calls.move_clock(place.client, organization_id=place.id, move=move)

        async with transaction(place.resources.sessions, Tenant(place.id)) as session:
            organization = (await session.scalars(select(Organization))).one()
        assert (state.worked, state.next_due_at) == (MAX_ATTEMPTS, None)
        assert (await delivery_of(place)).state is DeliveryState.DEAD
        assert organization.clock_offset_seconds == 86_400


async def test_a_sandbox_forgets_everything(sandbox: Place) -> None:
    ada = Somebody("Ada")
    await approve(sandbox, ada)
    await sandbox.work()

    await calls.reset(sandbox.client, organization_id=sandbox.id)

    counts = await calls.inbox_counts(sandbox.client, organization_id=sandbox.id, person_id=ada.id)
    found = await calls.captured_messages(sandbox.client, organization_id=sandbox.id)
    assert (counts.unread, found.items) == (0, [])


async def test_the_log_shows_what_became_of_a_mail_to_whom_it_was_for(place: Place) -> None:
    ada, ben = Somebody("Ada"), Somebody("Ben", email=None)
    await approve(place, ada, ben)
    await place.work()

    own = await calls.own_deliveries(
        place.client, organization_id=place.id, person_id=ben.id, before=None, limit=10
    )
    every = await calls.deliveries(
        place.client,
        organization_id=place.id,
        person_id=None,
        state="sent",
        before=None,
        limit=10,
    )

    assert [(one.state, one.reason) for one in own.items] == [("suppressed", "no_address")]
    assert [one.person_id for one in every.items] == [ada.id]
