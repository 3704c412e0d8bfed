"""Bodies of the organization's endpoints."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen
from pydantic import Field

from services.api.organizations.rules import EmailCodes, Kind
from shared.schemas.base import (
    UNSET,
    Body,
    Distinct,
    Email,
    Id,
    Line,
    Locale,
    PublicId,
    Slug,
    Timestamp,
    TimeZone,
)

Grade = Annotated[str, Line(40, "Senior")]
Grades = Annotated[list[Grade], MaxLen(100), Distinct()]
EmailCodesSetting = Annotated[
    EmailCodes,
    Field(
        description="Whether people may sign in with a code by mail. `automatic`: as long as no "
        "connection of kind `oidc` is active. `on`: beside one, too.",
        examples=["automatic"],
    ),
]


SkillKey = Annotated[
    str,
    Field(pattern="^[a-z][a-z0-9_]{0,39}$", max_length=40, examples=["machine_learning"]),
]
SkillLabels = Annotated[
    dict[Locale, Annotated[str, Line(80, "Machine learning")]],
    Field(min_length=1, max_length=20, description="What it is called, by locale."),
]
SkillWords = Annotated[list[Annotated[str, Line(80, "ML")]], MaxLen(50), Distinct()]


class Skill(Body):
    """One skill of the organization, and every word that means it."""

    key: SkillKey
    label: SkillLabels
    synonyms: Annotated[
        SkillWords, Field(description="Further words that mean the same in matching.")
    ] = Field(default_factory=list)


class SkillView(TypedDict):
    """One skill of the organization, and every word that means it."""

    key: SkillKey
    label: SkillLabels
    synonyms: SkillWords


SKILLS_DESCRIPTION = (
    "What people may call a skill: its key, its labels and synonyms are one in matching, whatever "
    "the case. No word means two skills."
)


class OrganizationPatch(Body):
    """Fields to change; what is left out stays."""

    name: Annotated[str, Line(120, "Example Works")] = UNSET
    default_locale: Locale = UNSET
    default_timezone: TimeZone = UNSET
    email_codes: EmailCodesSetting = UNSET
    grade_order: Annotated[
        Grades, Field(description="Grades from lowest to highest; others have no rank.")
    ] = UNSET
    skills: Annotated[list[Skill], MaxLen(1000), Field(description=SKILLS_DESCRIPTION)] = UNSET


class FirstAdmin(Body):
    """The person who will run the organization."""

    given_name: Annotated[str, Line(120, "Ada")]
    family_name: Annotated[str, Line(120, "Example")]
    email: Email


class OrganizationCreate(Body):
    """A new organization and its first org admin."""

    id: Annotated[UUID, Id("organization")] | None = None
    slug: Slug
    name: Annotated[str, Line(120, "Example Works")]
    kind: Kind = Kind.PRODUCTION
    default_locale: Locale = "en"
    default_timezone: TimeZone = "UTC"
    grade_order: Grades = Field(default_factory=list)
    org_admin: FirstAdmin


class OrganizationView(TypedDict):
    """The organization a credential belongs to."""

    id: Annotated[str, PublicId("organization")]
    version: Annotated[int, Field(ge=1, examples=[1])]
    created_at: Timestamp
    updated_at: Timestamp
    name: Annotated[str, Line(120, "Example Works")]
    slug: Slug
    kind: Kind
    default_locale: Locale
    default_timezone: TimeZone
    email_codes: EmailCodesSetting
    grade_order: Grades
    skills: Annotated[list[SkillView], MaxLen(1000), Field(description=SKILLS_DESCRIPTION)]
