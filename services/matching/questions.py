"""Other questions about a problem: scores, reasons, what-if, and whether a policy does its work."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from services.matching import doubts, explanations, inputs, solver
from services.matching.blocks import COLUMNS, ROWS, slices
from services.matching.board import Board, Step
from services.matching.decision import Decision
from services.matching.measures import Places
from services.matching.taken import Taken
from shared.errors import InvalidError, Violation
from shared.schemas.matching import (
    CheckedTest,
    Explanation,
    ExplanationsAnswer,
    ExplanationsRequest,
    Fault,
    Format,
    Pairs,
    PairScore,
    PolicyCheckAnswer,
    PolicyCheckRequest,
    PolicyTest,
    Problem,
    Reason,
    RuleEffect,
    ScoredPair,
    ScoresAnswer,
    ScoresRequest,
    WhatIf,
)

# The problem, which these requests hold under a name of its own.


def _lay_out(problem: Problem, *, max_cells: int, step: Step) -> Board:
    with _pointing_into_problem():
        return solver.lay_out(problem, max_cells=max_cells, step=step)


def _solve(board: Board, *, held: int | None = None, step: Step) -> Decision:
    # Some problems prove too large only when they are solved.
    with _pointing_into_problem():
        return solver.solve(board, held=held, step=step)


@contextmanager
def _pointing_into_problem() -> Iterator[None]:
    """Let what is wrong with a problem point to where the request holds it."""
    try:
        yield
    except InvalidError as error:
        errors = [
            replace(one, pointer=f"#/problem{one.pointer.removeprefix('#')}")
            for one in error.errors
        ]
        raise InvalidError(error.detail, code=error.code, errors=errors) from None


# Scores.


def score(request: ScoresRequest, *, max_cells: int, step: Step) -> ScoresAnswer:
    """Return the scores of named pairs, or somebody's best ones."""
    board = _lay_out(request.problem, max_cells=max_cells, step=step)
    first, second = _asked(board, request.pairs)
    found = explanations.pair_scores(board, first, second)
    if request.about is not None:
        found += _best_of(board, request.about, request.limit)
    return ScoresAnswer(
        input_hash=inputs.digest(board.problem),
        versions=solver.versions(board.problem),
        pairs=found,
        groups=[
            explanations.group_of(board, host, np.unique(second[first == host]))
            for host in np.unique(first).tolist()
            if board.problem.format is Format.GROUP
        ],
    )


def _best_of(board: Board, about: str, limit: int) -> list[PairScore]:
    first, second = board.first.place.get(about), board.second.place.get(about)
    if first is None and second is None:
        raise _unknown("#/about")
    height, width = board.shape
    rows, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    if first is not None:
        rows.append(np.full(width, first))
        columns.append(np.arange(width))
    if second is not None and not board.is_peer:
        rows.append(np.arange(height))
        columns.append(np.full(height, second))
    one, other = np.concatenate(rows), np.concatenate(columns)
    is_allowed = board.allowed(one, other)
    one, other = one[is_allowed], other[is_allowed]
    order = np.lexsort((other, one, -board.scores(one, other)))[:limit]
    return explanations.pair_scores(board, one[order], other[order])


def _asked(board: Board, pairs: Pairs) -> tuple[Places, Places]:
    """Return the places of named pairs, the mentor side first however they were named."""
    if len(pairs.first) != len(pairs.second):
        raise InvalidError(
            errors=[Violation("#/pairs/second", "wrong_length", "Both columns are of one length.")]
        )
    found = []
    for row, pair in enumerate(zip(pairs.first, pairs.second, strict=True)):
        place = _place_of(board, *pair) or _place_of(board, *reversed(pair))
        if place is None:
            raise _unknown(f"#/pairs/first/{row}")
        found.append(place)
    places = np.array(found, dtype=np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1]


def _place_of(board: Board, first: str, second: str) -> tuple[int, int] | None:
    if first in board.first.place and second in board.second.place:
        return board.first.place[first], board.second.place[second]
    return None


def _unknown(pointer: str) -> InvalidError:
    detail = "This refers to nobody with a place in the problem."
    return InvalidError(errors=[Violation(pointer, "unknown_reference", detail)])


# Reasons.


def explain(request: ExplanationsRequest, *, max_cells: int, step: Step) -> ExplanationsAnswer:
    """Return why the named pairs are there or are not, and what forcing them would do."""
    board = _lay_out(request.problem, max_cells=max_cells, step=step)
    first, second = _asked(board, request.pairs)
    decided = _solve(board, step=step)
    scored = explanations.pair_scores(board, first, second)
    found = []
    for done, pair in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        step("explain", done, len(scored))
        what_if = _what_if(decided, pair, step) if request.with_what_if else None
        found.append(_explanation(decided, pair, scored[done], request.alternatives, what_if))
    return ExplanationsAnswer(
        input_hash=inputs.digest(board.problem),
        versions=solver.versions(board.problem),
        explanations=found,
    )


def _explanation(
    decided: Decision,
    pair: tuple[int, int],
    scored: PairScore,
    limit: int,
    what_if: WhatIf | None,
) -> Explanation:
    is_matched = decided.taken.has(*pair)
    there = np.array(pair[:1]), np.array(pair[1:])
    costs, has_room = decided.costs(*there), bool(decided.open.has_room(*there)[0])
    is_open = costs is not None and scored.allowed and has_room and not is_matched
    return Explanation(
        **dict(scored),
        matched=is_matched,
        why_not=explanations.why_not(decided, *pair),
        costs_at_least=decided.in_points(int(costs[0])) if is_open and costs is not None else None,
        alternatives=explanations.alternatives_of(decided, pair[1], limit=limit),
        what_if=what_if,
    )


