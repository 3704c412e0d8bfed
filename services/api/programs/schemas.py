"""Bodies of programs, tracks, forms, match policies and agreement templates."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypedDict
from uuid import UUID

from annotated_types import GroupedMetadata, MaxLen, MinLen
from pydantic import AfterValidator, ConfigDict, Field, JsonValue, ValidationError, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from services.api.programs.rules import (
    Cadence,
    ConsentSides,
    Format,
    FormStatus,
    ManagerAcknowledgement,
    ManagerSilence,
    MatchMode,
    ProgramKind,
    ProgramStatus,
    RequestApproval,
    Seniority,
    Switch,
    TrackRole,
    Visibility,
)
from shared.schemas.base import (
    UNSET,
    Body,
    Day,
    Distinct,
    Email,
    Id,
    Json,
    Line,
    Locale,
    PublicId,
    Slug,
    Text,
    Timestamp,
    Whole,
)
from shared.schemas.matching import HARD_RULES, PARAMS, SOFT_RULES, fault_of_param
from shared.web.pagination import Page

ProgramId = Annotated[UUID, Id("program")]
TrackId = Annotated[UUID, Id("track")]
FormId = Annotated[UUID, Id("form")]
PolicyId = Annotated[UUID, Id("match_policy")]
TemplateId = Annotated[UUID, Id("agreement_template")]
PersonId = Annotated[UUID, Id("person")]
Name = Annotated[str, Line(120, "Spring cohort")]
Version = Annotated[int, Field(ge=1, examples=[1], json_schema_extra={"format": "int32"})]
Number = Annotated[int, Field(ge=0, le=100_000, json_schema_extra={"format": "int32"})]
Cursor = Annotated[str, Field(max_length=512)]
Description = Annotated[
    dict[Locale, Annotated[str, Text(4000, "Six months of one-to-one mentoring.")]],
    Field(max_length=20, description="Text by locale."),
]
Labels = Annotated[
    dict[Locale, Annotated[str, Line(200, "What would you like to learn?")]],
    Field(max_length=20, min_length=1, description="Text by locale."),
]


class SupportContact(Body):
    """Whom participants can ask: a person or an address."""

    person_id: PersonId | None = None
    email: Email | None = None


class ProgramChoices(Body):
    """How a program treats people managers and reviews."""

    sensitive: bool = False
    people_manager_visibility: Visibility = Visibility.NONE
    manager_acknowledgement: ManagerAcknowledgement = ManagerAcknowledgement.OFF
    manager_silence: ManagerSilence = ManagerSilence.ESCALATE
    coordinator_review: Switch = Switch.ON


class ProgramCreate(ProgramChoices):
    """A program to draft; a cohort needs all four days."""

    id: ProgramId | None = None
    name: Name
    code: Slug
    description: Description = Field(default_factory=dict)
    kind: ProgramKind
    registration_opens_on: Day | None = None
    registration_closes_on: Day | None = None
    starts_on: Day
    ends_on: Day | None = None
    support_contact: SupportContact | None = None
    coordinator_ids: Annotated[
        list[PersonId],
        MaxLen(20),
        Distinct(),
        Field(description="Who coordinates; without any, whoever drafts the program."),
    ] = Field(default_factory=list)


class ProgramPatch(Body):
    """Fields to change; what is left out stays."""

    name: Name = UNSET
    description: Description = UNSET
    registration_opens_on: Day | None = None
    registration_closes_on: Day | None = None
    starts_on: Day = UNSET
    ends_on: Day | None = None
    support_contact: SupportContact | None = None
    people_manager_visibility: Visibility = UNSET
    manager_acknowledgement: ManagerAcknowledgement = UNSET
    manager_silence: ManagerSilence = UNSET
    coordinator_review: Switch = UNSET


class Cancellation(Body):
    """Confirms how many live mentorships will end."""

    live_mentorships: Annotated[int, Whole(0, 100_000, 0)]


class WindDown(Body):
    """The day an evergreen program ends."""

    ends_on: Day | None = None


class ProgramsQuery(Page):
    """Filters of programs."""

    status: Annotated[
        Annotated[list[ProgramStatus], MaxLen(10)] | SkipJsonSchema[None],
        Field(description="Only programs in one of these states."),
    ] = None


class SupportContactView(TypedDict):
    """Whom participants can ask."""

    person_id: Annotated[str, PublicId("person")] | None
    email: Email | None


class ProgramView(TypedDict):
    """A program."""

    id: Annotated[str, PublicId("program")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    name: Name
    code: Slug
    description: Description
    kind: ProgramKind
    status: ProgramStatus
    allowed: Annotated[
        list[Annotated[str, Field(max_length=32)]],
        MaxLen(20),
        Field(description="Actions its state permits."),
    ]
    accepting_participants: bool
    matching_paused: bool
    registration_opens_on: Day | None
    registration_closes_on: Day | None
    starts_on: Day
    ends_on: Day | None
    sensitive: bool
    support_contact: SupportContactView
    people_manager_visibility: Visibility
    manager_acknowledgement: ManagerAcknowledgement
    manager_silence: ManagerSilence
    coordinator_review: Switch
    config_version: Version


class ProgramPage(TypedDict):
    """One page of programs."""

    items: Annotated[list[ProgramView], MaxLen(200)]
    next_cursor: Cursor | None


class Readiness(TypedDict):
    """What to know before matching starts."""

    config_version: Version
    mentor_seats: Number
    mentee_seats: Number
    participants_in_review: Number
    participants_without_preferences: Number
    missing: Annotated[list[Annotated[str, Field(max_length=64)]], MaxLen(20)]


Gap = Annotated[int, Whole(0, 50, 1)]
Modes = Annotated[list[MatchMode], MinLen(1), MaxLen(7), Distinct()]
Minutes = Annotated[int, Whole(15, 60, 45)]
Members = Annotated[
    int,
    Whole(1, 100, 2),
    Field(
        description="Of a group, how many mentees it has; elsewhere all members count, in a circle"
        " with whoever facilitates."
    ),
]
LengthDays = Annotated[int, Whole(28, 365, 180)]


class TrackCreate(Body):
    """One format of a program; what is left out follows the format."""

    id: TrackId | None = None
    name: Name
    format: Format
    match_modes: Modes
    policy_id: PolicyId | None = None
    agreement_template_id: TemplateId | None = None
    cadence: Cadence = Cadence.BIWEEKLY
    meeting_minutes: Minutes | None = None
    length_days: LengthDays = 180
    min_members: Members | None = None
    max_members: Members | None = None
    seniority: Seniority | None = None
    grade_gap_min: Gap | None = None
    grade_gap_max: Gap | None = None
    consent_sides: ConsentSides = ConsentSides.BOTH
    request_approval: RequestApproval = RequestApproval.NONE


class TrackPatch(Body):
    """Fields to change; what is left out stays."""

    name: Name = UNSET
    format: Format = UNSET
    match_modes: Modes = UNSET
    policy_id: PolicyId | None = None
    agreement_template_id: TemplateId | None = None
    cadence: Cadence = UNSET
    meeting_minutes: Minutes = UNSET
    length_days: LengthDays = UNSET
    min_members: Members = UNSET
    max_members: Members = UNSET
    seniority: Seniority = UNSET
    grade_gap_min: Gap | None = None
    grade_gap_max: Gap | None = None
    consent_sides: ConsentSides = UNSET
    request_approval: RequestApproval = UNSET


class TrackView(TypedDict):
    """One format of a program."""

    id: Annotated[str, PublicId("track")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    program_id: Annotated[str, PublicId("program")]
    name: Name
    format: Format
    match_modes: Modes
    policy_id: Annotated[str, PublicId("match_policy")] | None
    agreement_template_id: Annotated[str, PublicId("agreement_template")] | None
    cadence: Cadence
    meeting_minutes: Minutes
    length_days: LengthDays
    min_members: Members
    max_members: Members
    seniority: Seniority
    grade_gap_min: Gap | None
    grade_gap_max: Gap | None
    consent_sides: ConsentSides
    request_approval: RequestApproval


class TrackPage(TypedDict):
    """One page of tracks."""

    items: Annotated[list[TrackView], MaxLen(200)]
    next_cursor: Cursor | None


FieldKey = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", max_length=40, examples=["goals"])
]


class FormField(Body):
    """One question; free text is never matchable."""

    key: FieldKey
    label: Labels
    help: Labels | None = None
    type: Annotated[
        str,
        Field(
            pattern=(
                "^(short_text|long_text|single_choice|multi_choice|ranked_choice|number|scale"
                "|date|boolean|skill_list|language_list|person|url|attribute)$"
            ),
            max_length=20,
            examples=["short_text"],
        ),
    ]
    options: Annotated[list[Annotated[str, Line(200, "Leadership")]], MaxLen(200), Distinct()] = (
        Field(default_factory=list)
    )
    required: bool = False
    audience: Annotated[
        str,
        Field(pattern="^(program|coordinators)$", max_length=16, examples=["coordinators"]),
    ] = "coordinators"
    matchable: bool = False


class FormCreate(Body):
    """Questions to one role of a program."""

    id: FormId | None = None
    role: TrackRole
    fields: Annotated[list[FormField], MinLen(1), MaxLen(100)]


class FormView(TypedDict):
    """Questions to one role of a program."""

    id: Annotated[str, PublicId("form")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    program_id: Annotated[str, PublicId("program")]
    role: TrackRole
    form_version: Version
    status: FormStatus
    fields: Annotated[list[FormField], MaxLen(100)]


class FormPage(TypedDict):
    """One page of forms."""

    items: Annotated[list[FormView], MaxLen(200)]
    next_cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class RuleWord(GroupedMetadata):
    """One of the words of rules that matching knows; the schema says what each takes."""

    known: Mapping[str, tuple[str, ...]]

    def __iter__(self) -> Iterator[object]:
        """Expand into what Pydantic understands."""
        taken = (f"`{word}`: {', '.join(takes)}" for word, takes in self.known.items() if takes)
        yield AfterValidator(self._check)
        yield Field(
            max_length=40,
            description=f"What is demanded. These take params: {'; '.join(taken)}.",
            json_schema_extra={"enum": list[JsonValue](sorted(self.known))},
        )

    def _check(self, word: str) -> str:
        if word not in self.known:
            raise PydanticCustomError("unknown_rule", "is no rule")
        return word


def _understood(given: dict[str, Any]) -> dict[str, Any]:
    params = {name: _whole(value) for name, value in given.items()}
    broken = [
        InitErrorDetails(type=PydanticCustomError(code, "does not fit"), loc=(name,), input=None)
        for name, value in params.items()
        if (code := fault_of_param(name, value))
    ]
    if broken:
        raise ValidationError.from_exception_data("params", broken)
    return params


def _whole(value: Any) -> Any:
    """Return 3 for 3.0: in JSON they are the same number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Params = Annotated[
    dict[FieldKey, Json],
    Field(max_length=20),
    AfterValidator(_understood),
    WithJsonSchema(
        {
            "type": "object",
            "description": "What the rule is told; its word says what it takes.",
            "properties": {name: param.schema() for name, param in PARAMS.items()},
            "additionalProperties": False,
        }
    ),
]
Weight = Annotated[int, Whole(0, 100, 30)]
Objective = Annotated[
    str,
    Field(
        pattern="^(most_matched|best_total|fair_floor|stable)$",
        max_length=16,
        examples=["most_matched"],
    ),
]
TextModel = Annotated[
    str,
    Field(
        pattern="^(words|letters)$",
        max_length=8,
        description=(
            "How paths are compared: by what English `words` mean, or by `letters`, in any "
            "language."
        ),
        examples=["words"],
    ),
]


