"""The change feed, for whoever keeps another system in step with this one."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Response

from services.api.access.rules import Actor, Scope
from services.api.dependencies import ActorDep, ReaderDep, ResourcesDep, allow, door
from services.api.events.rules import API_VERSION, EVENT_TYPES, EventType
from services.api.feed import queries, rules
from services.api.feed.schemas import (
    EventCursorView,
    EventsPage,
    EventsQuery,
    EventTypesPage,
    EventTypeView,
    EventView,
    FactView,
    HeadQuery,
)
from services.api.resources import Resources
from shared import ids
from shared.schemas.base import Id
from shared.web import responses
from shared.web.pagination import Cursors

router = door("events")
READ = allow("event.read", Scope.EVENTS_READ)


def present(row: Mapping[str, Any], *, api_url: str) -> EventView:
    """Show an event; to whom it matters stays inside."""
    kind, stored = row["type"], row["data"]
    subject = ids.format_id(EVENT_TYPES[kind].resource, row["aggregate_id"])
    named = rules.public_ids(kind, stored["ids"])
    return EventView(
        id=ids.format_id("event", row["id"]),
        type=kind,
        timestamp=row["occurred_at"],
        api_version=API_VERSION,
        organization_id=ids.format_id("organization", row["organization_id"]),
        data=FactView(
            {
                "id": subject,
                "version": row["aggregate_version"],
                "actor_id": ids.format_id("person", UUID(stored["actor_id"]))
                if stored["actor_id"]
                else None,
                "from": stored["from"],
                "to": stored["to"],
                "changed": stored["changed"],
                "ids": named,
                "program_id": ids.format_optional("program", row["program_id"]),
                "url": rules.url_of(kind, subject, named=named, api_url=api_url),
            }
        ),
    )


def _cursors(actor: Actor, resources: Resources, query: EventsQuery) -> Cursors:
    # `/event-cursor` hands out what `/events` reads, so both name the same list.
    return Cursors(
        secret=resources.cursor_secret,
        operation="list_events",
        organization=str(actor.organization_id),
        page=query,
    )


@router.get(
    "/events",
    summary="Read what happened",
    response_model=EventsPage,
    openapi_extra=READ,
)
async def list_events(
    *,
    actor: ActorDep,
    reader: ReaderDep,
    resources: ResourcesDep,
    query: Annotated[EventsQuery, Query()],
) -> Response:
    """Return events in order, each at least once, for 30 days.

    Keep `next_cursor` and ask again with it: at once while `has_more`, else after a moment. To
    begin, take a cursor from `/event-cursor`, read the lists, then read on from it: nothing falls
    in between. An event may come twice after a fault; its `id` tells.
    """
    cursors, now = _cursors(actor, resources, query), resources.clock()
    # Before the rows: whatever commits in between lies behind this place and is read next time.
    head = await queries.head(reader)
    place = rules.from_cursor(cursors.after(), epoch=head.epoch, now=now)
    rows = await queries.after(
        reader,
        organization_id=actor.organization_id,
        place=place,
        types=query.type,
        limit=query.limit + 1,
    )
    has_more, rows = len(rows) > query.limit, rows[: query.limit]
    last = queries.place_of(rows[-1]) if rows else place
    ahead = last if has_more else max(last, head)
    return responses.one(
        EventsPage(
            items=[present(row, api_url=resources.settings.api_url) for row in rows],
            next_cursor=cursors.at(rules.to_cursor(ahead, epoch=head.epoch, now=now)),
            has_more=has_more,
        )
    )


@router.get(
    "/events/{event_id}",
    summary="Read one event",
    response_model=EventView,
    openapi_extra=READ,
)
async def get_event(
    *,
    actor: ActorDep,
    reader: ReaderDep,
    resources: ResourcesDep,
    event_id: Annotated[UUID, Id("event"), Path(description="The event.")],
) -> Response:
    """Return one event by the id that the feed, webhooks and messages carry."""
    row = await queries.get(reader, organization_id=actor.organization_id, event_id=event_id)
    return responses.one(present(row, api_url=resources.settings.api_url))


@router.get(
    "/event-cursor",
    summary="Take the end of the feed",
    response_model=EventCursorView,
    openapi_extra=READ,
)
async def get_event_cursor(
    *,
    actor: ActorDep,
    reader: ReaderDep,
    resources: ResourcesDep,
    query: Annotated[HeadQuery, Query()],
) -> Response:
    """Return a cursor behind everything that has happened; name the types it will be used with."""
    head = await queries.head(reader)
    values = rules.to_cursor(head, epoch=head.epoch, now=resources.clock())
    cursor = _cursors(actor, resources, EventsQuery(type=query.type)).at(values)
    return responses.one(EventCursorView(cursor=cursor))


@router.get(
    "/event-types",
    summary="List the types of events",
    response_model=EventTypesPage,
    openapi_extra=READ,
)
async def list_event_types(*, actor: ActorDep, resources: ResourcesDep) -> Response:
    """Return every type with its JSON Schema and an example."""
    organization_id, api_url = actor.organization_id, resources.settings.api_url
    shown = [
        _present_type(one, organization_id=organization_id, api_url=api_url)
        for one in EVENT_TYPES.values()
    ]
    return responses.page(shown, None)


def _present_type(registered: EventType, *, organization_id: UUID, api_url: str) -> EventTypeView:
    return EventTypeView(
        type=registered.name,
        resource=registered.resource,
        description=registered.description,
        scope=Scope.EVENTS_READ,
        since=API_VERSION,
        json_schema=rules.json_schema(registered),
        example=present(
            rules.example_row(registered, organization_id=organization_id), api_url=api_url
        ),
    )
