"""Circles of mentors and mentees, each with a facilitator: formed, and told with reasons."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from services.matching import (
    candidates,
    doubts,
    explanations,
    fairness,
    inputs,
    reasons,
    rooms,
    seats,
    solver,
)
from services.matching.blocks import APART, points
from services.matching.board import Step, weight_sum
from services.matching.kernel import circles as kernel
from services.matching.kernel.circles import NOBODY, SHARES, Effort, Facilitators, People
from services.matching.kernel.compiling import Ints, Mask
from services.matching.kernel.terms import ImpossibleLockError, Why, gap_of
from services.matching.rooms import IMPOSSIBLE, NEEDS, ROLES, Room, broken_in, size_of
from services.matching.seats import Kept
from shared.errors import InvalidError, Violation
from shared.schemas.matching import (
    POINTS,
    Certificate,
    CertificateKind,
    Circle,
    CircleProblem,
    Circles,
    Joining,
    Member,
    Objective,
    Part,
    Reason,
    Role,
    Totals,
    Unmatched,
)

METHOD = "local search from a greedy start, facilitators assigned exactly"
JUDGED = "circles that are there, as they are"
REQUIRED_GROUND = 10 * POINTS
"""More than all else that somebody can add to a circle."""


@dataclass(frozen=True, slots=True)
class Formed:
    """Circles of people by their places, those who are led, and why others are not in one.

    `leaders` are the facilitators of each, the first of which leads. `primal` and `dual` count in
    `SHARES` of a hundredth of a point; the bound is one of all choices if nobody is left out who
    could have had one of the `places`. `ungrounded` are those for whom common ground was missing.
    """

    members: list[list[int]]
    leaders: list[list[int]]
    primal: int
    dual: int
    places: int
    why: Ints
    ungrounded: Mask


# Forming.


def lay_out(asked: CircleProblem, *, max_cells: int, step: Step) -> Room:
    """Return a problem made ready; where locks may yield, those that cannot be are left out."""
    if not asked.locks_yield:
        return rooms.lay_out(asked, max_cells=max_cells, step=step)
    problem, lost = asked, 0
    while True:
        try:
            room = rooms.lay_out(problem, max_cells=max_cells, step=step)
            _check(room)
        except InvalidError as refusal:
            problem, gone = seats.without(problem, refusal.errors)
            if not gone:
                raise
            lost += gone
        else:
            return replace(room, lost=lost)


def _check(room: Room) -> None:
    """Refuse circles that are there and cannot be formed, before any is."""
    here = np.flatnonzero(room.capacity > 0)
    with _pointing_to_seats(room, here):
        kernel.check(*_parts_of(room, here), room.sizes)


def form(room: Room, *, step: Step) -> Formed:
    """Return circles: as many people as can be, then the highest worth that was found."""
    if room.problem.only_judged:
        return _as_they_are(room)
    ground, able = room.problem.common_ground, room.capacity > 0
    if ground.is_required:
        # Whoever shares nothing would take from a circle what it must have.
        able = able & (room.topics.any(axis=1) | (room.seat >= 0))
    bonus = REQUIRED_GROUND if ground.is_required else ground.points * 100
    here = np.flatnonzero(able)
    found = _formed(room, here, bonus, step)
    circle = np.full(len(able), NOBODY)
    circle[here] = found.circle
    why = np.full(len(able), Why.NO_CAPACITY, dtype=np.int64)
    why[here] = found.why
    members = [np.flatnonzero(circle == number).tolist() for number in range(len(found.leader))]
    if ground.is_required:
        members = [one if (room.seat[one] >= 0).any() else _grounded(room, one) for one in members]
    kept = [number for number, one in enumerate(members) if one]
    members = [members[number] for number in kept]
    leaders = [[int(found.leader[number])] for number in kept]
    placed = [person for one in members for person in one]
    ungrounded = np.zeros(len(able), dtype=bool)
    ungrounded[np.flatnonzero((room.capacity > 0) & ~able)] = True
    ungrounded[np.setdiff1d(np.flatnonzero(circle != NOBODY), placed)] = True
    primal, dual = _worth(room, members, leaders), found.bound
    if ground.is_required:
        # All who can be placed have it, so that it is the same for every choice.
        most = min(len(here), int(room.sizes.most(len(found.leader)).sum()))
        dual -= SHARES * bonus * min(most, int(room.topics[here].any(axis=1).sum()))
    return Formed(
        members=members,
        leaders=_with_seconds(room, members, leaders),
        primal=primal,
        dual=max(primal, dual),
        places=found.places,
        why=why,
        ungrounded=ungrounded,
    )


def _as_they_are(room: Room) -> Formed:
    """Return the circles that are there; nobody is placed, and nobody is left out."""
    members = [np.flatnonzero(room.seat == number).tolist() for number in range(len(room.kept))]
    leaders = [[room.leaders.place[one] for one in kept.leaders] for kept in room.kept]
    worth = _worth(room, members, leaders)
    return Formed(
        members=members,
        leaders=leaders,
        primal=worth,
        dual=worth,
        places=sum(map(len, members)),
        why=np.full(len(room.seat), Why.PLACED, dtype=np.int64),
        ungrounded=np.zeros(len(room.seat), dtype=bool),
    )


def _parts_of(room: Room, here: Ints) -> tuple[People, Facilitators]:
    """Return who is there, and who leads, as circles are formed of them."""
    likes, fit = room.likes[np.ix_(here, here)], room.fit[:, here]
    people = People(
        similarity=np.maximum(likes, 0),
        barred=likes == APART,
        topics=room.topics[here],
        team=room.team[here],
        role=room.role[here],
        seat=room.seat[here],
    )
    leads = [room.leaders.place[one.leaders[0]] if one.leaders else NOBODY for one in room.kept]
    seconds = [room.leaders.place[two] for one in room.kept for two in one.leaders[1:]]
    taken = np.bincount(np.array(seconds, dtype=np.int64), minlength=len(room.leaders.ids))
    leaders = Facilitators(
        fit=np.maximum(fit, 0),
        barred=fit == APART,
        circles=room.leaders.capacity - taken,
        leads=np.array(leads, dtype=np.int64),
    )
    return people, leaders


def _formed(room: Room, here: Ints, bonus: int, step: Step) -> kernel.Circles:
    with _pointing_to_seats(room, here):
        return kernel.form(
            *_parts_of(room, here),
            room.sizes,
            ground=bonus,
            effort=Effort(seed=room.seed),
            step=lambda done, total: step("circles", done, total),
        )


@contextmanager
def _pointing_to_seats(room: Room, here: Ints) -> Iterator[None]:
    """Say of an impossible seat where the problem said it."""
    try:
        yield
    except ImpossibleLockError as error:
        raise _refused(room, int(here[error.row]), error.rule) from None


def _refused(room: Room, person: int, rule: str) -> InvalidError:
    place = ROLES[room.role[person]], room.ids[person]
    pointer = room.kept[room.seat[person]].pointers[place]
    detail = f"The rule {rule} forbids it."
    return InvalidError(
        IMPOSSIBLE,
        errors=[Violation(pointer, "lock_breaks_rule", detail)],
    )


def _grounded(room: Room, members: list[int]) -> list[int]:
    """Return the most of a circle who share a topic and are enough for one, or nobody."""
    best: list[int] = []
    for topic in range(room.topics.shape[1]):
        some = [one for one in members if room.topics[one, topic]]
        roles = room.role[some]
        is_enough = len(some) >= room.sizes.minimum and all(
            (roles == role).sum() >= need for role, need in enumerate(NEEDS)
        )
        if is_enough and len(some) > len(best):
            best = some
    return best


def _with_seconds(
    room: Room, members: list[list[int]], leaders: list[list[int]]
) -> list[list[int]]:
    """Return the facilitators of each circle, a second one where somebody is left who may."""
    found = [list(one) for one in leaders]
    decided = _kept_seconds(room, members)
    for number, second in decided.items():
        found[number].append(second)
    if room.problem.facilitators == 1:
        return found
    led = Counter(leader for one in found for leader in one)
    slots = [
        leader
        for leader, capacity in enumerate(room.leaders.capacity.tolist())
        for _ in range(capacity - led[leader])
    ]
    gains = np.zeros((len(slots), len(members)), dtype=np.int64)
    for row, leader in enumerate(slots):
        for number, some in enumerate(members):
            fit, first = room.fit[leader, some], found[number][0]
            may = number not in decided and room.beside[leader, first] != APART
            if may and (fit != APART).all():
                gains[row, number] = 1 + int(fit.sum())
    for row, number in zip(*linear_sum_assignment(gains, maximize=True), strict=True):
        if gains[row, number]:
            found[number].append(slots[row])
    return found


def _kept_seconds(room: Room, members: list[list[int]]) -> dict[int, int]:
    found = {}
    for number, some in enumerate(members):
        seat = int(room.seat[some].max(initial=NOBODY))
        if seat >= 0 and len(room.kept[seat].leaders) > 1:
            found[number] = room.leaders.place[room.kept[seat].leaders[1]]
    return found


def _worth(room: Room, members: list[list[int]], leaders: list[list[int]]) -> int:
    """Return what circles are worth, in `SHARES` of a hundredth; required ground adds nothing."""
    ground = room.problem.common_ground
    bonus = 0 if ground.is_required else ground.points * 100
    total = 0
    for some, lead in zip(members, leaders, strict=True):
        likes = int(np.triu(room.likes[np.ix_(some, some)], 1).sum())
        share = 2 * SHARES // max(1, len(some) - 1)
        fit = int(room.fit[lead[0], some].sum())
        shared = bonus * len(some) * bool(room.topics[some].all(axis=0).any())
        total += SHARES * (fit + shared) + share * likes
    return total


# Describing.


def describe(room: Room, formed: Formed, *, step: Step) -> Circles:
    """Return the whole answer to a problem, reasons included."""
    problem, pairs = room.problem, _pairs(room, formed)
    told = []
    for number in range(len(formed.members)):
        step("explain", number, len(formed.members))
        told.append(_circle(room, formed, pairs, number))
    return Circles(
        input_hash=inputs.digest(problem),
        versions=solver.versions(problem),
        seed=room.seed,
        certificate=_certificate(formed, JUDGED if problem.only_judged else METHOD),
        totals=_totals(room, formed, pairs),
        fairness=fairness.of(pairs.scores.tolist()),
        circles=sorted(told, key=lambda one: [member.id for member in one.members]),
        unmatched=[] if problem.only_judged else _unmatched(room, formed, step),
        warnings=_warnings(room),
    )


def _certificate(formed: Formed, method: str) -> Certificate:
    is_best = formed.primal == formed.dual and sum(map(len, formed.members)) == formed.places
    return Certificate(
        kind=CertificateKind.OPTIMAL if is_best else CertificateKind.HEURISTIC,
        objective=Objective.MOST_MATCHED,
        primal=formed.primal,
        dual=formed.dual,
        gap=gap_of(formed.primal, formed.dual),
        method=method,
    )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of all circles: the circle of each, who it is, its score, and what each criterion gave.

    For e pairs and c criteria: int64[e], int64[e, 2], int64[e], and int64[c, e] values up to
    `POINTS` and points in hundredths. Two who are settled together are no pair.
    """

    circle: Ints
    who: Ints
    scores: Ints
    values: Ints
    points: Ints


