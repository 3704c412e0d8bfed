"""Bodies of participants and of what they look for."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen, MinLen
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from services.api.participants.rules import ParticipantSource, ParticipantStatus
from services.api.programs.rules import TrackRole
from services.api.programs.schemas import PersonId, TrackId
from shared.schemas.base import (
    UNSET,
    Body,
    Day,
    Distinct,
    Id,
    Json,
    Line,
    Locale,
    PublicId,
    Text,
    Timestamp,
    Whole,
)
from shared.web.pagination import Page

ParticipantId = Annotated[UUID, Id("participant")]
Version = Annotated[int, Field(ge=1, examples=[1], json_schema_extra={"format": "int32"})]
Count = Annotated[int, Field(ge=0, le=100_000, json_schema_extra={"format": "int32"})]
Cursor = Annotated[str, Field(max_length=512)]
Capacity = Annotated[int, Whole(0, 20, 1)]
Hours = Annotated[int, Whole(1, 40, 4)]
Key = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,62}$", max_length=63, examples=["goals"])]
Answers = Annotated[
    dict[Key, Json],
    Field(max_length=100, description="Answers by the key of their question."),
]
Skill = Annotated[str, Line(80, "Public speaking")]
Skills = Annotated[list[Skill], MaxLen(30), Distinct()]
Actions = Annotated[
    list[Annotated[str, Field(max_length=40)]],
    MaxLen(20),
    Field(description="Actions this state permits."),
]


class TrackRoleBody(Body):
    """A role somebody wants in one track, and for how many others they have time."""

    track_id: TrackId
    role: TrackRole
    capacity: Annotated[
        Capacity,
        Field(
            description="Of the mentor of groups: how many mentees they have time for, in all"
            " groups together. Of everybody else: how many mentorships."
        ),
    ] = 1


class Registration(Body):
    """What a registration says; all of it may still change until it is submitted."""

    track_roles: Annotated[list[TrackRoleBody], MinLen(1), MaxLen(20)]
    answers: Answers = Field(default_factory=dict)
    hours_per_month: Hours | None = None


class ParticipantCreate(Registration):
    """A registration; without `person_id` it is one's own."""

    id: ParticipantId | None = None
    person_id: PersonId | None = None


class ParticipantPatch(Body):
    """What to change; answers replace those given before, key by key."""

    track_roles: Annotated[list[TrackRoleBody], MinLen(1), MaxLen(20)] = UNSET
    answers: Answers = UNSET
    hours_per_month: Hours | None = None


class Submission(Body):
    """That the person has seen what others will see of them."""

    preview_acknowledged: bool = False


class Decision(Body):
    """Why, as a code the person may be told."""

    reason: Annotated[str, Line(64, "no_capacity")] | None = None


class Pausing(Body):
    """Until when somebody takes no new mentorships."""

    until_on: Day | None = None


class Invitations(Body):
    """Whom to invite to a program, and as what."""

    person_ids: Annotated[list[PersonId], MinLen(1), MaxLen(500), Distinct()]
    track_roles: Annotated[list[TrackRoleBody], MaxLen(20)] = Field(default_factory=list)


class Strength(Body):
    """How much encouragement and challenge, from 1 to 5."""

    encouragement: Annotated[int, Whole(1, 5, 3)] | None = None
    challenge: Annotated[int, Whole(1, 5, 3)] | None = None


class PreferencesPut(Body):
    """What somebody looks for and brings; `path_now` and `path_target` are compared as text."""

    values: Annotated[list[Annotated[str, Line(80, "curiosity")]], MaxLen(10), Distinct()] = Field(
        default_factory=list
    )
    path_now: Annotated[str, Text(1000, "Backend engineer for five years.")] | None = None
    path_target: Annotated[str, Text(1000, "Leading a team of engineers.")] | None = None
    wants: Strength = Field(default_factory=Strength)
    offers: Strength = Field(default_factory=Strength)
    wants_skills: Skills = Field(default_factory=list)
    offers_skills: Skills = Field(default_factory=list)
    languages: Annotated[list[Locale], MaxLen(20), Distinct()] = Field(default_factory=list)


