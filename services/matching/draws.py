"""Roulette: pairs by chance that repeat as little as can be, from a problem to its answer."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from services.matching import doubts, explanations, inputs, reasons, solver
from services.matching.board import Board, Step, set_up
from services.matching.decision import named
from services.matching.kernel import roulette
from services.matching.kernel.compiling import Ints, Mask
from services.matching.kernel.roulette import History, Names
from services.matching.kernel.terms import Kind, Why
from services.matching.taken import Taken
from shared.errors import InvalidError, Violation
from shared.schemas.matching import (
    Certificate,
    CertificateKind,
    Draw,
    DrawProblem,
    Format,
    Match,
    Met,
    Objective,
    Reason,
    SatOut,
    Unmatched,
)

FORMATS: inputs.Formats = {
    one: inputs.ROLES[one]
    for one in (Format.PEER, Format.ONE_TO_ONE, Format.REVERSE, Format.SPONSORSHIP)
} | {Format.FLASH: inputs.ROLES[Format.ONE_TO_ONE]}

METHOD = "maximum-weight matching: most pairs, least repetition, then chance"


@dataclass(frozen=True, slots=True)
class Wheel:
    """What is drawn from: `n` people, where sides matter the first side before the second.

    Behind them stand those who are nobody, one for each of the larger side who must sit out, so
    that to meet one of them is to sit out in turns. `allowed` is bool[n, n], `names` uint64[n],
    `locks` int64[k, 2].
    """

    problem: DrawProblem
    board: Board
    allowed: Mask = field(repr=False)
    history: History = field(repr=False)
    names: Names = field(repr=False)
    locks: Ints

    @property
    def people(self) -> int:
        """How many there are, those who are nobody not counted."""
        first, second = self.board.shape
        return first if self.board.is_peer else first + second


# What is wrong with a problem.


def ready(problem: DrawProblem, *, max_cells: int) -> DrawProblem:
    """Return the canonical form of a problem; one with faults is an `InvalidError`."""
    faults = inputs.faults_of(problem, max_cells=max_cells, formats=FORMATS)
    faults = faults or [
        *inputs.table_faults(problem, "met", people=["first", "second"]),
        *inputs.table_faults(problem, "sat_out", people=["id"]),
    ]
    faults = faults or [
        *inputs.repeated("#/met/first", _either_way(problem.met)),
        *inputs.repeated("#/sat_out/id", problem.sat_out.id),
        *_too_many(problem, max_cells),
        *_no_trio(problem),
    ]
    if faults:
        raise InvalidError(errors=faults[:100])
    return inputs.canonical(problem).model_copy(
        update={"met": _sorted_met(problem.met), "sat_out": _sorted_sat_out(problem.sat_out)}
    )


def _too_many(problem: DrawProblem, max_cells: int) -> Iterator[Violation]:
    # Those who sit out stand in the same table, at most as many again.
    pairs = (2 * len(problem.places.role)) ** 2
    if problem.format is Format.PEER:
        pairs //= 4
    if pairs > max_cells:
        detail = f"A draw weighs {pairs} pairs; at most {max_cells} are weighed at once."
        yield Violation("#/places", "too_many_pairs", detail)


def _no_trio(problem: DrawProblem) -> Iterator[Violation]:
    if problem.with_trio and problem.format is not Format.PEER:
        yield Violation("#/with_trio", "not_allowed", "Only peers can be three.")


def _either_way(met: Met) -> list[tuple[str, str]]:
    return [
        (min(one, other), max(one, other)) for one, other in zip(met.first, met.second, strict=True)
    ]


def _sorted_met(met: Met) -> Met:
    rows = sorted(zip(_either_way(met), met.times, met.ago, strict=True))
    return Met(
        first=[pair[0] for pair, _, _ in rows],
        second=[pair[1] for pair, _, _ in rows],
        times=[times for _, times, _ in rows],
        ago=[ago for _, _, ago in rows],
    )


def _sorted_sat_out(given: SatOut) -> SatOut:
    rows = sorted(zip(given.id, given.times, strict=True))
    return SatOut(id=[one for one, _ in rows], times=[times for _, times in rows])


# What is drawn from.


def lay_out(asked: DrawProblem, *, max_cells: int, step: Step) -> Wheel:
    """Return a problem made ready, after making sure that its locks are possible."""
    problem = ready(asked, max_cells=max_cells)
    board = solver.with_possible_locks(_one_each(set_up(problem, step=step)), asked.locks)
    taken = named(board, board.problem.locks, is_ordered=not board.is_peer)
    locked = taken.once() if board.is_peer else taken
    shift = 0 if board.is_peer else board.shape[0]
    locks = np.stack([locked.first, locked.second + shift], axis=1)
    allowed = _allowed(board)
    # Who is locked may be together, also where a rule of the policy says otherwise.
    allowed[locks[:, 0], locks[:, 1]] = allowed[locks[:, 1], locks[:, 0]] = True
    open_ = _open(board, allowed, locks)
    sits = _who_sits_out(board, open_)
    return Wheel(
        problem=problem,
        board=board,
        allowed=_with_rest(allowed & _all_of(_has_place(board)), sits),
        history=_history(problem, board, sits),
        names=_names(board, sits),
        locks=locks,
    )


def _one_each(board: Board) -> Board:
    first = replace(board.first, capacity=np.minimum(board.first.capacity, 1))
    if board.is_peer:
        return replace(board, first=first, second=first)
    second = replace(board.second, capacity=np.minimum(board.second.capacity, 1))
    return replace(board, first=first, second=second)


def _has_place(board: Board) -> Mask:
    sides = [board.first] if board.is_peer else [board.first, board.second]
    found: Mask = np.concatenate([side.capacity for side in sides]) > 0
    return found


def _all_of(mask: Mask) -> Mask:
    both: Mask = np.logical_and.outer(mask, mask)
    return both


def _allowed(board: Board) -> Mask:
    """Return which two no rule keeps apart, of all people."""
    height, width = board.shape
    first, second = (one.ravel() for one in np.indices(board.shape))
    table = board.allowed(first, second).reshape(board.shape)
    if board.is_peer:
        return table
    found = np.zeros((height + width, height + width), dtype=bool)
    found[:height, height:], found[height:, :height] = table, table.T
    return found


def _open(board: Board, allowed: Mask, locks: Ints) -> Mask:
    """Return who is to be drawn and may meet somebody who is."""
    left = _has_place(board)
    left[locks.ravel()] = False
    found: Mask = left & (allowed & _all_of(left)).any(axis=1)
    return found


def _who_sits_out(board: Board, open_: Mask) -> Mask:
    """Return for each who is nobody whom they may meet: the larger side, as many as it is larger.

    Peers need none: there the kernel lets an odd one sit out.
    """
    if board.is_peer:
        return np.zeros((0, len(open_)), dtype=bool)
    is_second = np.arange(len(open_)) >= board.shape[0]
    first, second = open_ & ~is_second, open_ & is_second
    larger = first if first.sum() > second.sum() else second
    return np.tile(larger, (abs(int(first.sum()) - int(second.sum())), 1))


def _with_rest(allowed: Mask, sits: Mask) -> Mask:
    none = np.zeros((len(sits), len(sits)), dtype=bool)
    found: Mask = np.block([[allowed, sits.T], [sits, none]])
    return found


def _history(problem: DrawProblem, board: Board, sits: Mask) -> History:
    count = sits.shape[1]
    everybody = count + len(sits)
    times = np.zeros((everybody, everybody), dtype=np.int64)
    ago, alone = times.copy(), np.zeros(everybody, dtype=np.int64)
    past, met = problem.past_pairs, problem.met
    for one, other in _places(board, zip(past.first, past.second, strict=True)):
        times[one, other] = times[other, one] = 1
    for row, pair in enumerate(zip(met.first, met.second, strict=True)):
        for one, other in _places(board, [pair]):
            times[one, other] = times[other, one] = met.times[row]
            ago[one, other] = ago[other, one] = met.ago[row]
    for member, often in zip(problem.sat_out.id, problem.sat_out.times, strict=True):
        alone[_seats_of(board, member)] = often
    # To meet nobody once more costs what sitting out once more does.
    times[count:, :count] = np.where(sits, alone[:count], 0)
    times[:count, count:] = times[count:, :count].T
    return History(times=times, ago=ago, alone=alone)


def _places(board: Board, pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[int, int]]:
    for one, other in pairs:
        yield from (
            (mine, theirs)
            for mine, theirs in itertools.product(_seats_of(board, one), _seats_of(board, other))
            if mine != theirs
        )


def _seats_of(board: Board, member: str) -> list[int]:
    """Return where somebody stands: on a side, or on both."""
    found = [board.first.place[member]] if member in board.first.place else []
    if not board.is_peer and member in board.second.place:
        found.append(board.shape[0] + board.second.place[member])
    return found


def _names(board: Board, sits: Mask) -> Names:
    """Return a number for everybody that depends on nobody else."""
    sides = [board.first] if board.is_peer else [board.first, board.second]
    said = [f"{number}:{one}" for number, side in enumerate(sides) for one in side.ids]
    said += [f"nobody:{number}" for number in range(len(sits))]
    numbers = [int.from_bytes(hashlib.sha256(one.encode()).digest()[:8]) for one in said]
    return np.array(numbers, dtype=np.uint64)


# Drawing.


def draw(wheel: Wheel, *, step: Step) -> roulette.Draw:
    """Return who is with whom."""
    spin = roulette.draw_with_trio if wheel.problem.with_trio else roulette.draw_pairs
    return spin(
        wheel.allowed,
        wheel.history,
        seed=wheel.board.seed,
        names=wheel.names,
        locks=wheel.locks,
        step=lambda done, total: step("draw", done, total),
    )


# Describing.


def describe(wheel: Wheel, drawn: roulette.Draw, *, step: Step) -> Draw:
    """Return the whole answer to a draw, reasons included."""
    board, problem = wheel.board, wheel.problem
    group = drawn.group[: wheel.people]
    groups = [np.flatnonzero(group == number).tolist() for number in np.unique(group[group >= 0])]
    groups = [one for one in groups if len(one) > 1]
    pairs = [two for one in groups for two in itertools.combinations(one, 2)]
    first, second = _sides(board, pairs)
    return Draw(
        input_hash=inputs.digest(problem),
        versions=solver.versions(problem),
        seed=board.seed,
        certificate=_certificate(drawn),
        totals=solver.totals_of(board, first, second, matches=len(groups)),
        repeated=sum(bool(wheel.history.times[pair]) for pair in pairs),
        matches=_matches(wheel, groups, step),
        unmatched=_unmatched(wheel, drawn, groups),
        warnings=_warnings(wheel),
    )


def _sides(board: Board, pairs: list[tuple[int, int]]) -> tuple[Ints, Ints]:
    """Return pairs as places on the two sides, of peers the lower id first."""
    shift = 0 if board.is_peer else board.shape[0]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if board.is_peer:
        ordered = [sorted(pair, key=board.first.ids.__getitem__) for pair in table.tolist()]
        table = np.array(ordered, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1] - shift


def _certificate(drawn: roulette.Draw) -> Certificate:
    known = drawn.kind is not Kind.HEURISTIC
    away = (drawn.cost - drawn.bound) / drawn.cost if drawn.cost else 0.0
    return Certificate(
        kind=CertificateKind(drawn.kind.value),
        objective=Objective.MOST_MATCHED,
        primal=drawn.cost,
        dual=drawn.bound if known else None,
        gap=round(away, 9) if known else None,
        method=METHOD,
    )


def _matches(wheel: Wheel, groups: list[list[int]], step: Step) -> list[Match]:
    board = wheel.board
    locked = Taken.of(wheel.locks[:, 0], wheel.locks[:, 1], wheel.allowed.shape)
    found = []
    for done, group in enumerate(groups):
        step("explain", done, len(groups))
        inside = list(itertools.combinations(group, 2))
        pairs = explanations.scored_pairs(board, *_sides(board, inside))
        pairs.sort(key=lambda pair: (pair.first, pair.second))
        is_pair = len(pairs) == 1
        members = {
            place: explanations.member_of(board.first, place)
            if place < board.shape[0]
            else explanations.member_of(board.second, place - board.shape[0])
            for place in group
        }
        parts = [
            explanations.mean_part(parts)
            for parts in zip(*(pair.parts for pair in pairs), strict=True)
        ]
        found.append(
            Match(
                members=[
                    members[place]
                    for place in sorted(
                        group, key=lambda place: (place >= board.shape[0], members[place].id)
                    )
                ],
                score=explanations.mean_of([pair.score for pair in pairs], 2),
                parts=pairs[0].parts if is_pair else parts,
                notes=pairs[0].notes if is_pair else [],
                is_locked=is_pair and locked.has(*inside[0]),
                pairs=[] if is_pair else pairs,
                broken=[
                    reason for two in inside if locked.has(*two) for reason in _broken(board, two)
                ],
            )
        )
    return sorted(found, key=lambda match: [member.id for member in match.members])


def _broken(board: Board, pair: tuple[int, int]) -> list[Reason]:
    (first,), (second,) = _sides(board, [pair])
    return explanations.broken_of(board, int(first), int(second))


def _unmatched(wheel: Wheel, drawn: roulette.Draw, groups: list[list[int]]) -> list[Unmatched]:
    board, why = wheel.board, drawn.why[: wheel.people].copy()
    placed = np.zeros(wheel.people, dtype=bool)
    placed[[place for group in groups for place in group]] = True
    # Whoever met one who is nobody sits out.
    why[~placed & (why == Why.PLACED)] = Why.OTHERS_CAME_FIRST
    why[~_has_place(board)] = Why.NO_CAPACITY
    found = reasons.of_side(board, why[: board.shape[0]], is_first=True)
    if not board.is_peer:
        found += reasons.of_side(board, why[board.shape[0] :], is_first=False)
    return sorted(found, key=lambda one: (one.id, one.role))


def _warnings(wheel: Wheel) -> list[Reason]:
    problem = wheel.problem
    found = [*doubts.of_pool(wheel.board), *doubts.of_locks(wheel.board.lost)]
    if not wheel.board.is_peer and any(capacity > 1 for capacity in problem.places.capacity):
        found.append(Reason(rule="capacity", key="doubt.one_pair_each"))
    return found
