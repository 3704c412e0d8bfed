"""Circles of mentors and mentees, each with a facilitator: from a problem to its answer."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from services.matching import (
    candidates,
    columns,
    doubts,
    explanations,
    fairness,
    inputs,
    reasons,
    seats,
    solver,
)
from services.matching.blocks import APART, points
from services.matching.board import Board, Side, Step, between, side_of, weight_sum
from services.matching.kernel import circles as kernel
from services.matching.kernel.circles import NOBODY, SHARES, Effort, Facilitators, People, Sizes
from services.matching.kernel.compiling import Ints, Mask
from services.matching.kernel.terms import ImpossibleLockError, Why, gap_of
from services.matching.seats import Kept
from shared.errors import InvalidError, Violation
from shared.schemas.matching import (
    POINTS,
    Certificate,
    CertificateKind,
    Circle,
    CircleProblem,
    Circles,
    Format,
    Member,
    Objective,
    Part,
    Reason,
    Role,
    Seats,
    Totals,
    Unmatched,
)

FORMATS: inputs.Formats = {Format.CIRCLE: frozenset({Role.MENTOR, Role.MENTEE, Role.FACILITATOR})}
NAMED = frozenset(
    {"not_oneself", "not_blocked", "not_ignored", "not_past_pair", "reporting_line_distance"}
)
"""Rules that hold between all of a circle; the others judge a mentor and a mentee."""

LEAST, MOST, SMALLEST = 4, 8, 3
NEEDS = (1, 1)
"""Mentors and mentees that every circle has at least."""
METHOD = "local search from a greedy start, facilitators assigned exactly"
REQUIRED_GROUND = 10 * POINTS
"""More than all else that somebody can add to a circle."""

ROLES = (Role.MENTOR, Role.MENTEE)


@dataclass(frozen=True, slots=True)
class Room:
    """Everything that decides what circles of a problem are worth.

    Its people are the mentors, then the mentees; `n` of them, `f` facilitators, scores in
    hundredths of a point, `APART` where two must not meet. `likes` is int64[n, n], symmetric, `fit`
    int64[f, n], `beside` int64[f, f], and `topics` bool[n, t], of which `words` are the names.
    `seat` int64[n] is the circle in which somebody is already, by its place in `kept`, or -1.
    """

    problem: CircleProblem
    leaders: Side
    sides: tuple[Side, Side]
    among: tuple[tuple[Board, int, int], ...] = field(repr=False)
    above: tuple[Board, Board] = field(repr=False)
    likes: Ints = field(repr=False)
    fit: Ints = field(repr=False)
    beside: Ints = field(repr=False)
    topics: Mask = field(repr=False)
    words: list[tuple[str, str]]
    team: Ints
    seat: Ints
    kept: list[Kept]

    @property
    def seed(self) -> int:
        """What decides where the search begins, and ties."""
        return self.among[0][0].seed

    @property
    def ids(self) -> list[str]:
        """Who each of the people is."""
        return [*self.sides[0].ids, *self.sides[1].ids]

    @property
    def role(self) -> Ints:
        """The role of each of the people, as a place in `ROLES`."""
        return np.repeat([0, 1], [len(side.ids) for side in self.sides])

    @property
    def capacity(self) -> Ints:
        """How many circles each of the people could be in."""
        return np.concatenate([side.capacity for side in self.sides])

    @property
    def sizes(self) -> Sizes:
        """How many people a circle has, facilitators not counted."""
        problem = self.problem
        least, most = size_of(problem)
        return Sizes(
            minimum=least - 1,
            maximum=most - problem.facilitators,
            of_a_team=problem.of_a_team,
            needs=NEEDS,
        )


@dataclass(frozen=True, slots=True)
class Formed:
    """Circles of people by their places, those who are led, and why others are not in one.

    `leaders` are the facilitators of each, the first of which leads. `primal` and `dual` count in
    `SHARES` of a hundredth of a point. `ungrounded` are those for whom common ground was missing.
    """

    members: list[list[int]]
    leaders: list[list[int]]
    primal: int
    dual: int
    why: Ints
    ungrounded: Mask


# What is wrong with a problem.


def ready(problem: CircleProblem, *, max_cells: int) -> CircleProblem:
    """Return the canonical form of a problem; one with faults is an `InvalidError`."""
    faults = inputs.faults_of(problem, max_cells=max_cells, formats=FORMATS)
    faults = faults or [
        *inputs.table_faults(problem, "there", people=["id"]),
        *_wrong_sizes(problem),
        *_too_many(problem, max_cells),
    ]
    if faults:
        raise InvalidError(errors=faults[:100])
    return inputs.canonical(problem).model_copy(update={"there": _sorted_seats(problem.there)})


def size_of(problem: CircleProblem) -> tuple[int, int]:
    """Return the least and the most members of a circle, facilitators counted."""
    track = problem.track
    least = LEAST if track.min_members is None else track.min_members
    return least, MOST if track.max_members is None else track.max_members


def _wrong_sizes(problem: CircleProblem) -> Iterator[Violation]:
    least, most = size_of(problem)
    if least < SMALLEST:
        detail = "A circle has a facilitator, a mentor and a mentee at least."
        yield Violation("#/track/min_members", "out_of_range", detail)
    if least > most:
        detail = "The smallest size is above the largest."
        yield Violation("#/track/min_members", "minimum_above_maximum", detail)
    elif most - problem.facilitators < max(sum(NEEDS), least - 1):
        detail = "The largest size leaves no place for so many facilitators."
        yield Violation("#/facilitators", "out_of_range", detail)


def _too_many(problem: CircleProblem, max_cells: int) -> Iterator[Violation]:
    people = sum(role in ROLES for role in problem.places.role)
    pairs = people * len(problem.places.role)
    if pairs > max_cells:
        detail = f"There are {pairs} pairs; at most {max_cells} are weighed at once."
        yield Violation("#/places", "too_many_pairs", detail)


def _sorted_seats(there: Seats) -> Seats:
    """Return seats in order; circles are numbered in order of their first, as numbers are names."""
    rows = sorted(zip(there.id, there.role, there.circle, strict=True))
    number: dict[int, int] = {}
    for _, role, circle in sorted(rows, key=lambda row: (row[1] is Role.FACILITATOR, row)):
        if role is not Role.FACILITATOR:
            number.setdefault(circle, len(number))
    for _, _, circle in rows:
        number.setdefault(circle, len(number))
    found = sorted({(one, role, number[circle]) for one, role, circle in rows})
    return Seats(
        id=[one for one, _, _ in found],
        role=[role for _, role, _ in found],
        circle=[circle for _, _, circle in found],
    )


# What circles are made of.


def lay_out(asked: CircleProblem, *, max_cells: int, step: Step) -> Room:
    """Return a problem made ready, after making sure that what is decided is possible."""
    problem = ready(asked, max_cells=max_cells)
    kept = seats.kept_of(asked, step=step)
    mentors, mentees = (side_of(problem, frozenset({role})) for role in ROLES)
    leaders = side_of(problem, frozenset({Role.FACILITATOR}))
    count = len(mentors.ids)
    among = (
        (between(problem, mentors, mentors, words=NAMED, step=step), 0, 0),
        (between(problem, mentors, mentees, step=step), 0, count),
        (between(problem, mentees, mentees, words=NAMED, step=step), count, count),
    )
    above = (
        between(problem, leaders, mentors, words=NAMED, step=step),
        between(problem, leaders, mentees, words=NAMED, step=step),
    )
    topics, words = _topics(problem, [*mentors.rows, *mentees.rows])
    room = Room(
        problem=problem,
        leaders=leaders,
        sides=(mentors, mentees),
        among=among,
        above=above,
        likes=_likes(among, count + len(mentees.ids)),
        fit=np.concatenate([_scores(board) for board in above], axis=1),
        beside=_scores(between(problem, leaders, leaders, words=NAMED, step=step)),
        topics=topics,
        words=words,
        team=_teams(problem, [*mentors.rows, *mentees.rows]),
        seat=_seats(kept, (mentors, mentees)),
        kept=kept,
    )
    faults = [*_impossible(room)]
    if faults:
        raise InvalidError(
            "Circles that are there are impossible; each is listed with the rule that forbids it.",
            errors=faults[:100],
        )
    return room


def _scores(board: Board) -> Ints:
    """Return the scores of all pairs."""
    height, width = board.shape
    if not height * width:
        return np.zeros(board.shape, dtype=np.int64)
    return board.blocks().block(slice(0, height), slice(0, width)).astype(np.int64)


def _likes(among: Sequence[tuple[Board, int, int]], people: int) -> Ints:
    found = np.zeros((people, people), dtype=np.int64)
    for board, row, column in among:
        scores = _scores(board)
        height, width = scores.shape
        found[row : row + height, column : column + width] = scores
        found[column : column + width, row : row + height] = scores.T
    np.fill_diagonal(found, 0)
    return found


def _topics(problem: CircleProblem, rows: list[int]) -> tuple[Mask, list[tuple[str, str]]]:
    """Return who chose what, and what it is: the column, and the word as somebody wrote it."""
    people = problem.participants
    found, words = [np.zeros((len(rows), 0), dtype=bool)], []
    for name in sorted(set(problem.common_ground.columns)):
        chosen = columns.chosen(people, name, rows)
        known = columns.sorted_words(chosen)
        found.append(
            np.array([[word in one for word in known] for one in chosen], dtype=bool).reshape(
                len(rows), len(known)
            )
        )
        words += [(str(name), word) for word in known]
    return np.concatenate(found, axis=1), words


def _teams(problem: CircleProblem, rows: list[int]) -> Ints:
    (codes,) = columns.codes(columns.chosen(problem.participants, "team", rows))
    return np.where(np.isnan(codes), NOBODY, np.nan_to_num(codes)).astype(np.int64)


def _seats(kept: list[Kept], sides: tuple[Side, Side]) -> Ints:
    seat = [np.full(len(side.ids), NOBODY, dtype=np.int64) for side in sides]
    for number, one in enumerate(kept):
        for role, member in one.members:
            side = ROLES.index(role)
            seat[side][sides[side].place[member]] = number
    return np.concatenate(seat)


# What is decided already.


def _impossible(room: Room) -> Iterator[Violation]:
    yield from _overfull(room)
    for one in room.kept:
        if len(one.leaders) > room.problem.facilitators:
            detail = f"The rule facilitators forbids it: {len(one.leaders)} of them in one circle."
            pointer = one.pointers[Role.FACILITATOR, one.leaders[-1]]
            yield Violation(pointer, "lock_breaks_rule", detail)
        for pair in itertools.combinations(one.members, 2):
            yield from _broken(room, one, *pair)
        for leader, member in itertools.product(one.leaders, one.members):
            yield from _broken(room, one, (Role.FACILITATOR, leader), member)


def _overfull(room: Room) -> Iterator[Violation]:
    leads = Counter(leader for one in room.kept for leader in one.leaders)
    for one in room.kept:
        for place, pointer in one.pointers.items():
            role, member = place
            side = room.leaders if role is Role.FACILITATOR else room.sides[ROLES.index(role)]
            taken = leads[member] if role is Role.FACILITATOR else 1
            if taken > side.capacity[side.place[member]]:
                detail = "The rule capacity forbids it: in more circles than places."
                yield Violation(pointer, "lock_exceeds_capacity", detail)


def _broken(room: Room, kept: Kept, one: seats.Place, other: seats.Place) -> Iterator[Violation]:
    if one[0] is Role.MENTEE and other[0] is Role.MENTOR:
        one, other = other, one
    if one[0] is Role.FACILITATOR:
        board = room.above[ROLES.index(other[0])]
    else:
        board = room.among[ROLES.index(one[0]) + ROLES.index(other[0])][0]
    first, second = board.first.place[one[1]], board.second.place[other[1]]
    for reason in explanations.broken_of(board, first, second):
        detail = f"The rule {reason.rule} keeps {one[1]} and {other[1]} apart."
        yield Violation(kept.pointers[other], "lock_breaks_rule", detail)


# Forming.


def form(room: Room, *, step: Step) -> Formed:
    """Return circles: as many people as can be, then the highest worth that was found."""
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
        most = min(len(here), len(found.leader) * room.sizes.maximum)
        dual -= SHARES * bonus * min(most, int(room.topics[here].any(axis=1).sum()))
    return Formed(
        members=members,
        leaders=_with_seconds(room, members, leaders),
        primal=primal,
        dual=max(primal, dual),
        why=why,
        ungrounded=ungrounded,
    )


def _formed(room: Room, here: Ints, bonus: int, step: Step) -> kernel.Circles:
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
    try:
        return kernel.form(
            people,
            leaders,
            room.sizes,
            ground=bonus,
            effort=Effort(seed=room.seed),
            step=lambda done, total: step("circles", done, total),
        )
    except ImpossibleLockError as error:
        raise _refused(room, int(here[error.row]), error.rule) from None


def _refused(room: Room, person: int, rule: str) -> InvalidError:
    place = ROLES[room.role[person]], room.ids[person]
    pointer = room.kept[room.seat[person]].pointers[place]
    detail = f"The rule {rule} forbids it."
    return InvalidError(
        "Circles that are there are impossible; each is listed with the rule that forbids it.",
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
        certificate=_certificate(formed),
        totals=_totals(room, formed, pairs),
        fairness=fairness.of(pairs.scores.tolist()),
        circles=sorted(told, key=lambda one: [member.id for member in one.members]),
        unmatched=_unmatched(room, formed, step),
        warnings=_warnings(room),
    )


def _certificate(formed: Formed) -> Certificate:
    is_best = formed.primal == formed.dual
    return Certificate(
        kind=CertificateKind.OPTIMAL if is_best else CertificateKind.HEURISTIC,
        objective=Objective.MOST_MATCHED,
        primal=formed.primal,
        dual=formed.dual,
        gap=gap_of(formed.primal, formed.dual),
        method=METHOD,
    )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of all circles: the circle of each, its score, and what each criterion gave.

    For e pairs and c criteria: int64[e], and int64[c, e] values up to `POINTS` and points in
    hundredths.
    """

    circle: Ints
    scores: Ints
    values: Ints
    points: Ints


