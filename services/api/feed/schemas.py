"""Queries and answers of the change feed."""

from typing import Annotated, Any, ClassVar, TypedDict

from annotated_types import MaxLen
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from services.api.events.rules import EVENT_TYPES
from shared.schemas.base import Distinct, PublicId, Timestamp
from shared.web.pagination import MAX_CURSOR, Page


def _registered(name: str) -> str:
    if name not in EVENT_TYPES:
        raise PydanticCustomError("enum", "should be a type listed at /event-types")
    return name


EventTypeName = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(_registered),
    WithJsonSchema(
        {"type": "string", "enum": sorted(EVENT_TYPES), "examples": ["participant.approved"]}
    ),
]
EventTypeNames = Annotated[
    Annotated[list[EventTypeName], MaxLen(50), Distinct()] | SkipJsonSchema[None],
    Field(description="Only events of these types; repeat the parameter for several."),
]
Cursor = Annotated[
    str,
    Field(
        max_length=MAX_CURSOR,
        description="Where to go on; also given when there is nothing new yet.",
        examples=["WyJBZGEiLCIwMWthanY3djFjZWZoOHdzNnExZnl2NG0yeiJd"],
    ),
]
Version = Annotated[int, Field(ge=1, examples=[7], json_schema_extra={"format": "int32"})]
State = Annotated[str, Field(max_length=64, examples=["approved"])]


class EventsQuery(Page):
    """Which events, and after which place."""

    type: EventTypeNames = None


class HeadQuery(BaseModel):
    """Which events the cursor will be used for."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    type: EventTypeNames = None


FactView = TypedDict(
    "FactView",
    {
        "id": Annotated[
            str,
            Field(
                max_length=64,
                description="The resource the event is about.",
                examples=["par_01kajv7v1cefh8ws6q1fyv4m2z"],
            ),
        ],
        "version": Version,
        "actor_id": Annotated[str, PublicId("person")] | None,
        "from": State | None,
        "to": State | None,
        "changed": Annotated[
            list[Annotated[str, Field(max_length=64, examples=["capacity"])]], MaxLen(200)
        ],
        "ids": Annotated[
            dict[str, Any],
            Field(
                description="Further ids by name, as the type's schema says.",
                examples=[{"person_id": "per_01kajv7v1cefh8ws6q1fyv4m2z"}],
            ),
        ],
        "program_id": Annotated[str, PublicId("program")] | None,
        "url": Annotated[
            str,
            Field(
                max_length=500,
                description="Where the resource can be read as it is now.",
                examples=["https://api.example.org/v1/people/per_01kajv7v1cefh8ws6q1fyv4m2z"],
                json_schema_extra={"format": "uri"},
            ),
        ],
    },
)
FactView.__doc__ = "What happened to one resource: states, ids and names of changed fields."


class EventView(TypedDict):
    """One event: thin, so that whoever wants content reads it with their own rights."""

    id: Annotated[str, PublicId("event")]
    type: EventTypeName
    timestamp: Timestamp
    api_version: Annotated[str, Field(max_length=10, examples=["2026-11-01"])]
    organization_id: Annotated[str, PublicId("organization")]
    data: FactView


class EventsPage(TypedDict):
    """Events in order; `next_cursor` is always there and continues where this page ended."""

    items: Annotated[list[EventView], MaxLen(200)]
    next_cursor: Cursor
    has_more: Annotated[bool, Field(description="More can be read at once.", examples=[False])]


class EventCursorView(TypedDict):
    """The end of the feed at this moment."""

    cursor: Cursor


class EventTypeView(TypedDict):
    """One type of event."""

    type: EventTypeName
    resource: Annotated[str, Field(max_length=64, examples=["participant"])]
    description: Annotated[str, Field(max_length=200, examples=["The person takes part."])]
    scope: Annotated[str, Field(max_length=40, examples=["events:read"])]
    since: Annotated[str, Field(max_length=10, description="API version.", examples=["2026-11-01"])]
    json_schema: Annotated[
        dict[str, Any],
        Field(
            description="JSON Schema (2020-12) of the whole event.",
            examples=[{"type": "object", "title": "participant.approved"}],
        ),
    ]
    example: EventView


class EventTypesPage(TypedDict):
    """Every type there is; the list is complete and has no further page."""

    items: Annotated[list[EventTypeView], MaxLen(500)]
    next_cursor: None
