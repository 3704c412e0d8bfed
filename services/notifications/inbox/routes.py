"""The inbox of whoever the caller speaks for."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from services.notifications.dependencies import (
    CallerDep,
    NowDep,
    PersonDep,
    ReaderDep,
    SessionDep,
)
from services.notifications.inbox import operations, queries
from services.notifications.inbox.rules import ItemAction
from shared.persistence.reads import SessionReader
from shared.schemas.notifications import (
    InboxCounts,
    InboxItemCard,
    InboxItems,
    ItemState,
    ReadMark,
)
from shared.web import responses

router = APIRouter(prefix="/internal", tags=["inbox"])

Limit = Annotated[int, Query(ge=1, le=201)]


def present(row: Mapping[str, Any]) -> InboxItemCard:
    """Show an item as it stands."""
    is_waiting = row["asks"] and row["settled_at"] is None and row["archived_at"] is None
    return InboxItemCard.model_validate({**row, "needs_action": is_waiting})


@router.get("/inbox-items", response_model=InboxItems)
async def list_inbox_items(
    *,
    caller: CallerDep,
    person_id: PersonDep,
    reader: ReaderDep,
    state: ItemState = "open",
    before: UUID | None = None,
    limit: Limit = 51,
) -> Response:
    """Return items, newest first."""
    rows = await queries.items(
        reader,
        organization_id=caller.organization_id,
        person_id=person_id,
        state=state,
        before=before,
        limit=limit,
    )
    return responses.one(InboxItems(items=[present(row) for row in rows]))


@router.get("/inbox-counts", response_model=InboxCounts)
async def count_inbox(caller: CallerDep, person_id: PersonDep, reader: ReaderDep) -> Response:
    """Return how much waits."""
    found = await queries.counts(
        reader, organization_id=caller.organization_id, person_id=person_id
    )
    return responses.one(InboxCounts.model_validate(dict(found)))


@router.post("/inbox-items/{item_id}/{action}", response_model=InboxItemCard)
async def act_on_inbox_item(
    *,
    item_id: UUID,
    action: ItemAction,
    caller: CallerDep,
    person_id: PersonDep,
    session: SessionDep,
    now: NowDep,
) -> Response:
    """Read, un-read or archive one item."""
    item = await operations.act(
        session,
        organization_id=caller.organization_id,
        person_id=person_id,
        item_id=item_id,
        action=action,
        now=now,
    )
    return responses.one(present(item.model_dump()))


@router.post("/inbox-read-marks", response_model=InboxCounts)
async def mark_inbox_read(
    body: ReadMark, caller: CallerDep, person_id: PersonDep, session: SessionDep, now: NowDep
) -> Response:
    """Mark everything up to one item as read."""
    whose = {"organization_id": caller.organization_id, "person_id": person_id}
    await operations.mark_read(session, **whose, up_to=body.up_to, now=now)
    found = await queries.counts(SessionReader(session), **whose)
    return responses.one(InboxCounts.model_validate(dict(found)))
