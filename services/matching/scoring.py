"""Soft criteria: how well two people fit, from 0 to 1, and the reason, each one small function."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from services.matching import columns, constraints, measures, text
from services.matching.columns import Numbers, Rows, Sets
from services.matching.measures import Columns, Compared, Measure, Named, Shared, Sparse
from shared.schemas.matching import Mark, Problem

type Params = Mapping[str, Any]

LEVELS = 4
FAR_APART = 36
"""Months with the organization, where a policy says nothing."""
SKILLS = ("skills_offered", "skills_wanted")
RARITY = 2**16
"""One unit of rarity in whole numbers, so that sums of them are exact."""
FORWARD = {Mark.FAVORITE: 1.0, Mark.YES: 1.0, Mark.MAYBE: 0.5}


@dataclass(frozen=True, slots=True)
class Criterion:
    """A word of a policy: the measure of its value, and what its explanation says of a pair.

    `fit` is made once for two sides, given as rows of participants; its values are from 0 to 1.
    """

    fit: Callable[[Problem, Rows, Rows, Params], Measure]
    facts: Callable[[Problem, int, int, Params], Mapping[str, Any]]


# Choices.


def _sizes(several: Sets) -> Numbers:
    return np.array([len(one) for one in several], dtype=float)


def _overlap(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    """Value which part of the shorter list the other shares."""
    people, name = problem.participants, params["attribute"]
    left, right = columns.chosen(people, name, first), columns.chosen(people, name, second)
    return Shared.of(measures.overlap(left, right), _sizes(left), _sizes(right))


def _shared_language(problem: Problem, first: Rows, second: Rows, _params: Params) -> Measure:
    sides = [columns.chosen(problem.participants, "languages", rows) for rows in (first, second)]
    return _up_to(1, *sides)


def _up_to(enough: int, left: Sets, right: Sets) -> Measure:
    """Value what is shared up to where more is no better."""
    full = [np.full(len(side), float(enough)) for side in (left, right)]
    return Shared.of(measures.overlap(left, right), *full)


def _choice_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    name = params["attribute"]
    left, right = columns.chosen(problem.participants, name, [first, second])
    shared = [str(word) for word in columns.sorted_words([left & right])]
    return {"attribute": name, "shared": shared}


def _on(name: str) -> Criterion:
    """Return the overlap of one column, whatever attribute the policy names."""

    def fit(problem: Problem, first: Rows, second: Rows, _params: Params) -> Measure:
        return _overlap(problem, first, second, {"attribute": name})

    return Criterion(fit, _facts_on(name))


def _facts_on(name: str) -> Callable[[Problem, int, int, Params], Mapping[str, Any]]:
    def facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
        return _choice_facts(problem, first, second, {"attribute": name})

    return facts


def _equal(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    def same(left: Columns, right: Columns) -> Numbers:
        found: Numbers = (left[0] == right[0]).astype(float)
        return found

    return Compared(same, *_coded(problem, first, second, params))


def _different(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    def other(left: Columns, right: Columns) -> Numbers:
        # What is unknown is NaN, which is neither below nor above anything.
        return ((left[0] < right[0]) | (left[0] > right[0])).astype(float)

    return Compared(other, *_coded(problem, first, second, params))


def _coded(problem: Problem, first: Rows, second: Rows, params: Params) -> tuple[Columns, Columns]:
    people, name = problem.participants, params["attribute"]
    left, right = columns.codes(*(columns.chosen(people, name, rows) for rows in (first, second)))
    return (left,), (right,)


def _attribute_facts(
    _problem: Problem, _first: int, _second: int, params: Params
) -> Mapping[str, Any]:
    return {"attribute": params["attribute"]}


# Skills: what one offers of what the other wants, rare skills counting more.


def _offers_wants(problem: Problem, first: Rows, second: Rows, _params: Params) -> Measure:
    everybody = range(len(problem.participants.id))
    offered, wanted = (_skills(problem, name, everybody) for name in SKILLS)
    rarity = _rarity([*offered, *wanted], len(everybody))
    words = {word: place for place, word in enumerate(sorted(rarity))}
    amounts = np.array([rarity[word] for word in words], dtype=float)
    left = measures.weighed([offered[row] for row in first], words)
    right = measures.weighed([wanted[row] for row in second], words, amounts)
    # Measured against all that is wanted, however much somebody offers.
    most = np.full(len(first), np.inf)
    return Shared.of(Sparse.of(left, right), most, np.asarray(right.sum(axis=1)).ravel())


def _rarity(skills: Sets, people: int) -> Mapping[str, int]:
    """Return how rare each skill is among people, as inverse document frequency."""
    counts: Counter[str] = Counter()
    for one in skills:
        counts.update(one)
    return {word: round(RARITY * math.log1p(people / count)) for word, count in counts.items()}


def _skills(problem: Problem, name: str, rows: Rows) -> Sets:
    preferred = {
        word.casefold(): group[0].casefold() for group in problem.policy.synonyms for word in group
    }
    several = columns.chosen(problem.participants, name, rows)
    if not preferred:
        return several
    return [frozenset(preferred.get(word, word) for word in one) for one in several]


def _skill_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    offered = _skills(problem, "skills_offered", [first])[0]
    wanted = _skills(problem, "skills_wanted", [second])[0]
    return {"covered": sorted(offered & wanted), "missing": sorted(wanted - offered)}


# Texts: where one wants to go, against where the other stands.


def _path_fit(problem: Problem, first: Rows, second: Rows, _params: Params) -> Measure:
    people = problem.participants
    now, target = people.path_now or [], people.path_target or []
    model, given = text.name_of(problem.policy.text_model), None
    if people.vector_model == model:
        given = _at(people.path_now_vector, first), _at(people.path_target_vector, second)
    return text.likeness(
        model,
        [now[row] or "" if now else "" for row in first],
        [target[row] or "" if target else "" for row in second],
        given=given,
    )


def _at(values: Sequence[str | None] | None, rows: Rows) -> list[str | None]:
    return [values[row] if values else None for row in rows]


def _no_facts(_problem: Problem, _first: int, _second: int, _params: Params) -> Mapping[str, Any]:
    return {}


# Style, levels, time.

KINDS = ("encouragement", "challenge")


def _style_fit(problem: Problem, first: Rows, second: Rows, _params: Params) -> Measure:
    people = problem.participants
    offers = [columns.numbers(getattr(people, f"offers_{kind}"), first) for kind in KINDS]
    wants = [columns.numbers(getattr(people, f"wants_{kind}"), second) for kind in KINDS]
    return Compared(_closeness, tuple(offers), tuple(wants))


def _closeness(offers: Columns, wants: Columns) -> Numbers:
    near = [
        np.nan_to_num(1 - np.abs(offered - wanted) / LEVELS, nan=0.0)
        for offered, wanted in zip(offers, wants, strict=True)
    ]
    mean: Numbers = (near[0] + near[1]) / 2
    return mean


def _style_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    people = problem.participants
    found = {}
    for kind in KINDS:
        offers, wants = getattr(people, f"offers_{kind}"), getattr(people, f"wants_{kind}")
        found[kind] = {
            "offers": offers[first] if offers else None,
            "wants": wants[second] if wants else None,
        }
    return found


def _level_distance(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    ideal = params.get("ideal", 2)

    def near(left: Columns, right: Columns) -> Numbers:
        away = np.abs(np.abs(left[0] - right[0]) - ideal)
        found: Numbers = np.nan_to_num(1 / (1 + away), nan=0.0)
        return found

    ranks = problem.participants.grade_rank
    return Compared(near, (columns.numbers(ranks, first),), (columns.numbers(ranks, second),))


def _level_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    gap = constraints.gap_of(problem.participants, first, second)
    return {"gap": None if gap is None else abs(gap), "ideal": params.get("ideal", 2)}


def _tenure(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    """Value how much longer one has been there, up to where more is no better, or how equally."""
    months, longer = max(1, params.get("months", FAR_APART)), params.get("longer", "mentor")

    def part(left: Columns, right: Columns) -> Numbers:
        ahead = (left[0] - right[0]) / months
        value = {"mentor": ahead, "mentee": -ahead}.get(longer, 1 - np.abs(ahead))
        found: Numbers = np.nan_to_num(np.clip(value, 0.0, 1.0), nan=0.0)
        return found

    since = problem.participants.tenure_months
    return Compared(part, (columns.numbers(since, first),), (columns.numbers(since, second),))


def _tenure_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    gap = np.subtract(*columns.numbers(problem.participants.tenure_months, [first, second]))
    return {
        "gap": None if np.isnan(gap) else int(gap),
        "months": params.get("months", FAR_APART),
        "longer": params.get("longer", "mentor"),
    }


def _location(problem: Problem, first: Rows, second: Rows, _params: Params) -> Measure:
    """Value how far two places agree, from the country down to the site."""
    places = problem.participants.location
    sides = [columns.parts_of_places(places, rows) for rows in (first, second)]

    def same(left: Columns, right: Columns) -> Numbers:
        # What is unknown is NaN, which equals nothing.
        shared = sum((left[level] == right[level]) for level in range(1, len(left)))
        found: Numbers = shared / np.maximum(1, np.maximum(left[0], right[0]))
        return found

    levels = [_levels(sides, level) for level in range(1, columns.PLACE_PARTS + 1)]
    left, right = (
        (_sizes_of_places(side), *(level[place] for level in levels))
        for place, side in enumerate(sides)
    )
    return Compared(same, left, right)


def _sizes_of_places(side: list[list[str]]) -> Numbers:
    return np.array([len(parts) for parts in side], dtype=float)


def _levels(sides: list[list[list[str]]], level: int) -> tuple[Numbers, ...]:
    """Return one number for each place down to a level; NaN where it is not told so exactly."""
    return columns.codes(
        *(
            [frozenset({tuple(parts[:level])} if len(parts) >= level else ()) for parts in side]
            for side in sides
        )
    )


def _place_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    left, right = columns.parts_of_places(problem.participants.location, [first, second])
    same = itertools.takewhile(lambda parts: parts[0] == parts[1], zip(left, right, strict=False))
    return {"shared": [part for part, _ in same]}


def _timezone_overlap(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    wanted = 60 * max(1, params.get("hours", 4))

    def part(left: Columns, right: Columns) -> Numbers:
        minutes = np.nan_to_num(constraints.shared_minutes(left, right), nan=0.0)
        found: Numbers = np.clip(minutes / wanted, 0.0, 1.0)
        return found

    people = problem.participants
    return Compared(
        part, columns.working_hours(people, first), columns.working_hours(people, second)
    )


def _time_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    return {"shared_minutes": constraints.minutes_of(problem.participants, first, second)}


def _availability(problem: Problem, first: Rows, second: Rows, params: Params) -> Measure:
    sides = [columns.free_slots(problem.participants, rows) for rows in (first, second)]
    return _up_to(max(1, params.get("half_hours", 4)), *sides)


def _slot_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    left, right = columns.free_slots(problem.participants, [first, second])
    return {"shared": len(left & right)}


# What people said about each other.


def _shortlisted(problem: Problem, first: Rows, second: Rows, _params: Params) -> Measure:
    left, right = constraints.places_of(problem, first), constraints.places_of(problem, second)
    wish = _wishes(problem, left, right)
    wished = {(place, by): value for (by, place), value in _wishes(problem, right, left).items()}
    values = {}
    for pair in wish.keys() | wished.keys():
        less, more = sorted((wish.get(pair, 0.0), wished.get(pair, 0.0)))
        values[pair] = 0.7 * more + 0.3 * less
    return Named.of(values, (len(first), len(second)), dtype=np.float64)


def _wishes(
    problem: Problem, by: Mapping[str, int], about: Mapping[str, int]
) -> dict[tuple[int, int], float]:
    """Return how much each wishes to be with each, from 0 to 1; a lower rank counts less."""
    said = problem.preferences
    found: dict[tuple[int, int], float] = {}
    ranks = said.rank or [None] * len(said.by)
    for one, other, mark, rank in zip(said.by, said.about, said.mark, ranks, strict=True):
        wish = FORWARD.get(mark, 0.0) * max(0.5, 1.1 - 0.1 * (rank or 1))
        if wish and one in by and other in about:
            pair = by[one], about[other]
            found[pair] = max(wish, found.get(pair, 0.0))
    return found


def _wish_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    one, other = ({problem.participants.id[row]: 0} for row in (first, second))
    # Who marked whom is never told, only that somebody or both did.
    return {"sides": len(_wishes(problem, one, other)) + len(_wishes(problem, other, one))}


CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {
        "shared_language": Criterion(_shared_language, _facts_on("languages")),
        "timezone_overlap": Criterion(_timezone_overlap, _time_facts),
        "availability_overlap": Criterion(_availability, _slot_facts),
        "attribute_equal": Criterion(_equal, _attribute_facts),
        "attribute_different": Criterion(_different, _attribute_facts),
        "choice_overlap": Criterion(_overlap, _choice_facts),
        "offers_wants": Criterion(_offers_wants, _skill_facts),
        "path_fit": Criterion(_path_fit, _no_facts),
        "style_fit": Criterion(_style_fit, _style_facts),
        "shortlisted": Criterion(_shortlisted, _wish_facts),
        "shared_values": _on("values"),
        "shared_interests": _on("interests"),
        "expectation_fit": _on("expectations"),
        "level_distance": Criterion(_level_distance, _level_facts),
        "tenure": Criterion(_tenure, _tenure_facts),
        "location": Criterion(_location, _place_facts),
    }
)
"""Every soft criterion by its word in a policy; what each takes stands in the contract."""
