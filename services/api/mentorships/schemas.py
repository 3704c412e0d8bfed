"""Bodies of mentorships and their members."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, TypedDict
from uuid import UUID

from annotated_types import MaxLen
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from services.api.access import rules as access
from services.api.access.rules import Actor
from services.api.mentorships import rules
from services.api.mentorships.rules import (
    ClosingReason,
    MemberStatus,
    MentorshipSource,
    MentorshipStatus,
)
from services.api.participants.schemas import Actions, Count, Cursor, Version
from services.api.programs.rules import Cadence, Format, TrackRole
from services.api.programs.schemas import ProgramId, TrackId
from shared import ids
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
Name = Annotated[str, Line(120, "New managers, autumn")]
CommonGround = Annotated[str, Line(500, "All of us lead a team for the first time.")]
Private = Annotated[
    str, Text(1000, "My new job leaves me no time."), Field(description="For yourself alone.")
]
Coarse = Annotated[
    ClosingReason, Field(description="Coordinators read it; the other members do not.")
]


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


def mentorship_view(row: Mapping[str, Any], actor: Actor, *, today: date) -> MentorshipView:
    """Show a mentorship: all to its members, no private words to staff, little to managers."""
    status = MentorshipStatus(row["status"])
    members = _members(row)
    present_now = [(one["role"], one["person_id"]) for one in members if _is_in(one)]
    facts = rules.facts_of(actor, row, present_now)
    own = [one for one in members if one["person_id"] == actor.person_id and one["joined_at"]]
    is_close = bool(own) or access.holds("mentorship.know", facts)
    reads_reason = access.holds("mentorship.read_reason", facts)
    may_write = access.holds("person.read_contact", facts)
    seen = members if is_close else [one for one in members if _reports_to(one, actor)]
    return MentorshipView(
        id=ids.format_id("mentorship", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        program_id=ids.format_id("program", row["program_id"]),
        track_id=ids.format_id("track", row["track_id"]),
        format=row["format"],
        status=status,
        allowed=rules.offered(actor, row, facts),
        name=row["name"] if is_close else None,
        common_ground=row["common_ground"] if is_close else None,
        driver_person_id=(ids.format_id("person", row["driver_person_id"]) if is_close else None),
        members=[
            _present_member(
                one,
                shows_contact=may_write or _may_write(own, one, row["ended_on"], today=today),
            )
            for one in seen
        ],
        cadence=row["cadence"],
        meeting_minutes=row["meeting_minutes"],
        timezone=row["timezone"],
        starts_on=row["starts_on"],
        ends_on=row["ends_on"],
        ended_on=row["ended_on"],
        source=row["source"],
        because=[_present_because(one) for one in row["because"]] if is_close else [],
        flags=_flags(row, present_now),
        pause=_pause(row),
        extension=_extension(row["extension"]) if is_close else None,
        closing_reason=_reason(row["closing_reason"], reads_all=reads_reason),
        completed_by=_people(row["completed_by"]) if is_close else [],
        own_reasons=[_present_reason(one) for one in row["own_reasons"] or ()],
    )


def _members(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **one,
            "id": UUID(one["id"]),
            "participant_id": UUID(one["participant_id"]),
            "person_id": UUID(one["person_id"]),
            "role": TrackRole(one["role"]),
            "joined_at": _instant(one["joined_at"]),
            "left_at": _instant(one["left_at"]),
        }
        for one in row["members"]
    ]


def _instant(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _is_in(member: Mapping[str, Any]) -> bool:
    return MemberStatus(member["status"]) is MemberStatus.ACTIVE


def _reports_to(member: Mapping[str, Any], actor: Actor) -> bool:
    return actor.person_id is not None and member["manager_id"] == str(actor.person_id)


def _may_write(
    own: Sequence[Mapping[str, Any]],
    other: Mapping[str, Any],
    ended_on: date | None,
    *,
    today: date,
) -> bool:
    """Tell whether one member may still contact another."""
    if not own or not other["joined_at"]:
        return False
    left = [one["left_at"].date() for one in (own[0], other) if one["left_at"]]
    until = rules.contact_lasts_until(ended_on, *left)
    return until is None or today <= until


def _present_member(member: Mapping[str, Any], *, shows_contact: bool) -> MemberView:
    contact = ContactView(email=member["email"], phone=member["phone"])
    return MemberView(
        id=ids.format_id("member", member["id"]),
        participant_id=ids.format_id("participant", member["participant_id"]),
        person_id=ids.format_id("person", member["person_id"]),
        given_name=member["given_name"],
        family_name=member["family_name"],
        role=member["role"],
        status=member["status"],
        joined_at=member["joined_at"],
        left_at=member["left_at"],
        contact=contact if shows_contact else None,
    )


def _present_because(one: Mapping[str, Any]) -> BecauseView:
    return BecauseView(rule=one["rule"], params=one.get("params") or {})


def _present_reason(one: Mapping[str, Any]) -> OwnReasonView:
    return OwnReasonView(
        kind=one["kind"], reason=one["reason"], at=datetime.fromisoformat(one["at"])
    )


def _flags(row: Mapping[str, Any], members: Sequence[tuple[TrackRole, UUID]]) -> FlagsView:
    found = rules.gaps(Format(row["format"]), members, min_members=row["min_members"])
    return FlagsView(below_minimum=found.below_minimum, needs_mentor=found.needs_mentor)


def _pause(row: Mapping[str, Any]) -> PauseView | None:
    if row["paused_from_on"] is None:
        return None
    return PauseView(from_on=row["paused_from_on"], to_on=row["paused_to_on"])


def _extension(value: Mapping[str, Any] | None) -> ExtensionView | None:
    if value is None:
        return None
    return ExtensionView(
        ends_on=date.fromisoformat(value["ends_on"]), agreed_by=_people(value["agreed_by"])
    )


def _people(texts: Sequence[str]) -> list[str]:
    return [ids.format_id("person", UUID(one)) for one in texts]


def _reason(value: str | None, *, reads_all: bool) -> rules.ClosingReason | None:
    if value is None:
        return None
    reason = rules.ClosingReason(value)
    return reason if reads_all or reason in rules.NEUTRAL_REASONS else None
