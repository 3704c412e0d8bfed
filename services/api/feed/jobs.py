"""The relay: what happened, on its way to notifications, in order per aggregate.

One relay at a time serves a bucket, so an aggregate's facts never overtake each other. Content is
read in one short transaction, sent with none open, and marked in another: a relay that dies in
between leaves rows that are sent again, and notifications knows them by their id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import ColumnElement, Select, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import codes
from services.api.clients import notifications
from services.api.events.tables import OutboxMessage, RelayLease
from services.api.feed import queries, rules
from services.api.timers.jobs import organizations
from shared.errors import UnavailableError
from shared.http import ServiceClient
from shared.persistence.leases import NOW, JobDatabase
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.schemas.events import (
    MAX_BATCH,
    EventBatch,
    EventEnvelope,
    MeetingCard,
    OrganizationCard,
    PersonCard,
    ProgramCard,
    Render,
    SignInCode,
)

OUTBOX = OutboxMessage.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
LEASES = RelayLease.__table__  # type: ignore[attr-defined]  # as above
# Longer than a call may take, so that no second relay begins while one still waits for its answer.
LEASE_SECONDS = 30

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Relay:
    """Where facts come from, where they go, and the secret that codes in mails are made with."""

    database: JobDatabase
    notifications: ServiceClient
    pepper: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hold:
    """The right to relay one bucket for a while."""

    bucket: int
    lease_token: UUID


@dataclass(frozen=True, slots=True)
class Cards:
    """Everything a batch of messages may have to show."""

    organization: OrganizationCard
    people: Mapping[UUID, PersonCard]
    programs: Mapping[UUID, ProgramCard]
    meetings: Mapping[UUID, MeetingCard]


async def relay(work: Relay, *, organization_id: UUID | None = None) -> int:
    """Send what waits in the bucket that was served least recently; return how many rows."""
    hold = await take(work.database, organization_id=organization_id)
    if hold is None:
        return 0
    try:
        return await _serve(work, hold, organization_id)
    finally:
        await give_back(work.database, hold)


async def _serve(work: Relay, hold: Hold, organization_id: UUID | None) -> int:
    sent, failure = 0, None
    for one in await _waiting(work.database, hold.bucket, organization_id):
        if not await renew(work.database, hold):
            break
        try:
            sent += await send(work, organization_id=one, bucket=hold.bucket)
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - one organization's fault stays its own
            logger.warning(
                "relay_failed", organization_id=str(one), error_type=type(error).__name__
            )
            failure = error
    if failure is not None and not sent:
        raise failure
    return sent


@cache
def _free(*, is_whole: bool) -> Select[int]:
    """Return the search for a bucket with work: built once, as idle relays look often."""
    whose = () if is_whole else (OUTBOX.c.organization_id == bindparam("whose"),)
    waits = select(OUTBOX.c.id).where(
        OUTBOX.c.bucket == LEASES.c.bucket, OUTBOX.c.sent_at.is_(None), *whose
    )
    return (
        select(LEASES.c.bucket)
        .where(or_(LEASES.c.lease_token.is_(None), LEASES.c.leased_until <= NOW), waits.exists())
        .order_by(LEASES.c.leased_until.asc().nulls_first())
        .limit(1)
        .with_for_update(skip_locked=True)
    )


async def take(database: JobDatabase, *, organization_id: UUID | None = None) -> Hold | None:
    """Become the relay of one bucket in which something waits."""
    now = database.clock()
    values = {"now": now} if organization_id is None else {"now": now, "whose": organization_id}
    async with database.claims.begin() as connection:
        bucket = await connection.scalar(_free(is_whole=organization_id is None), values)
        if bucket is None:
            return None
        hold = Hold(bucket, uuid4())
        await connection.execute(
            update(LEASES)
            .where(LEASES.c.bucket == bucket)
            .values(leased_until=_until(now), lease_token=hold.lease_token)
        )
        return hold


async def renew(database: JobDatabase, hold: Hold) -> bool:
    """Go on being the relay; False means that somebody else is."""
    return await _set(database, hold, leased_until=_until(database.clock()))


async def give_back(database: JobDatabase, hold: Hold) -> None:
    """Let the next one serve the bucket; the time is kept, so that others come first."""
    await _set(database, hold, leased_until=database.clock(), lease_token=None)


async def _set(database: JobDatabase, hold: Hold, **values: object) -> bool:
    async with database.claims.begin() as connection:
        result = await connection.execute(
            update(LEASES)
            .where(LEASES.c.bucket == hold.bucket, LEASES.c.lease_token == hold.lease_token)
            .values(**values)
        )
        return bool(result.rowcount)


def _until(now: datetime) -> datetime:
    return now + timedelta(seconds=LEASE_SECONDS)


def _whose(organization_id: UUID | None) -> tuple[ColumnElement[bool], ...]:
    return () if organization_id is None else (OUTBOX.c.organization_id == organization_id,)


async def _waiting(
    database: JobDatabase, bucket: int, organization_id: UUID | None
) -> Sequence[UUID]:
    waiting = (
        select(OUTBOX.c.organization_id)
        .where(OUTBOX.c.bucket == bucket, OUTBOX.c.sent_at.is_(None), *_whose(organization_id))
        .distinct()
    )
    async with database.claims.connect() as connection:
        return (await connection.scalars(waiting)).all()


async def send(work: Relay, *, organization_id: UUID, bucket: int) -> int:
    """Send one batch of one organization and remember that it arrived."""
    tenant = Tenant(organization_id)
    async with transaction(work.database.sessions, tenant) as session:
        batch = await read_batch(
            session, organization_id=organization_id, bucket=bucket, pepper=work.pepper
        )
    if not batch.events:
        return 0
    await notifications.send_events(
        work.notifications, organization_id=organization_id, batch=batch
    )
    async with transaction(work.database.sessions, tenant) as session:
        await queries.mark_sent(
            session,
            organization_id=organization_id,
            event_ids=[one.id for one in batch.events],
            now=work.database.clock(),
        )
    return len(batch.events)


async def read_batch(
    session: AsyncSession, *, organization_id: UUID, bucket: int, pepper: bytes
) -> EventBatch:
    """Return what waits, each fact with what its messages may show."""
    rows = await queries.unsent(
        session, organization_id=organization_id, bucket=bucket, limit=MAX_BATCH
    )
    cards = await _cards(session, organization_id, rows) if rows else None
    return EventBatch(events=[_envelope(row, cards, pepper) for row in rows if cards is not None])


async def _cards(
    session: AsyncSession, organization_id: UUID, rows: Sequence[OutboxMessage]
) -> Cards:
    meetings = await queries.meeting_cards(
        session,
        organization_id=organization_id,
        meeting_ids={row.aggregate_id for row in rows if _is_about(row, "meeting")},
    )
    people = {one for row in rows for one in rules.people_in(row.data)}
    people.update(one for meeting in meetings.values() for one in meeting.attendee_ids)
    return Cards(
        organization=await queries.organization_card(session, organization_id=organization_id),
        people=await queries.person_cards(
            session, organization_id=organization_id, person_ids=people
        ),
        programs=await queries.program_cards(
            session,
            organization_id=organization_id,
            program_ids={one for row in rows if (one := _program_id(row))},
        ),
        meetings=meetings,
    )


def _envelope(row: OutboxMessage, cards: Cards, pepper: bytes) -> EventEnvelope:
    program_id = _program_id(row)
    meeting = cards.meetings.get(row.aggregate_id)
    named = {*rules.people_in(row.data), *(meeting.attendee_ids if meeting else ())}
    return EventEnvelope(
        id=row.id,
        type=row.type,
        occurred_at=row.occurred_at,
        organization_id=row.organization_id,
        aggregate_id=row.aggregate_id,
        aggregate_version=row.aggregate_version,
        program_id=program_id,
        data=_without_recipients(row.data),
        audiences=row.data["recipients"],
        render=Render(
            organization=cards.organization,
            people=[cards.people[one] for one in sorted(named) if one in cards.people],
            program=cards.programs.get(program_id) if program_id else None,
            meeting=meeting,
            sign_in_code=_sign_in_code(row, pepper),
            mail_to=row.mail_to,
        ),
    )


def _sign_in_code(row: OutboxMessage, pepper: bytes) -> SignInCode | None:
    """Return the code of a sign-in; what nobody is told holds none either."""
    if row.type != codes.REQUESTED or not row.data["recipients"]:
        return None
    return SignInCode(
        code=codes.code_of(
            pepper, organization_id=row.organization_id, challenge_id=row.aggregate_id
        ),
        expires_at=row.occurred_at + codes.LIFETIME,
    )


def _is_about(row: OutboxMessage, resource: str) -> bool:
    return row.type.partition(".")[0] == resource


def _program_id(row: OutboxMessage) -> UUID | None:
    return row.aggregate_id if _is_about(row, "program") else row.program_id


def _without_recipients(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "recipients"}


async def forget_old(database: JobDatabase) -> None:
    """Delete events whose time to be read is over; real time, in a sandbox too."""
    oldest = rules.oldest_kept(database.clock())
    for organization_id in await organizations(database):
        async with transaction(database.sessions, Tenant(organization_id)) as session:
            await queries.forget_old(session, organization_id=organization_id, older_than=oldest)
