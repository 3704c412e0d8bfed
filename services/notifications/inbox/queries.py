"""Reads of one person's inbox."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, bindparam, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.inbox.rules import COUNTED
from services.notifications.inbox.tables import InboxItem
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, once

TABLE = InboxItem.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker

_OPEN = TABLE.c.archived_at.is_(None)
_ASKING = TABLE.c.asks & TABLE.c.settled_at.is_(None)
STATES: Mapping[str, ColumnElement[bool]] = {
    "open": _OPEN,
    "unread": _OPEN & TABLE.c.read_at.is_(None),
    "read": _OPEN & TABLE.c.read_at.is_not(None),
    "needs_action": _OPEN & _ASKING,
    "archived": TABLE.c.archived_at.is_not(None),
}


def _own() -> ColumnElement[bool]:
    return and_(
        TABLE.c.organization_id == bindparam("organization_id"),
        TABLE.c.person_id == bindparam("person_id"),
    )


@once
def _items(state: str, *, is_first: bool) -> AnySelect:
    statement = select(*TABLE.c).where(_own(), STATES[state])
    if not is_first:
        statement = statement.where(TABLE.c.id < bindparam("before"))
    return statement.order_by(TABLE.c.id.desc()).limit(bindparam("limit"))


@once
def _counts() -> AnySelect:
    return select(
        _count(STATES["unread"] & TABLE.c.seen_at.is_(None)).label("unseen"),
        _count(STATES["unread"]).label("unread"),
        _count(STATES["needs_action"]).label("needs_action"),
    )


def _count(condition: ColumnElement[bool]) -> Any:
    # Counting ends where a badge stops showing more.
    found = (
        select(literal_column("1")).select_from(TABLE).where(_own(), condition).limit(COUNTED)
    ).subquery()
    return select(func.count()).select_from(found).scalar_subquery()


async def items(
    reader: Reader,
    *,
    organization_id: UUID,
    person_id: UUID,
    state: str,
    before: UUID | None,
    limit: int,
) -> list[Mapping[str, Any]]:
    """Return a person's items in one state, newest first."""
    place = {} if before is None else {"before": before}
    return await reader.fetch(
        _items(state, is_first=before is None),
        organization_id=organization_id,
        person_id=person_id,
        limit=limit,
        **place,
    )


async def counts(reader: Reader, *, organization_id: UUID, person_id: UUID) -> Mapping[str, Any]:
    """Return how much waits in a person's inbox."""
    row = await reader.fetch_one(_counts(), organization_id=organization_id, person_id=person_id)
    return row or {"unseen": 0, "unread": 0, "needs_action": 0}


async def lock(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID, item_id: UUID
) -> InboxItem:
    """Load one's own item for a change."""
    item = await session.get(InboxItem, (organization_id, item_id), with_for_update=True)
    if item is None or item.person_id != person_id:
        raise NotFoundError
    return item
