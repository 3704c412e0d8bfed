"""The constrained types that bodies are made of: what they refuse, and what they publish."""

import re
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.schemas.base import UNSET, Body, Distinct, Line, Text, TimeZone

Words = Annotated[list[Annotated[str, Line(10, "red")]], Distinct()]


class Inner(Body):
    """Something inside a change, part of which has a default."""

    name: str
    size: int = 3


class Patch(Body):
    """A change."""

    title: str = UNSET
    inner: Inner = UNSET


@pytest.mark.parametrize("kind", [Line(10, "red"), Text(10, "red")])
@pytest.mark.parametrize(
    "blank", ["", " ", "\n", "\t\u00a0", "\u0085", "\u00ad", "\u200d\u200b", "\u3164", "\ufe0f"]
)
def test_a_blank_text_is_refused_and_the_schema_says_so(kind: Any, blank: str) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(Annotated[str, kind])

    assert not re.search(adapter.json_schema()["pattern"], blank)
    assert re.search(adapter.json_schema()["pattern"], "red")
    with pytest.raises(ValidationError):
        adapter.validate_python(blank)


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\ufeff", "\u202e"])
def test_a_line_holds_nothing_that_breaks_or_turns_it(mark: str) -> None:
    with pytest.raises(ValidationError, match="not allowed"):
        TypeAdapter(Annotated[str, Line(10, "red")]).validate_python(f"a{mark}b")


@pytest.mark.parametrize(
    "name", ["\u0dc1\u0dca\u200d\u0dbb\u0dd3", "\u0645\u06cc\u200c\u062e", "co\u00adop"]
)
def test_joiners_inside_a_name_are_part_of_it(name: str) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(Annotated[str, Line(10, "red")])

    assert adapter.validate_python(name) == name
    assert re.search(adapter.json_schema()["pattern"], name)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Etc/GMT+5", "UTC", "GMT", "CET", "Japan"])
def test_zones_and_their_aliases_are_taken(zone: str) -> None:
    assert TypeAdapter(TimeZone).validate_python(zone) == zone


@pytest.mark.parametrize(
    "name", ["Factory", "localtime", "posixrules", "posix/UTC", "right/UTC", "Europe", "zone.tab"]
)
def test_what_lies_beside_the_zones_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="IANA"):
        TypeAdapter(TimeZone).validate_python(name)


def test_a_list_that_names_something_twice_is_refused_and_its_schema_says_so() -> None:
    adapter: TypeAdapter[list[str]] = TypeAdapter(Words)

    assert adapter.json_schema()["uniqueItems"] is True
    assert adapter.validate_python(["red", "blue"]) == ["red", "blue"]
    with pytest.raises(ValidationError, match="twice"):
        adapter.validate_python(["red", " red"])


def test_a_change_holds_what_was_sent_and_what_lies_inside_is_complete() -> None:
    patch = Patch.model_validate({"inner": {"name": "a"}})

    assert patch.sent() == {"inner": {"name": "a", "size": 3}}
