"""A problem as matrices: who stands on which side, what keeps a pair apart, what it scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.matching import constraints, inputs, scoring
from shared.schemas.matching import (
    POINTS,
    Format,
    HardRule,
    Objective,
    Part,
    Problem,
    Reason,
    Role,
    Seniority,
    SoftRule,
)

type Step = Callable[[str, int, int], None]

UNKNOWN_GRADE_FAILS = frozenset({Format.REVERSE, Format.SPONSORSHIP})
WHOLE_LINE = frozenset({Format.SPONSORSHIP})


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a problem, in an order that the seed alone decides."""

    rows: list[int]
    ids: list[str]
    roles: list[Role]
    capacity: npt.NDArray[np.int64]
    minimum: npt.NDArray[np.int64]
    place: Mapping[str, int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Forbidding:
    """One hard rule on a problem: `index` is its place in the policy, None if always on."""

    rule: str
    index: int | None
    params: Mapping[str, Any]
    apart: constraints.Apart


@dataclass(frozen=True, slots=True)
class Weighed:
    """Everything about the pairs of a problem; scores are whole numbers up to `POINTS`."""

    problem: Problem
    input_hash: str
    is_peer: bool
    first: Side
    second: Side
    hard: list[Forbidding]
    soft: list[tuple[SoftRule, npt.NDArray[np.int16]]]
    allowed: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.int64]

    @property
    def seed(self) -> int:
        """What decides ties."""
        return self.problem.policy.seed if self.problem.seed is None else self.problem.seed

    @property
    def objective(self) -> Objective:
        """What the solution is to be best at."""
        return self.problem.policy.objective


def weigh(problem: Problem, *, step: Step) -> Weighed:
    """Return the matrices of a canonical problem that has no faults."""
    is_peer = problem.format is Format.PEER
    first = _side(problem, inputs.FIRST_ROLES | {Role.PEER})
    second = first if is_peer else _side(problem, inputs.SECOND_ROLES)
    hard = _judge(problem, first, second, step)
    allowed = np.ones((len(first.ids), len(second.ids)), dtype=bool)
    for one in hard:
        allowed &= ~one.apart
    soft = _value(problem, first, second, step, is_peer=is_peer)
    scores = np.zeros(allowed.shape, dtype=np.int64)
    for rule, values in soft:
        scores += points(values, rule.weight, weight_sum(problem))
    return Weighed(
        *(problem, inputs.digest(problem), is_peer, first, second, hard, soft, allowed, scores)
    )


def points(values: npt.NDArray[Any], weight: int, total: int) -> npt.NDArray[np.int64]:
    """Return what a criterion adds to the score, rounded so that parts sum up to it exactly."""
    return np.rint(values.astype(np.int64) * weight / max(1, total)).astype(np.int64)


def weight_sum(problem: Problem) -> int:
    """Return the sum of all weights."""
    return sum(rule.weight for rule in problem.policy.soft)


def _side(problem: Problem, roles: frozenset[Role]) -> Side:
    places, ids = problem.places, problem.participants.id
    seats = {
        ids[row]: place
        for place, (row, role) in enumerate(zip(places.participant, places.role, strict=True))
        if role in roles
    }
    order = inputs.stable_order(
        list(seats), problem.policy.seed if problem.seed is None else problem.seed
    )
    chosen = [seats[one] for one in order]
    return Side(
        rows=[places.participant[place] for place in chosen],
        ids=order,
        roles=[places.role[place] for place in chosen],
        capacity=np.array([_capacity(problem, place) for place in chosen], dtype=np.int64),
        minimum=np.array([_minimum(problem, place) for place in chosen], dtype=np.int64),
        place={one: place for place, one in enumerate(order)},
    )


def _capacity(problem: Problem, place: int) -> int:
    capacity, most = problem.places.capacity[place], problem.track.max_members
    is_group = problem.format is Format.GROUP and problem.places.role[place] in inputs.FIRST_ROLES
    if problem.format is Format.PEER:
        return min(1, capacity)
    return capacity if most is None or not is_group else min(capacity, most)


