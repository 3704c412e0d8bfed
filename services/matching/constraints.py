"""Hard rules: which pairs must never be, and why, each as one small function."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.schemas.matching import Mark, Pairs, Participants, Problem, Seniority

type Rows = Sequence[int]
type Params = Mapping[str, Any]
type Apart = npt.NDArray[np.bool_]

DAY = 1440
WORK_STARTS, WORK_ENDS = 540, 1020
REFUSING = frozenset({Mark.IGNORE, Mark.NO})


@dataclass(frozen=True, slots=True)
class Rule:
    """A word of a policy: what it keeps apart, and what its explanation says about a pair."""

    apart: Callable[[Problem, Rows, Rows, Params], Apart]
    facts: Callable[[Problem, int, int, Params], Mapping[str, Any]]


# Columns as a rule reads them.


def column(people: Participants, name: str) -> Sequence[Any] | None:
    """Return a column by its name, custom attributes first; None where it is absent."""
    if name in people.attributes:
        return people.attributes[name]
    return getattr(people, name, None) if name in BUILT_IN else None


BUILT_IN = frozenset(
    {
        *("department", "team", "location", "grade_rank", "languages", "values", "interests"),
        *("skills_offered", "skills_wanted", "expectations", "tenure_months"),
    }
)


def choices(value: Any) -> frozenset[Any]:
    """Return what somebody chose, case aside: nothing, one value, or several."""
    if value is None or value == []:
        return frozenset()
    several = value if isinstance(value, list) else [value]
    return frozenset(one.casefold() if isinstance(one, str) else one for one in several)


def overlap(left: Sequence[frozenset[Any]], right: Sequence[frozenset[Any]]) -> npt.NDArray[Any]:
    """Return how many choices each pair shares."""
    words = {word: place for place, word in enumerate(sorted_words([*left, *right]))}
    counts: npt.NDArray[Any] = _incidence(left, words) @ _incidence(right, words).T
    return counts


def sorted_words(several: Iterable[frozenset[Any]]) -> list[Any]:
    """Return every choice once, in an order that does not depend on hashing."""
    return sorted({word for one in several for word in one}, key=repr)


def _incidence(several: Sequence[frozenset[Any]], words: Mapping[Any, int]) -> npt.NDArray[Any]:
    matrix = np.zeros((len(several), max(1, len(words))), dtype=np.float32)
    for row, one in enumerate(several):
        matrix[row, [words[word] for word in one]] = 1
    return matrix


def chosen(people: Participants, name: str, rows: Rows) -> list[frozenset[Any]]:
    """Return what each of these people chose in a column."""
    values = column(people, name)
    return [choices(values[row]) if values else frozenset() for row in rows]


def _unless_unknown(
    apart: Apart, left: Sequence[Any], right: Sequence[Any], params: Params
) -> Apart:
    """Let what is unknown break no rule, unless the rule says that it does."""
    known = np.outer([bool(one) for one in left], [bool(one) for one in right])
    found: Apart = (apart | ~known) if params.get("unknown") == "fails" else (apart & known)
    return found


# Rules of pairs that were named.


def named_pairs(problem: Problem, pairs: Pairs, first: Rows, second: Rows) -> Apart:
    """Return where two people were named together, whichever comes first."""
    apart = np.zeros((len(first), len(second)), dtype=bool)
    ids = problem.participants.id
    places_first = {ids[row]: place for place, row in enumerate(first)}
    places_second = {ids[row]: place for place, row in enumerate(second)}
    for one, other in zip(pairs.first, pairs.second, strict=True):
        for left, right in ((one, other), (other, one)):
            if left in places_first and right in places_second:
                apart[places_first[left], places_second[right]] = True
    return apart


def _oneself(problem: Problem, first: Rows, second: Rows, _params: Params) -> Apart:
    del problem
    found: Apart = np.equal.outer(np.asarray(first, dtype=int), np.asarray(second, dtype=int))
    return found


def _blocked(problem: Problem, first: Rows, second: Rows, _params: Params) -> Apart:
    return named_pairs(problem, problem.blocks, first, second)


def _past(problem: Problem, first: Rows, second: Rows, _params: Params) -> Apart:
    return named_pairs(problem, problem.past_pairs, first, second)


def _ignored(problem: Problem, first: Rows, second: Rows, _params: Params) -> Apart:
    said = problem.preferences
    refusing = [
        (by, about)
        for by, about, mark in zip(said.by, said.about, said.mark, strict=True)
        if mark in REFUSING
    ]
    pairs = Pairs(first=[by for by, _ in refusing], second=[about for _, about in refusing])
    return named_pairs(problem, pairs, first, second)


def _nothing(_problem: Problem, _first: int, _second: int, _params: Params) -> Mapping[str, Any]:
    return {}


# The reporting line.


def _in_line(problem: Problem, first: Rows, second: Rows, params: Params) -> Apart:
    levels = params.get("levels")
    down = _above(problem, first, second, levels)
    up = _above(problem, second, first, levels)
    return down | up.T


def _above(problem: Problem, people: Rows, others: Rows, levels: int | None) -> Apart:
    lines, ids = problem.participants.reporting_line, problem.participants.id
    apart = np.zeros((len(people), len(others)), dtype=bool)
    places = {ids[row]: place for place, row in enumerate(others)}
    for place, row in enumerate(people if lines else ()):
        for above in lines[row][:levels] if lines else ():
            if above in places:
                apart[place, places[above]] = True
    return apart


def _line_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    lines, ids = problem.participants.reporting_line or [], problem.participants.id
    for below, above in ((first, second), (second, first)):
        if ids[above] in lines[below]:
            distance = lines[below].index(ids[above]) + 1
            return {"above": ids[above], "below": ids[below], "distance": distance}
    return {}


# Languages, choices and attributes.


def _no_language(problem: Problem, first: Rows, second: Rows, params: Params) -> Apart:
    return _too_few_shared(problem, first, second, {**params, "attribute": "languages"})


def _too_few_shared(problem: Problem, first: Rows, second: Rows, params: Params) -> Apart:
    people, name = problem.participants, params["attribute"]
    left, right = chosen(people, name, first), chosen(people, name, second)
    shared = overlap(left, right)
    return _unless_unknown(shared < params.get("minimum", 1), left, right, params)


def _choice_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    name = params.get("attribute", "languages")
    left, right = chosen(problem.participants, name, [first, second])
    shared = [str(word) for word in sorted_words([left & right])]
    return {"attribute": name, "shared": shared, "minimum": params.get("minimum", 1)}


def _not_equal(problem: Problem, first: Rows, second: Rows, params: Params) -> Apart:
    return _compared(problem, first, second, params, is_equal_apart=False)


def _equal(problem: Problem, first: Rows, second: Rows, params: Params) -> Apart:
    return _compared(problem, first, second, params, is_equal_apart=True)


def _compared(
    problem: Problem, first: Rows, second: Rows, params: Params, *, is_equal_apart: bool
) -> Apart:
    people, name = problem.participants, params["attribute"]
    left, right = chosen(people, name, first), chosen(people, name, second)
    same = same_choices(left, right)
    return _unless_unknown(same if is_equal_apart else ~same, left, right, params)


def same_choices(left: Sequence[frozenset[Any]], right: Sequence[frozenset[Any]]) -> Apart:
    """Return where both chose exactly the same."""
    kinds: dict[frozenset[Any], int] = {}
    numbers = [[kinds.setdefault(one, len(kinds)) for one in side] for side in (left, right)]
    found: Apart = np.equal.outer(np.array(numbers[0], dtype=int), np.array(numbers[1], dtype=int))
    return found


def _attribute_facts(
    _problem: Problem, _first: int, _second: int, params: Params
) -> Mapping[str, Any]:
    # The value itself may be confidential to one of the two.
    return {"attribute": params["attribute"]}


# Time.


def shared_minutes(problem: Problem, first: Rows, second: Rows) -> npt.NDArray[np.int64]:
    """Return how many working minutes of a day each pair shares; -1 where one is unknown."""
    hours = [_working_days(problem.participants, rows) for rows in (first, second)]
    shared = np.zeros((len(first), len(second)), dtype=np.int64)
    for shift in (-DAY, 0, DAY):
        starts = np.maximum.outer(hours[0][:, 0], hours[1][:, 0] + shift)
        ends = np.minimum.outer(hours[0][:, 1], hours[1][:, 1] + shift)
        shared += np.maximum(0, ends - starts)
    unknown = np.logical_or.outer(hours[0][:, 2] == 0, hours[1][:, 2] == 0)
    shared[unknown] = -1
    return shared


def _working_days(people: Participants, rows: Rows) -> npt.NDArray[np.int64]:
    """Return from when to when each works in UTC, and whether that is known."""
    offsets = people.utc_offset_minutes or [None] * len(people.id)
    starts = people.work_starts_minute or [None] * len(people.id)
    ends = people.work_ends_minute or [None] * len(people.id)
    found = np.zeros((len(rows), 3), dtype=np.int64)
    for place, row in enumerate(rows):
        offset = offsets[row]
        if offset is not None:
            begin, end = starts[row], ends[row]
            start = (WORK_STARTS if begin is None else begin) - offset
            length = (WORK_ENDS if end is None else end) - (start + offset)
            found[place] = (start % DAY, start % DAY + max(0, length), 1)
    return found


def _too_far_in_time(problem: Problem, first: Rows, second: Rows, params: Params) -> Apart:
    shared = shared_minutes(problem, first, second)
    unknown = shared < 0
    too_few = shared < 60 * params.get("hours", 2)
    found: Apart = (too_few | unknown) if params.get("unknown") == "fails" else (too_few & ~unknown)
    return found


def _time_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    minutes = int(shared_minutes(problem, [first], [second])[0, 0])
    return {"shared_minutes": max(0, minutes), "hours": params.get("hours", 2)}


def free_slots(problem: Problem, rows: Rows) -> list[frozenset[int]]:
    """Return the free half hours of each."""
    slots = problem.participants.availability
    return [frozenset(slots[row]) if slots else frozenset() for row in rows]


def _no_common_slot(problem: Problem, first: Rows, second: Rows, params: Params) -> Apart:
    left, right = free_slots(problem, first), free_slots(problem, second)
    too_few = overlap(left, right) < params.get("half_hours", 1)
    return _unless_unknown(too_few, left, right, params)


def _slot_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    left, right = free_slots(problem, [first, second])
    return {"shared": len(left & right), "half_hours": params.get("half_hours", 1)}


# Grades.


def grade_gaps(problem: Problem, first: Rows, second: Rows) -> npt.NDArray[np.float64]:
    """Return how far the first stands above the second; NaN where a grade is unknown."""
    ranks = problem.participants.grade_rank or [None] * len(problem.participants.id)
    known = [
        np.array([np.nan if ranks[row] is None else ranks[row] for row in rows], dtype=float)
        for rows in (first, second)
    ]
    gaps: npt.NDArray[np.float64] = np.subtract.outer(known[0], known[1])
    return gaps


def _wrong_seniority(problem: Problem, first: Rows, second: Rows, params: Params) -> Apart:
    gaps = grade_gaps(problem, first, second)
    unknown = np.isnan(gaps)
    relation = params.get("relation", Seniority.NONE)
    distance = {Seniority.MENTOR_HIGHER: gaps, Seniority.MENTOR_LOWER: -gaps}.get(
        relation, np.abs(gaps)
    )
    least = params.get("gap_min")
    if relation != Seniority.NONE:
        least = max(1, least or 1)
    most = params.get("gap_max")
    apart = (distance < (least or 0)) | (distance > (np.inf if most is None else most))
    return (apart | unknown) if params.get("unknown") == "fails" else (apart & ~unknown)


def _grade_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    gap = grade_gaps(problem, [first], [second])[0, 0]
    known = {name: params[name] for name in ("relation", "gap_min", "gap_max") if name in params}
    return {"gap": None if np.isnan(gap) else int(gap), **known}


ALWAYS: Mapping[str, Rule] = MappingProxyType(
    {
        "not_oneself": Rule(_oneself, _nothing),
        "not_blocked": Rule(_blocked, _nothing),
        "not_ignored": Rule(_ignored, _nothing),
    }
)
"""Rules of every problem, whatever its policy says."""

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **ALWAYS,
        "reporting_line_distance": Rule(_in_line, _line_facts),
        "not_past_pair": Rule(_past, _nothing),
        "shared_language": Rule(_no_language, _choice_facts),
        "timezone_overlap": Rule(_too_far_in_time, _time_facts),
        "availability_overlap": Rule(_no_common_slot, _slot_facts),
        "seniority": Rule(_wrong_seniority, _grade_facts),
        "attribute_equal": Rule(_not_equal, _attribute_facts),
        "attribute_different": Rule(_equal, _attribute_facts),
        "choice_overlap": Rule(_too_few_shared, _choice_facts),
    }
)
"""Every hard rule by its word in a policy; what each takes stands in the contract."""
