"""Flash schedules: who meets whom in which round, from a problem to its answer."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.matching import doubts, explanations, fairness, inputs, reasons, solver
from services.matching.blocks import APART, HIGHEST
from services.matching.board import Board, Step, set_up
from services.matching.kernel import flash
from services.matching.kernel.compiling import Ints, Mask
from services.matching.kernel.flash import ANY_ROUND, Flash, Side
from services.matching.kernel.terms import ImpossibleLockError
from shared.errors import InvalidError, Violation
from shared.schemas.matching import (
    Absences,
    Certificate,
    CertificateKind,
    FixedMeetings,
    FlashProblem,
    Format,
    Meeting,
    Objective,
    Reason,
    Role,
    Schedule,
    Shortfall,
    Unmatched,
)

FORMATS: inputs.Formats = {Format.FLASH: frozenset({Role.MENTOR, Role.MENTEE})}
OBJECTIVES = frozenset({Objective.MOST_MATCHED, Objective.BEST_TOTAL})

METHOD = "min-cost flow, rounds by edge colouring or, where somebody is absent, by assignments"
IMPOSSIBLE = "Meetings are impossible; each is listed with the rule that forbids it."


@dataclass(frozen=True, slots=True)
class Rounds:
    """A flash problem made ready: `board` has the capacities that count.

    `present`, bool[mentors, rounds] and bool[mentees, rounds], tells who is there when. `fixed` are
    meetings that are decided, int64[k, 3], as the kernel takes them; `pointers` say where.
    """

    problem: FlashProblem
    board: Board
    present: tuple[Mask, Mask] = field(repr=False)
    fixed: Ints
    pointers: list[str]

    @property
    def objective(self) -> Objective:
        """What the schedule is best at."""
        wanted = self.problem.policy.objective
        return wanted if wanted in OBJECTIVES else Objective.MOST_MATCHED


# What is wrong with a problem.


def ready(problem: FlashProblem, *, max_cells: int) -> FlashProblem:
    """Return the canonical form of a problem; one with faults is an `InvalidError`."""
    faults = inputs.faults_of(problem, max_cells=max_cells, formats=FORMATS)
    faults = faults or [
        *inputs.table_faults(problem, "absences", people=["id"]),
        *inputs.table_faults(problem, "fixed", people=["mentor", "mentee"]),
        *_no_such_round(problem),
        *_too_many(problem, max_cells),
    ]
    if faults:
        raise InvalidError(errors=faults[:100])
    found = inputs.canonical(problem)
    return found.model_copy(
        update={"absences": _sorted_absences(problem.absences), "fixed": _sorted_fixed(found)}
    )


def _no_such_round(problem: FlashProblem) -> Iterator[Violation]:
    for name, rounds in (("absences", problem.absences.round), ("fixed", problem.fixed.round)):
        for row, when in enumerate(rounds):
            if when is not None and when >= problem.rounds:
                detail = f"There are only {problem.rounds} rounds, the first is 0."
                yield Violation(f"#/{name}/round/{row}", "out_of_range", detail)


def _too_many(problem: FlashProblem, max_cells: int) -> Iterator[Violation]:
    cells = len(problem.places.role) * problem.rounds
    if cells > max_cells:
        detail = f"There are {cells} places in rounds; at most {max_cells} are planned at once."
        yield Violation("#/rounds", "too_many_pairs", detail)


def _sorted_absences(given: Absences) -> Absences:
    rows = sorted(set(zip(given.id, given.round, strict=True)))
    return Absences(id=[one for one, _ in rows], round=[when for _, when in rows])


def _sorted_fixed(problem: FlashProblem) -> FixedMeetings:
    """Return the meetings that are decided in order; locks are such in any round."""
    given = problem.fixed
    rows = set(zip(given.mentor, given.mentee, given.round, strict=True))
    ordered = sorted(rows, key=_by_ids)
    return FixedMeetings(
        mentor=[row[0] for row in ordered],
        mentee=[row[1] for row in ordered],
        round=[row[2] for row in ordered],
    )


# What a schedule is made of.


def lay_out(asked: FlashProblem, *, max_cells: int, step: Step) -> Rounds:
    """Return a problem made ready, after making sure that rules allow what is decided."""
    problem = ready(asked, max_cells=max_cells)
    board = set_up(problem, step=step)
    most = problem.meetings_per_mentee
    second = replace(board.second, capacity=np.minimum(board.second.capacity, most))
    board = replace(board, second=second)
    decided = _decided(asked)
    faults = [*_impossible(board, decided)]
    if faults:
        raise InvalidError(IMPOSSIBLE, errors=faults[:100])
    rows = [
        (board.first.place[mentor], board.second.place[mentee], ANY_ROUND if at is None else at)
        for _, mentor, mentee, at in decided
    ]
    return Rounds(
        problem=problem,
        board=board,
        present=(_present(problem, board.first.ids), _present(problem, board.second.ids)),
        fixed=np.array(rows, dtype=np.int64).reshape(-1, 3),
        pointers=[pointer for pointer, *_ in decided],
    )


type Decided = tuple[str, str, str, int | None]
"""A meeting that is decided: where that is said, mentor, mentee, round."""


def _decided(asked: FlashProblem) -> list[Decided]:
    """Return all meetings that are decided, in order, with where that was asked.

    A lock that is also a fixed meeting is said once.
    """
    fixed, locks = asked.fixed, asked.locks
    found: dict[tuple[str, str, int | None], str] = {}
    for row, meeting in enumerate(zip(fixed.mentor, fixed.mentee, fixed.round, strict=True)):
        found.setdefault(meeting, f"#/fixed/mentor/{row}")
    known = {(mentor, mentee) for mentor, mentee, _ in found}
    for row, pair in enumerate(zip(locks.first, locks.second, strict=True)):
        if pair not in known:
            found.setdefault((*pair, None), f"#/locks/first/{row}")
    ordered = sorted(found, key=_by_ids)
    return [(found[meeting], *meeting) for meeting in ordered]


def _by_ids(meeting: tuple[str, str, int | None]) -> tuple[str, str, int]:
    mentor, mentee, when = meeting
    return mentor, mentee, ANY_ROUND if when is None else when


def _impossible(board: Board, decided: Sequence[Decided]) -> Iterator[Violation]:
    for pointer, mentor, mentee, _ in decided:
        first, second = board.first.place.get(mentor), board.second.place.get(mentee)
        if first is None or second is None:
            detail = "The first is no mentor or the second no mentee."
            yield Violation(pointer, "lock_without_place", detail)
            continue
        for reason in explanations.broken_of(board, first, second):
            detail = f"The rule {reason.rule} keeps {mentor} and {mentee} apart."
            yield Violation(pointer, "lock_breaks_rule", detail)


def _present(problem: FlashProblem, ids: Sequence[str]) -> Mask:
    place = {one: row for row, one in enumerate(ids)}
    found = np.ones((len(ids), problem.rounds), dtype=bool)
    for one, when in zip(problem.absences.id, problem.absences.round, strict=True):
        if one in place:
            found[place[one], when] = False
    return found


# Planning.


def plan(rounds: Rounds, *, step: Step) -> Flash:
    """Return the best schedule for the objective of the policy."""
    board = rounds.board
    sides = (
        Side(meetings=board.first.capacity, present=rounds.present[0]),
        Side(meetings=board.second.capacity, present=rounds.present[1]),
    )
    try:
        return flash.plan(
            _weights(rounds),
            *sides,
            locks=rounds.fixed,
            step=lambda done, total: step("rounds", done, total),
        )
    except ImpossibleLockError as error:
        pointer = rounds.pointers[error.row]
        code = "lock_exceeds_capacity" if error.rule == "capacity" else "lock_breaks_rule"
        detail = f"The rule {error.rule} forbids it."
        raise InvalidError(IMPOSSIBLE, errors=[Violation(pointer, code, detail)]) from None


def _weights(rounds: Rounds) -> Ints:
    """Return what each meeting counts, int64[mentors, mentees]; 0 where it must not be."""
    board = rounds.board
    height, width = board.shape
    if not height * width:
        return np.zeros(board.shape, dtype=np.int64)
    scores = board.blocks().block(slice(0, height), slice(0, width)).astype(np.int64)
    most = min(int(board.first.capacity.sum()), int(board.second.capacity.sum()))
    if rounds.objective is Objective.BEST_TOTAL:
        # Of equal totals, the one with more meetings.
        worth = scores * (most + 1) + 1
    else:
        worth = scores + most * HIGHEST + 1
    return np.where(scores == APART, 0, worth)


# Describing.


def describe(rounds: Rounds, made: Flash, *, step: Step) -> Schedule:
    """Return the whole answer to a problem, reasons included."""
    board, problem = rounds.board, rounds.problem
    first, second = made.meetings[:, 0], made.meetings[:, 1]
    scores = board.scores(first, second).tolist()
    return Schedule(
        input_hash=inputs.digest(problem),
        versions=solver.versions(problem),
        seed=board.seed,
        certificate=_certificate(rounds, made),
        totals=solver.totals_of(board, first, second, matches=len(scores)),
        fairness=fairness.of(scores),
        rounds=made.rounds,
        meetings=_meetings(rounds, made, step),
        shortfalls=_shortfalls(board, second),
        unmatched=_unmatched(rounds, made, step),
        warnings=_warnings(rounds),
    )


def _certificate(rounds: Rounds, made: Flash) -> Certificate:
    return Certificate(
        kind=CertificateKind(made.kind.value),
        objective=rounds.objective,
        primal=made.total,
        dual=made.bound,
        gap=made.gap,
        method=METHOD,
    )


def _meetings(rounds: Rounds, made: Flash, step: Step) -> list[Meeting]:
    board = rounds.board
    fixed = {(one, other) for one, other, _ in rounds.fixed.tolist()}
    found = []
    for start in range(0, len(made.meetings), explanations.STEP):
        step("explain", start, len(made.meetings))
        some = made.meetings[start : start + explanations.STEP]
        pairs = explanations.scored_pairs(board, some[:, 0], some[:, 1])
        for pair, (one, other, when) in zip(pairs, some.tolist(), strict=True):
            found.append(Meeting(**dict(pair), round=when, is_locked=(one, other) in fixed))
    return sorted(found, key=lambda one: (one.round, one.first, one.second))


def _shortfalls(board: Board, second: Ints) -> list[Shortfall]:
    side, held = board.second, Counter(second.tolist())
    found = [
        Shortfall(id=side.ids[place], wanted=int(side.capacity[place]), meetings=count)
        for place, count in held.items()
        if count < side.capacity[place]
    ]
    return sorted(found, key=lambda one: one.id)


def _unmatched(rounds: Rounds, made: Flash, step: Step) -> list[Unmatched]:
    step("reasons", 0, 1)
    found = [
        *reasons.of_side(rounds.board, made.why_mentors, is_first=True),
        *reasons.of_side(rounds.board, made.why_mentees, is_first=False),
    ]
    return sorted(found, key=lambda one: (one.id, one.role))


def _warnings(rounds: Rounds) -> list[Reason]:
    problem = rounds.problem
    return [
        *doubts.of_policy(problem),
        *doubts.of_pool(rounds.board),
        *doubts.of_form(problem, OBJECTIVES),
    ]
