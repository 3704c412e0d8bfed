"""What became of messages, and what sandboxes captured."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from services.notifications.deliveries import queries
from services.notifications.deliveries.rules import Channel, DeliveryState
from services.notifications.dependencies import CallerDep, ReaderDep, SystemDep
from shared.errors import ForbiddenError
from shared.schemas.notifications import (
    CapturedMessage,
    CapturedMessages,
    Deliveries,
    DeliveryCard,
)
from shared.security import ServiceCaller
from shared.web import responses

router = APIRouter(prefix="/internal", tags=["deliveries"])

Limit = Annotated[int, Query(ge=1, le=201)]


@router.get("/deliveries", response_model=Deliveries)
async def list_deliveries(
    *,
    caller: CallerDep,
    reader: ReaderDep,
    person_id: UUID | None = None,
    state: DeliveryState | None = None,
    before: UUID | None = None,
    limit: Limit = 51,
) -> Response:
    """Return deliveries, newest first: one's own, or all where the caller speaks for the system."""
    rows = await queries.log(
        reader,
        organization_id=caller.organization_id,
        filters=_given(person_id=_whose(caller, person_id), state=state),
        before=before,
        limit=limit,
    )
    return responses.one(Deliveries(items=[DeliveryCard.model_validate(dict(row)) for row in rows]))


def _whose(caller: ServiceCaller, person_id: UUID | None) -> UUID | None:
    if caller.subject.startswith("system:"):
        return person_id
    try:
        return UUID(caller.subject)
    except ValueError:
        raise ForbiddenError from None


@router.get("/captured-messages", response_model=CapturedMessages)
async def list_captured_messages(
    *,
    caller: SystemDep,
    reader: ReaderDep,
    channel: Channel | None = None,
    person_id: UUID | None = None,
    after: UUID | None = None,
    limit: Limit = 51,
) -> Response:
    """Return what a sandbox would have sent, oldest first."""
    rows = await queries.captured(
        reader,
        organization_id=caller.organization_id,
        filters=_given(channel=channel, person_id=person_id),
        after=after,
        limit=limit,
    )
    items = [CapturedMessage.model_validate(dict(row)) for row in rows]
    return responses.one(CapturedMessages(items=items))


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
