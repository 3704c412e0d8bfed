"""Circles: people in groups of bounded size, each with a facilitator, by local search.

What a circle is worth is the sum over its members of how the facilitator fits them, of their mean
similarity to the others, and of a bonus where all of them share a topic. That this is best is not
proven (it is the maximally diverse grouping problem, which is NP-hard): the result is a heuristic,
and says how far from a bound it is. People join where they add most, then threshold accepting
(Dueck & Scheuer 1990) swaps and moves them, which needs no logarithm and so gives the same on
every machine; then every swap and move is tried until none is better. Who facilitates which
circle is an exact assignment.

Hard rules are never broken: sizes, people kept apart, at most so many of one team, whom a
facilitator must not have, and so many of each role as a circle needs. Whoever has no place then
is left out, with the reason.
"""

import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from services.matching.kernel.compiling import Ints, Mask, compiled, inner
from services.matching.kernel.terms import FAR, ImpossibleLockError, Kind, Step, Why, gap_of, quiet

SHARES = 5040
"""Totals count in this part of a point, so that a mean over 2 to 11 members is a whole number."""
NOBODY = -1
APART = -(2**40)
_ROUNDS = 40
_LEAD_EVERY = 8
_COOL = 2
_MOVES = 60
_SAMPLE = 400
_TRIES_PER_STEP = 2_000_000


type Random = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many people a circle has, 1 at least, and of one team at most; without facilitators.

    `needs` is how many of each role a circle must have; roles are numbered from 0. `there` is the
    most people of circles that are there already, by their number, where it is not `maximum`.
    """

    minimum: int
    maximum: int
    of_a_team: int = 2
    needs: tuple[int, ...] = ()
    there: tuple[int, ...] = ()

    @property
    def largest(self) -> int:
        """How many people the largest circle may have."""
        return max(self.maximum, *self.there, 0)

    def most(self, circles: int) -> Ints:
        """Return how many people each of so many circles may have."""
        found = np.full(circles, self.maximum, dtype=np.int64)
        found[: len(self.there)] = self.there[:circles]
        return found


@dataclass(frozen=True, slots=True)
class People:
    """Who is to be placed; `n` people, points as integers.

    `similarity` (n x n, symmetric, zero or more) is what two gain from each other and `barred`
    (n x n) who must not meet. `topics` (n x t) is what each is interested in. `team` and `role`
    number what they belong to, -1 is no team. `seat` is the circle in which somebody is already
    and stays, numbered from 0 without a gap, or -1.
    """

    similarity: Ints
    barred: Mask
    topics: Mask
    team: Ints
    role: Ints
    seat: Ints


@dataclass(frozen=True, slots=True)
class Facilitators:
    """Who leads: how each fits (f x n) or must not have (`barred`) whom, and how many circles.

    `leads` names who leads the circles that are there already, or -1, by their number.
    """

    fit: Ints
    barred: Mask
    circles: Ints
    leads: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to search: rounds of so many tries per person, from this seed.

    After `seconds` no further round begins, and the result says so: it is then not repeatable.
    """

    seed: int = 1
    rounds: int = _ROUNDS
    moves: int = _MOVES
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Circles:
    """The circle of each person or -1, who leads each circle, and what that is worth.

    `total` and `bound` count in `SHARES` of a point; no choice that places as many is worth more
    than the bound. `places` is how many people could be placed at most.
    `has_ground` tells which circles share a topic. `stopped` says that time ran out.
    """

    circle: Ints
    leader: Ints
    total: int
    bound: int
    places: int
    kind: Kind
    gap: float
    has_ground: Mask
    why: Ints
    stopped: bool


class Pool(NamedTuple):
    """What the search reads.

    `likes` and `fit` are what two, and a facilitator and somebody, add: far below zero where they
    must not meet, so that sums tell it. `person` has a row of team, role and whether they stay;
    `rules` are numbers at the places named below.
    """

    likes: Ints
    fit: Ints
    person: Ints
    has: Mask
    needs: Ints
    share: Ints
    rules: Ints


class Table(NamedTuple):
    """Where everybody is, and what is known of each circle; the last one is nobody's place.

    `known` has a row per circle: columns are named below. `link` and `gives` are what each person
    would add to each circle by likes and by fit, `own` the same for where they are. The others
    count members by team, role and topic.
    """

    circle: Ints
    known: Ints
    link: Ints
    gives: Ints
    own: Ints
    teams: Ints
    roles: Ints
    topics: Ints


