"""From a problem to its solution: pure, exact where it says so, the same every time."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from services.matching import (
    decision,
    doubts,
    equals,
    explanations,
    fairness,
    inputs,
    minimums,
    stability,
    text,
    two_sided,
)
from services.matching.board import Board, Step, set_up
from services.matching.decision import Decision
from services.matching.measures import Places
from services.matching.stability import Wishes
from shared.errors import InvalidError, Violation
from shared.schemas.base import Wire
from shared.schemas.matching import (
    Churn,
    Format,
    Objective,
    Pairs,
    Price,
    Problem,
    Solution,
    Totals,
    Versions,
)

ENGINE = "exact-3"


def ready(problem: Problem, *, max_cells: int) -> Problem:
    """Return the canonical form of a problem; one with faults is an `InvalidError`."""
    faults = inputs.faults_of(problem, max_cells=max_cells)
    if faults:
        raise InvalidError(errors=faults[:100])
    return inputs.canonical(problem)


def lay_out(asked: Problem, *, max_cells: int, step: Step) -> Board:
    """Return a problem made ready, after making sure that its locks are possible.

    Faults point into the problem as it was asked, whatever the order of its canonical form.
    """
    board = set_up(ready(asked, max_cells=max_cells), step=step)
    return with_possible_locks(board, asked.locks)


def solve(board: Board, *, held: int | None = None, step: Step) -> Decision:
    """Return the best choice for the objective of the policy.

    The group of `held` must reach its smallest size, locks or not; where it cannot, it does not.
    """
    left, objective = decision.open_of(board, held=held), board.problem.policy.objective
    if board.is_peer:
        return equals.decide(left, objective, step=step)
    if objective is Objective.STABLE:
        return minimums.keep(left, partial(stability.decide, step=step))
    found = two_sided.find(left, step=step)
    return two_sided.decide(left, objective, found, step=step)


def describe(decided: Decision, *, step: Step) -> Solution:
    """Return the whole answer to a problem, reasons included."""
    board = decided.board
    is_group = board.problem.format is Format.GROUP
    matches = (explanations.groups_of if is_group else explanations.matches_of)(decided, step=step)
    return Solution(
        input_hash=inputs.digest(board.problem),
        versions=versions(board.problem),
        seed=board.seed,
        certificate=decided.certificate,
        totals=_totals(decided, len(matches)),
        fairness=fairness.of(_scores(decided)),
        blocking_pairs=_count_blocking(decided, step),
        churn=_churn(decided),
        matches=matches,
        unmatched=explanations.unmatched_of(decided, step=step),
        prices=_prices(decided),
        warnings=[
            *doubts.of_policy(board.problem),
            *doubts.of_pool(board),
            *doubts.of_locks(board.lost),
        ],
    )


def digest_of(answer: Wire) -> str:
    """Return the SHA-256 of an answer's JSON."""
    return "sha256:" + hashlib.sha256(answer.model_dump_json().encode()).hexdigest()


def versions(problem: Problem) -> Versions:
    """Return what makes the answers to a problem."""
    return Versions(engine=ENGINE, text_model=text.name_of(problem.policy.text_model))


# Locks.


def with_possible_locks(board: Board, asked: Pairs) -> Board:
    """Return a board whose locks can all be; `asked` are its locks as they were asked for."""
    if not board.problem.locks_yield:
        check_locks(board, asked)
        return board
    locks = board.problem.locks
    kept, taken = list[tuple[str, str]](), (Counter[str](), Counter[str]())
    # In the order of ids, so that the same of too many stay whatever order they came in.
    for pair in zip(locks.first, locks.second, strict=True):
        if not _lock_faults(board, 0, pair) and _has_room(board, pair, taken):
            kept.append(pair)
    possible = Pairs(first=[one for one, _ in kept], second=[other for _, other in kept])
    problem = board.problem.model_copy(update={"locks": possible})
    return replace(board, problem=problem, lost=len(locks.first) - len(kept))


def _has_room(
    board: Board, pair: tuple[str, str], taken: tuple[Counter[str], Counter[str]]
) -> bool:
    """Tell whether both of a pair have a place left, and take it if so."""
    sides = (board.first, taken[0]), (board.second, taken[0] if board.is_peer else taken[1])
    seats = list(zip(pair, sides, strict=True))
    if any(count[one] >= side.capacity[side.place[one]] for one, (side, count) in seats):
        return False
    for one, (_side, count) in seats:
        count[one] += 1
    return True