def _pairs(room: Room, formed: Formed) -> _Pairs:
    """Return the pairs of mentors and mentees in one circle, weighed."""
    named: list[list[tuple[int, int, int]]] = [[], [], []]
    for number, members in enumerate(formed.members):
        for one, other in itertools.combinations(members, 2):
            if room.settled[one] < 0 or room.settled[other] < 0:
                named[int(room.role[one] + room.role[other])].append((number, one, other))
    total, soft = weight_sum(room.problem), room.problem.policy.soft
    circle, who, scores, values, gains = [], [], [], [], []
    for (board, row, column), pairs in zip(room.among, named, strict=True):
        table = np.array(pairs, dtype=np.int64).reshape(-1, 3)
        first, second = table[:, 1] - row, table[:, 2] - column
        found = [one.values(first, second).astype(np.int64) for one in board.soft]
        circle.append(table[:, 0])
        who.append(table[:, 1:])
        scores.append(board.scores(first, second))
        values.append(np.array(found, dtype=np.int64).reshape(len(soft), -1))
        gains.append(
            np.array(
                [points(one, rule.weight, total) for one, rule in zip(found, soft, strict=True)],
                dtype=np.int64,
            ).reshape(len(soft), -1)
        )
    return _Pairs(
        circle=np.concatenate(circle),
        who=np.concatenate(who),
        scores=np.concatenate(scores),
        values=np.concatenate(values, axis=1),
        points=np.concatenate(gains, axis=1),
    )


