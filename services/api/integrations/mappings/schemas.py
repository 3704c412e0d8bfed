"""Bodies of mappings, their suggestions and previews."""

from typing import Annotated, Literal, TypedDict
from uuid import UUID

from annotated_types import MaxLen, MinLen
from pydantic import Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from services.api.integrations.mappings import rules
from services.api.integrations.mappings.rules import (
    DateFormat,
    Empty,
    Leavers,
    ManagerBy,
    NamePart,
    Otherwise,
    PersonField,
)
from services.api.people.schemas import Location, Name, PersonFields
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
    Timestamp,
    TimeZone,
    Whole,
)

MappingId = Annotated[UUID, Id("mapping")]
MappingName = Annotated[str, Line(120, "HR export, weekly")]
Column = Annotated[str, Line(200, "Employee_Name")]
Version = Annotated[int, Field(ge=1, examples=[1], json_schema_extra={"format": "int32"})]
LineNumber = Annotated[int, Field(ge=1, examples=[2], json_schema_extra={"format": "int32"})]
Code = Annotated[str, Field(max_length=64, examples=["missing_id"])]
Sentence = Annotated[str, Field(max_length=400)]
# Here spaces count, which bodies otherwise strip.
Joint = Annotated[str, StringConstraints(strip_whitespace=False, max_length=10)]
Text200 = Annotated[str, Field(max_length=200)]


class Trim(Body):
    """Drop spaces around a value and double ones inside."""

    do: Literal["trim"]


class Lower(Body):
    """Turn to small letters."""

    do: Literal["lower"]


class Date(Body):
    """Read a day as the file writes it; without this step only `YYYY-MM-DD` is taken."""

    do: Literal["date"]
    format: DateFormat


class Lookup(Body):
    """Replace a value by what a table has for it; letters and spaces are not minded."""

    do: Literal["lookup"]
    table: Annotated[
        dict[Annotated[str, Line(200, "Active")], Annotated[str, Field(max_length=200)]],
        Field(min_length=1, max_length=1000),
    ]
    otherwise: Otherwise = Otherwise.REFUSE


class Concat(Body):
    """Make one value of several columns; must be the first step."""

    do: Literal["concat"]
    with_: Annotated[Joint, Field(alias="with", examples=[" "])] = " "


class Split(Body):
    """Take one part of a value, counted from 1."""

    do: Literal["split"]
    on: Annotated[Joint, Field(min_length=1, examples=[","])]
    take: Annotated[int, Whole(1, 20, 1)]


class Default(Body):
    """Use this where the cell is empty."""

    do: Literal["default"]
    value: Annotated[str, Line(200, "Headquarters")]


class NamePartStep(Body):
    """Take the given or the family name of "Last, First" or "First Last"."""

    do: Literal["name_part"]
    part: NamePart


Step = Annotated[
    Trim | Lower | Date | Lookup | Concat | Split | Default | NamePartStep,
    Field(discriminator="do"),
]


class FieldRule(Body):
    """Where one field comes from: columns and steps, or a template of other fields."""

    columns: Annotated[list[Column], MaxLen(10), Distinct()] = Field(default_factory=list)
    template: (
        Annotated[
            str,
            Line(200, "{employee_number}@example.org"),
            Field(description="Text with other fields or `external_id` in braces."),
        ]
        | None
    ) = None
    steps: Annotated[list[Step], MaxLen(10)] = Field(default_factory=list)
    empty: Empty = Empty.KEEP

    @model_validator(mode="after")
    def _one_origin(self) -> "FieldRule":
        if bool(self.columns) == bool(self.template):
            raise _wrong("names either columns or a template")
        joins = [place for place, step in enumerate(self.steps) if step.do == "concat"]
        if joins not in ([], [0]) or (len(self.columns) > 1 and not joins):
            raise _wrong("joins several columns with concat as the first step")
        known = {*rules.PERSON_FIELDS, "external_id"}
        template = self.template or ""
        if rules.has_stray_braces(template) or not set(rules.placeholders(template)) <= known:
            raise _wrong("names only fields of a person or external_id in braces")
        return self


class Key(Body):
    """Which column tells people apart; it must never change for a person."""

    column: Column


class Manager(Body):
    """How the file names a person's manager."""

    column: Column
    by: ManagerBy


class RefusedColumn(Body):
    """A column that must never be read, beside those refused everywhere."""

    column: Column
    reason: Annotated[str, Line(200, "Tells why somebody left, and so of health and conduct.")]