class HardRule(Body):
    """What no match may break."""

    rule: Annotated[str, RuleWord(HARD_RULES)]
    params: Params = Field(default_factory=dict)


class SoftRule(Body):
    """What makes a match better."""

    rule: Annotated[str, RuleWord(SOFT_RULES)]
    weight: Weight
    params: Params = Field(default_factory=dict)


HardRules = Annotated[list[HardRule], MaxLen(50)]
SoftRules = Annotated[list[SoftRule], MaxLen(50)]
Seed = Annotated[int, Whole(0, 2_147_483_647, 1)]
Floor = Annotated[
    int,
    Whole(0, 100, 40),
    Field(
        description="The score that as many pairs as possible are to reach; `most_matched` only."
    ),
]
StayBonus = Annotated[
    int,
    Whole(0, 100, 5),
    Field(description="How much more a pair scores that the run before had put together."),
]


class PolicyLimits(Body):
    """How much work a match may take; what is left out is for matching to choose."""

    max_candidates: Annotated[int, Whole(1, 256, 64)] | None = Field(
        None, description="How many of the best of everybody are looked at first."
    )
    time_s: Annotated[int, Whole(1, 3600, 60)] | None = Field(
        None, description="Seconds after which a run gives up, if matching has not before."
    )


Percent = Annotated[int, Whole(0, 100, 60)]


