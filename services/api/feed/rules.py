"""Places in the feed, what an event looks like outside, and the schema of each type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from services.api.events.rules import API_VERSION, EVENT_TYPES, EventType
from shared import ids
from shared.errors import GoneError
from shared.schemas.base import id_schema

RETENTION = timedelta(days=30)
"""How long events can be read, and how old a cursor may be; real time, in a sandbox too."""

NOTHING = UUID(int=0)

# Where each kind of resource can be read; the ones without a place of their own have a list.
PLACES: Mapping[str, str] = MappingProxyType(
    {
        "organization": "/organization",
        "person": "/people/{id}",
        "program": "/programs/{id}",
        "participant": "/participants/{id}",
        "match_run": "/match-runs/{id}",
        "proposal": "/proposals/{id}",
        "mentorship": "/mentorships/{id}",
        "member": "/mentorships/{mentorship_id}",
        "meeting": "/meetings/{id}",
        "role_assignment": "/role-assignments",
        "api_key": "/api-keys/{id}",
        "oauth_client": "/oauth-clients/{id}",
        "refresh_token": "/people/{person_id}",
        "identity_link": "/people/{person_id}/identity-links",
        "connection": "/connections/{id}",
        "import": "/imports/{id}",
        "sync_run": "/sync-runs/{id}",
    }
)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place between two events: server, transaction and event, all compared in this order.

    Transaction numbers mean nothing in another server, so `epoch` counts servers.
    """

    epoch: int
    xid: int
    id: UUID


START = Place(0, 0, NOTHING)


def to_cursor(place: Place, *, epoch: int, now: datetime) -> list[Any]:
    """Return what a cursor holds: the place, and when and in which server's time it was given."""
    return [epoch, int(now.timestamp()), place.epoch, str(place.xid), str(place.id)]


def from_cursor(values: Sequence[Any] | None, *, epoch: int, now: datetime) -> Place:
    """Return the place a cursor names; a cursor of another server or too old is gone."""
    if values is None:
        return START
    given_in, given_at, at_epoch, xid, event_id = values
    if given_in != epoch or datetime.fromtimestamp(given_at, UTC) < now - RETENTION:
        raise GoneError(
            "This cursor is too old. Take a new one from /event-cursor, read the lists anew, then"
            " go on from that cursor.",
            code="cursor_expired",
        )
    return Place(at_epoch, int(xid), UUID(event_id))


def oldest_kept(now: datetime) -> UUID:
    """Return the smallest id an event made at the edge of the retention could have."""
    milliseconds = int((now - RETENTION - timedelta(days=1)).timestamp() * 1000)
    return UUID(int=milliseconds << 80)


def public_ids(kind: str, stored: Mapping[str, Any]) -> dict[str, str | list[str] | None]:
    """Return the further ids of an event in their public form."""
    kinds = EVENT_TYPES[kind].ids
    return {name: _public(kinds[name], value) for name, value in stored.items() if name in kinds}


def _public(kind: str, value: Any) -> str | list[str] | None:
    if isinstance(value, list):
        return [ids.format_id(kind, UUID(one)) for one in value]
    return ids.format_id(kind, UUID(value)) if value else None


def url_of(kind: str, public_id: str, *, named: Mapping[str, object], api_url: str) -> str:
    """Return where the resource an event is about can be read."""
    return api_url + PLACES[EVENT_TYPES[kind].resource].format(id=public_id, **named)


def json_schema(registered: EventType) -> dict[str, Any]:
    """Return the JSON Schema of one type's envelope."""
    data = {
        "id": id_schema(registered.resource),
        "version": {"type": "integer", "minimum": 1},
        "actor_id": _nullable(id_schema("person")),
        "from": {"type": ["string", "null"], "maxLength": 64},
        "to": {"type": ["string", "null"], "maxLength": 64},
        "changed": {"type": "array", "items": {"type": "string", "maxLength": 64}},
        "ids": _ids_schema(registered),
        "program_id": _nullable(id_schema("program")),
        "url": {"type": "string", "format": "uri", "maxLength": 500},
    }
    envelope = {
        "id": id_schema("event"),
        "type": {"type": "string", "const": registered.name},
        "timestamp": {"type": "string", "format": "date-time"},
        "api_version": {"type": "string", "const": API_VERSION},
        "organization_id": id_schema("organization"),
        "data": _object(data, required=list(data)),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": registered.name,
        "description": registered.description,
        **_object(envelope, required=list(envelope)),
    }


def _ids_schema(registered: EventType) -> dict[str, Any]:
    named = {
        name: {"type": "array", "items": id_schema(kind)}
        if name.endswith("s")
        else _nullable(id_schema(kind))
        for name, kind in registered.ids.items()
    }
    return _object(named, required=[])


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _object(properties: Mapping[str, Any], *, required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": required}


def example_row(registered: EventType, *, organization_id: UUID) -> dict[str, Any]:
    """Return a stored event of a type as it might be, for the documentation."""
    someone = str(_EXAMPLE)
    return {
        "organization_id": organization_id,
        "id": _EXAMPLE,
        "type": registered.name,
        "aggregate_id": _EXAMPLE,
        "aggregate_version": 2,
        "program_id": None,
        "occurred_at": datetime(2026, 11, 24, 9, 30, tzinfo=UTC),
        "data": {
            "actor_id": someone,
            "from": None,
            "to": None,
            "changed": [],
            "ids": {name: [someone] if name.endswith("s") else someone for name in registered.ids},
        },
    }


_EXAMPLE = UUID("019aa5b3-ec2c-73e2-8e64-d70bfdb25052")


def people_in(data: Mapping[str, Any]) -> set[UUID]:
    """Return who a stored event is told to or names: recipients, the actor and named people."""
    people = {UUID(one) for told in data["recipients"].values() for one in told}
    if data["actor_id"]:
        people.add(UUID(data["actor_id"]))
    if named := data["ids"].get("person_id"):
        people.add(UUID(named))
    return people
