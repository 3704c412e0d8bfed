"""Hard rules: which pairs must never be, and why, each as one small function."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from services.matching import columns, measures
from services.matching.columns import DAY, Rows, Sets
from services.matching.measures import Columns, Compared, Measure, Named, TooFew
from shared.schemas.matching import Mark, Pairs, Participants, Problem, Seniority

type Params = Mapping[str, Any]
type Apart = npt.NDArray[np.bool_]

REFUSING = frozenset({Mark.IGNORE, Mark.NO})


@dataclass(frozen=True, slots=True)
class Rule:
    """A word of a policy: the measure of whom it keeps apart, and what its explanation says.

    `apart` is made once for two sides, given as rows of participants; its values are booleans.
    """

    apart: Callable[[Problem, Rows, Rows, Params], Measure]
    facts: Callable[[Problem, int, int, Params], Mapping[str, Any]]


def _nothing(_problem: Problem, _first: int, _second: int, _params: Params) -> Mapping[str, Any]:
    return {}


def _fails(params: Params) -> bool:
    """Tell whether the rule breaks where something is unknown; else it never does there."""
    return bool(params.get("unknown") == "fails")


# Rules of pairs that were named.


def _oneself(_problem: Problem, first: Rows, second: Rows, _params: Params) -> Measure:
    places = {row: place for place, row in enumerate(second)}
    same = ((place, places[row]) for place, row in enumerate(first) if row in places)
    return _apart(same, first, second)


def _blocked(problem: Problem, first: Rows, second: Rows, _params: Params) -> Measure:
    return _named(problem, problem.blocks, first, second)


def _past(problem: Problem, first: Rows, second: Rows, _params: Params) -> Measure:
    return _named(problem, problem.past_pairs, first, second)


def _ignored(problem: Problem, first: Rows, second: Rows, _params: Params) -> Measure:
    said = problem.preferences
    refusing = [
        (by, about)
        for by, about, mark in zip(said.by, said.about, said.mark, strict=True)
        if mark in REFUSING
    ]
    pairs = Pairs(first=[by for by, _ in refusing], second=[about for _, about in refusing])
    return _named(problem, pairs, first, second)


def _named(problem: Problem, pairs: Pairs, first: Rows, second: Rows) -> Measure:
    """Keep apart who was named together, whichever comes first."""
    left, right = places_of(problem, first), places_of(problem, second)
    either_way = [(pairs.first, pairs.second), (pairs.second, pairs.first)]
    return _apart(
        (
            (left[one], right[other])
            for ones, others in either_way
            for one, other in zip(ones, others, strict=True)
            if one in left and other in right
        ),
        first,
        second,
    )


def places_of(problem: Problem, rows: Rows) -> Mapping[str, int]:
    """Return where each stands on a side, by id."""
    return {problem.participants.id[row]: place for place, row in enumerate(rows)}


def _apart(pairs: Iterable[tuple[int, int]], first: Rows, second: Rows) -> Named:
    return Named.of(dict.fromkeys(pairs, True), (len(first), len(second)), dtype=np.bool_)


# The reporting line.


def _in_line(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    levels = params.get("levels")
    down = _above(problem, first, second, levels)
    up = ((place, other) for other, place in _above(problem, second, first, levels))
    return _apart([*down, *up], first, second)


def _above(
    problem: Problem, people: Rows, others: Rows, levels: int | None
) -> Iterator[tuple[int, int]]:
    """Yield who stands above whom, as a place among people and one among others."""
    lines, places = problem.participants.reporting_line, places_of(problem, others)
    for place, row in enumerate(people):
        for above in lines[row][:levels] if lines else ():
            if above in places:
                yield place, places[above]


def _line_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    lines, ids = problem.participants.reporting_line or [], problem.participants.id
    for below, above in ((first, second), (second, first)):
        if ids[above] in lines[below]:
            distance = lines[below].index(ids[above]) + 1
            return {"above": ids[above], "below": ids[below], "distance": distance}
    return {}


# Languages, choices and attributes.


def _no_language(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    return _few_choices(problem, first, second, {**params, "attribute": "languages"})


def _few_choices(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    people, name = problem.participants, params["attribute"]
    left, right = columns.chosen(people, name, first), columns.chosen(people, name, second)
    return _too_few(left, right, params.get("minimum", 1), params)


def _too_few(left: Sets, right: Sets, minimum: int, params: Params) -> Measure:
    return TooFew(
        product=measures.overlap(left, right),
        left=np.array(left, dtype=bool),
        right=np.array(right, dtype=bool),
        minimum=minimum,
        unknown=_fails(params),
    )


def _choice_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    name = params.get("attribute", "languages")
    left, right = columns.chosen(problem.participants, name, [first, second])
    shared = [str(word) for word in columns.sorted_words([left & right])]
    return {"attribute": name, "shared": shared, "minimum": params.get("minimum", 1)}


def _not_equal(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    return _coded(problem, first, second, params, np.not_equal)


def _equal(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    return _coded(problem, first, second, params, np.equal)


def _coded(
    problem: Problem, first: Rows, second: Rows, params: Params, is_apart: Callable[..., Apart]
) -> Measure:
    def apart(left: Columns, right: Columns) -> Apart:
        unknown = np.isnan(left[0]) | np.isnan(right[0])
        return np.where(unknown, _fails(params), is_apart(left[0], right[0]))

    people, name = problem.participants, params["attribute"]
    left, right = columns.codes(*(columns.chosen(people, name, rows) for rows in (first, second)))
    return Compared(apart, (left,), (right,))


def _outside(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    people, name, side = problem.participants, params["attribute"], params.get("side", "both")
    known = frozenset(word.casefold() for word in params["values"])

    def standing(rows: Rows, judged: str) -> Columns:
        """Return 1 for who is outside, 0 for who is not or is not judged, NaN for unknown."""
        if side not in {judged, "both"}:
            return (np.zeros(len(rows)),)
        several = columns.chosen(people, name, rows)
        return (
            np.array(
                [known.isdisjoint(map(columns.word_of, one)) if one else np.nan for one in several],
                dtype=float,
            ),
        )

    def apart(left: Columns, right: Columns) -> Apart:
        unknown = np.isnan(left[0]) | np.isnan(right[0])
        # Who is outside is so whatever is known of the other.
        outside: Apart = (left[0] == 1) | (right[0] == 1) | (unknown & _fails(params))
        return outside

    return Compared(apart, standing(first, "mentor"), standing(second, "mentee"))


def _side_facts(_problem: Problem, _first: int, _second: int, params: Params) -> Mapping[str, Any]:
    # Which of the two it was would tell what they said; the policy says what is asked of whom.
    return {"attribute": params["attribute"], "side": params.get("side", "both")}


def _attribute_facts(
    _problem: Problem, _first: int, _second: int, params: Params
) -> Mapping[str, Any]:
    # The value itself may be confidential to one of the two.
    return {"attribute": params["attribute"]}


# Time.


def shared_minutes(left: Columns, right: Columns) -> npt.NDArray[np.float64]:
    """Return how many working minutes of a day are shared; NaN where hours are unknown."""
    days = [
        np.maximum(0, np.minimum(left[1], right[1] + shift) - np.maximum(left[0], right[0] + shift))
        for shift in (-DAY, 0, DAY)
    ]
    minutes: npt.NDArray[np.float64] = days[0] + days[1] + days[2]
    return minutes


def _too_far_in_time(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    def apart(left: Columns, right: Columns) -> Apart:
        minutes = shared_minutes(left, right)
        return np.where(np.isnan(minutes), _fails(params), minutes < 60 * params.get("hours", 2))

    people = problem.participants
    return Compared(
        apart, columns.working_hours(people, first), columns.working_hours(people, second)
    )


def minutes_of(people: Participants, first: int, second: int) -> int:
    """Return how many working minutes two people share, as an explanation tells it."""
    left, right = (columns.working_hours(people, [row]) for row in (first, second))
    return int(np.nan_to_num(shared_minutes(left, right))[0])


def _time_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    minutes = minutes_of(problem.participants, first, second)
    return {"shared_minutes": minutes, "hours": params.get("hours", 2)}


def _no_common_slot(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    people = problem.participants
    left, right = columns.free_slots(people, first), columns.free_slots(people, second)
    return _too_few(left, right, params.get("half_hours", 1), params)


def _slot_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    left, right = columns.free_slots(problem.participants, [first, second])
    return {"shared": len(left & right), "half_hours": params.get("half_hours", 1)}


# Grades.


def _wrong_seniority(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    relation, most = params.get("relation", Seniority.NONE), params.get("gap_max")
    least = params.get("gap_min") or 0
    if relation != Seniority.NONE:
        least = max(1, least)

    def apart(left: Columns, right: Columns) -> Apart:
        gaps = left[0] - right[0]
        distance = {Seniority.MENTOR_HIGHER: gaps, Seniority.MENTOR_LOWER: -gaps}.get(
            relation, np.abs(gaps)
        )
        outside = (distance < least) | (distance > (np.inf if most is None else most))
        return np.where(np.isnan(gaps), _fails(params), outside)

    ranks = problem.participants.grade_rank
    return Compared(apart, (columns.numbers(ranks, first),), (columns.numbers(ranks, second),))


def gap_of(people: Participants, first: int, second: int) -> int | None:
    """Return how far the first stands above the second; None where a grade is unknown."""
    gap = np.subtract(*columns.numbers(people.grade_rank, [first, second]))
    return None if np.isnan(gap) else int(gap)


def _grade_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    known = {name: params[name] for name in ("relation", "gap_min", "gap_max") if name in params}
    return {"gap": gap_of(problem.participants, first, second), **known}


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
        "attribute_in": Rule(_outside, _side_facts),
        "choice_overlap": Rule(_few_choices, _choice_facts),
    }
)
"""Every hard rule by its word in a policy; what each takes stands in the contract."""