def _circle(room: Room, formed: Formed, pairs: _Pairs, number: int) -> Circle:
    members, leaders = formed.members[number], formed.leaders[number]
    score, parts = _means(room, pairs, pairs.circle == number)
    fits = room.fit[leaders[0], members].tolist()
    names = [room.leaders.ids[one] for one in leaders]
    seat = int(room.seat[members].max())
    kept = room.kept[seat] if seat >= 0 else Kept()
    there = sorted({*kept.leaders, *(one for _, one in kept.members)})
    is_small = len(members) + len(leaders) < size_of(room.problem)[0]
    return Circle(
        members=[
            *(Member(id=one, role=Role.FACILITATOR) for one in names),
            *(
                Member(id=one, role=role)
                for role, one in sorted(
                    ((ROLES[room.role[one]], room.ids[one]) for one in members),
                    key=lambda place: (ROLES.index(place[0]), place[1]),
                )
            ),
        ],
        score=score,
        parts=parts,
        notes=[Reason(rule="size", key="note.circle_too_small")] if is_small else [],
        is_locked=len(there) == len(members) + len(leaders),
        there=there,
        joining=[] if kept.places is None else _joining(room, kept, pairs, members),
        fit=_mean(fits, 100, 2) or 0.0,
        common_ground=_ground_of(room, members),
        broken=[reason for _, _, reason in broken_in(room, kept)],
    )


