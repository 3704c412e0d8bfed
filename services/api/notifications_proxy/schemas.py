"""Queries and answers about inboxes and deliveries."""

from enum import StrEnum
from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from shared.schemas.base import Body, Id, PublicId, Timestamp
from shared.web.pagination import MAX_CURSOR, Page

InboxItemId = Annotated[UUID, Id("inbox_item")]
Cursor = Annotated[str, Field(max_length=MAX_CURSOR)]


class InboxState(StrEnum):
    """Which items are shown."""

    OPEN = "open"
    UNREAD = "unread"
    READ = "read"
    NEEDS_ACTION = "needs_action"
    ARCHIVED = "archived"


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    SENT = "sent"
    BOUNCED = "bounced"
    DEAD = "dead"
    SUPPRESSED = "suppressed"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


class InboxQuery(Page):
    """Which of one's own items."""

    state: Annotated[
        InboxState,
        Field(description="`open` is everything that was not archived.", examples=["unread"]),
    ] = InboxState.OPEN


class InboxItemView(TypedDict):
    """One message to the acting person, in their language."""

    id: Annotated[str, PublicId("inbox_item")]
    kind: Annotated[
        str,
        Field(
            max_length=64,
            description="What kind of message this is; new kinds are added over time.",
            examples=["proposal.awaiting_people"],
        ),
    ]
    importance: Annotated[
        str,
        Field(
            max_length=32,
            description="`act` wants an answer, `know` informs, `nudge` reminds, `thank` thanks.",
            examples=["act"],
        ),
    ]
    title: Annotated[
        str, Field(max_length=300, examples=["There is somebody for you to meet in Rise"])
    ]
    body: Annotated[
        str,
        Field(
            max_length=4000,
            description="Plain text; an empty line parts paragraphs.",
            examples=["A mentorship is suggested to you. Please have a look."],
        ),
    ]
    resource: Annotated[
        str,
        Field(max_length=64, description="What kind of thing it is about.", examples=["proposal"]),
    ]
    resource_id: Annotated[
        str | None,
        Field(
            max_length=40,
            description="The thing it is about.",
            examples=["prp_01kajv7v1cefh8ws6q1fyv4m2z"],
        ),
    ]
    program_id: Annotated[str, PublicId("program")] | None
    event_id: Annotated[str, PublicId("event")]
    needs_action: Annotated[
        bool,
        Field(
            description="It waits for an answer; answering anywhere lets it rest everywhere.",
            examples=[True],
        ),
    ]
    created_at: Timestamp
    seen_at: Annotated[
        Timestamp | None, Field(description="When it was first read or marked, if ever.")
    ]
    read_at: Annotated[Timestamp | None, Field(description="Since when it counts as read.")]
    archived_at: Annotated[Timestamp | None, Field(description="When it was put away.")]


class InboxPage(TypedDict):
    """One page of the inbox, newest first."""

    items: Annotated[list[InboxItemView], MaxLen(200)]
    next_cursor: Cursor | None


Counted = Annotated[int, Field(ge=0, le=100, examples=[3], json_schema_extra={"format": "int32"})]


class InboxCountsView(TypedDict):
    """Numbers for badges; each stops at 100, which a badge shows as 99+."""

    unseen: Annotated[Counted, Field(description="Items that were never looked at.")]
    unread: Annotated[Counted, Field(description="Items that do not count as read.")]
    needs_action: Annotated[Counted, Field(description="Items that wait for an answer.")]


class ReadMarkBody(Body):
    """Up to which item everything was read."""

    up_to: Annotated[InboxItemId, Field(description="The newest item that was on the screen.")]


class DeliveriesQuery(Page):
    """Which deliveries of the organization."""

    state: Annotated[
        DeliveryStatus | SkipJsonSchema[None],
        Field(description="Only deliveries in this state.", examples=["bounced"]),
    ] = None
    person_id: Annotated[
        Annotated[UUID, Id("person")] | SkipJsonSchema[None],
        Field(description="Only deliveries to this person."),
    ] = None


class DeliveryView(TypedDict):
    """What became of one message on one channel; never what it said."""

    id: Annotated[str, PublicId("delivery")]
    event_id: Annotated[str, PublicId("event")]
    person_id: Annotated[str, PublicId("person")]
    kind: Annotated[str, Field(max_length=64, examples=["meeting.scheduled"])]
    channel: Annotated[str, Field(max_length=32, examples=["email"])]
    state: Annotated[str, Field(max_length=32, examples=["sent"])]
    reason: Annotated[
        str | None,
        Field(
            max_length=64,
            description="Why it did not go out, or not yet.",
            examples=["no_address"],
        ),
    ]
    attempts: Annotated[
        int,
        Field(
            ge=0,
            le=100,
            description="How often it was tried.",
            examples=[1],
            json_schema_extra={"format": "int32"},
        ),
    ]
    due_at: Annotated[Timestamp, Field(description="When it was or will be due.")]
    created_at: Timestamp
    finished_at: Annotated[
        Timestamp | None, Field(description="When it reached a final state, if it has.")
    ]


class DeliveriesPage(TypedDict):
    """One page of the log, newest first."""

    items: Annotated[list[DeliveryView], MaxLen(200)]
    next_cursor: Cursor | None
