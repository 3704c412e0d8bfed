"""What is known of people, read from the columns of a problem for the rows of one side."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.schemas.matching import Participants

type Rows = Sequence[int]
type Numbers = npt.NDArray[np.float64]
type Sets = list[frozenset[Any]]

DAY = 1440
WORK_STARTS, WORK_ENDS = 540, 1020
PLACE_PARTS = 4

BUILT_IN = frozenset(
    {
        *("department", "team", "location", "grade_rank", "languages", "values", "interests"),
        *("skills_offered", "skills_wanted", "expectations", "tenure_months"),
    }
)
"""Columns that a rule may name as its attribute."""


def column(people: Participants, name: str) -> Sequence[Any] | None:
    """Return a column by its name, custom attributes first; None where it is absent."""
    if name in people.attributes:
        return people.attributes[name]
    return getattr(people, name, None) if name in BUILT_IN else None


def numbers(values: Sequence[Any] | None, rows: Rows) -> Numbers:
    """Return the numbers of a column; NaN where one is unknown."""
    return np.array(
        [np.nan if not values or values[row] is None else values[row] for row in rows], dtype=float
    )


def choices(value: Any) -> frozenset[Any]:
    """Return what somebody chose, case aside: nothing, one value, or several."""
    if value is None or value == []:
        return frozenset()
    several = value if isinstance(value, list) else [value]
    return frozenset(one.casefold() if isinstance(one, str) else one for one in several)


def word_of(value: Any) -> str:
    """Return a choice as the word a policy says it by: `true`, `3` also for 3.0, or itself."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).casefold()


def chosen(people: Participants, name: str, rows: Rows) -> Sets:
    """Return what each of these people chose in a column."""
    values = column(people, name)
    return [choices(values[row]) if values else frozenset() for row in rows]


def free_slots(people: Participants, rows: Rows) -> Sets:
    """Return the free half hours of each."""
    slots = people.availability
    return [frozenset(slots[row]) if slots else frozenset() for row in rows]


def sorted_words(several: Iterable[frozenset[Any]]) -> list[Any]:
    """Return every choice once, in an order that does not depend on hashing."""
    return sorted({word for one in several for word in one}, key=repr)


def codes(*sides: Sets) -> tuple[Numbers, ...]:
    """Return one number for each set, the same for equal ones; NaN where nothing is known."""
    known: dict[frozenset[Any], float] = {frozenset(): np.nan}
    return tuple(
        np.array([known.setdefault(one, float(len(known))) for one in side], dtype=float)
        for side in sides
    )


def parts_of_places(values: Sequence[str | None] | None, rows: Rows) -> list[list[str]]:
    """Return the parts of each place, case aside, the widest first; none where it is unknown.

    A place is written as in `Site, city, country`. Of many parts, the narrowest are one.
    """
    found = []
    for row in rows:
        place = (values[row] if values else None) or ""
        parts = [part.strip() for part in place.casefold().split(",")]
        known = [part for part in parts if part][::-1]
        narrow = known[PLACE_PARTS - 1 :][::-1]
        found.append(known[: PLACE_PARTS - 1] + ([", ".join(narrow)] if narrow else []))
    return found


def working_hours(people: Participants, rows: Rows) -> tuple[Numbers, Numbers]:
    """Return from when to when each works, in minutes of a UTC day; NaN where unknown."""
    offset = numbers(people.utc_offset_minutes, rows)
    begins, ends = numbers(people.work_starts_minute, rows), numbers(people.work_ends_minute, rows)
    local = np.where(np.isnan(begins), WORK_STARTS, begins)
    length = np.maximum(0, np.where(np.isnan(ends), WORK_ENDS, ends) - local)
    starts = (local - offset) % DAY
    return starts, starts + length
