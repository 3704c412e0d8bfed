"""Bodies of the sandbox's endpoints."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen
from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from shared.schemas.base import Body, Id, PublicId, Timestamp, Whole
from shared.web.pagination import MAX_CURSOR, Page


class ClockAdvance(Body):
    """How far the clock is to go: a number of days, or an instant."""

    days: Annotated[int, Whole(1, 3660, 30)] | None = None
    until: Timestamp | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "ClockAdvance":
        if (self.days is None) == (self.until is None):
            raise PydanticCustomError("one_of", "should name either days or until")
        return self


class ClockView(TypedDict):
    """The sandbox's clock, and whether something is being done to the sandbox right now."""

    now: Annotated[Timestamp, Field(description="The time in this organization.")]
    offset_seconds: Annotated[
        int,
        Field(
            ge=0,
            description="How far the clock is ahead of the real time.",
            examples=[2592000],
            json_schema_extra={"format": "int32"},
        ),
    ]
    advance_to: Annotated[
        Timestamp | None, Field(description="Where the clock is going; null when it has arrived.")
    ]
    is_advancing: Annotated[
        bool, Field(description="What is due on the way is being done.", examples=[False])
    ]
    is_resetting: Annotated[
        bool, Field(description="The sandbox is being emptied.", examples=[False])
    ]


class MessagesQuery(Page):
    """Filters of captured messages."""

    channel: Annotated[
        str | SkipJsonSchema[None],
        Field(
            max_length=32,
            pattern=r"^[a-z_]+$",
            description="Only messages of one channel.",
            examples=["email"],
        ),
    ] = None
    person_id: Annotated[
        Annotated[UUID, Id("person")] | SkipJsonSchema[None],
        Field(description="Only messages to one person."),
    ] = None


class PartView(TypedDict):
    """One part of a message, as text."""

    content_type: Annotated[str, Field(max_length=200, examples=["text/calendar"])]
    method: Annotated[
        str | None, Field(max_length=40, description="Of a calendar part.", examples=["REQUEST"])
    ]
    filename: Annotated[str | None, Field(max_length=200, examples=["invite.ics"])]
    text: Annotated[str, Field(max_length=1_000_000, examples=["BEGIN:VCALENDAR"])]


class MessageView(TypedDict):
    """A message as it would have left a production organization."""

    id: Annotated[str, PublicId("captured_message")]
    channel: Annotated[str, Field(max_length=32, examples=["email"])]
    person_id: Annotated[str, PublicId("person")]
    kind: Annotated[str, Field(max_length=64, examples=["meeting.scheduled"])]
    captured_at: Timestamp
    headers: Annotated[
        dict[str, Annotated[str, Field(max_length=2000)]],
        Field(examples=[{"Subject": "Your first meeting"}]),
    ]
    parts: Annotated[list[PartView], MaxLen(20)]


class MessagesPage(TypedDict):
    """One page of captured messages, oldest first."""

    items: Annotated[list[MessageView], MaxLen(200)]
    next_cursor: Annotated[str, Field(max_length=MAX_CURSOR)] | None
