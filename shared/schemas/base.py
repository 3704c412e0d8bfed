"""The constrained types every request and answer is made of.

Plain annotations let NUL bytes, lone surrogates, booleans as numbers and years beyond PostgreSQL
through to the database; these do not. Bodies refuse unknown fields.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache, partial
from typing import Annotated, Any, ClassVar
from uuid import UUID
from zoneinfo import available_timezones

from annotated_types import GroupedMetadata
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema

from shared import ids

FIRST_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)
LAST_INSTANT = datetime(2200, 1, 1, tzinfo=UTC)
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2200, 1, 1)
INT32_MAX = 2**31 - 1
INT53_MAX = 2**53 - 1
MAX_JSON_DEPTH = 16

# Control characters, the bidirectional ones that make a line read as something else, what ends a
# line elsewhere, and marks of byte order. Joiners stay: some scripts need them inside names.
_LINE_REFUSES = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_TEXT_REFUSES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

# Space around a text is dropped, and nothing else must not be left.
# Soft hyphens, joiners, fillers, variation selectors and the like show nothing by themselves.
_INVISIBLE = (
    r"\x85\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0"
)
_NOT_BLANK: dict[str, Any] = {"pattern": rf"[^\s{_INVISIBLE}]"}
_VISIBLE = re.compile(_NOT_BLANK["pattern"])


def _make_booleans_strict(part: Any) -> None:
    # No setting of a model does this for booleans alone; strict texts could not become days or ids.
    if isinstance(part, dict):
        if part.get("type") == "bool":
            part["strict"] = True
        for one in part.values():
            _make_booleans_strict(one)
    elif isinstance(part, list):
        for one in part:
            _make_booleans_strict(one)


class Body(BaseModel):
    """A request body: unknown fields are refused, infinities, NaN and "yes" for `true` too."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", allow_inf_nan=False, ser_json_inf_nan="null", str_strip_whitespace=True
    )

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Take only JSON's own words for a boolean, in every field of every body."""
        schema = handler(source)
        _make_booleans_strict(handler.resolve_ref_schema(schema))
        return schema

    def sent(self) -> dict[str, Any]:
        """Return the fields that were sent; what lies inside them is complete."""
        values = self.model_dump().items()
        return {name: value for name, value in values if name in self.model_fields_set}


UNSET: Any = None
"""Default of a merge-patch field that may be left out but not be null."""


