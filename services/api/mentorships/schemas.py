"""Bodies of mentorships and their members."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen, MinLen
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from services.api.mentorships.rules import (
    ClosingReason,
    MemberStatus,
    MentorshipSource,
    MentorshipStatus,
)
from services.api.participants.schemas import Actions, Count, Cursor, ParticipantId, Version
from services.api.programs.rules import Cadence, Format, TrackRole
from services.api.programs.schemas import PersonId, ProgramId, TrackId
from shared.schemas.base import (
    Body,
    Day,
    Email,
    Id,
    Json,
    Line,
    PublicId,
    Text,
    Timestamp,
    TimeZone,
)
from shared.web.pagination import Page

MentorshipId = Annotated[UUID, Id("mentorship")]
MemberId = Annotated[UUID, Id("member")]
Name = Annotated[str, Line(120, "New managers, autumn")]
CommonGround = Annotated[str, Line(500, "All of us lead a team for the first time.")]
Private = Annotated[
    str, Text(1000, "My new job leaves me no time."), Field(description="For yourself alone.")
]
Coarse = Annotated[
    ClosingReason, Field(description="Coordinators read it; the other members do not.")
]


class NewMemberBody(Body):
    """A participant and what they will be."""

    participant_id: ParticipantId
    role: TrackRole


class MentorshipCreate(Body):
    """The people to put together; the first listed of the driving role drives."""

    id: MentorshipId | None = None
    members: Annotated[list[NewMemberBody], MinLen(1), MaxLen(110)]
    name: Name | None = None
    common_ground: CommonGround | None = None


class MentorshipPause(Body):
    """Until when to pause, at most 90 days, and why."""

    to_on: Day | None = None
    reason: (
        Annotated[str, Text(500, "Parental leave."), Field(description="For yourself alone.")]
        | None
    ) = None


class Extension(Body):
    """A later last day."""

    ends_on: Day


class Closing(Body):
    """Why a mentorship comes to its end."""

    reason: Coarse = ClosingReason.COMPLETED
    private_reason: Private | None = None


class Ending(Body):
    """Why a mentorship ends before its time."""

    reason: Coarse = ClosingReason.OTHER
    private_reason: Private | None = None


class DriverChange(Body):
    """Whose move it is from now on."""

    person_id: PersonId


class MentorshipsQuery(Page):
    """Filters of mentorships."""

    status: Annotated[
        Annotated[list[MentorshipStatus], MaxLen(7)] | SkipJsonSchema[None],
        Field(description="Only mentorships in one of these states."),
    ] = None
    program_id: Annotated[
        ProgramId | SkipJsonSchema[None], Field(description="Only mentorships of this program.")
    ] = None
    track_id: Annotated[
        TrackId | SkipJsonSchema[None], Field(description="Only mentorships of this track.")
    ] = None


class ContactView(TypedDict):
    """How to reach a member."""

    email: Email
    phone: Annotated[str, Field(max_length=40, examples=["+49 30 1234"])] | None


class MemberView(TypedDict):
    """Somebody in a mentorship."""

    id: Annotated[str, PublicId("member")]
    participant_id: Annotated[str, PublicId("participant")]
    person_id: Annotated[str, PublicId("person")]
    given_name: Annotated[str, Field(max_length=120, examples=["Ada"])]
    family_name: Annotated[str, Field(max_length=120, examples=["Example"])]
    role: TrackRole
    status: MemberStatus
    joined_at: Timestamp | None
    left_at: Timestamp | None
    contact: Annotated[
        ContactView | None,
        Field(
            description=(
                "Members may write to each other until 90 days after the end; coordinators may"
                " too. Null for everybody else."
            )
        ),
    ]


class BecauseView(TypedDict):
    """One rule that speaks for these people, and with what."""

    rule: Annotated[str, Field(max_length=64, examples=["offers_wants"])]
    params: Annotated[dict[str, Json], Field(max_length=50)]


class FlagsView(TypedDict):
    """What a group or circle lacks."""

    below_minimum: bool
    needs_mentor: bool


class PauseView(TypedDict):
    """A pause; without `to_on` its end is open."""

    from_on: Day
    to_on: Day | None


class ExtensionView(TypedDict):
    """A later end that one side has proposed."""

    ends_on: Day
    agreed_by: Annotated[list[Annotated[str, PublicId("person")]], MaxLen(110)]


class OwnReasonView(TypedDict):
    """What you wrote for yourself when you paused or ended."""

    kind: Annotated[str, Field(max_length=16, examples=["pause"])]
    reason: Annotated[str, Field(max_length=1000)]
    at: Timestamp


class MentorshipView(TypedDict):
    """A mentorship as far as the reader may see it."""

    id: Annotated[str, PublicId("mentorship")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    program_id: Annotated[str, PublicId("program")]
    track_id: Annotated[str, PublicId("track")]
    format: Format
    status: MentorshipStatus
    allowed: Actions
    name: Name | None
    common_ground: CommonGround | None
    driver_person_id: Annotated[
        Annotated[str, PublicId("person")] | None,
        Field(description="Whose move it is. Null for people managers."),
    ]
    members: Annotated[
        list[MemberView],
        MaxLen(200),
        Field(description="People managers see their own reports only."),
    ]
    cadence: Cadence
    meeting_minutes: Count
    timezone: TimeZone
    starts_on: Day | None
    ends_on: Day | None
    ended_on: Day | None
    source: MentorshipSource
    because: Annotated[list[BecauseView], MaxLen(50)]
    flags: FlagsView
    pause: PauseView | None
    extension: ExtensionView | None
    closing_reason: Annotated[
        ClosingReason | None,
        Field(description="Members see neutral reasons only, coordinators all."),
    ]
    completed_by: Annotated[
        list[Annotated[str, PublicId("person")]],
        MaxLen(110),
        Field(description="Who has said that all is done."),
    ]
    own_reasons: Annotated[list[OwnReasonView], MaxLen(100)]


class MentorshipPage(TypedDict):
    """One page of mentorships."""

    items: Annotated[list[MentorshipView], MaxLen(200)]
    next_cursor: Cursor | None
