"""What circles are made of: who is there, what they are to each other, what is decided already."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.matching import columns, explanations, inputs, seats
from services.matching.board import Board, Side, Step, between, side_of
from services.matching.kernel.circles import NOBODY, Sizes
from services.matching.kernel.compiling import Ints, Mask
from services.matching.seats import Kept
from shared.errors import InvalidError, Violation
from shared.schemas.matching import CircleProblem, Format, Openings, Reason, Role, Seats

FORMATS: inputs.Formats = {Format.CIRCLE: frozenset({Role.MENTOR, Role.MENTEE, Role.FACILITATOR})}
NAMED = frozenset(
    {"not_oneself", "not_blocked", "not_ignored", "not_past_pair", "reporting_line_distance"}
)
"""Rules that hold between all of a circle; the others judge a mentor and a mentee."""

LEAST, MOST, SMALLEST = 4, 8, 3
NEEDS = (1, 1)
"""Mentors and mentees that every circle has at least."""
IMPOSSIBLE = "Circles that are there are impossible; each is listed with the rule that forbids it."

ROLES = (Role.MENTOR, Role.MENTEE)


@dataclass(frozen=True, slots=True)
class Room:
    """Everything that decides what circles of a problem are worth.

    Its people are the mentors, then the mentees; `n` of them, `f` facilitators, scores in
    hundredths of a point, `APART` where two must not meet. `likes` is int64[n, n], symmetric, `fit`
    int64[f, n], `beside` int64[f, f], and `topics` bool[n, t], of which `words` are the names.
    `seat` int64[n] is the circle in which somebody is already, by its place in `kept`, or -1;
    `settled` int64[n] is the same for those alone whom nobody judges anew. `lost` counts the locks
    that were left out because they could not be.
    """

    problem: CircleProblem
    leaders: Side
    sides: tuple[Side, Side]
    among: tuple[tuple[Board, int, int], ...] = field(repr=False)
    above: tuple[Board, Board] = field(repr=False)
    abreast: Board = field(repr=False)
    likes: Ints = field(repr=False)
    fit: Ints = field(repr=False)
    beside: Ints = field(repr=False)
    topics: Mask = field(repr=False)
    words: list[tuple[str, str]]
    team: Ints
    seat: Ints
    settled: Ints
    kept: list[Kept]
    lost: int = 0

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
        maximum = most - problem.facilitators
        return Sizes(
            minimum=least - 1,
            maximum=maximum,
            of_a_team=problem.of_a_team,
            needs=NEEDS,
            there=tuple(maximum if one.most is None else one.most for one in self.kept),
        )


# What is wrong with a problem.


def ready(problem: CircleProblem, *, max_cells: int) -> CircleProblem:
    """Return the canonical form of a problem; one with faults is an `InvalidError`."""
    faults = inputs.faults_of(problem, max_cells=max_cells, formats=FORMATS)
    faults = faults or [
        *inputs.table_faults(problem, "there", people=["id"]),
        *_wrong_openings(problem),
        *([] if problem.only_judged else _wrong_sizes(problem)),
        *_too_many(problem, max_cells),
    ]
    if faults:
        raise InvalidError(errors=faults[:100])
    return inputs.canonical(problem).model_copy(update=_in_order(problem))


def size_of(problem: CircleProblem) -> tuple[int, int]:
    """Return the least and the most members of a circle, facilitators counted."""
    track = problem.track
    least = LEAST if track.min_members is None else track.min_members
    return least, MOST if track.max_members is None else track.max_members


def _wrong_openings(problem: CircleProblem) -> Iterator[Violation]:
    if problem.openings is None:
        return
    yield from inputs.table_faults(problem, "openings", people=[])
    yield from inputs.repeated("#/openings/circle", problem.openings.circle)
    for row, circle in enumerate(problem.openings.circle):
        if circle not in problem.there.circle:
            detail = "No circle that is there has this number."
            yield Violation(f"#/openings/circle/{row}", "unknown_reference", detail)


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


def _in_order(problem: CircleProblem) -> dict[str, Seats | Openings | None]:
    """Return seats and openings in order; circles are numbered in order of their first.

    Numbers are names only.
    """
    there, openings = problem.there, problem.openings
    number = _numbers(there)
    seats = sorted(
        {
            (one, role, number[circle])
            for one, role, circle in zip(there.id, there.role, there.circle, strict=True)
        }
    )
    found: dict[str, Seats | Openings | None] = {
        "there": Seats(
            id=[one for one, _, _ in seats],
            role=[role for _, role, _ in seats],
            circle=[circle for _, _, circle in seats],
        )
    }
    if openings is not None:
        said = sorted(
            (number[circle], places)
            for circle, places in zip(openings.circle, openings.places, strict=True)
        )
        found["openings"] = Openings(
            circle=[circle for circle, _ in said], places=[places for _, places in said]
        )
    return found


def _numbers(there: Seats) -> dict[int, int]:
    rows = sorted(zip(there.id, there.role, there.circle, strict=True))
    number: dict[int, int] = {}
    for _, role, circle in sorted(rows, key=lambda row: (row[1] is Role.FACILITATOR, row)):
        if role is not Role.FACILITATOR:
            number.setdefault(circle, len(number))
    for _, _, circle in rows:
        number.setdefault(circle, len(number))
    return number


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
    abreast = between(problem, leaders, leaders, words=NAMED, step=step)
    topics, words = _topics(problem, [*mentors.rows, *mentees.rows])
    settled = _seats([one.settled for one in kept], (mentors, mentees))
    seat = _seats([one.members for one in kept], (mentors, mentees))
    # Who is only judged stays as well, and it is told what that breaks; so does who is locked
    # against the policy.
    is_decided = problem.only_judged or problem.locks_yield
    stays = seat if is_decided else settled
    fit = np.concatenate([_scores(board) for board in above], axis=1)
    room = Room(
        problem=problem,
        leaders=leaders,
        sides=(mentors, mentees),
        among=among,
        above=above,
        abreast=abreast,
        likes=_at_peace(_likes(among, count + len(mentees.ids)), stays),
        fit=_led_already(fit, leaders, kept, stays, all_of_them=is_decided),
        beside=_scores(abreast),
        topics=topics,
        words=words,
        team=_teams(problem, [*mentors.rows, *mentees.rows]),
        seat=seat,
        settled=settled,
        kept=kept,
    )
    faults = [*(_unjudged if problem.only_judged else _impossible)(room)]
    if faults:
        raise InvalidError(
            IMPOSSIBLE,
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


def _at_peace(likes: Ints, settled: Ints) -> Ints:
    """Return scores in which nobody is kept from those they are settled with."""
    is_together = (settled[:, None] == settled) & (settled >= 0)
    return np.where(is_together, np.maximum(likes, 0), likes)


def _led_already(
    fit: Ints, leaders: Side, kept: list[Kept], stays: Ints, *, all_of_them: bool
) -> Ints:
    """Return how facilitators fit, none of them kept from whom they lead already."""
    leads = np.zeros(fit.shape, dtype=bool)
    for number, one in enumerate(kept):
        for leader in one.leaders:
            if all_of_them or (Role.FACILITATOR, leader) in one.settled:
                leads[leaders.place[leader]] |= stays == number
    return np.where(leads, np.maximum(fit, 0), fit)


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


def _seats(circles: Iterable[Iterable[seats.Place]], sides: tuple[Side, Side]) -> Ints:
    seat = [np.full(len(side.ids), NOBODY, dtype=np.int64) for side in sides]
    for number, places in enumerate(circles):
        for role, member in places:
            if role in ROLES:
                side = ROLES.index(role)
                seat[side][sides[side].place[member]] = number
    return np.concatenate(seat)


# What is decided already.


def _unjudged(room: Room) -> Iterator[Violation]:
    """Yield what is missing for a circle to be judged."""
    for one in room.kept:
        if not one.leaders:
            pointer = one.pointers[one.members[0]]
            yield Violation(pointer, "missing", "A circle that is judged has a facilitator.")


def _impossible(room: Room) -> Iterator[Violation]:
    yield from _overfull(room)
    for one in room.kept:
        if len(one.leaders) > room.problem.facilitators:
            detail = f"The rule facilitators forbids it: {len(one.leaders)} of them in one circle."
            pointer = one.pointers[Role.FACILITATOR, one.leaders[-1]]
            yield Violation(pointer, "lock_breaks_rule", detail)
        for first, second, reason in broken_in(
            room, one, whatever_the_policy=room.problem.locks_yield
        ):
            detail = f"The rule {reason.rule} keeps {first[1]} and {second[1]} apart."
            # Who is settled is not what is wrong.
            place = first if second in one.settled else second
            yield Violation(one.pointers[place], "lock_breaks_rule", detail)


def broken_in(
    room: Room, kept: Kept, *, whatever_the_policy: bool = False
) -> Iterator[tuple[seats.Place, seats.Place, Reason]]:
    """Yield every rule that keeps two of a circle apart; who is settled is not judged."""
    leaders = [(Role.FACILITATOR, leader) for leader in kept.leaders]
    for pair in itertools.chain(
        itertools.combinations(kept.members, 2),
        itertools.product(leaders, kept.members),
        itertools.combinations(leaders, 2),
    ):
        if not kept.settled.issuperset(pair):
            yield from _broken(room, *pair, whatever_the_policy=whatever_the_policy)


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


def _broken(
    room: Room, one: seats.Place, other: seats.Place, *, whatever_the_policy: bool
) -> Iterator[tuple[seats.Place, seats.Place, Reason]]:
    if one[0] is Role.MENTEE and other[0] is Role.MENTOR:
        one, other = other, one
    if other[0] is Role.FACILITATOR:
        board = room.abreast
    elif one[0] is Role.FACILITATOR:
        board = room.above[ROLES.index(other[0])]
    else:
        board = room.among[ROLES.index(one[0]) + ROLES.index(other[0])][0]
    first, second = board.first.place[one[1]], board.second.place[other[1]]
    for reason in explanations.broken_of(
        board, first, second, whatever_the_policy=whatever_the_policy
    ):
        yield one, other, reason