class Wire(BaseModel):
    """What crosses a service-to-service wire: readers tolerate fields they do not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore", allow_inf_nan=False)


def _clean(refused: re.Pattern[str], value: str) -> str:
    if refused.search(value):
        raise PydanticCustomError("forbidden_character", "contains a character that is not allowed")
    return unicodedata.normalize("NFC", value)


def _visible(value: str) -> str:
    if not _VISIBLE.search(value):
        raise PydanticCustomError("string_too_short", "shows nothing")
    return value


def _bounded(maximum: int, value: str) -> str:
    # Composition can lengthen a text, so the bound holds for what is stored.
    if not 0 < len(value) <= maximum:
        raise PydanticCustomError("string_too_long", "is empty or too long once normalised")
    return value


@dataclass(frozen=True, slots=True)
class Line(GroupedMetadata):
    """One line of text, 1 to `maximum` characters: no control or direction characters."""

    maximum: int
    example: str

    def __iter__(self) -> Iterator[object]:
        """Expand into what Pydantic understands."""
        return _texts(_LINE_REFUSES, self.maximum, self.example)


@dataclass(frozen=True, slots=True)
class Text(GroupedMetadata):
    """A text of 1 to `maximum` characters that may hold line breaks and tabs."""

    maximum: int
    example: str

    def __iter__(self) -> Iterator[object]:
        """Expand into what Pydantic understands."""
        return _texts(_TEXT_REFUSES, self.maximum, self.example)


def _texts(refused: re.Pattern[str], maximum: int, example: str) -> Iterator[object]:
    yield StringConstraints(strip_whitespace=True, min_length=1, max_length=maximum)
    yield AfterValidator(partial(_clean, refused))
    yield AfterValidator(_visible)
    yield AfterValidator(partial(_bounded, maximum))
    yield Field(examples=[example], json_schema_extra=_NOT_BLANK)


@dataclass(frozen=True, slots=True)
class Whole(GroupedMetadata):
    """A bounded integer: `true` and `"3"` are refused in bodies, `3.0` is taken."""

    minimum: int
    maximum: int
    example: int

    def __iter__(self) -> Iterator[object]:
        """Expand into what Pydantic understands."""
        # The bounds come first: wrapped inside the validator they reach the JSON Schema.
        yield Field(ge=self.minimum, le=self.maximum)
        yield BeforeValidator(_no_boolean)
        yield Field(examples=[self.example], json_schema_extra={"format": "int32"})


@dataclass(frozen=True, slots=True)
class Id(GroupedMetadata):
    """One kind of id in a request: text outside, a UUID inside."""

    kind: str

    def __iter__(self) -> Iterator[object]:
        """Expand into what Pydantic understands."""
        yield BeforeValidator(partial(_parse_id, self.kind))
        yield WithJsonSchema(id_schema(self.kind))


@dataclass(frozen=True, slots=True)
class PublicId(GroupedMetadata):
    """One kind of id in an answer: text, already in its public form."""

    kind: str

    def __iter__(self) -> Iterator[object]:
        """Expand into what Pydantic understands."""
        yield WithJsonSchema(id_schema(self.kind))


def _no_boolean(value: object) -> object:
    if isinstance(value, bool | str):
        raise PydanticCustomError("int_type", "should be a whole number")
    return value


def _within_years(value: datetime) -> datetime:
    # Compared first: in year 1 or 9999 an offset would lead out of what can be represented.
    if not FIRST_INSTANT <= value < LAST_INSTANT:
        raise PydanticCustomError("out_of_range", "should lie between 1970 and 2200")
    return value.astimezone(UTC)


def _textual_instant(value: object) -> object:
    # A bare number would be read as seconds since 1970; a phone sending one has a bug.
    if not isinstance(value, str | datetime):
        raise PydanticCustomError("datetime_type", "should be an RFC 3339 instant with an offset")
    return value


def _textual_day(value: object) -> object:
    if not isinstance(value, str | date) or isinstance(value, datetime):
        raise PydanticCustomError("date_type", "should be a day such as 2026-11-24")
    return value


def _within_days(value: date) -> date:
    if not FIRST_DAY <= value < LAST_DAY:
        raise PydanticCustomError("out_of_range", "should lie between 1900 and 2200")
    return value


Timestamp = Annotated[
    AwareDatetime,
    BeforeValidator(_textual_instant),
    AfterValidator(_within_years),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "maxLength": 40,
            "examples": ["2026-11-24T09:30:00Z"],
        }
    ),
]
Day = Annotated[
    date,
    BeforeValidator(_textual_day),
    AfterValidator(_within_days),
    WithJsonSchema(
        {"type": "string", "format": "date", "maxLength": 10, "examples": ["2026-11-24"]}
    ),
]


# Files beside the zones: "not set yet", and whatever this machine is set to.
_NO_ZONES = frozenset({"Factory", "localtime", "posixrules"})


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _NO_ZONES


def _known_zone(value: str) -> str:
    if value not in _zones():
        raise PydanticCustomError("unknown_time_zone", "should be an IANA time zone")
    return value


TimeZone = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64),
    AfterValidator(_known_zone),
    Field(examples=["Europe/Berlin"]),
]
Locale = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$", max_length=12),
    Field(examples=["en", "de-DE"]),
]
Search = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(partial(_clean, _LINE_REFUSES)),
    AfterValidator(_visible),
    Field(examples=["data engineering"], json_schema_extra=_NOT_BLANK),
]
Slug = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$", max_length=64),
    Field(examples=["spring-cohort"]),
]

_MAILBOX = re.compile(r"[^@\s\x00-\x20\x7f<>()\[\]\\,;:\"]{1,64}@(?:[a-z0-9-]{1,63}\.)+[a-z]{2,63}")


def _mailbox(value: str) -> str:
    local, _, domain = value.rpartition("@")
    address = f"{local}@{domain.lower()}"
    if not _MAILBOX.fullmatch(address):
        raise PydanticCustomError("email", "should be an e-mail address")
    return address


Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=6, max_length=254),
    AfterValidator(partial(_clean, _LINE_REFUSES)),
    AfterValidator(_mailbox),
    Field(examples=["ada@example.org"], json_schema_extra={"format": "email"}),
]


def _parse_id(kind: str, value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return ids.parse_id(kind, str(value))
    except ValueError:
        raise PydanticCustomError(
            "invalid_id",
            "should be an id with the prefix {prefix}_",
            {"prefix": ids.PREFIXES[kind]},
        ) from None


def id_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of one kind of id."""
    prefix = ids.PREFIXES[kind]
    return {
        "type": "string",
        "pattern": f"^{prefix}_{ids.SUFFIX_PATTERN}$",
        "minLength": len(prefix) + 27,
        "maxLength": len(prefix) + 27,
        "examples": [f"{prefix}_01kajv7v1cefh8ws6q1fyv4m2z"],
    }


def _storable(value: Any, depth: int = 0) -> Any:
    if depth > MAX_JSON_DEPTH:
        raise PydanticCustomError("too_deep", "is nested too deeply")
    if isinstance(value, str):
        return _clean(_TEXT_REFUSES, value)
    if isinstance(value, dict):
        return {
            _clean(_LINE_REFUSES, str(key)): _storable(one, depth + 1) for key, one in value.items()
        }
    if isinstance(value, list):
        return [_storable(one, depth + 1) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > INT53_MAX:
        raise PydanticCustomError("out_of_range", "is too large a number")
    return value


Json = Annotated[Any, AfterValidator(_storable)]
"""A JSON value that PostgreSQL can keep: no NUL, no lone surrogates, bounded depth and numbers."""


@dataclass(frozen=True, slots=True)
class Distinct:
    """A list that names nothing twice, and whose schema says so."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Refuse what stands twice once everything else is in order."""
        return core_schema.no_info_after_validator_function(_distinct, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Publish that items are unique."""
        return {**handler(schema), "uniqueItems": True}


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(map(repr, values))) != len(values):
        raise PydanticCustomError("not_unique", "names the same thing twice")
    return values