def check_locks(board: Board, locks: Pairs) -> None:
    """Refuse locks that a rule or a capacity forbids, each named."""
    rows = list(zip(locks.first, locks.second, strict=True))
    # What was said twice is one lock.
    once = {
        (min(row), max(row)) if board.is_peer else row: (place, row)
        for place, row in reversed(list(enumerate(rows)))
    }
    pairs = sorted(once.values())
    faults = [fault for place, pair in pairs for fault in _lock_faults(board, place, pair)]
    faults += _overfull(board, pairs)
    if faults:
        raise InvalidError(
            "Locks are impossible; each is listed with the rule that forbids it.", errors=faults
        )


def _lock_faults(board: Board, place: int, pair: tuple[str, str]) -> list[Violation]:
    first, second = board.first.place.get(pair[0]), board.second.place.get(pair[1])
    pointer = f"#/locks/first/{place}"
    if first is None or second is None:
        detail = "The first is not on the mentor side or the second not on the mentee side."
        return [Violation(pointer, "lock_without_place", detail)]
    return [
        Violation(pointer, "lock_breaks_rule", f"The rule {reason.rule} keeps these two apart.")
        for reason in explanations.broken_of(
            board, first, second, whatever_the_policy=board.problem.locks_yield
        )
    ]


def _overfull(board: Board, pairs: Sequence[tuple[int, tuple[str, str]]]) -> list[Violation]:
    found = []
    for name, side, taken in (
        ("first", board.first, [(place, pair[0]) for place, pair in pairs]),
        ("second", board.second, [(place, pair[1]) for place, pair in pairs]),
    ):
        everybody = [one for _, pair in pairs for one in pair]
        counts = Counter(everybody if board.is_peer else [one for _, one in taken])
        for place, one in taken:
            if one in side.place and counts[one] > side.capacity[side.place[one]]:
                detail = "The rule capacity forbids it: more locks than places."
                found.append(Violation(f"#/locks/{name}/{place}", "lock_exceeds_capacity", detail))
    return found


# Figures.


def _scores(decided: Decision) -> list[int]:
    """Return the scores of the pairs that were made."""
    pairs = explanations.by_id(decided.board, decided.taken)
    return [int(score) for score in decided.board.scores(*pairs)]


def _totals(decided: Decision, matches: int) -> Totals:
    return totals_of(
        decided.board, *explanations.by_id(decided.board, decided.taken), matches=matches
    )


def totals_of(board: Board, first: Places, second: Places, *, matches: int) -> Totals:
    """Return the figures of pairs that were made."""
    scores = board.scores(first, second).tolist()
    matched = {board.first.ids[one] for one in first.tolist()}
    matched |= {board.second.ids[other] for other in second.tolist()}
    return Totals(
        people=len({*board.first.ids, *board.second.ids}),
        matched=len(matched),
        matches=matches,
        pairs=len(scores),
        total=sum(scores) / 100,
        mean=round(sum(scores) / len(scores) / 100, 4) if scores else None,
        criteria={
            one.rule.rule: round(
                int(one.values(first, second).sum(dtype="int64")) / len(scores) / 10_000, 4
            )
            for one in board.soft
            if scores
        },
    )


def _count_blocking(decided: Decision, step: Step) -> int:
    """Count the pairs that would rather have each other; what is locked is not in question."""
    left = decided.open
    taken = decided.taken.without(left.locked)
    blocking = stability.blocking_pairs(left, Wishes.of(left), taken, decided.found, step=step)
    return len(blocking.once() if left.board.is_peer else blocking)


def _churn(decided: Decision) -> Churn:
    board = decided.board
    before, after = (
        set(zip(*(one.tolist() for one in explanations.by_id(board, pairs)), strict=True))
        for pairs in (decided.open.current, decided.taken)
    )
    return Churn(kept=len(before & after), lost=len(before - after), made=len(after - before))


def _prices(decided: Decision) -> list[Price]:
    if decided.prices is None:
        return []
    sides = (
        (decided.board.first, decided.prices.first),
        (decided.board.second, decided.prices.second),
    )
    found = [
        Price(id=one, role=role, price=int(price))
        for side, values in sides
        for one, role, price in zip(side.ids, side.roles, values, strict=True)
    ]
    return sorted(found, key=lambda price: (price.id, price.role))