TEAM, ROLE, STAYS = 0, 1, 2
SIZE, LIKES, GROUNDED, CHANCE, LEADER, MOST = 0, 1, 2, 3, 4, 5
MINIMUM, OF_A_TEAM, GROUND, SHORT, OUT = 0, 1, 2, 3, 4


def form(
    people: People,
    facilitators: Facilitators,
    sizes: Sizes,
    *,
    ground: int = 0,
    effort: Effort = Effort(),
    step: Step = quiet,
) -> Circles:
    """Return circles; `ground` is what common ground is worth to each member, in points.

    Raises `ImpossibleLockError` where the seats that are taken already break a rule, with the
    person's row.
    """
    check(people, facilitators, sizes)
    search = _Search(
        pool=_pool(people, facilitators, sizes, ground),
        sizes=sizes,
        slots=_Slots(facilitators.circles, facilitators.leads),
        effort=effort,
        step=step,
        until=None if effort.seconds is None else time.monotonic() + effort.seconds,
        random=_random(effort.seed),
    )
    count = _how_many(people, facilitators, sizes)
    table = search.run(people.seat, count)
    return _described(search, people, table)


def warm() -> None:
    """Compile everything, or load what was compiled before."""
    count = 6
    chance = np.arange(count * count).reshape(count, count)
    form(
        People(
            similarity=chance + chance.T,
            barred=np.zeros((count, count), dtype=bool),
            topics=np.ones((count, 1), dtype=bool),
            team=np.arange(count),
            role=np.zeros(count, dtype=np.int64),
            seat=np.full(count, NOBODY),
        ),
        Facilitators(
            fit=chance[:2],
            barred=np.zeros((2, count), dtype=bool),
            circles=np.ones(2, dtype=np.int64),
        ),
        Sizes(2, 4),
        ground=1,
        effort=Effort(rounds=1),
    )


def _random(seed: int) -> Random:
    """Return a state that is never zero, nor near the one of the seed before."""
    return np.array([((seed + 1) * 0x9E3779B97F4A7C15) % 2**64 | 1], dtype=np.uint64)


def _how_many(people: People, facilitators: Facilitators, sizes: Sizes) -> int:
    """Return the number of circles that holds most people, then the one nearest to middle sizes."""
    count, there = len(people.seat), _there(people)
    middle = sizes.minimum + sizes.maximum
    led = int(facilitators.circles.sum())
    possible = range(max(1, there), _most_new(people, led, sizes) + 1)
    return min(
        possible,
        key=lambda circles: (
            -min(count, circles * sizes.maximum),
            abs(2 * count - circles * middle) / circles,
        ),
        default=there,
    )


def _there(people: People) -> int:
    """Count the circles that are there already."""
    return int(people.seat.max(initial=NOBODY)) + 1


