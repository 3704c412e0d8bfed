"""Reads of the outbox in the order of the feed.

Sequence order is not commit order: whoever remembers the highest id misses a row whose
transaction began earlier and committed later. So the order is (epoch, transaction, id), and rows
are shown once no transaction at or before theirs can still commit.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    bindparam,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy import Text as SqlText
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.events.rules import INNER_TYPES
from services.api.events.tables import OutboxMessage, TransactionId
from services.api.feed.rules import NOTHING, Place
from services.api.meetings.tables import Meeting, MeetingAttendee
from services.api.organizations.tables import Organization
from services.api.people.rules import SIGNS_IN
from services.api.people.tables import Person
from services.api.programs.tables import Program
from services.api.timers.tables import OrganizationClock
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, once
from shared.schemas.events import MeetingCard, OrganizationCard, PersonCard, ProgramCard

OUTBOX = OutboxMessage.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
EPOCH: ColumnElement[int] = func.current_feed_epoch()
OLDEST_RUNNING: ColumnElement[str] = func.pg_snapshot_xmin(func.pg_current_snapshot())
SHOWN = (
    OUTBOX.c.organization_id,
    OUTBOX.c.id,
    OUTBOX.c.type,
    OUTBOX.c.aggregate_id,
    OUTBOX.c.aggregate_version,
    OUTBOX.c.program_id,
    OUTBOX.c.data,
    OUTBOX.c.epoch,
    cast(OUTBOX.c.xid, SqlText).label("xid"),
    OUTBOX.c.occurred_at,
)


def visible_to() -> ColumnElement[bool]:
    """Return the condition that a reader of the feed may see the row: all of their organization.

    Facts that are for notifications alone are no part of the feed.
    """
    mine = OUTBOX.c.organization_id == bindparam("organization_id")
    return and_(mine, *(OUTBOX.c.type != inner for inner in INNER_TYPES))


@once
def _after(*, is_filtered: bool) -> AnySelect:
    # The driver knows no xid8; as text it crosses in both directions.
    place = tuple_(
        bindparam("epoch", type_=OUTBOX.c.epoch.type),
        cast(bindparam("xid", type_=String), TransactionId()),
        bindparam("id", type_=OUTBOX.c.id.type),
    )
    statement = select(*SHOWN).where(
        visible_to(),
        tuple_(OUTBOX.c.epoch, OUTBOX.c.xid, OUTBOX.c.id) > place,
        or_(OUTBOX.c.epoch < EPOCH, OUTBOX.c.xid < OLDEST_RUNNING),
    )
    if is_filtered:
        types = bindparam("types", type_=ARRAY(String))
        statement = statement.where(OUTBOX.c.type == func.any(types))
    return statement.order_by(OUTBOX.c.epoch, OUTBOX.c.xid, OUTBOX.c.id).limit(bindparam("limit"))


@once
def _one() -> AnySelect:
    return select(*SHOWN).where(visible_to(), OUTBOX.c.id == bindparam("event_id"))


@once
def _head() -> AnySelect:
    return select(EPOCH.label("epoch"), cast(OLDEST_RUNNING, SqlText).label("xid"))


async def head(reader: Reader) -> Place:
    """Return the place behind everything that can be read now."""
    row = await reader.fetch_one(_head())
    if row is None:
        raise NotFoundError
    return Place(row["epoch"], int(row["xid"]), NOTHING)


async def after(
    reader: Reader,
    *,
    organization_id: UUID,
    place: Place,
    types: Sequence[str] | None,
    limit: int,
) -> Sequence[Mapping[str, Any]]:
    """Return the events behind a place, in order."""
    values: dict[str, object] = {"types": list(types)} if types else {}
    return await reader.fetch(
        _after(is_filtered=bool(types)),
        organization_id=organization_id,
        epoch=place.epoch,
        xid=str(place.xid),
        id=place.id,
        limit=limit,
        **values,
    )


async def get(reader: Reader, *, organization_id: UUID, event_id: UUID) -> Mapping[str, Any]:
    """Return one event."""
    row = await reader.fetch_one(_one(), organization_id=organization_id, event_id=event_id)
    if row is None:
        raise NotFoundError
    return row


def place_of(row: Mapping[str, Any]) -> Place:
    """Return the place just behind an event."""
    return Place(row["epoch"], int(row["xid"]), row["id"])


def _ids(values: Collection[UUID]) -> ColumnElement[Any]:
    # One array as one parameter: a list of parameters would be a new statement for each length.
    return literal(list(values), ARRAY(OUTBOX.c.id.type))


async def unsent(
    session: AsyncSession, *, organization_id: UUID, bucket: int, limit: int
) -> Sequence[OutboxMessage]:
    """Return what notifications does not have yet of one bucket, in order."""
    rows = await session.scalars(
        select(OutboxMessage)
        .where(
            col(OutboxMessage.organization_id) == organization_id,
            col(OutboxMessage.bucket) == bucket,
            col(OutboxMessage.sent_at).is_(None),
        )
        .order_by(col(OutboxMessage.id))
        .limit(limit)
    )
    return rows.all()


async def mark_sent(
    session: AsyncSession, *, organization_id: UUID, event_ids: Sequence[UUID], now: datetime
) -> None:
    """Remember that notifications has these; `now` is the real time."""
    await session.execute(
        update(OutboxMessage)
        .where(
            col(OutboxMessage.organization_id) == organization_id,
            col(OutboxMessage.id) == func.any(_ids(event_ids)),
            col(OutboxMessage.sent_at).is_(None),
        )
        .values(sent_at=now, mail_to=None)
        .execution_options(synchronize_session=False)
    )


async def forget_old(session: AsyncSession, *, organization_id: UUID, older_than: UUID) -> None:
    """Delete events that were sent and reacted to and whose time to be read is over."""
    await session.execute(
        delete(OutboxMessage)
        .where(
            col(OutboxMessage.organization_id) == organization_id,
            col(OutboxMessage.id) < older_than,
            col(OutboxMessage.sent_at).is_not(None),
            col(OutboxMessage.consumed_at).is_not(None),
        )
        .execution_options(synchronize_session=False)
    )


async def organization_card(session: AsyncSession, *, organization_id: UUID) -> OrganizationCard:
    """Return what messages need to know of the organization."""
    table, clock = Organization, OrganizationClock
    row = (
        await session.execute(
            select(
                col(table.name),
                col(table.kind),
                col(table.default_locale),
                col(table.default_timezone),
                col(clock.offset_seconds),
            )
            .join(clock, col(clock.organization_id) == col(table.organization_id))
            .where(col(table.organization_id) == organization_id)
        )
    ).one()
    return OrganizationCard(
        name=row.name,
        kind=row.kind.value,
        clock_offset_seconds=row.offset_seconds,
        locale=row.default_locale,
        timezone=row.default_timezone,
    )


async def person_cards(
    session: AsyncSession, *, organization_id: UUID, person_ids: Collection[UUID]
) -> Mapping[UUID, PersonCard]:
    """Return who messages go to or name; nobody writes to somebody who left."""
    rows = await session.execute(
        select(
            col(Person.id),
            func.concat_ws(
                " ",
                func.coalesce(col(Person.preferred_name), col(Person.given_name)),
                col(Person.family_name),
            ).label("name"),
            col(Person.email),
            col(Person.locale),
            col(Person.timezone),
            col(Person.status),
        ).where(
            col(Person.organization_id) == organization_id,
            col(Person.id) == func.any(_ids(person_ids)),
        )
    )
    return {
        row.id: PersonCard(
            id=row.id,
            name=row.name,
            email=row.email if row.status in SIGNS_IN else None,
            locale=row.locale,
            timezone=row.timezone,
            is_reachable=row.status in SIGNS_IN,
        )
        for row in rows
    }


async def program_cards(
    session: AsyncSession, *, organization_id: UUID, program_ids: Collection[UUID]
) -> Mapping[UUID, ProgramCard]:
    """Return the programs that messages are about."""
    rows = await session.execute(
        select(col(Program.id), col(Program.name), col(Program.sensitive)).where(
            col(Program.organization_id) == organization_id,
            col(Program.id) == func.any(_ids(program_ids)),
        )
    )
    return {
        row.id: ProgramCard(id=row.id, name=row.name, is_sensitive=row.sensitive) for row in rows
    }


async def meeting_cards(
    session: AsyncSession, *, organization_id: UUID, meeting_ids: Collection[UUID]
) -> Mapping[UUID, MeetingCard]:
    """Return where meetings stand in calendars; titles, notes and places are nobody else's."""
    if not meeting_ids:
        return {}
    attendees = (
        select(func.array_agg(col(MeetingAttendee.person_id)))
        .where(
            col(MeetingAttendee.organization_id) == col(Meeting.organization_id),
            col(MeetingAttendee.meeting_id) == col(Meeting.id),
        )
        .scalar_subquery()
    )
    rows = await session.execute(
        select(
            col(Meeting.id),
            col(Meeting.status),
            col(Meeting.starts_at),
            col(Meeting.ends_at),
            col(Meeting.timezone),
            col(Meeting.ical_uid),
            col(Meeting.ical_sequence),
            attendees.label("attendee_ids"),
        ).where(
            col(Meeting.organization_id) == organization_id,
            col(Meeting.id) == func.any(_ids(meeting_ids)),
        )
    )
    return {
        row.id: MeetingCard(
            id=row.id,
            state=row.status.value,
            starts_at=row.starts_at,
            ends_at=row.ends_at,
            timezone=row.timezone,
            ical_uid=row.ical_uid,
            ical_sequence=row.ical_sequence,
            attendee_ids=row.attendee_ids or [],
        )
        for row in rows
    }
