"""What a policy says that may not be meant: by itself, and on a pool."""

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from services.matching import text
from services.matching.blocks import COLUMNS, ROWS, slices, whole
from services.matching.board import Board, weight_sum
from services.matching.measures import Measure, Values
from shared.schemas.matching import Objective, Problem, Reason, Seniority

OPPOSITE: Mapping[object, Seniority] = MappingProxyType(
    {
        Seniority.MENTOR_HIGHER: Seniority.MENTOR_LOWER,
        Seniority.MENTOR_LOWER: Seniority.MENTOR_HIGHER,
    }
)
"""Whose grade is higher, the other way round: nobody fits both, unless a grade is unknown."""


def of_policy(problem: Problem) -> list[Reason]:
    """Return what is doubtful in a policy by itself."""
    policy = problem.policy
    found = []
    if not weight_sum(problem):
        found.append(Reason(rule="weights", key="doubt.no_weight"))
    if policy.floor and policy.objective is not Objective.MOST_MATCHED:
        params = {"objective": policy.objective.value}
        found.append(Reason(rule="floor", key="doubt.floor_not_used", params=params))
    equal = {one.params.get("attribute") for one in policy.hard if one.rule == "attribute_equal"}
    found += [
        Reason(rule=one.rule, key="doubt.contradiction", params=dict(one.params))
        for one in policy.hard
        if one.rule == "attribute_different" and one.params.get("attribute") in equal
    ]
    ranked = [one for one in policy.hard if one.rule == "seniority"]
    relations = [one.params.get("relation") for one in ranked]
    found += [
        Reason(rule=one.rule, key="doubt.contradiction", params=dict(one.params))
        for place, one in enumerate(ranked)
        if (opposite := OPPOSITE.get(relations[place])) and opposite in relations[:place]
    ]
    return found


def of_form(problem: Problem, known: Collection[Objective]) -> list[Reason]:
    """Return what of a policy a form of mentorship does not use; `known` are its objectives."""
    policy, found = problem.policy, []
    if policy.objective not in known:
        params = {"objective": policy.objective.value}
        found.append(Reason(rule="objective", key="doubt.objective_not_used", params=params))
    if policy.stay_bonus:
        found.append(Reason(rule="stay_bonus", key="doubt.stay_bonus_not_used"))
    return found


def of_locks(lost: int) -> list[Reason]:
    """Return that so many locks could not be kept; why would tell who ignores whom."""
    if not lost:
        return []
    return [Reason(rule="locks", key="doubt.locks_not_kept", params={"locks": lost})]


def of_pool(board: Board) -> list[Reason]:
    """Return what of a policy has no effect on this pool, or the effect of forbidding all."""
    height, width = board.shape
    found = [
        Reason(rule=one.rule, key="doubt.forbids_everything")
        for one in board.hard
        if height * width and one.index is not None and _forbids_all(board, one.apart)
    ]
    found += [
        Reason(
            rule=one.rule.rule,
            key="doubt.same_for_everybody",
            params={**one.rule.params, "weight": weight},
        )
        for one in board.soft
        if (weight := one.rule.weight) and height * width > 1 and _is_same(board, one.fit)
    ]
    found += _unused_vectors(board.problem)
    if board.is_peer and any(capacity > 1 for capacity in board.problem.places.capacity):
        found.append(Reason(rule="capacity", key="doubt.one_peer_each"))
    return found


def _unused_vectors(problem: Problem) -> list[Reason]:
    people, used = problem.participants, text.name_of(problem.policy.text_model)
    is_weighed = any(one.rule == "path_fit" and one.weight for one in problem.policy.soft)
    has_vectors = people.path_now_vector or people.path_target_vector
    if not is_weighed or not has_vectors or people.vector_model == used:
        return []
    params = {"given": people.vector_model, "used": used}
    return [Reason(rule="path_fit", key="doubt.vectors_of_another_model", params=params)]


def _blocks(board: Board, measure: Measure) -> Iterator[Values]:
    for rows in slices(board.shape[0], ROWS):
        for columns in slices(board.shape[1], COLUMNS):
            yield measure.block(rows, columns)


def _forbids_all(board: Board, apart: Measure) -> bool:
    """Tell whether a rule lets nobody through; the first block that it does ends the search."""
    return all(block.all() for block in _blocks(board, apart))


def _is_same(board: Board, fit: Measure) -> bool:
    """Tell whether a criterion is the same for all pairs; the first other one ends the search."""
    blocks = (whole(block) for block in _blocks(board, fit))
    value = next(blocks, None)
    if value is None:
        return False
    same = value[0, 0]
    return bool((value == same).all()) and all((block == same).all() for block in blocks)