class ParticipantsQuery(Page):
    """Filters of a program's participants."""

    status: Annotated[
        Annotated[list[ParticipantStatus], MaxLen(20)] | SkipJsonSchema[None],
        Field(description="Only participants in one of these states."),
    ] = None
    track_id: Annotated[
        TrackId | SkipJsonSchema[None], Field(description="Only participants of this track.")
    ] = None
    role: Annotated[
        TrackRole | SkipJsonSchema[None], Field(description="Only participants with this role.")
    ] = None
    person_id: Annotated[
        PersonId | SkipJsonSchema[None], Field(description="Only participations of this person.")
    ] = None


class TrackRoleView(TypedDict):
    """A role in one track: its places, and how many are taken."""

    track_id: Annotated[str, PublicId("track")]
    role: TrackRole
    capacity: Count
    load: Annotated[
        Count,
        Field(
            description="What is taken of `capacity`, by mentorships and by proposals whose people"
            " are asked; the mentor of a group has one taken for each mentee."
        ),
    ]


class ParticipantView(TypedDict):
    """A person in a program, as far as the reader may see it."""

    id: Annotated[str, PublicId("participant")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    program_id: Annotated[str, PublicId("program")]
    person_id: Annotated[str, PublicId("person")]
    status: ParticipantStatus
    allowed: Actions
    track_roles: Annotated[list[TrackRoleView], MaxLen(20)]
    answers: Annotated[
        dict[str, Json], Field(max_length=100, description="Only what the reader may see.")
    ]
    hours_per_month: Count | None
    paused_until_on: Day | None
    preview_acknowledged_at: Timestamp | None
    source: ParticipantSource
    decision_reason: Annotated[str, Field(max_length=64)] | None


class ParticipantPage(TypedDict):
    """One page of participants."""

    items: Annotated[list[ParticipantView], MaxLen(200)]
    next_cursor: Cursor | None


class InvitedView(TypedDict):
    """What an invitation did for each person."""

    items: Annotated[list[ParticipantView], MaxLen(500)]


class StrengthView(TypedDict):
    """How much encouragement and challenge, from 1 to 5."""

    encouragement: Count | None
    challenge: Count | None


class PreferencesView(TypedDict):
    """What somebody looks for and brings."""

    participant_id: Annotated[str, PublicId("participant")]
    version: Version
    updated_at: Timestamp
    values: Annotated[list[Skill], MaxLen(10)]
    path_now: Annotated[str, Field(max_length=1000)] | None
    path_target: Annotated[str, Field(max_length=1000)] | None
    wants: StrengthView
    offers: StrengthView
    wants_skills: Annotated[list[Skill], MaxLen(30)]
    offers_skills: Annotated[list[Skill], MaxLen(30)]
    languages: Annotated[list[Locale], MaxLen(20)]


class BlockedView(TypedDict):
    """Why some participants cannot be matched yet.

    `paused`, `no_preferences`, `missing_answers` to a form published after they sent theirs,
    `no_places`: their capacity is 0 wherever they take part, or `no_grade`: they are in a reverse
    or sponsorship track, and their grade is not known or not one of the organization's
    `grade_order`.
    """

    reason: Annotated[str, Field(max_length=40, examples=["no_preferences"])]
    participant_ids: Annotated[list[Annotated[str, PublicId("participant")]], MaxLen(200)]
    count: Count


class TrackReadinessView(TypedDict):
    """Seats against people who want one, in one track."""

    track_id: Annotated[str, PublicId("track")]
    participants_by_role: Annotated[dict[str, Count], Field(max_length=10)]
    free_seats_by_role: Annotated[
        dict[str, Count],
        Field(
            max_length=10,
            description="Places that are free. Of the mentors of groups, those of one new group"
            " each: `max_members` at most, none where fewer than `min_members` are free.",
        ),
    ]
    ratio: Annotated[
        Annotated[float, Field(ge=0, le=1e12, json_schema_extra={"format": "double"})] | None,
        Field(
            description="Places sought per place offered; above 1 somebody finds nobody. Null"
            " where nobody offers one, and among peers.",
        ),
    ]


class ReadinessView(TypedDict):
    """Whether a program can be matched, as of one version of its configuration."""

    program_id: Annotated[str, PublicId("program")]
    config_version: Count
    tracks: Annotated[list[TrackReadinessView], MaxLen(100)]
    waiting_for_review: Count
    not_submitted: Count
    blocked: Annotated[list[BlockedView], MaxLen(20)]