class Expectation(Body):
    """What should hold of two people: one thing at least."""

    model_config: ClassVar[ConfigDict] = ConfigDict(json_schema_extra={"minProperties": 1})

    allowed: bool | None = None
    matched: bool | None = None
    score_at_least: Percent | None = None
    score_at_most: Percent | None = None


class PolicyTest(Body):
    """One expectation about two people, to be looked at whenever the policy changes."""

    name: Annotated[str, Line(120, "A French speaker is not matched blindly.")]
    people: Annotated[list[PersonId], MinLen(2), MaxLen(2), Distinct()]
    expect: Expectation


PolicyTests = Annotated[
    list[PolicyTest],
    MaxLen(100),
    Field(
        description=(
            "What a policy check on a track tries, each under a name of its own; runs do not look "
            "at it."
        )
    ),
]


class PolicyCreate(Body):
    """How a program's matching weighs, and what it forbids."""

    id: PolicyId | None = None
    program_id: ProgramId
    name: Name
    hard: HardRules = Field(default_factory=list)
    soft: Annotated[SoftRules, MinLen(1)]
    objective: Objective = "most_matched"
    floor: Floor = 0
    stay_bonus: StayBonus = 0
    text_model: TextModel = "words"
    seed: Seed = 1
    limits: PolicyLimits = Field(default_factory=PolicyLimits)
    tests: PolicyTests = Field(default_factory=list)


