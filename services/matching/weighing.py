"""A small problem as whole matrices: what keeps each pair apart, and what it scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.matching import board, constraints, inputs, scoring
from services.matching.blocks import points, whole
from services.matching.board import Board, Side, Step, weight_sum
from shared.schemas.matching import POINTS, Objective, Part, Problem, Reason, SoftRule


@dataclass(frozen=True, slots=True)
class Forbidding:
    """One hard rule on a problem: `index` is its place in the policy, None if always on."""

    rule: str
    index: int | None
    params: Mapping[str, Any]
    apart: npt.NDArray[np.bool_]


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
    ready = board.set_up(problem, step=step)
    hard = _judge(ready, step)
    allowed = np.ones(ready.shape, dtype=bool)
    for one in hard:
        allowed &= ~one.apart
    soft = _value(ready, step)
    scores = np.zeros(ready.shape, dtype=np.int64)
    for rule, values in soft:
        scores += points(values, rule.weight, weight_sum(problem))
    return Weighed(
        problem=problem,
        input_hash=inputs.digest(problem),
        is_peer=ready.is_peer,
        first=ready.first,
        second=ready.second,
        hard=hard,
        soft=soft,
        allowed=allowed,
        scores=scores,
    )


def _judge(ready: Board, step: Step) -> list[Forbidding]:
    everybody = [slice(0, count) for count in ready.shape]
    found = []
    for done, one in enumerate(ready.hard):
        step("rules", done, len(ready.hard))
        apart = one.apart.block(*everybody)
        found.append(Forbidding(one.rule, one.index, one.params, apart))
    return found


def _value(ready: Board, step: Step) -> list[tuple[SoftRule, npt.NDArray[np.int16]]]:
    everybody = [slice(0, count) for count in ready.shape]
    found = []
    for done, one in enumerate(ready.soft):
        step("scores", done, len(ready.soft))
        found.append((one.rule, whole(one.fit.block(*everybody))))
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
