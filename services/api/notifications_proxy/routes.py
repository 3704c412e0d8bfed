"""Inboxes and deliveries over HTTP; notifications owns them and is asked each time."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from services.api.access.rules import Actor, Scope
from services.api.clients import notifications
from services.api.dependencies import (
    ActorDep,
    ResourcesDep,
    allow,
    calling_door,
    cursors,
    next_link,
)
from services.api.notifications_proxy.schemas import (
    DeliveriesPage,
    DeliveriesQuery,
    DeliveryView,
    InboxCountsView,
    InboxItemId,
    InboxItemView,
    InboxPage,
    InboxQuery,
    ReadMarkBody,
)
from services.api.resources import Resources
from shared import ids
from shared.errors import ForbiddenError, NotFoundError, UnavailableError, unknown_reference
from shared.http import ServiceClient
from shared.schemas.notifications import DeliveryCard, InboxCounts, InboxItemCard
from shared.web import responses
from shared.web.pagination import Page

router = calling_door("inbox")
OWN = allow("inbox.own")
OWN_LOG = allow("delivery.own")
LOG = allow("delivery.read", Scope.ADMIN)


def present(item: InboxItemCard) -> InboxItemView:
    """Show an item."""
    is_known = item.resource in ids.PREFIXES
    return InboxItemView(
        id=ids.format_id("inbox_item", item.id),
        kind=item.kind,
        importance=item.message_class,
        title=item.title,
        body=item.body,
        resource=item.resource,
        resource_id=ids.format_id(item.resource, item.resource_id) if is_known else None,
        program_id=ids.format_optional("program", item.program_id),
        event_id=ids.format_id("event", item.event_id),
        needs_action=item.needs_action,
        created_at=item.created_at,
        seen_at=item.seen_at,
        read_at=item.read_at,
        archived_at=item.archived_at,
    )


def present_counts(counts: InboxCounts) -> InboxCountsView:
    """Show how much waits."""
    return InboxCountsView(
        unseen=counts.unseen, unread=counts.unread, needs_action=counts.needs_action
    )


def present_delivery(delivery: DeliveryCard) -> DeliveryView:
    """Show what became of a delivery."""
    return DeliveryView(
        id=ids.format_id("delivery", delivery.id),
        event_id=ids.format_id("event", delivery.event_id),
        person_id=ids.format_id("person", delivery.person_id),
        kind=delivery.kind,
        channel=delivery.channel,
        state=delivery.state,
        reason=delivery.reason,
        attempts=delivery.attempts,
        due_at=delivery.due_at,
        created_at=delivery.created_at,
        finished_at=delivery.finished_at,
    )


def _sibling(resources: Resources) -> ServiceClient:
    if resources.notifications is None:
        raise UnavailableError(code="notifications_unavailable", headers={"Retry-After": "5"})
    return resources.notifications


def _person(actor: Actor) -> UUID:
    if actor.person_id is None:
        raise ForbiddenError
    return actor.person_id


def _before(request: Request, query: Page) -> UUID | None:
    after = cursors(request, query).after()
    return UUID(after[0]) if after else None


def _cut[Card: (InboxItemCard, DeliveryCard)](
    request: Request, query: Page, found: Sequence[Card]
) -> tuple[Sequence[Card], str | None]:
    return cursors(request, query).cut(found, lambda one: (str(one.id),))


@router.get("/inbox-items", summary="Read my inbox", response_model=InboxPage, openapi_extra=OWN)
async def list_inbox_items(
    *,
    request: Request,
    actor: ActorDep,
    resources: ResourcesDep,
    query: Annotated[InboxQuery, Query()],
) -> Response:
    """Return one's own items, newest first."""
    found = await notifications.inbox_items(
        _sibling(resources),
        organization_id=actor.organization_id,
        person_id=_person(actor),
        state=query.state,
        before=_before(request, query),
        limit=query.limit + 1,
    )
    shown, cursor = _cut(request, query, found)
    return responses.page([present(one) for one in shown], cursor, link=next_link(request, cursor))