def _most_new(people: People, led: int, sizes: Sizes) -> int:
    """Return how many circles there can be where `led` are led; those that are there may be more.

    They may be small, or lack a role.
    """
    most = [
        int((people.role == role).sum()) // need for role, need in enumerate(sizes.needs) if need
    ]
    return min([led, len(people.seat) // sizes.minimum, *most])


def _most_placed(people: People, led: int, sizes: Sizes) -> int:
    """Return how many people could be placed at most, were nobody kept from anybody."""
    circles = led if _there(people) else _most_new(people, led, sizes)
    return min(len(people.seat), int(sizes.most(circles).sum()))


def _pool(people: People, facilitators: Facilitators, sizes: Sizes, ground: int) -> Pool:
    best = int(facilitators.fit.max(initial=0)) + 2 * int(people.similarity.max(initial=0)) + ground
    short = SHARES * (sizes.largest + 1) * (best + 1)
    # Being left out costs more than any circle can lack.
    out = short * (sizes.largest + sum(sizes.needs) + 2)
    share = [0, 0, *(2 * SHARES // others for others in range(1, sizes.largest + 1))]
    roles = max(len(sizes.needs), int(people.role.max(initial=0)) + 1)
    needs = np.zeros(roles, dtype=np.int64)
    needs[: len(sizes.needs)] = sizes.needs
    likes = np.where(people.barred, APART, people.similarity)
    np.fill_diagonal(likes, 0)
    return Pool(
        likes=likes,
        fit=np.where(facilitators.barred, APART, facilitators.fit),
        person=np.stack((people.team, people.role, people.seat >= 0), axis=1),
        has=np.ascontiguousarray(people.topics),
        needs=needs,
        share=np.array(share, dtype=np.int64),
        rules=np.array([sizes.minimum, sizes.of_a_team, ground, short, out], dtype=np.int64),
    )


def check(people: People, facilitators: Facilitators, sizes: Sizes) -> None:
    """Refuse seats that break a rule, naming the first whom it concerns."""
    leads = facilitators.leads
    most = sizes.most(int(people.seat.max(initial=NOBODY)) + 1)
    for one in np.flatnonzero(people.seat >= 0).tolist():
        seat = int(people.seat[one])
        before = np.flatnonzero(people.seat[: one + 1] == seat)
        mates = (people.team[before] == people.team[one]).sum()
        if len(before) > most[seat] or seat >= facilitators.circles.sum():
            raise ImpossibleLockError("size", one)
        if people.barred[one, before].any():
            raise ImpossibleLockError("not_blocked", one)
        if people.team[one] >= 0 and mates > sizes.of_a_team:
            raise ImpossibleLockError("team", one)
        if seat < len(leads) and leads[seat] >= 0 and facilitators.barred[leads[seat], one]:
            raise ImpossibleLockError("facilitator", one)


# Searching.


@dataclass(frozen=True, slots=True)
class _Slots:
    """Which facilitator may lead how many circles, and who leads one already."""

    circles: Ints
    leads: Ints

    def first(self, count: int) -> Ints:
        """Return a leader for each of so many circles, in order."""
        leader = np.full(count, NOBODY)
        leader[: len(self.leads)] = self.leads[:count]
        leader[leader < 0] = self.open(leader)[: (leader < 0).sum()]
        return leader

    def open(self, leader: Ints) -> Ints:
        """Return the facilitators who may still lead, as often as they may."""
        taken = np.bincount(leader[leader >= 0], minlength=len(self.circles))
        return np.repeat(np.arange(len(self.circles)), np.maximum(0, self.circles - taken))


@dataclass(slots=True)
class _Search:
    """One search, and how far it is."""

    pool: Pool
    sizes: Sizes
    slots: _Slots
    effort: Effort
    step: Step
    until: float | None
    random: Random
    is_stopped: bool = False

    def run(self, seat: Ints, count: int) -> Table:
        """Return where everybody is in the end; circles that cannot be filled are given up."""
        circle, leader = np.where(seat < 0, count, seat), self.slots.first(count)
        table = _table(self.pool, circle, leader, self.sizes.most(count))
        # Whoever must not meet many joins first, and the others keep away from there.
        order = np.argsort((self.pool.likes >= 0).sum(axis=1), kind="stable")
        rounds, is_emptied = self.effort.rounds, False
        while len(table.circle) and len(table.known) > 1:
            self._improve(table, order, rounds)
            unfit = _unfit(self.pool, table)
            if unfit < 0:
                break
            # Emptied once, as somebody may be in it with whom nobody can be.
            table = self._without(table, unfit) if is_emptied else self._emptied(table, unfit)
            order, is_emptied = order[::-1].copy(), not is_emptied
            # What is left is good already.
            rounds = self.effort.rounds // 4
        return table

    def _emptied(self, table: Table, unfit: int) -> Table:
        none = len(table.known) - 1
        circle = np.where(table.circle == unfit, none, table.circle)
        return _table(self.pool, circle, _leaders(table), _most(table))

    def _without(self, table: Table, unfit: int) -> Table:
        none = len(table.known) - 1
        circle = np.where(table.circle == unfit, none, table.circle)
        circle = np.where(circle > unfit, circle - 1, circle)
        leader, most = np.delete(_leaders(table), unfit), np.delete(_most(table), unfit)
        return _table(self.pool, circle, leader, most)

    def _improve(self, table: Table, order: Ints, rounds: int) -> None:
        """Accept losses below a threshold that falls to zero, then only gains."""
        # Whoever has no circle joins where they add most.
        _best_moves(self.pool, table, order)
        first = _try(self.pool, table, self.random, 0, _SAMPLE) // _COOL
        best, best_value = _copied(table), _value(self.pool, table)
        for done in range(rounds):
            if self.until is not None and time.monotonic() >= self.until:
                self.is_stopped = True
                break
            if done % _LEAD_EVERY == 0:
                self._lead(table)
            self._round(table, first * (rounds - 1 - done) // rounds)
            value = _value(self.pool, table)
            if value > best_value:
                best, best_value = _copied(table), value
            self.step(done, rounds)
        for values, written in zip(best, table, strict=True):
            written[:] = values
        self._descend(table)

    def _round(self, table: Table, threshold: int) -> None:
        left = self.effort.moves * len(table.circle)
        while left > 0:
            _try(self.pool, table, self.random, threshold, min(left, _TRIES_PER_STEP))
            left -= _TRIES_PER_STEP
            self.step(0, 1)

    def _descend(self, table: Table) -> None:
        """Make the best swap or move of everybody until nobody has one."""
        people = len(table.circle)
        lots = np.array_split(np.arange(people), 1 + people * people // _TRIES_PER_STEP)
        gained = True
        while gained:
            gained = False
            for lot in lots:
                gained |= _best_moves(self.pool, table, lot)
                self.step(int(lot[0]), people)
            gained |= self._lead(table)

    def _lead(self, table: Table) -> bool:
        """Give every circle the facilitator who fits, all at once; tell whether that was better."""
        leader = _leaders(table)
        here = np.arange(len(leader))
        fits = _fits(self.pool, table)
        held = np.full(len(leader), NOBODY)
        there = min(len(leader), len(self.slots.leads))
        held[:there] = self.slots.leads[:there]
        free, open_slots = np.flatnonzero(held < 0), self.slots.open(held)
        rows, columns = linear_sum_assignment(fits[np.ix_(free, open_slots)], maximize=True)
        held[free[rows]] = open_slots[columns]
        is_better = bool(fits[here, held].sum() > fits[here, leader].sum())
        if is_better:
            table.known[:-1, LEADER] = held
        _entitle(self.pool, table)
        return is_better


def _table(pool: Pool, circle: Ints, leader: Ints, most: Ints) -> Table:
    """Return what is known of circles; whoever is in the one after the last is in none."""
    count, people = len(leader), len(circle)
    table = Table(
        circle=circle.astype(np.int64),
        known=np.zeros((count + 1, 6), dtype=np.int64),
        link=np.zeros((count + 1, people), dtype=np.int64),
        gives=np.zeros((count + 1, people), dtype=np.int64),
        own=np.zeros((people, 2), dtype=np.int64),
        teams=np.zeros((count + 1, pool.person[:, TEAM].max(initial=0) + 1), dtype=np.int64),
        roles=np.zeros((count + 1, len(pool.needs)), dtype=np.int64),
        topics=np.zeros((count + 1, pool.has.shape[1]), dtype=np.int64),
    )
    has_team = pool.person[:, TEAM] >= 0
    np.add.at(table.teams, (circle[has_team], pool.person[has_team, TEAM]), 1)
    np.add.at(table.roles, (circle, pool.person[:, ROLE]), 1)
    np.add.at(table.topics, circle, pool.has)
    for one, place in enumerate(circle.tolist()):
        # Nobody meets anybody in no circle.
        table.link[place] += pool.likes[one] * (place < count)
    own = table.link[circle, np.arange(people)]
    table.known[:, SIZE] = np.bincount(circle, minlength=count + 1)
    table.known[:, LIKES] = np.bincount(circle, own, minlength=count + 1) // 2
    table.known[:-1, LEADER] = leader
    table.known[:-1, MOST] = most
    _entitle(pool, table)
    return table


def _entitle(pool: Pool, table: Table) -> None:
    """Count anew what everybody adds by the fit of leaders, and who has common ground."""
    table.gives[:-1] = pool.fit[table.known[:-1, LEADER]]
    here = np.arange(len(table.circle))
    table.own[:, 0] = table.link[table.circle, here]
    table.own[:, 1] = table.gives[table.circle, here]
    for circle in range(len(table.known) - 1):
        _survey(pool.rules, table.known, table.topics, circle)


def _leaders(table: Table) -> Ints:
    return table.known[:-1, LEADER].copy()


def _most(table: Table) -> Ints:
    return table.known[:-1, MOST].copy()


def _fits(pool: Pool, table: Table) -> Ints:
    """Return what each facilitator would add to each circle; far below zero if they must not."""
    seats = np.arange(len(table.known) - 1)[:, None] == table.circle
    return np.stack([pool.fit[:, members].sum(axis=1) for members in seats])


def _lacks(pool: Pool, table: Table) -> Ints:
    """Return how many people each circle lacks, for its size and in its roles."""
    short = np.maximum(0, pool.rules[MINIMUM] - table.known[:-1, SIZE])
    lacks: Ints = short + np.maximum(0, pool.needs - table.roles[:-1]).sum(axis=1)
    return lacks


def _value(pool: Pool, table: Table) -> int:
    """Return what the circles are worth, less what they lack and who has none."""
    lacks = int(_lacks(pool, table).sum() * pool.rules[SHORT])
    return _total(pool, table) - lacks - int(table.known[-1, SIZE] * pool.rules[OUT])


def _copied(table: Table) -> Table:
    return Table(*(values.copy() for values in table))


def _unfit(pool: Pool, table: Table) -> int:
    """Return the smallest circle that lacks somebody and in which nobody stays, or -1."""
    held = np.isin(np.arange(len(table.known) - 1), table.circle[pool.person[:, STAYS] == 1])
    unfit = np.flatnonzero((_lacks(pool, table) > 0) & ~held)
    sizes = table.known[unfit, SIZE]
    return int(unfit[np.argmin(sizes)]) if len(unfit) else NOBODY


# Describing.


def _described(search: _Search, people: People, table: Table) -> Circles:
    pool, count = search.pool, len(table.known) - 1
    total, bound = _total(pool, table), _bound(people, pool, _most(table))
    places = _most_placed(people, int(search.slots.circles.sum()), search.sizes)
    circle = np.where(table.circle == count, NOBODY, table.circle)
    is_best = total == bound and (circle != NOBODY).sum() == places
    return Circles(
        circle=circle,
        leader=_leaders(table),
        total=total,
        bound=bound,
        places=places,
        kind=Kind.OPTIMAL if is_best else Kind.HEURISTIC,
        gap=gap_of(total, bound),
        has_ground=np.array(
            [_shares_topic(people.topics[circle == one]) for one in range(count)], dtype=bool
        ),
        why=np.array([_why(search, table, one) for one in range(len(circle))], dtype=np.int64),
        stopped=search.is_stopped,
    )


def _total(pool: Pool, table: Table) -> int:
    """Return what the circles are worth."""
    placed = table.circle < len(table.known) - 1
    fits = pool.fit[table.known[table.circle[placed], LEADER], np.flatnonzero(placed)].sum()
    size = table.known[:-1, SIZE]
    shared = pool.rules[GROUND] * (size * table.known[:-1, GROUNDED]).sum()
    return int(SHARES * (fits + shared) + (pool.share[size] * table.known[:-1, LIKES]).sum())


def _shares_topic(topics: Mask) -> bool:
    return bool(len(topics) and topics.all(axis=0).any())


def _bound(people: People, pool: Pool, most: Ints) -> int:
    """Return what nobody can do better than: the best facilitator, and the most similar people."""
    if not len(most):
        return 0
    # A circle that is there may be smaller than any other.
    there = np.bincount(people.seat[people.seat >= 0])
    minimum = int(min([pool.rules[MINIMUM], *there[there > 0]]))
    maximum = int(most.max())
    nearest = -np.sort(-np.maximum(pool.likes, 0), axis=1)[:, : maximum - 1]
    sums = np.cumsum(nearest, axis=1) * pool.share[2 : 2 + nearest.shape[1]]
    similar = sums[:, max(0, minimum - 2) :].max(axis=1, initial=0)
    fit = np.maximum(pool.fit, 0).max(axis=0, initial=0)
    shared = pool.rules[GROUND] * people.topics.any(axis=1)
    each = np.sort(2 * SHARES * (fit + shared) + similar)[::-1]
    return int(each[: most.sum()].sum()) // 2


def _why(search: _Search, table: Table, one: int) -> int:
    """Return why somebody has no circle: what keeps them out of most that have room."""
    pool, count = search.pool, len(table.known) - 1
    if table.circle[one] < count:
        return Why.PLACED
    open_slots = len(search.slots.open(_leaders(table)))
    full = Why.CIRCLE_TOO_SMALL if open_slots else Why.TOO_FEW_FACILITATORS
    roomy = np.flatnonzero(table.known[:-1, SIZE] < table.known[:-1, MOST])
    if not len(roomy) and open_slots and _misses_role(pool, table):
        return Why.ROLE_IS_MISSING
    reasons = [_kept_out(pool, table, circle, one) for circle in roomy.tolist()]
    return max(reasons, key=reasons.count, default=full)


def _kept_out(pool: Pool, table: Table, circle: int, one: int) -> Why:
    if table.link[circle, one] < 0:
        return Why.KEPT_APART
    if pool.fit[table.known[circle, LEADER], one] < 0:
        return Why.NO_FACILITATOR_ALLOWED
    return Why.TEAM_IS_FULL


def _misses_role(pool: Pool, table: Table) -> bool:
    """Tell whether those without a circle are too few of some role for one of their own."""
    roles = pool.person[table.circle == len(table.known) - 1, ROLE]
    return bool((np.bincount(roles, minlength=len(pool.needs)) < pool.needs).any())


# Compiled. Arrays are passed one by one where it is hot: taking one out of a tuple counts a
# reference, which takes longer than what is done with it.


@inner
def _swap_gain(
    likes: Ints,
    person: Ints,
    needs: Ints,
    share: Ints,
    rules: Ints,
    circle: Ints,
    known: Ints,
    link: Ints,
    gives: Ints,
    own: Ints,
    teams: Ints,
    roles: Ints,
    one: int,
    other: int,
) -> int:
    """Return what it adds that two change places; far below zero where a rule forbids it."""
    of, to, none = circle[one], circle[other], len(known) - 1
    between = likes[one, other]
    gain = SHARES * (gives[to, one] - own[other, 1] + gives[of, other] - own[one, 1])
    if to < none:
        gain += share[known[to, SIZE]] * (link[to, one] - between - own[other, 0])
    if of < none:
        gain += share[known[of, SIZE]] * (link[of, other] - between - own[one, 0])
    mine, theirs = person[one, TEAM], person[other, TEAM]
    if mine != theirs:
        if mine >= 0 and to < none and teams[to, mine] >= rules[OF_A_TEAM]:
            return -FAR
        if theirs >= 0 and of < none and teams[of, theirs] >= rules[OF_A_TEAM]:
            return -FAR
    mine, theirs = person[one, ROLE], person[other, ROLE]
    if mine != theirs:
        if of < none:
            gain -= rules[SHORT] * _role_lack(needs, roles, of, mine, theirs)
        if to < none:
            gain -= rules[SHORT] * _role_lack(needs, roles, to, theirs, mine)
    return int(gain)


@inner
def _role_lack(needs: Ints, roles: Ints, circle: int, leaves: int, joins: int) -> int:
    """Return how many people more a circle lacks once one role (or -1) left and one joined."""
    more = 0
    if leaves >= 0 and roles[circle, leaves] <= needs[leaves]:
        more += 1
    if joins >= 0 and roles[circle, joins] < needs[joins]:
        more -= 1
    return more


@inner
def _move_gain(
    person: Ints,
    needs: Ints,
    share: Ints,
    rules: Ints,
    circle: Ints,
    known: Ints,
    link: Ints,
    gives: Ints,
    own: Ints,
    teams: Ints,
    roles: Ints,
    one: int,
    to: int,
) -> int:
    """Return what it adds that somebody goes to a circle; far below zero if they must not."""
    of, none = circle[one], len(known) - 1
    size, likes = known[to, SIZE], known[to, LIKES]
    team, role = person[one, TEAM], person[one, ROLE]
    if size >= known[to, MOST] or (team >= 0 and teams[to, team] >= rules[OF_A_TEAM]):
        return -FAR
    gain = SHARES * (gives[to, one] - own[one, 1])
    gain += share[size + 1] * (likes + link[to, one]) - share[size] * likes
    lack = _role_lack(needs, roles, to, -1, role) - (size < rules[MINIMUM])
    if of == none:
        gain += rules[OUT]
    else:
        size, likes = known[of, SIZE], known[of, LIKES]
        gain += share[size - 1] * (likes - own[one, 0]) - share[size] * likes
        lack += _role_lack(needs, roles, of, role, -1) + (size <= rules[MINIMUM])
    return int(gain - rules[SHORT] * lack)


@inner
def _shared_after(
    has: Mask, known: Ints, topics: Ints, circle: int, leaves: int, joins: int
) -> int:
    """Return how many people have common ground in a circle once somebody left and joined."""
    size = known[circle, SIZE] - (leaves >= 0) + (joins >= 0)
    if circle == len(known) - 1:
        return 0
    for topic in range(topics.shape[1]):
        if joins < 0 or has[joins, topic]:
            there = topics[circle, topic] - (leaves >= 0 and has[leaves, topic])
            if there + (joins >= 0) == size:
                return int(size)
    return 0


@compiled
def _survey(rules: Ints, known: Ints, topics: Ints, circle: int) -> None:
    """Note whether a circle has common ground, and what one change could bring it at most."""
    size, shared = known[circle, SIZE], 0
    for topic in range(topics.shape[1]):
        shared = max(shared, topics[circle, topic])
    has_ground = size > 0 and shared == size
    known[circle, GROUNDED] = has_ground
    known[circle, CHANCE] = 0
    if shared >= size - 1 and not has_ground:
        known[circle, CHANCE] = SHARES * rules[GROUND] * (size + 1)


@inner
def _ground_gain(
    has: Mask, rules: Ints, circle: Ints, known: Ints, topics: Ints, one: int, other: int, to: int
) -> int:
    """Return what is gained in common ground when two change places, or one moves."""
    of = circle[one]
    people = (
        _shared_after(has, known, topics, of, one, other)
        + _shared_after(has, known, topics, to, other, one)
        - known[of, SIZE] * known[of, GROUNDED]
        - known[to, SIZE] * known[to, GROUNDED]
    )
    return int(SHARES * rules[GROUND] * people)


@inner
def _move(pool: Pool, table: Table, one: int, other: int, to: int) -> None:
    """Put somebody into another circle, and somebody (or -1) into theirs."""
    circle, known, link, gives, own = table.circle, table.known, table.link, table.gives, table.own
    of, none = circle[one], len(known) - 1
    for who, left, joined in ((one, of, to), (other, to, of)):
        if who >= 0:
            known[left, LIKES] -= link[left, who]
            _count(pool, table, who, left, -1)
            known[joined, LIKES] += link[joined, who]
            _count(pool, table, who, joined, 1)
            circle[who] = joined
    for mate in range(len(circle)):
        if circle[mate] in (of, to):
            own[mate, 0] = link[circle[mate], mate]
            own[mate, 1] = gives[circle[mate], mate]
    for changed in (of, to):
        if changed < none:
            _survey(pool.rules, known, table.topics, changed)


@inner
def _count(pool: Pool, table: Table, who: int, circle: int, change: int) -> None:
    """Count somebody in or out of a circle, in all but what it is worth."""
    table.known[circle, SIZE] += change
    table.roles[circle, pool.person[who, ROLE]] += change
    if pool.person[who, TEAM] >= 0:
        table.teams[circle, pool.person[who, TEAM]] += change
    topics, has = table.topics[circle], pool.has[who]
    for topic in range(len(topics)):
        topics[topic] += change * has[topic]
    if circle < len(table.known) - 1:
        link, likes = table.link[circle], pool.likes[who]
        for mate in range(len(link)):
            link[mate] += change * likes[mate]


@inner
def _below(random: Random, end: int) -> int:
    """Return a number below the end: xorshift (Marsaglia 2003)."""
    value = random[0]
    value ^= value << np.uint64(13)
    value ^= value >> np.uint64(7)
    value ^= value << np.uint64(17)
    random[0] = value
    return int(np.int64(value >> np.uint64(33)) % end)


@compiled
def _try(pool: Pool, table: Table, random: Random, threshold: int, tries: int) -> int:
    """Draw so many swaps and moves, and make those that lose less than a threshold.

    Return the mean loss of those drawn that leave nobody out and no circle short.
    """
    likes, _, person, has, needs, share, rules = pool
    circle, known, link, gives, own, teams, roles, topics = table
    lost, losing = 0, 0
    for _ in range(tries):
        one = _below(random, len(circle))
        # One in eight is a move.
        other = _below(random, len(circle)) if _below(random, 8) else NOBODY
        to = circle[other] if other >= 0 else _below(random, len(known) - 1)
        if to == circle[one] or person[one, STAYS] or (other >= 0 and person[other, STAYS]):
            continue
        if other >= 0:
            gain = _swap_gain(
                likes,
                person,
                needs,
                share,
                rules,
                circle,
                known,
                link,
                gives,
                own,
                teams,
                roles,
                one,
                other,
            )
        else:
            gain = _move_gain(
                person,
                needs,
                share,
                rules,
                circle,
                known,
                link,
                gives,
                own,
                teams,
                roles,
                one,
                to,
            )
        # A member more shares the ground that is there.
        chance = known[circle[one], CHANCE] + known[to, CHANCE] + SHARES * rules[GROUND]
        if rules[GROUND] and gain + chance > -threshold:
            gain += _ground_gain(has, rules, circle, known, topics, one, other, to)
        if gain > -threshold:
            _move(pool, table, one, other, to)
        elif gain > -rules[SHORT]:
            lost -= gain
            losing += 1
    return lost // max(1, losing)


@compiled
def _best_moves(pool: Pool, table: Table, people: Ints) -> bool:
    """Make the best change of each of some people; tell whether there was any.

    Who has no circle yet is best off in one, so this also places people.
    """
    gained = False
    for one in people:
        if not pool.person[one, STAYS]:
            gain, other, to = _best_swap(pool, table, one)
            moving, moving_to = _best_move(pool, table, one)
            if moving > gain:
                gain, other, to = moving, NOBODY, moving_to
            if gain > 0:
                _move(pool, table, one, other, to)
                gained = True
    return gained


@inner
def _best_swap(pool: Pool, table: Table, one: int) -> tuple[int, int, int]:
    """Return the gain of somebody's best swap, with whom, and where to."""
    likes, _, person, has, needs, share, rules = pool
    circle, known, link, gives, own, teams, roles, topics = table
    best, best_other, of = 0, NOBODY, circle[one]
    rate = np.zeros(len(known), dtype=np.int64)
    for to in range(len(known) - 1):
        rate[to] = share[known[to, SIZE]]
    mine = rate * link[:, one] + SHARES * gives[:, one]
    for other in range(len(circle)):
        to = circle[other]
        # Most are sorted out by this alone, which reads what lies side by side.
        gain = mine[to] - mine[of] - (rate[of] + rate[to]) * likes[one, other]
        gain += rate[of] * link[of, other] - rate[to] * own[other, 0]
        gain += SHARES * (gives[of, other] - own[other, 1])
        alike = person[one, ROLE] == person[other, ROLE]
        chance = known[of, CHANCE] + known[to, CHANCE]
        if (alike and gain + chance <= best) or to == of or person[other, STAYS]:
            continue
        gain = _swap_gain(
            likes,
            person,
            needs,
            share,
            rules,
            circle,
            known,
            link,
            gives,
            own,
            teams,
            roles,
            one,
            other,
        )
        if rules[GROUND] and gain + chance > best:
            gain += _ground_gain(has, rules, circle, known, topics, one, other, to)
        if gain > best:
            best, best_other = gain, other
    return best, best_other, circle[best_other]


@inner
def _best_move(pool: Pool, table: Table, one: int) -> tuple[int, int]:
    """Return the gain of somebody's best move, and where to."""
    _, _, person, has, needs, share, rules = pool
    circle, known, link, gives, own, teams, roles, topics = table
    best, best_to = 0, NOBODY
    for to in range(len(known) - 1):
        if to != circle[one]:
            gain = _move_gain(
                person,
                needs,
                share,
                rules,
                circle,
                known,
                link,
                gives,
                own,
                teams,
                roles,
                one,
                to,
            )
            if rules[GROUND] and gain > -FAR:
                gain += _ground_gain(has, rules, circle, known, topics, one, NOBODY, to)
            if gain > best:
                best, best_to = gain, to
    return best, best_to
