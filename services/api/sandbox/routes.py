"""What a sandbox can do that life cannot: move its clock, show what was sent, start over."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response

from services.api.access.rules import Scope
from services.api.clients import notifications
from services.api.dependencies import (
    MAY_CONFLICT,
    ActorDep,
    ReaderDep,
    ReadingDep,
    ResourcesDep,
    SessionDep,
    allow,
    calling_door,
    cursors,
    door,
    next_link,
)
from services.api.resources import Resources
from services.api.sandbox import operations, queries
from services.api.sandbox.schemas import (
    ClockAdvance,
    ClockView,
    MessagesPage,
    MessagesQuery,
    MessageView,
    PartView,
)
from shared import ids
from shared.errors import UnavailableError
from shared.schemas.notifications import CapturedMessage
from shared.web import responses

router = door("sandbox")
messages_router = calling_door("sandbox")
USE = allow("sandbox.use", Scope.ADMIN)
CLOCK = "/v1/sandbox/clock"


def present(row: Mapping[str, Any], resources: Resources) -> ClockView:
    """Show a clock."""
    return ClockView(
        now=resources.clock() + timedelta(seconds=row["offset_seconds"]),
        offset_seconds=row["offset_seconds"],
        advance_to=row["advance_to"],
        is_advancing=row["advance_to"] is not None,
        is_resetting=row["reset_at"] is not None,
    )


@router.get(
    "/sandbox/clock",
    summary="Read the clock",
    response_model=ClockView,
    openapi_extra=USE,
    responses=MAY_CONFLICT,
)
async def get_sandbox_clock(
    *, actor: ActorDep, reader: ReaderDep, resources: ResourcesDep
) -> Response:
    """Return what time it is in this sandbox, and whether its clock is still moving."""
    row = await queries.clock(reader, organization_id=actor.organization_id)
    return responses.one(present(row, resources))


@router.post(
    "/sandbox/clock/advance",
    summary="Let time pass",
    response_model=ClockView,
    status_code=202,
    openapi_extra=USE,
)
async def advance_sandbox_clock(
    *, actor: ActorDep, session: SessionDep, resources: ResourcesDep, body: ClockAdvance
) -> Response:
    """Move the clock ahead; everything due on the way happens in order, as it would in life.

    Read the clock until `is_advancing` is false. While it moves, more days may be added.
    """
    clock = await operations.advance(
        session, actor=actor, days=body.days, until=body.until, real_now=resources.clock()
    )
    return responses.accepted(present(clock.model_dump(), resources), location=CLOCK)


@router.post(
    "/sandbox/reset",
    summary="Empty the sandbox",
    response_model=ClockView,
    status_code=202,
    openapi_extra=USE,
)
async def reset_sandbox(
    *, actor: ActorDep, session: SessionDep, resources: ResourcesDep
) -> Response:
    """Delete everything but the organization, its org admins and its keys, and reset the clock.

    Read the clock until `is_resetting` is false.
    """
    clock = await operations.ask_for_reset(session, actor=actor, real_now=resources.clock())
    return responses.accepted(present(clock.model_dump(), resources), location=CLOCK)


@messages_router.get(
    "/sandbox/messages",
    summary="Read what would have been sent",
    response_model=MessagesPage,
    openapi_extra=USE,
    responses=MAY_CONFLICT,
)
async def list_sandbox_messages(
    *,
    request: Request,
    actor: ActorDep,
    reading: ReadingDep,
    resources: ResourcesDep,
    query: Annotated[MessagesQuery, Query()],
) -> Response:
    """Return captured messages, oldest first, with headers and parts; none of them left.

    Codes to sign in with are among them: in a sandbox, org admins can sign in as anybody.
    """
    async with reading() as reader:
        await queries.clock(reader, organization_id=actor.organization_id)
    if resources.notifications is None:
        raise UnavailableError(code="notifications_unavailable")
    place = cursors(request, query)
    after = place.after()
    found = await notifications.captured_messages(
        resources.notifications,
        organization_id=actor.organization_id,
        channel=query.channel,
        person_id=query.person_id,
        after=UUID(after[0]) if after else None,
        limit=query.limit + 1,
    )
    shown, cursor = place.cut(found.items, lambda one: (str(one.id),))
    return responses.page(
        [present_message(one) for one in shown], cursor, link=next_link(request, cursor)
    )


def present_message(message: CapturedMessage) -> MessageView:
    """Show a captured message."""
    return MessageView(
        id=ids.format_id("captured_message", message.id),
        channel=message.channel,
        person_id=ids.format_id("person", message.person_id),
        kind=message.kind,
        captured_at=message.captured_at,
        headers=message.headers,
        parts=[
            PartView(
                content_type=part.content_type,
                method=part.method,
                filename=part.filename,
                text=part.text,
            )
            for part in message.parts
        ],
    )
