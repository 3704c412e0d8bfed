"""What api asks of notifications; each call is for one organization and one subject."""

from typing import Any
from uuid import UUID

import httpx

from shared.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from shared.http import ANSWER_SECONDS, ServiceClient
from shared.schemas.events import EventBatch, IntakeResult
from shared.schemas.notifications import (
    CapturedMessages,
    ClockMove,
    ClockState,
    Deliveries,
    InboxCounts,
    InboxItemCard,
    InboxItems,
    ReadMark,
)

RELAY = "system:relay"
SANDBOX = "system:sandbox"
DELIVERIES = "system:deliveries"
# Nobody waits for background work, and a whole batch takes longer than one question.
BACKGROUND_SECONDS = 20.0


async def send_events(
    client: ServiceClient, *, organization_id: UUID, batch: EventBatch
) -> IntakeResult:
    """Hand over facts; a repeated batch is recognised and changes nothing."""
    answer = await _call(
        *(client, "POST", "/internal/events"),
        organization_id=organization_id,
        subject=RELAY,
        body=batch.model_dump(mode="json"),
        read_seconds=BACKGROUND_SECONDS,
    )
    return IntakeResult.model_validate_json(answer.content)


async def inbox_items(
    client: ServiceClient,
    *,
    organization_id: UUID,
    person_id: UUID,
    state: str,
    before: UUID | None,
    limit: int,
) -> list[InboxItemCard]:
    """Return a person's items, newest first, older than `before`."""
    answer = await _call(
        *(client, "GET", "/internal/inbox-items"),
        organization_id=organization_id,
        subject=str(person_id),
        params=_given(state=state, before=before, limit=limit),
    )
    return InboxItems.model_validate_json(answer.content).items


async def inbox_counts(
    client: ServiceClient, *, organization_id: UUID, person_id: UUID
) -> InboxCounts:
    """Return how much waits in a person's inbox."""
    answer = await _call(
        *(client, "GET", "/internal/inbox-counts"),
        organization_id=organization_id,
        subject=str(person_id),
    )
    return InboxCounts.model_validate_json(answer.content)


async def act_on_item(
    client: ServiceClient, *, organization_id: UUID, person_id: UUID, item_id: UUID, action: str
) -> InboxItemCard:
    """Mark a person's item as `read` or `unread`, or `archive` it."""
    answer = await _call(
        *(client, "POST", f"/internal/inbox-items/{item_id}/{action}"),
        organization_id=organization_id,
        subject=str(person_id),
    )
    return InboxItemCard.model_validate_json(answer.content)


async def mark_read(
    client: ServiceClient, *, organization_id: UUID, person_id: UUID, up_to: UUID
) -> InboxCounts:
    """Mark a person's items as read, up to one of them."""
    answer = await _call(
        *(client, "POST", "/internal/inbox-read-marks"),
        organization_id=organization_id,
        subject=str(person_id),
        body=ReadMark(up_to=up_to).model_dump(mode="json"),
    )
    return InboxCounts.model_validate_json(answer.content)


async def own_deliveries(
    client: ServiceClient,
    *,
    organization_id: UUID,
    person_id: UUID,
    before: UUID | None,
    limit: int,
) -> Deliveries:
    """Return what was sent to a person, newest first."""
    answer = await _call(
        *(client, "GET", "/internal/deliveries"),
        organization_id=organization_id,
        subject=str(person_id),
        params=_given(before=before, limit=limit),
    )
    return Deliveries.model_validate_json(answer.content)


async def deliveries(
    client: ServiceClient,
    *,
    organization_id: UUID,
    person_id: UUID | None,
    state: str | None,
    before: UUID | None,
    limit: int,
) -> Deliveries:
    """Return what was sent in an organization, newest first."""
    answer = await _call(
        *(client, "GET", "/internal/deliveries"),
        organization_id=organization_id,
        subject=DELIVERIES,
        params=_given(person_id=person_id, state=state, before=before, limit=limit),
    )
    return Deliveries.model_validate_json(answer.content)


async def captured_messages(
    client: ServiceClient,
    *,
    organization_id: UUID,
    channel: str | None = None,
    person_id: UUID | None = None,
    after: UUID | None = None,
    limit: int = 50,
) -> CapturedMessages:
    """Return what a sandbox organization would have sent, oldest first."""
    answer = await _call(
        *(client, "GET", "/internal/captured-messages"),
        organization_id=organization_id,
        subject=SANDBOX,
        params=_given(channel=channel, person_id=person_id, after=after, limit=limit),
    )
    return CapturedMessages.model_validate_json(answer.content)


async def move_clock(
    client: ServiceClient, *, organization_id: UUID, move: ClockMove
) -> ClockState:
    """Do what is due on a sandbox's clock up to an instant of it."""
    answer = await _call(
        *(client, "POST", "/internal/clock"),
        organization_id=organization_id,
        subject=SANDBOX,
        body=move.model_dump(mode="json"),
        read_seconds=BACKGROUND_SECONDS,
    )
    return ClockState.model_validate_json(answer.content)


async def reset(client: ServiceClient, *, organization_id: UUID) -> None:
    """Let notifications forget a sandbox organization."""
    await _call(
        *(client, "POST", "/internal/reset"),
        organization_id=organization_id,
        subject=SANDBOX,
        read_seconds=BACKGROUND_SECONDS,
    )


def _given(**values: Any) -> dict[str, Any]:
    return {name: str(value) for name, value in values.items() if value is not None}


async def _call(
    client: ServiceClient,
    method: str,
    path: str,
    *,
    organization_id: UUID,
    subject: str,
    body: Any = None,
    params: dict[str, Any] | None = None,
    read_seconds: float = ANSWER_SECONDS,
) -> httpx.Response:
    answer = await client.call(
        method,
        path,
        organization_id=organization_id,
        subject=subject,
        body=body,
        params=params,
        read_seconds=read_seconds,
    )
    if answer.is_success:
        return answer
    raise _refusal(answer)


def _refusal(answer: httpx.Response) -> Exception:
    code = answer.json().get("code")
    match answer.status_code:
        case httpx.codes.NOT_FOUND:
            return NotFoundError()
        case httpx.codes.CONFLICT:
            return ConflictError(code=code)
        case httpx.codes.BAD_REQUEST:
            return InvalidError(code=code)
    # Tokens that are not believed, and whatever else only an operator can mend.
    return UnavailableError(code="notifications_unavailable", headers={"Retry-After": "5"})
