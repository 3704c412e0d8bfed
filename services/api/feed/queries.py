"""Reads of the outbox in the order of the feed.

Sequence order is not commit order: whoever remembers the highest id misses a row whose
transaction began earlier and committed later. So the order is (epoch, transaction, id), and rows
are shown once no transaction at or before theirs can still commit.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    String,
    bindparam,
    cast,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy import Text as SqlText
from sqlalchemy.dialects.postgresql import ARRAY

from services.api.events.tables import OutboxMessage, TransactionId
from services.api.feed.rules import NOTHING, Place
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, once

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
    """Return the condition that a reader of the feed may see the row: all of their organization."""
    mine: ColumnElement[bool] = OUTBOX.c.organization_id == bindparam("organization_id")
    return mine


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
