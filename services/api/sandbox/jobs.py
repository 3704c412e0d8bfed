"""Move the clocks of sandboxes, as life would: one due time after another, in both services.

At each stop everything due is done and told before the clock goes on. Where it stands is kept, so
a worker that dies on the way is followed by one that goes on from there.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import func, or_, select, update

from services.api.clients import notifications
from services.api.events import jobs as events
from services.api.events.jobs import Consumers
from services.api.feed import jobs as feed
from services.api.feed.jobs import Relay
from services.api.sandbox import operations, queries, rules
from services.api.timers import jobs as timers
from services.api.timers.jobs import TimerHandlers
from shared.http import ServiceClient
from shared.persistence import leases
from shared.persistence.leases import ENDLESS, Claim, JobDatabase, Queue, Search
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.schemas.notifications import ClockMove
from shared.workers.backoff import Backoff
from shared.workers.rows import work_off

QUEUE = Queue(
    queries.CLOCKS,
    lease_seconds=30,
    max_attempts=ENDLESS,
    key="organization_id",
    order=("organization_id",),
)
DUE = Search(
    QUEUE,
    or_(queries.CLOCKS.c.advance_to.is_not(None), queries.CLOCKS.c.reset_at.is_not(None)),
    limit=1,
)
TIMERS, OUTBOX = timers.QUEUE.table, events.QUEUE.table
BACKOFF = Backoff(first=1, ceiling=30)
# A row that another worker holds, or that failed a moment ago, is waited for.
WAIT = timedelta(seconds=0.2)


@dataclass(frozen=True, slots=True)
class Desk:
    """What moving a clock needs: whoever reacts to time and facts, and what the relay needs."""

    database: JobDatabase
    handlers: TimerHandlers
    consumers: Consumers
    notifications: ServiceClient | None
    pepper: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a clock stands, where it is going, and whether its sandbox is to be emptied."""

    now: datetime
    offset_seconds: int
    target: datetime | None
    is_to_be_emptied: bool


async def turn(desk: Desk) -> int:
    """Work on one sandbox; return how many there were."""
    database = desk.database
    claims = await leases.claim(database.claims, DUE, now=database.clock())
    return await work_off(database, QUEUE, claims, partial(_work, desk), backoff=BACKOFF)


async def _work(desk: Desk, claimed: Claim) -> None:
    while (stand := await _stand(desk.database, claimed)) is not None:
        if stand.is_to_be_emptied:
            await _empty(desk, claimed)
        elif stand.target is None or not await _step(desk, claimed, stand, stand.target):
            until = desk.database.clock() + WAIT
            await leases.postpone(desk.database.claims, QUEUE, claimed, until=until, failure=None)


async def _stand(database: JobDatabase, claimed: Claim) -> Stand | None:
    """Renew the lease and return where the clock stands; None when somebody else moves it."""
    real_now, clocks = database.clock(), QUEUE.table.c
    renewal = (
        update(QUEUE.table)
        .where(
            clocks.organization_id == claimed.organization_id,
            clocks.lease_token == claimed.lease_token,
        )
        .values(leased_until=real_now + timedelta(seconds=QUEUE.lease_seconds))
        .returning(clocks.offset_seconds, clocks.advance_to, clocks.reset_at)
    )
    async with database.claims.begin() as connection:
        row = (await connection.execute(renewal)).one_or_none()
    if row is None:
        return None
    return Stand(
        now=real_now + timedelta(seconds=row.offset_seconds),
        offset_seconds=row.offset_seconds,
        target=row.advance_to,
        is_to_be_emptied=row.reset_at is not None,
    )


