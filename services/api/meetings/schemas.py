"""Bodies of meetings."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen, MinLen
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from services.api.meetings.rules import MeetingMode, MeetingStatus
from services.api.participants.schemas import Actions, Count, Cursor, Version
from shared.schemas.base import (
    UNSET,
    Body,
    Distinct,
    Id,
    Line,
    PublicId,
    Timestamp,
    TimeZone,
    Whole,
)
from shared.web.pagination import Page

MeetingId = Annotated[UUID, Id("meeting")]
Minutes = Annotated[int, Whole(15, 240, 45)]
Location = Annotated[
    str,
    Line(500, "Meeting room Ada, second floor"),
    Field(description="A place or a link; members alone read it."),
]


class MeetingCreate(Body):
    """A meeting at `starts_at`, or an offer of `proposed_times`; `logged_after` if it is over."""

    id: MeetingId | None = None
    starts_at: Timestamp | None = None
    proposed_times: Annotated[
        list[Timestamp],
        MaxLen(5),
        Distinct(),
        Field(description="One to five times for another member to choose from."),
    ] = Field(default_factory=list)
    minutes: Annotated[
        Minutes | None, Field(description="Without it, as long as the mentorship usually meets.")
    ] = None
    mode: MeetingMode = MeetingMode.VIDEO
    location: Location | None = None
    logged_after: Annotated[bool, Field(description="That the meeting took place already.")] = False


class Confirmation(Body):
    """The time chosen of those offered."""

    starts_at: Timestamp


class Rescheduling(Body):
    """When a meeting takes place instead."""

    starts_at: Timestamp
    minutes: Minutes | None = None


class MeetingPatch(Body):
    """How and where people meet; what is left out stays."""

    mode: MeetingMode = UNSET
    location: Location | None = None


class MeetingsQuery(Page):
    """Filters of meetings."""

    status: Annotated[
        Annotated[list[MeetingStatus], MaxLen(6)] | SkipJsonSchema[None],
        Field(description="Only meetings in one of these states."),
    ] = None


class MeetingView(TypedDict):
    """A meeting as far as the reader may see it."""

    id: Annotated[str, PublicId("meeting")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    program_id: Annotated[str, PublicId("program")]
    mentorship_id: Annotated[str, PublicId("mentorship")]
    status: MeetingStatus
    allowed: Actions
    number: Annotated[Count, Field(description="How many meetings were held before, and one.")]
    proposed_times: Annotated[list[Timestamp], MaxLen(5)]
    proposed_by: Annotated[str, PublicId("person")] | None
    starts_at: Timestamp | None
    ends_at: Timestamp | None
    minutes: Count
    timezone: TimeZone
    mode: MeetingMode
    location: Annotated[
        Location | None, Field(description="Null unless you are a member, or without a place.")
    ]
    logged_after: bool
    attendee_ids: Annotated[list[Annotated[str, PublicId("person")]], MaxLen(200), MinLen(0)]
    ical_uid: Annotated[str, Field(max_length=120)]
    ical_sequence: Count
    warnings: Annotated[
        list[Annotated[str, Field(max_length=40, examples=["short_notice"])]],
        MaxLen(10),
        Field(description="What to mind about the change just made; it was made all the same."),
    ]


class MeetingPage(TypedDict):
    """One page of meetings."""

    items: Annotated[list[MeetingView], MaxLen(200)]
    next_cursor: Cursor | None
