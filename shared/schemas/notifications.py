"""What notifications tells api: inboxes, deliveries, captured messages and how far a clock ran."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from shared.schemas.base import Timestamp, Wire


class InboxItemCard(Wire):
    """One line in a person's inbox, in their language."""

    id: UUID
    kind: str
    message_class: str
    title: str
    body: str
    event_id: UUID
    resource: str
    resource_id: UUID
    program_id: UUID | None
    needs_action: bool
    created_at: Timestamp
    seen_at: Timestamp | None
    read_at: Timestamp | None
    archived_at: Timestamp | None


class InboxItems(Wire):
    """Items of one person, newest first."""

    items: list[InboxItemCard]


class InboxCounts(Wire):
    """How much waits in an inbox; each number stops at 100, which reads "more than 99"."""

    unseen: int
    unread: int
    needs_action: int


class ReadMark(Wire):
    """Everything up to this item was read."""

    up_to: UUID


class DeliveryCard(Wire):
    """What became of one message on one channel; never what it said."""

    id: UUID
    event_id: UUID
    person_id: UUID
    kind: str
    channel: str
    state: str
    reason: str | None
    attempts: int
    due_at: Timestamp
    created_at: Timestamp
    finished_at: Timestamp | None


class Deliveries(Wire):
    """Deliveries of a person or an organization, newest first."""

    items: list[DeliveryCard]


class CapturedPart(Wire):
    """One MIME part of a captured mail, as text."""

    content_type: str
    method: str | None
    filename: str | None
    text: str


class CapturedMessage(Wire):
    """A message of a sandbox organization, as it would have left."""

    id: UUID
    channel: str
    person_id: UUID
    kind: str
    captured_at: Timestamp
    headers: dict[str, str]
    parts: list[CapturedPart]


class CapturedMessages(Wire):
    """Captured messages, oldest first."""

    items: list[CapturedMessage]


class ClockMove(Wire):
    """How far ahead a sandbox's clock is, and up to when on it due work is to be done."""

    offset_seconds: Annotated[int, Field(ge=0, le=10 * 366 * 24 * 3600)]
    run_until: Timestamp


class ClockState(Wire):
    """How many rows were worked on, and when the next one is due on the organization's clock."""

    worked: int
    next_due_at: Timestamp | None


class RawBatch(Wire):
    """A batch as it came: one event that cannot be read must not hold up the others."""

    events: Annotated[list[dict[str, Any]], Field(max_length=500)]


type ItemState = Literal["open", "unread", "read", "needs_action", "archived"]