@router.get(
    "/inbox-counts",
    summary="Count my inbox",
    response_model=InboxCountsView,
    openapi_extra=OWN,
)
async def get_inbox_counts(*, actor: ActorDep, resources: ResourcesDep) -> Response:
    """Return how much waits, for badges."""
    counts = await notifications.inbox_counts(
        _sibling(resources), organization_id=actor.organization_id, person_id=_person(actor)
    )
    return responses.one(present_counts(counts))


async def _act(actor: Actor, resources: Resources, item_id: UUID, action: str) -> Response:
    item = await notifications.act_on_item(
        _sibling(resources),
        organization_id=actor.organization_id,
        person_id=_person(actor),
        item_id=item_id,
        action=action,
    )
    return responses.one(present(item))


@router.post(
    "/inbox-items/{inbox_item_id}/read",
    summary="Mark an item as read",
    response_model=InboxItemView,
    openapi_extra=OWN,
)
async def read_inbox_item(
    *, actor: ActorDep, resources: ResourcesDep, inbox_item_id: InboxItemId
) -> Response:
    """Mark one item as read, on all devices; a repeat changes nothing."""
    return await _act(actor, resources, inbox_item_id, "read")


@router.post(
    "/inbox-items/{inbox_item_id}/unread",
    summary="Mark an item as unread",
    response_model=InboxItemView,
    openapi_extra=OWN,
)
async def unread_inbox_item(
    *, actor: ActorDep, resources: ResourcesDep, inbox_item_id: InboxItemId
) -> Response:
    """Mark one item as unread again, to come back to it later."""
    return await _act(actor, resources, inbox_item_id, "unread")


@router.post(
    "/inbox-items/{inbox_item_id}/archive",
    summary="Put an item away",
    response_model=InboxItemView,
    openapi_extra=OWN,
)
async def archive_inbox_item(
    *, actor: ActorDep, resources: ResourcesDep, inbox_item_id: InboxItemId
) -> Response:
    """Put one item away; it counts as read and no longer asks for anything."""
    return await _act(actor, resources, inbox_item_id, "archive")


@router.post(
    "/inbox-read-marks",
    summary="Mark everything as read",
    response_model=InboxCountsView,
    openapi_extra=OWN,
)
async def mark_inbox_read(
    *, actor: ActorDep, resources: ResourcesDep, body: ReadMarkBody
) -> Response:
    """Mark everything up to one item as read.

    The mark only ever rises: a device that lags behind changes nothing that was done since.
    """
    try:
        counts = await notifications.mark_read(
            _sibling(resources),
            organization_id=actor.organization_id,
            person_id=_person(actor),
            up_to=body.up_to,
        )
    except NotFoundError:
        raise unknown_reference("#/up_to") from None
    return responses.one(present_counts(counts))


@router.get(
    "/me/deliveries",
    summary="See what was sent to me",
    response_model=DeliveriesPage,
    openapi_extra=OWN_LOG,
)
async def list_my_deliveries(
    *,
    request: Request,
    actor: ActorDep,
    resources: ResourcesDep,
    query: Annotated[Page, Query()],
) -> Response:
    """Return what became of messages to oneself, newest first."""
    found = await notifications.own_deliveries(
        _sibling(resources),
        organization_id=actor.organization_id,
        person_id=_person(actor),
        before=_before(request, query),
        limit=query.limit + 1,
    )
    shown, cursor = _cut(request, query, found.items)
    return responses.page(
        [present_delivery(one) for one in shown], cursor, link=next_link(request, cursor)
    )


@router.get(
    "/deliveries",
    summary="See what was sent",
    response_model=DeliveriesPage,
    openapi_extra=LOG,
)
async def list_deliveries(
    *,
    request: Request,
    actor: ActorDep,
    resources: ResourcesDep,
    query: Annotated[DeliveriesQuery, Query()],
) -> Response:
    """Return what became of messages in the organization, newest first; never what they said."""
    found = await notifications.deliveries(
        _sibling(resources),
        organization_id=actor.organization_id,
        person_id=query.person_id,
        state=query.state,
        before=_before(request, query),
        limit=query.limit + 1,
    )
    shown, cursor = _cut(request, query, found.items)
    return responses.page(
        [present_delivery(one) for one in shown], cursor, link=next_link(request, cursor)
    )