def _pairs(room: Room, formed: Formed) -> _Pairs:
    """Return the pairs of mentors and mentees in one circle, weighed."""
    named: list[list[tuple[int, int, int]]] = [[], [], []]
    for number, members in enumerate(formed.members):
        for one, other in itertools.combinations(members, 2):
            named[int(room.role[one] + room.role[other])].append((number, one, other))
    total, soft = weight_sum(room.problem), room.problem.policy.soft
    circle, scores, values, gains = [], [], [], []
    for (board, row, column), pairs in zip(room.among, named, strict=True):
        table = np.array(pairs, dtype=np.int64).reshape(-1, 3)
        first, second = table[:, 1] - row, table[:, 2] - column
        found = [one.values(first, second).astype(np.int64) for one in board.soft]
        circle.append(table[:, 0])
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
        scores=np.concatenate(scores),
        values=np.concatenate(values, axis=1),
        points=np.concatenate(gains, axis=1),
    )


def _circle(room: Room, formed: Formed, pairs: _Pairs, number: int) -> Circle:
    members, leaders = formed.members[number], formed.leaders[number]
    here = pairs.circle == number
    scores = pairs.scores[here].tolist()
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
        score=_mean(scores, 100, 2) or 0.0,
        parts=[
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
        ],
        notes=[Reason(rule="size", key="note.circle_too_small")] if is_small else [],
        is_locked=len(there) == len(members) + len(leaders),
        there=there,
        fit=_mean(fits, 100, 2) or 0.0,
        common_ground=_ground_of(room, members),
    )


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
