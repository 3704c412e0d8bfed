"""The constrained types that bodies are made of: what they refuse, and what they publish."""

from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.schemas.base import UNSET, Body, Distinct, Line, Text

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
@pytest.mark.parametrize("blank", ["", " ", "\n", "\t\u00a0", "\u0085"])
def test_a_blank_text_is_refused_and_the_schema_says_so(kind: Any, blank: str) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(Annotated[str, kind])

    assert adapter.json_schema()["pattern"] == r"[^\s\x85]"
    with pytest.raises(ValidationError):
        adapter.validate_python(blank)


def test_a_list_that_names_something_twice_is_refused_and_its_schema_says_so() -> None:
    adapter: TypeAdapter[list[str]] = TypeAdapter(Words)

    assert adapter.json_schema()["uniqueItems"] is True
    assert adapter.validate_python(["red", "blue"]) == ["red", "blue"]
    with pytest.raises(ValidationError, match="twice"):
        adapter.validate_python(["red", " red"])


def test_a_change_holds_what_was_sent_and_what_lies_inside_is_complete() -> None:
    patch = Patch.model_validate({"inner": {"name": "a"}})

    assert patch.sent() == {"inner": {"name": "a", "size": 3}}
