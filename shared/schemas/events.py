"""What api tells notifications: facts, whom they matter to, and the few fields a message shows.

The public feed carries the same ids; `audiences` and `render` exist on this wire only. Readers
ignore fields they do not know (`Wire`), so either side may be upgraded first.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from shared.schemas.base import Timestamp, Wire

MAX_BATCH = 500


class OrganizationCard(Wire):
    """What messages need to know of the organization."""

    name: str
    kind: Literal["production", "sandbox"]
    clock_offset_seconds: int = 0
    locale: str
    timezone: str


class PersonCard(Wire):
    """Somebody a message goes to or names; `email` is None for whom nobody may write to."""

    id: UUID
    name: str
    email: str | None
    locale: str
    timezone: str
    is_reachable: bool = True


class ProgramCard(Wire):
    """The program a message is about; a sensitive one is never named outside the product."""

    id: UUID
    name: str
    is_sensitive: bool


class MeetingCard(Wire):
    """A meeting's place in calendars; titles are neutral, notes and places never leave."""

    id: UUID
    state: str
    starts_at: Timestamp | None
    ends_at: Timestamp | None
    timezone: str
    ical_uid: str
    ical_sequence: int
    attendee_ids: list[UUID]


class SignInCode(Wire):
    """The code of one sign-in, worked out as it is sent; real time, in a sandbox too."""

    code: Annotated[str, Field(repr=False)]
    expires_at: Timestamp


class Render(Wire):
    """Display fields, read by the relay at the moment it sends."""

    organization: OrganizationCard
    people: list[PersonCard]
    program: ProgramCard | None = None
    meeting: MeetingCard | None = None
    sign_in_code: SignInCode | None = None
    mail_to: Annotated[str | None, Field(repr=False)] = None


class EventEnvelope(Wire):
    """One fact on its way to notifications.

    `data` is the public payload: `actor_id`, `from`, `to`, `changed`, `ids`. `audiences` maps a
    role towards the fact (`person`, `members`, `coordinators`, `driver`, ...) to person ids.
    """

    id: UUID
    type: str
    occurred_at: Timestamp
    organization_id: UUID
    aggregate_id: UUID
    aggregate_version: int
    program_id: UUID | None = None
    data: dict[str, Any]
    audiences: dict[str, list[UUID]]
    render: Render


class EventBatch(Wire):
    """Facts of one organization, in the order they are to be applied."""

    events: Annotated[list[EventEnvelope], Field(max_length=MAX_BATCH)]


class IntakeResult(Wire):
    """What became of a batch; rejected ones are kept for an operator and not sent again."""

    accepted: int
    duplicate: int
    rejected: list[UUID]