def _what_if(decided: Decision, pair: tuple[int, int], step: Step) -> WhatIf:
    """Solve again with the pair locked, its group of the size it must have, and compare."""
    if decided.taken.has(*pair):
        return WhatIf(possible=True, change=0.0)
    if reasons := explanations.why_impossible(decided, *pair):
        return WhatIf(possible=False, reasons=reasons)
    board = decided.board
    locks = board.problem.locks
    forced = Pairs(
        first=[*locks.first, board.first.ids[pair[0]]],
        second=[*locks.second, board.second.ids[pair[1]]],
    )
    other = replace(board, problem=board.problem.model_copy(update={"locks": forced}))
    # A lock keeps a group however small, which nobody has asked for here.
    is_new = not len(decided.open.locked.of_first(pair[0]))
    instead = _solve(other, held=pair[0] if is_new else None, step=step)
    if is_new and instead.taken.sizes[0][pair[0]] < board.first.minimum[pair[0]]:
        return WhatIf(possible=False, reasons=[explanations.too_small(board, pair[0])])
    return WhatIf(
        possible=True,
        change=(_total(board, instead.taken) - _total(board, decided.taken)) / 100,
        gained=_scored(board, instead.taken.without(decided.taken)),
        lost=_scored(board, decided.taken.without(instead.taken)),
    )


def _total(board: Board, taken: Taken) -> int:
    return int(board.scores(*explanations.by_id(board, taken)).sum())


def _scored(board: Board, taken: Taken) -> list[ScoredPair]:
    return explanations.scored_pairs(board, *explanations.by_id(board, taken))


# Policies.


def check_policy(request: PolicyCheckRequest, *, max_cells: int, step: Step) -> PolicyCheckAnswer:
    """Return what is wrong or doubtful in a policy, and on a pool what it does to it."""
    people = request.problem.participants if request.problem else None
    faults = inputs.policy_faults(request.policy, people)
    if faults or request.problem is None:
        return PolicyCheckAnswer(
            valid=not faults,
            faults=[Fault(pointer=f.pointer, code=f.code, detail=f.detail) for f in faults],
            warnings=[] if faults else _doubts_alone(request),
        )
    problem = request.problem.model_copy(update={"policy": request.policy})
    board = _lay_out(problem, max_cells=max_cells, step=step)
    decided = _solve(board, step=step)
    allowed, effects = _effects(board, step)
    return PolicyCheckAnswer(
        valid=True,
        faults=[],
        warnings=[*doubts.of_policy(problem), *doubts.of_pool(board)],
        pairs=board.shape[0] * board.shape[1],
        allowed_pairs=allowed,
        effects=effects,
        tests=[_tested(decided, test) for test in request.policy.tests],
    )


def _doubts_alone(request: PolicyCheckRequest) -> list[Reason]:
    empty: dict[str, Any] = {
        "format": Format.ONE_TO_ONE,
        "policy": request.policy,
        "participants": {"id": []},
        "places": {"participant": [], "role": [], "capacity": []},
    }
    return doubts.of_policy(Problem.model_validate(empty))


def _effects(board: Board, step: Step) -> tuple[int, list[RuleEffect]]:
    """Count the pairs that are allowed, and for each rule those it forbids, and it alone."""
    pairs, only = np.zeros(len(board.hard), np.int64), np.zeros(len(board.hard), np.int64)
    allowed, (height, width) = 0, board.shape
    for rows in slices(height, ROWS):
        step("effects", rows.start, height)
        for columns in slices(width, COLUMNS):
            apart = [one.apart.block(rows, columns) for one in board.hard]
            shape = rows.stop - rows.start, columns.stop - columns.start
            forbidding = sum((one.astype(np.int16) for one in apart), np.zeros(shape, np.int16))
            allowed += int((forbidding == 0).sum())
            pairs += [int(one.sum()) for one in apart]
            only += [int((one & (forbidding == 1)).sum()) for one in apart]
    return allowed, [
        RuleEffect(rule=one.rule, index=one.index, pairs=count, only=alone)
        for one, count, alone in zip(board.hard, pairs.tolist(), only.tolist(), strict=True)
    ]


_CHECKS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "allowed": lambda expected, found: expected == found["allowed"],
        "matched": lambda expected, found: expected == found["matched"],
        "score_at_least": lambda expected, found: found["score"] >= expected,
        "score_at_most": lambda expected, found: found["score"] <= expected,
    }
)


def _tested(decided: Decision, test: PolicyTest) -> CheckedTest:
    one, other = test.people
    board = decided.board
    place = _place_of(board, one, other) or _place_of(board, other, one)
    if place is None:
        are_here = all(who in board.first.place or who in board.second.place for who in test.people)
        problem = "not_across" if are_here else "not_in_pool"
        return CheckedTest(name=test.name, passed=False, found={"problem": problem})
    pair = np.array(place[:1]), np.array(place[1:])
    found = {
        "allowed": bool(board.allowed(*pair)[0]),
        "matched": decided.taken.has(*place),
        "score": int(board.scores(*pair)[0]) / 100,
    }
    unknown = sorted(test.expect.keys() - _CHECKS.keys())
    if unknown:
        return CheckedTest(name=test.name, passed=False, found={"problem": "unknown_expectation"})
    passed = all(_holds(name, expected, found) for name, expected in test.expect.items())
    return CheckedTest(name=test.name, passed=passed, found=found)


def _holds(name: str, expected: Any, found: dict[str, Any]) -> bool:
    is_number = isinstance(expected, int | float) and not isinstance(expected, bool)
    wants_number = name.startswith("score")
    return is_number is wants_number and _CHECKS[name](expected, found)