class MappingDocument(Body):
    """Which column means what. Nothing else of a file is read, kept or shown."""

    key: Key
    fields: Annotated[dict[PersonField, FieldRule], Field(min_length=1, max_length=40)]
    manager: Manager | None = None
    refused_columns: Annotated[list[RefusedColumn], MaxLen(512)] = Field(default_factory=list)
    leavers: Leavers = Leavers.CREATE
    note: Annotated[str, Line(1000, "The weekly export of the HR system.")] | None = None

    @model_validator(mode="after")
    def _steps_fit(self) -> "MappingDocument":
        status = self.fields.get(PersonField.STATUS)
        for step in status.steps if status else ():
            if isinstance(step, Lookup) and not set(step.table.values()) <= {"active", "inactive"}:
                raise _wrong("looks a status up as active or inactive")
        return self

    @field_validator("fields", mode="after")
    @classmethod
    def _templates_end(cls, fields: dict[PersonField, FieldRule]) -> dict[PersonField, FieldRule]:
        if rules.templates_of_templates({name: rule.template for name, rule in fields.items()}):
            raise _wrong("has no template of another template, nor of itself")
        return fields


def _wrong(detail: str) -> PydanticCustomError:
    return PydanticCustomError("invalid_value", detail)


class ImportedPerson(PersonFields, Location):
    """One row's values under the rules of the directory: what the API refuses, a file may not."""

    email: Email = UNSET
    given_name: Name = UNSET
    family_name: Name = UNSET
    locale: Locale = UNSET
    timezone: TimeZone = UNSET
    status: Literal["active", "inactive"] = UNSET
    ended_on: Day | None = None


class MappingCreate(Body):
    """A new mapping; its document becomes version 1."""

    id: MappingId | None = None
    name: MappingName
    document: MappingDocument


class MappingPatch(Body):
    """What to change; a new document becomes the next version, earlier ones stay as they are."""

    name: MappingName = UNSET
    document: MappingDocument = UNSET


class SuggestionRequest(Body):
    """The header of a file, to be understood by its names alone."""

    header: Annotated[list[Column], MinLen(1), MaxLen(512), Distinct()]


class PreviewRequest(Body):
    """A header and a few rows, to see how a mapping understands them; nothing is stored."""

    header: Annotated[list[Column], MinLen(1), MaxLen(512), Distinct()]
    rows: Annotated[
        list[Annotated[list[Annotated[str, Field(max_length=4000)]], MaxLen(512)]],
        MinLen(1),
        MaxLen(50),
    ]


class MappingView(TypedDict):
    """A mapping in its newest version."""

    id: Annotated[str, PublicId("mapping")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    name: MappingName
    mapping_version: Annotated[
        int,
        Field(
            ge=1,
            examples=[1],
            description="Number of this document.",
            json_schema_extra={"format": "int32"},
        ),
    ]
    document: MappingDocument


class MappingPage(TypedDict):
    """One page of mappings."""

    items: Annotated[list[MappingView], MaxLen(200)]
    next_cursor: Annotated[str, Field(max_length=512)] | None


class ProblemView(TypedDict):
    """What is wrong with a row; the value itself is never repeated."""

    column: Text200 | None
    code: Code
    message: Sentence
    hint: Sentence | None


class IgnoredColumnView(TypedDict):
    """A column that was not read, and why."""

    column: Text200
    reason: Literal["refused", "not_mapped"]
    detail: Sentence


class SuggestionView(TypedDict):
    """What the column names say; complete it before use."""

    document: Annotated[
        dict[Annotated[str, Field(max_length=64)], Json],
        Field(max_length=10, description="A mapping document, perhaps still without a key."),
    ]
    ignored_columns: Annotated[list[IgnoredColumnView], MaxLen(512)]


class PreviewRow(TypedDict):
    """One row as it would be understood."""

    line: LineNumber
    external_id: Text200 | None
    values: Annotated[
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=4000)] | None],
        Field(max_length=40),
    ]
    manager: Annotated[str, Field(max_length=4000)] | None
    errors: Annotated[list[ProblemView], MaxLen(100)]


class PreviewView(TypedDict):
    """How a mapping understands a few rows."""

    rows: Annotated[list[PreviewRow], MaxLen(50)]
    ignored_columns: Annotated[list[IgnoredColumnView], MaxLen(512)]
