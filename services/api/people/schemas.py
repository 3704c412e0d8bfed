"""Bodies of the directory's endpoints."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from services.api.access.roles import Role
from services.api.access.rules import Scope
from services.api.people.rules import PersonStatus
from shared.schemas.base import (
    UNSET,
    Body,
    Day,
    Distinct,
    Email,
    Id,
    Line,
    Locale,
    PublicId,
    Search,
    Timestamp,
    TimeZone,
)
from shared.web.pagination import Page

Name = Annotated[str, Line(120, "Ada")]
PersonId = Annotated[UUID, Id("person")]
Version = Annotated[int, Field(ge=1, examples=[1], json_schema_extra={"format": "int32"})]


class Location(Body):
    """Where somebody usually works."""

    country: Annotated[str, Line(120, "Germany")] | None = None
    city: Annotated[str, Line(120, "Berlin")] | None = None
    site: Annotated[str, Line(120, "HQ")] | None = None


class ExternalIdBody(Body):
    """What one source system calls the person."""

    source: Annotated[str, Line(64, "hr")]
    external_id: Annotated[str, Line(200, "10026")]


class PersonFields(Body):
    """Everything of a person that may be absent."""

    employee_number: Annotated[str, Line(64, "10026")] | None = None
    phone: Annotated[str, Line(40, "+49 30 1234")] | None = None
    preferred_name: Name | None = None
    pronouns: Annotated[str, Line(40, "she/her")] | None = None
    manager_id: PersonId | None = None
    title: Annotated[str, Line(200, "Data Engineer")] | None = None
    department: Annotated[str, Line(200, "Engineering")] | None = None
    location: Location | None = None
    grade: Annotated[str, Line(40, "Senior")] | None = None
    job_family: Annotated[str, Line(120, "Engineering")] | None = None
    hired_on: Day | None = None
    in_job_since: Day | None = None


class PersonCreate(PersonFields):
    """A new person; locale and time zone default to the organization's."""

    id: PersonId | None = None
    email: Email
    given_name: Name
    family_name: Name
    locale: Locale | None = None
    timezone: TimeZone | None = None
    external_ids: Annotated[list[ExternalIdBody], MaxLen(20), Distinct()] = Field(
        default_factory=list
    )


class PersonPatch(PersonFields):
    """Fields to change; null clears a field that may be absent, what is left out stays."""

    email: Email = UNSET
    given_name: Name = UNSET
    family_name: Name = UNSET
    locale: Locale = UNSET
    timezone: TimeZone = UNSET


class Deactivation(Body):
    """When and why somebody left."""

    ended_on: Day | None = None
    reason: Annotated[str, Line(40, "left")] | None = None


class PeopleQuery(Page):
    """Filters of the directory."""

    q: Annotated[
        Search | SkipJsonSchema[None], Field(description="Part of a name, title or department.")
    ] = None
    status: Annotated[
        Annotated[list[PersonStatus], MaxLen(4)] | SkipJsonSchema[None],
        Field(description="Only people in one of these states."),
    ] = None
    department: Annotated[
        Annotated[str, Line(200, "Engineering")] | SkipJsonSchema[None],
        Field(description="Exactly this department."),
    ] = None
    manager_id: Annotated[
        PersonId | SkipJsonSchema[None], Field(description="Only direct reports of this person.")
    ] = None


class LocationView(TypedDict):
    """Where somebody usually works."""

    country: Annotated[str, Line(120, "Germany")] | None
    city: Annotated[str, Line(120, "Berlin")] | None
    site: Annotated[str, Line(120, "HQ")] | None


class PersonView(TypedDict):
    """A person as the reader may see them; what they may not see is null."""

    id: Annotated[str, PublicId("person")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    status: PersonStatus
    given_name: Name
    family_name: Name
    preferred_name: Name | None
    pronouns: Annotated[str, Line(40, "she/her")] | None
    title: Annotated[str, Line(200, "Data Engineer")] | None
    department: Annotated[str, Line(200, "Engineering")] | None
    location: LocationView
    locale: Locale
    timezone: TimeZone
    manager_id: Annotated[str, PublicId("person")] | None
    is_guest: bool
    email: Annotated[Email | None, Field(description="Null unless the reader may contact them.")]
    phone: Annotated[str, Line(40, "+49 30 1234")] | None
    employee_number: Annotated[str, Line(64, "10026")] | None
    grade: Annotated[
        str | None, Field(max_length=40, description="Null unless HR fields may be read.")
    ]
    job_family: Annotated[str, Line(120, "Engineering")] | None
    hired_on: Day | None
    in_job_since: Day | None
    ended_on: Day | None
    ended_reason: Annotated[str, Line(40, "left")] | None


class PeoplePage(TypedDict):
    """One page of the directory."""

    items: Annotated[list[PersonView], MaxLen(200)]
    next_cursor: Annotated[str, Field(max_length=512)] | None


class GrantView(TypedDict):
    """A granted role and its program; null is the whole organization."""

    role: Role
    program_id: Annotated[str, PublicId("program")] | None


class MeView(TypedDict):
    """Who this credential is, and what it may do."""

    organization_id: Annotated[str, PublicId("organization")]
    person: PersonView | None
    granted: Annotated[list[GrantView], MaxLen(1000)]
    scopes: Annotated[list[Scope], MaxLen(50)]
