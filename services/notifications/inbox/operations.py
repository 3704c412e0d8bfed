"""Changes of people's inboxes: read, archived, settled."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import CursorResult, delete, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.notifications.deliveries.tables import Message
from services.notifications.inbox import queries
from services.notifications.inbox.rules import ItemAction, apply
from services.notifications.inbox.tables import InboxItem, InboxMark
from services.notifications.templates.rendering import Rendered
from shared import ids


def item_of(message: Message, rendered: Rendered, *, asks: bool) -> InboxItem:
    """Return a told message as a line in its reader's inbox."""
    return InboxItem(
        organization_id=message.organization_id,
        id=ids.new_id(),
        message_id=message.id,
        event_id=message.event_id,
        person_id=message.person_id,
        kind=message.kind,
        message_class=message.message_class.value,
        resource=message.resource,
        resource_id=message.resource_id,
        program_id=message.program_id,
        title=rendered.title,
        body=rendered.body,
        asks=asks,
        created_at=message.created_at,
    )


async def act(
    session: AsyncSession,
    *,
    organization_id: UUID,
    person_id: UUID,
    item_id: UUID,
    action: ItemAction,
    now: datetime,
) -> InboxItem:
    """Read, un-read or archive one's own item; a repeat changes nothing."""
    item = await queries.lock(
        session, organization_id=organization_id, person_id=person_id, item_id=item_id
    )
    marks = apply(action, seen_at=item.seen_at, read_at=item.read_at, now=now)
    item.seen_at, item.read_at = marks.seen_at, marks.read_at
    if action is ItemAction.ARCHIVE and item.archived_at is None:
        item.archived_at = now
    return item


async def mark_read(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID, up_to: UUID, now: datetime
) -> None:
    """Mark everything up to an item as read; a mark that lags behind an earlier one does nothing.

    So a slow phone cannot touch what was set back to unread in the meantime.
    """
    await queries.lock(session, organization_id=organization_id, person_id=person_id, item_id=up_to)
    mark = await _raise_mark(
        session, organization_id=organization_id, person_id=person_id, up_to=up_to
    )
    if mark is None:
        return
    await session.execute(
        update(InboxItem)
        .where(
            col(InboxItem.organization_id) == organization_id,
            col(InboxItem.person_id) == person_id,
            col(InboxItem.id) > mark,
            col(InboxItem.id) <= up_to,
            col(InboxItem.read_at).is_(None),
        )
        .values(read_at=now, seen_at=now)
    )


async def _raise_mark(
    session: AsyncSession, *, organization_id: UUID, person_id: UUID, up_to: UUID
) -> UUID | None:
    """Return where the mark stood before it was raised, or None if it already stood there."""
    table = InboxMark.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
    nowhere = UUID(int=0)
    await session.execute(
        insert(table)
        .values(organization_id=organization_id, person_id=person_id, up_to=nowhere)
        .on_conflict_do_nothing()
    )
    mark = await session.get(InboxMark, (organization_id, person_id), with_for_update=True)
    if mark is None or mark.up_to >= up_to:
        return None
    before, mark.up_to = mark.up_to, up_to
    return before


async def settle(
    session: AsyncSession,
    *,
    organization_id: UUID,
    resource_id: UUID,
    kinds: Collection[str],
    actor_id: UUID | None,
    now: datetime,
) -> int:
    """Let questions about one thing rest: those of these kinds, and all the actor was asked."""
    result = await session.execute(
        update(InboxItem)
        .where(
            col(InboxItem.organization_id) == organization_id,
            col(InboxItem.resource_id) == resource_id,
            col(InboxItem.asks),
            col(InboxItem.settled_at).is_(None),
            or_(
                col(InboxItem.kind).in_(kinds),
                col(InboxItem.person_id) == actor_id,
            ),
        )
        .values(settled_at=now)
    )
    return result.rowcount if isinstance(result, CursorResult) else 0


async def forget(session: AsyncSession, *, organization_id: UUID) -> None:
    """Forget every inbox of an organization."""
    await session.execute(
        delete(InboxItem).where(col(InboxItem.organization_id) == organization_id)
    )
    await session.execute(
        delete(InboxMark).where(col(InboxMark.organization_id) == organization_id)
    )
