"""A problem made ready: who stands on which side, what keeps a pair apart, what a pair scores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.matching import constraints, inputs, measures, scoring
from services.matching.blocks import Blocks, points, slices, whole
from services.matching.measures import Measure, Named, Places, Values
from shared.schemas.matching import Format, HardRule, Problem, Role, Seniority, SoftRule

type Step = Callable[[str, int, int], None]
type Words = frozenset[str] | None

UNKNOWN_GRADE_FAILS = frozenset({Format.REVERSE, Format.SPONSORSHIP})
WHOLE_LINE = frozenset({Format.SPONSORSHIP})
PAIRS = 65_536
"""So many pairs are worked out at once: each takes about a kilobyte on the way to its score."""


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
    apart: Measure

    @property
    def is_always_on(self) -> bool:
        """Whether no policy can do without it, be it written there or not."""
        is_whole_line = self.rule == "reporting_line_distance" and not self.params
        return self.index is None or self.rule in constraints.ALWAYS or is_whole_line


@dataclass(frozen=True, slots=True)
class Adding:
    """One soft criterion on a problem."""

    rule: SoftRule
    fit: Measure

    def values(self, first: Places, second: Places) -> npt.NDArray[np.int16]:
        """Return the values of pairs, in whole numbers up to `POINTS`."""
        return whole(self.fit.pairs(first, second))


@dataclass(frozen=True, slots=True)
class Board:
    """Everything that decides what pairs of a problem are worth; no pair is worked out yet.

    `lost` counts the locks that were left out of the problem because they could not be.
    """

    problem: Problem
    is_peer: bool
    first: Side
    second: Side
    hard: list[Forbidding]
    soft: list[Adding]
    lost: int = 0

    @property
    def seed(self) -> int:
        """What decides ties."""
        return _seed(self.problem)

    @property
    def shape(self) -> tuple[int, int]:
        """How many stand on either side."""
        return len(self.first.ids), len(self.second.ids)

    def scores(self, first: Places, second: Places) -> npt.NDArray[np.int64]:
        """Return the scores of pairs, whether they are allowed or not."""
        total, found = weight_sum(self.problem), np.zeros(len(first), dtype=np.int64)
        for some in slices(len(first), PAIRS):
            for one in self.soft:
                values = one.values(first[some], second[some])
                found[some] += points(values, one.rule.weight, total)
        return found

    def allowed(self, first: Places, second: Places) -> npt.NDArray[np.bool_]:
        """Return which pairs no rule keeps apart."""
        found = np.ones(len(first), dtype=bool)
        for some in slices(len(first), PAIRS):
            for one in self.hard:
                found[some] &= ~one.apart.pairs(first[some], second[some])
        return found

    def blocks(self) -> Blocks:
        """Return the scores of all pairs, to be worked out block by block."""
        return Blocks.of(
            self.shape,
            [(one.fit, one.rule.weight) for one in self.soft],
            [one.apart for one in self.hard],
        )


def set_up(problem: Problem, *, step: Step) -> Board:
    """Read a canonical problem that has no faults."""
    first = side_of(problem, inputs.FIRST_ROLES | {Role.PEER})
    second = first if problem.format is Format.PEER else side_of(problem, inputs.SECOND_ROLES)
    return between(problem, first, second, step=step)


def between(
    problem: Problem, first: Side, second: Side, *, words: Words = None, step: Step
) -> Board:
    """Return the board of two sides, or of equals where both are the same.

    `words` are the hard rules that hold between them; all of the problem's if None.
    """
    hard = _forbidding(problem, first, second, words, step)
    soft = _adding(problem, first, second, step)
    return Board(problem, first is second, first, second, hard, soft)


def weight_sum(problem: Problem) -> int:
    """Return the sum of all weights."""
    return sum(rule.weight for rule in problem.policy.soft)


def _seed(problem: Problem) -> int:
    return problem.policy.seed if problem.seed is None else problem.seed


def side_of(problem: Problem, roles: frozenset[Role]) -> Side:
    """Return everybody who has one of some roles, nobody more than one of them."""
    places, ids = problem.places, problem.participants.id
    seats = {
        ids[row]: place
        for place, (row, role) in enumerate(zip(places.participant, places.role, strict=True))
        if role in roles
    }
    order = inputs.stable_order(list(seats), _seed(problem))
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


def _forbidding(
    problem: Problem, first: Side, second: Side, words: Words, step: Step
) -> list[Forbidding]:
    rules = [
        (index, rule) for index, rule in hard_rules(problem) if words is None or rule.rule in words
    ]
    found = []
    for done, (index, rule) in enumerate(rules):
        step("rules", done, len(rules))
        apart = constraints.RULES[rule.rule].apart(problem, first.rows, second.rows, rule.params)
        # A rule with a direction forbids two peers if it forbids either way.
        whole = _mutual(apart, measures.either, is_peer=first is second)
        found.append(Forbidding(rule.rule, index, rule.params, whole))
    return found


def _adding(problem: Problem, first: Side, second: Side, step: Step) -> list[Adding]:
    rules = problem.policy.soft
    found = []
    for done, rule in enumerate(rules):
        step("criteria", done, len(rules))
        fit = scoring.CRITERIA[rule.rule].fit(problem, first.rows, second.rows, rule.params)
        found.append(Adding(rule, _mutual(fit, measures.mean, is_peer=first is second)))
    return found


def _mutual(
    measure: Measure, both: Callable[[Values, Values], Values], *, is_peer: bool
) -> Measure:
    # What was said by name holds for two peers in either direction as it is.
    if not is_peer or isinstance(measure, Named):
        return measure
    return measures.Mutual(measure, measure, both)


def hard_rules(problem: Problem) -> list[tuple[int | None, HardRule]]:
    """Return the rules of the policy, of the track and those that are always on."""
    given = list(enumerate(problem.policy.hard))
    words = {rule.rule for _, rule in given}
    implied = [HardRule(rule=word) for word in constraints.ALWAYS if word not in words]
    if problem.format is Format.FLASH and "not_past_pair" not in words:
        # Two meet once in a track.
        implied.append(HardRule(rule="not_past_pair"))
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
