"""The body of the start page: cards with what a first screen needs, and ids to go on from."""

from typing import Annotated, TypedDict

from annotated_types import MaxLen
from pydantic import Field

from services.api.meetings.rules import MeetingMode, MeetingStatus
from services.api.meetings.schemas import Location
from services.api.mentorships.rules import MentorshipStatus
from services.api.participants.rules import ParticipantStatus
from services.api.participants.schemas import Actions
from services.api.programs.rules import Format, ProgramStatus, TrackRole
from shared.schemas.base import Day, Locale, PublicId, Timestamp, TimeZone

GivenName = Annotated[str, Field(max_length=120, examples=["Ada"])]
FamilyName = Annotated[str, Field(max_length=120, examples=["Example"])]
MyMove = Annotated[bool, Field(description="That something waits for you.")]


class SelfCard(TypedDict):
    """Whose start page this is."""

    id: Annotated[str, PublicId("person")]
    given_name: GivenName
    family_name: FamilyName
    locale: Locale
    timezone: TimeZone


class ParticipationCard(TypedDict):
    """Where you take part, and what you can do there now."""

    id: Annotated[str, PublicId("participant")]
    status: ParticipantStatus
    allowed: Actions
    program_id: Annotated[str, PublicId("program")]
    program_name: Annotated[str, Field(max_length=120, examples=["Spring cohort"])]
    program_status: ProgramStatus


class PersonCard(TypedDict):
    """Somebody beside you."""

    person_id: Annotated[str, PublicId("person")]
    given_name: GivenName
    family_name: FamilyName
    role: TrackRole


class ProposalCard(TypedDict):
    """People suggested to you, who wait for your answer."""

    id: Annotated[str, PublicId("proposal")]
    program_id: Annotated[str, PublicId("program")]
    track_id: Annotated[str, PublicId("track")]
    holds_until: Timestamp | None
    members: Annotated[list[PersonCard], MaxLen(110)]


class MentorshipCard(TypedDict):
    """A live mentorship of yours."""

    id: Annotated[str, PublicId("mentorship")]
    program_id: Annotated[str, PublicId("program")]
    format: Format
    status: MentorshipStatus
    allowed: Actions
    is_driver: Annotated[bool, Field(description="That it is your move first.")]
    waits_for_you: MyMove
    starts_on: Day | None
    ends_on: Day | None
    members: Annotated[list[PersonCard], MaxLen(110)]


class MeetingCard(TypedDict):
    """A meeting of yours that is to come, or an offer of times for one."""

    id: Annotated[str, PublicId("meeting")]
    mentorship_id: Annotated[str, PublicId("mentorship")]
    status: MeetingStatus
    waits_for_you: MyMove
    proposed_times: Annotated[list[Timestamp], MaxLen(5)]
    starts_at: Timestamp | None
    ends_at: Timestamp | None
    timezone: TimeZone
    mode: MeetingMode
    location: Location | None


class HomeView(TypedDict):
    """Your start page."""

    person: SelfCard
    participations: Annotated[list[ParticipationCard], MaxLen(50)]
    proposals: Annotated[list[ProposalCard], MaxLen(20), Field(description="Most urgent first.")]
    mentorships: Annotated[list[MentorshipCard], MaxLen(50)]
    meetings: Annotated[
        list[MeetingCard],
        MaxLen(20),
        Field(description="Offers without a time first, then the soonest."),
    ]