def _means(room: Room, pairs: _Pairs, here: Mask) -> tuple[float, list[Part]]:
    """Return the mean score of some pairs, and what each criterion gave them in the mean."""
    scores = pairs.scores[here].tolist()
    parts = [
        Part(
            rule=rule.rule,
            key=f"because.{rule.rule}.group",
            params={"pairs": len(scores)},
            points=_mean(gains[here].tolist(), 100, 2) or 0.0,
            weight=rule.weight,
            value=_mean(values[here].tolist(), POINTS, 4) or 0.0,
        )
        for rule, gains, values in zip(
            room.problem.policy.soft, pairs.points, pairs.values, strict=True
        )
        if scores
    ]
    return _mean(scores, 100, 2) or 0.0, parts


def _joining(room: Room, kept: Kept, pairs: _Pairs, members: list[int]) -> list[Joining]:
    """Return who joins a circle that is settled, with what they bring to it."""
    found, broken = [], list(broken_in(room, kept))
    for one in members:
        if room.settled[one] < 0:
            role, name = ROLES[room.role[one]], room.ids[one]
            score, parts = _means(room, pairs, (pairs.who == one).any(axis=1))
            found.append(
                Joining(
                    id=name,
                    role=role,
                    score=score,
                    parts=parts,
                    broken=[reason for *two, reason in broken if (role, name) in two],
                )
            )
    return sorted(found, key=lambda one: (one.id, one.role))


def _mean(values: Sequence[int], unit: int, digits: int) -> float | None:
    return round(sum(values) / len(values) / unit, digits) if values else None