async def _step(desk: Desk, claimed: Claim, stand: Stand, target: datetime) -> bool:
    """Do everything due, then go on to the next due time; False while something still waits."""
    await _do_due(desk, claimed)
    seen = await _look(desk.database, claimed, now=stand.now)
    is_untold = desk.notifications is not None and seen.is_unsent
    if seen.is_due or seen.is_unconsumed or is_untold:
        return False
    told_next = await _tell(desk, claimed, stand)
    stop = rules.next_stop(seen.next_due_at, told_next, now=stand.now, target=target)
    await _set(desk.database, claimed, stop, has_arrived=stand.now >= target)
    return True


async def _look(database: JobDatabase, claimed: Claim, *, now: datetime) -> Any:
    """Return what still waits at this instant, and when the next timer is due."""
    living = (
        TIMERS.c.organization_id == claimed.organization_id,
        TIMERS.c.done_at.is_(None),
        TIMERS.c.attempts < timers.QUEUE.max_attempts,
    )
    facts = OUTBOX.c.organization_id == claimed.organization_id
    unconsumed = OUTBOX.c.consumed_at.is_(None) & (OUTBOX.c.attempts < events.QUEUE.max_attempts)
    statement = select(
        select(TIMERS.c.id).where(*living, TIMERS.c.due_at <= now).exists().label("is_due"),
        select(OUTBOX.c.id).where(facts, unconsumed).exists().label("is_unconsumed"),
        select(OUTBOX.c.id).where(facts, OUTBOX.c.sent_at.is_(None)).exists().label("is_unsent"),
        select(func.min(TIMERS.c.due_at))
        .where(*living, TIMERS.c.due_at > now)
        .scalar_subquery()
        .label("next_due_at"),
    )
    # None of it is content, so whoever claims may ask.
    async with database.claims.connect() as connection:
        return (await connection.execute(statement)).one()


async def _do_due(desk: Desk, claimed: Claim) -> None:
    organization_id, database = claimed.organization_id, desk.database
    worked = 1
    while worked:
        worked = await timers.fire_due(database, desk.handlers, organization_id=organization_id)
        worked += await events.consume(database, desk.consumers, organization_id=organization_id)
        if desk.notifications is not None and not worked:
            relay = Relay(database, desk.notifications, desk.pepper)
            worked = await feed.relay(relay, organization_id=organization_id)
        if worked:
            await leases.renew(database.claims, QUEUE, claimed, now=database.clock())


async def _tell(desk: Desk, claimed: Claim, stand: Stand) -> datetime | None:
    """Let notifications do what is due by now, and return when it has more to do."""
    if desk.notifications is None:
        return None
    state = await notifications.move_clock(
        desk.notifications,
        organization_id=claimed.organization_id,
        move=ClockMove(offset_seconds=stand.offset_seconds, run_until=stand.now),
    )
    return state.next_due_at


async def _set(database: JobDatabase, claimed: Claim, stop: datetime, *, has_arrived: bool) -> None:
    async with transaction(database.sessions, Tenant(claimed.organization_id)) as session:
        clock = await operations.hold(session, claimed)
        if clock is None:
            return
        clock.offset_seconds = rules.offset_at(
            stop, real_now=database.clock(), current=clock.offset_seconds
        )
        # Somebody may have sent the clock further while this step was done.
        if has_arrived and clock.advance_to is not None and clock.advance_to <= stop:
            clock.advance_to = None
            if clock.reset_at is None:
                operations.let_go(clock)


async def _empty(desk: Desk, claimed: Claim) -> None:
    """Empty both services, then say so; done again from the start if a worker dies in between."""
    database, tenant = desk.database, Tenant(claimed.organization_id)
    async with transaction(database.sessions, tenant) as session:
        if await operations.hold(session, claimed) is None:
            return
        await operations.empty(session, organization_id=claimed.organization_id)
    if desk.notifications is not None:
        await notifications.reset(desk.notifications, organization_id=claimed.organization_id)
    async with transaction(database.sessions, tenant) as session:
        clock = await operations.hold(session, claimed)
        if clock is not None:
            clock.offset_seconds = 0
            clock.advance_to = clock.reset_at = None
            operations.let_go(clock)