class PolicyPatch(Body):
    """Fields to change; once a run has used the policy, `name` and `tests` only."""

    name: Name = UNSET
    hard: HardRules = UNSET
    soft: Annotated[SoftRules, MinLen(1)] = UNSET
    objective: Objective = UNSET
    floor: Floor = UNSET
    stay_bonus: StayBonus = UNSET
    text_model: TextModel = UNSET
    seed: Seed = UNSET
    limits: PolicyLimits = UNSET
    tests: PolicyTests = UNSET


class PoliciesQuery(Page):
    """Filters of policies."""

    program_id: Annotated[ProgramId, Field(description="Policies of this program.")]


class PolicyTestView(TypedDict):
    """One expectation about two people."""

    name: Name
    people: Annotated[list[Annotated[str, PublicId("person")]], MinLen(2), MaxLen(2)]
    expect: Expectation


class PolicyView(TypedDict):
    """How a program's matching weighs, and what it forbids."""

    id: Annotated[str, PublicId("match_policy")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    program_id: Annotated[str, PublicId("program")]
    name: Name
    policy_version: Annotated[
        Version, Field(description="Counts what a run goes by: `name` and `tests` do not raise it.")
    ]
    hard: HardRules
    soft: SoftRules
    objective: Objective
    floor: Floor
    stay_bonus: StayBonus
    text_model: TextModel
    seed: Seed
    limits: PolicyLimits
    tests: Annotated[list[PolicyTestView], MaxLen(100)]
    frozen: bool


class PolicyPage(TypedDict):
    """One page of policies."""

    items: Annotated[list[PolicyView], MaxLen(200)]
    next_cursor: Cursor | None


class TemplateView(TypedDict):
    """What an agreement asks both sides."""

    id: Annotated[str, PublicId("agreement_template")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    program_id: Annotated[str, PublicId("program")] | None
    name: Name
    sections: Annotated[list[dict[str, Any]], MaxLen(50)]


class TemplatePage(TypedDict):
    """One page of agreement templates."""

    items: Annotated[list[TemplateView], MaxLen(200)]
    next_cursor: Cursor | None
