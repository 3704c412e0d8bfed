"""Bodies of connections."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen
from pydantic import Field

from services.api.integrations.connections.rules import (
    LEAST_GUARD_PEOPLE,
    LEAST_GUARD_PERCENT,
    MOST_GUARD_PEOPLE,
    MOST_GUARD_PERCENT,
    ConnectionKind,
    ConnectionStatus,
    OnMissing,
)
from shared.schemas.base import UNSET, Body, Id, Line, PublicId, Timestamp, Whole

ConnectionId = Annotated[UUID, Id("connection")]
Label = Annotated[str, Line(120, "HR export")]
Version = Annotated[int, Field(ge=1, examples=[1], json_schema_extra={"format": "int32"})]
GuardPeople = Annotated[
    int,
    Whole(LEAST_GUARD_PEOPLE, MOST_GUARD_PEOPLE, 5),
    Field(description="So many leavers in one run pass without a second look."),
]
GuardPercent = Annotated[
    int,
    Whole(LEAST_GUARD_PERCENT, MOST_GUARD_PERCENT, 10),
    Field(description="Or this share of the connection's active people, whichever is more."),
]


class ConnectionCreate(Body):
    """A new source of people data."""

    id: ConnectionId | None = None
    label: Label
    kind: ConnectionKind = ConnectionKind.FILE
    on_missing: OnMissing = OnMissing.IGNORE
    guard_people: GuardPeople = LEAST_GUARD_PEOPLE
    guard_percent: GuardPercent = LEAST_GUARD_PERCENT


class ConnectionPatch(Body):
    """What to change of a connection; what is left out stays."""

    label: Label = UNSET
    on_missing: OnMissing = UNSET
    guard_people: GuardPeople = UNSET
    guard_percent: GuardPercent = UNSET


class ConnectionView(TypedDict):
    """A source of people data, and when it last worked."""

    id: Annotated[str, PublicId("connection")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    label: Label
    kind: ConnectionKind
    status: ConnectionStatus
    on_missing: OnMissing
    guard_people: GuardPeople
    guard_percent: GuardPercent
    source: Annotated[
        str,
        Field(
            max_length=64,
            description="The `source` under which people carry this connection's ids.",
            examples=["con_01kajv7v1cefh8ws6q1fyv4m2z"],
        ),
    ]
    last_success_at: Timestamp | None


class ConnectionPage(TypedDict):
    """One page of connections."""

    items: Annotated[list[ConnectionView], MaxLen(200)]
    next_cursor: Annotated[str, Field(max_length=512)] | None