def _minimum(problem: Problem, place: int) -> int:
    if problem.places.role[place] not in inputs.FIRST_ROLES:
        return 0
    if problem.places.minimum is not None:
        return problem.places.minimum[place]
    return (problem.track.min_members or 0) if problem.format is Format.GROUP else 0


def _judge(problem: Problem, first: Side, second: Side, step: Step) -> list[Forbidding]:
    rules = hard_rules(problem)
    found = []
    for done, (index, rule) in enumerate(rules):
        step("rules", done, len(rules))
        apart = constraints.RULES[rule.rule].apart(problem, first.rows, second.rows, rule.params)
        # A rule with a direction forbids two peers if it forbids either way.
        whole = apart | apart.T if problem.format is Format.PEER else apart
        found.append(Forbidding(rule.rule, index, rule.params, whole))
    return found


def hard_rules(problem: Problem) -> list[tuple[int | None, HardRule]]:
    """Return the rules of the policy, of the track and those that are always on."""
    given = list(enumerate(problem.policy.hard))
    words = {rule.rule for _, rule in given}
    implied = [HardRule(rule=word) for word in constraints.ALWAYS if word not in words]
    if "reporting_line_distance" not in words:
        levels = {} if problem.format in WHOLE_LINE else {"levels": 1}
        implied.append(HardRule(rule="reporting_line_distance", params=levels))
    return [*((None, rule) for rule in [*implied, *_track_rules(problem)]), *given]


def _track_rules(problem: Problem) -> list[HardRule]:
    track = problem.track
    gaps = {"gap_min": track.grade_gap_min, "gap_max": track.grade_gap_max}
    known = {name: gap for name, gap in gaps.items() if gap is not None}
    if track.seniority is Seniority.NONE and not known:
        return []
    unknown = "fails" if problem.format in UNKNOWN_GRADE_FAILS else "passes"
    params = {"relation": track.seniority, "unknown": unknown, **known}
    return [HardRule(rule="seniority", params=params)]


def _value(
    problem: Problem, first: Side, second: Side, step: Step, *, is_peer: bool
) -> list[tuple[SoftRule, npt.NDArray[np.int16]]]:
    found = []
    rules = problem.policy.soft
    for done, rule in enumerate(rules):
        step("scores", done, len(rules))
        values = scoring.CRITERIA[rule.rule].values(problem, first.rows, second.rows, rule.params)
        mutual = (values + values.T) / 2 if is_peer else values
        found.append((rule, np.rint(mutual * POINTS).astype(np.int16)))
    return found


# What can be said about one pair.


def parts_of(weighed: Weighed, first: int, second: int) -> list[Part]:
    """Return what each criterion gave a pair, and why."""
    problem, total = weighed.problem, weight_sum(weighed.problem)
    rows = weighed.first.rows[first], weighed.second.rows[second]
    found = []
    for rule, values in weighed.soft:
        value = values[first, second]
        facts = scoring.CRITERIA[rule.rule].facts(problem, *rows, rule.params)
        given = int(points(values[first : first + 1, second], rule.weight, total)[0])
        found.append(
            Part(
                rule=rule.rule,
                key=f"because.{rule.rule}",
                params=dict(facts),
                points=given / 100,
                weight=rule.weight,
                value=int(value) / POINTS,
            )
        )
    return found


def broken_of(weighed: Weighed, first: int, second: int) -> list[Reason]:
    """Return every hard rule a pair breaks, each with its explanation."""
    rows = weighed.first.rows[first], weighed.second.rows[second]
    return [
        Reason(
            rule=one.rule,
            key=f"apart.{one.rule}",
            params=dict(constraints.RULES[one.rule].facts(weighed.problem, *rows, one.params)),
        )
        for one in weighed.hard
        if one.apart[first, second]
    ]


def notes_of(weighed: Weighed, first: int, second: int) -> list[Reason]:
    """Return what was left out of account because it is not known."""
    judged = [one for one in weighed.hard if one.rule == "seniority"]
    ranks = weighed.problem.participants.grade_rank
    rows: Sequence[int] = (weighed.first.rows[first], weighed.second.rows[second])
    if not judged or (ranks and all(ranks[row] is not None for row in rows)):
        return []
    return [Reason(rule="seniority", key="note.grade_unknown")]