def _ground_of(room: Room, members: list[int]) -> list[Reason]:
    """Name what all of a circle chose, by column."""
    shared = room.topics[members].all(axis=0)
    found: dict[str, list[str]] = {}
    for is_shared, (column, word) in zip(shared.tolist(), room.words, strict=True):
        if is_shared:
            found.setdefault(column, []).append(word)
    return [
        Reason(
            rule="common_ground",
            key="because.common_ground",
            params={"column": column, "shared": words},
        )
        for column, words in found.items()
    ]


def _totals(room: Room, formed: Formed, pairs: _Pairs) -> Totals:
    ids, scores = room.ids, pairs.scores.tolist()
    matched = {ids[one] for members in formed.members for one in members}
    matched |= {room.leaders.ids[one] for leaders in formed.leaders for one in leaders}
    return Totals(
        people=len({*ids, *room.leaders.ids}),
        matched=len(matched),
        matches=len(formed.members),
        pairs=len(scores),
        total=sum(scores) / 100,
        mean=_mean(scores, 100, 4),
        criteria={
            rule.rule: _mean(values.tolist(), POINTS, 4) or 0.0
            for rule, values in zip(room.problem.policy.soft, pairs.values, strict=True)
            if scores
        },
    )


def _warnings(room: Room) -> list[Reason]:
    problem = room.problem
    found = [*doubts.of_policy(problem), *doubts.of_pool(room.among[1][0])]
    found += doubts.of_form(problem, {Objective.MOST_MATCHED})
    found += doubts.of_locks(room.lost)
    if (room.capacity > 1).any():
        found.append(Reason(rule="capacity", key="doubt.one_circle_each"))
    return found


# Those who are in none.


def _unmatched(room: Room, formed: Formed, step: Step) -> list[Unmatched]:
    step("reasons", 0, 1)
    left = np.flatnonzero((formed.why != Why.PLACED) | formed.ungrounded).tolist()
    found = [
        Unmatched(
            id=room.ids[one],
            role=ROLES[room.role[one]],
            free=int(room.capacity[one]),
            reason=_reason(room, formed, one),
        )
        for one in left
    ]
    led = {leader for leaders in formed.leaders for leader in leaders}
    for leader, capacity in enumerate(room.leaders.capacity.tolist()):
        reason = Reason(rule="facilitators", key="unmatched.no_circle_to_lead")
        if leader not in led:
            found.append(
                Unmatched(
                    id=room.leaders.ids[leader],
                    role=Role.FACILITATOR,
                    free=capacity,
                    reason=reason if capacity else reasons.said(Why.NO_CAPACITY),
                )
            )
    return sorted(found, key=lambda one: (one.id, one.role))


def _reason(room: Room, formed: Formed, one: int) -> Reason:
    if formed.ungrounded[one]:
        return Reason(rule="common_ground", key="unmatched.no_common_ground")
    why, sizes = Why(int(formed.why[one])), room.sizes
    if why is Why.TEAM_IS_FULL:
        return reasons.said(why, {"of_a_team": sizes.of_a_team})
    if why is Why.CIRCLE_TOO_SMALL:
        return reasons.said(why, {"minimum": size_of(room.problem)[0]})
    if why not in {Why.KEPT_APART, Why.NO_FACILITATOR_ALLOWED}:
        return reasons.said(why)
    told = _rules_apart(room, one, by_leaders=why is Why.NO_FACILITATOR_ALLOWED)
    if not told:
        return reasons.said(why)
    apart = explanations.apart_by(told)
    return apart.model_copy(update={"key": reasons.said(why).key})


def _rules_apart(room: Room, one: int, *, by_leaders: bool) -> dict[str, int]:
    """Count how many each rule keeps from somebody."""
    role, count = int(room.role[one]), len(room.sides[0].ids)
    place = np.array([one - role * count])
    boards = [(room.above[role], False)]
    if not by_leaders:
        boards = [(room.among[2 * role][0], True), (room.among[1][0], not role)]
    told: Counter[str] = Counter()
    for board, is_first in boards:
        counts = candidates.kept_apart(board, place, is_first=is_first)
        told.update(explanations.told_of(board, counts[:, 0]))
    # That nobody meets themselves is no reason.
    del told["not_oneself"]
    return told
