"""Changes of a market against solving it anew; batches, forced pairs, alternatives, refusals."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from services.matching.kernel.market import (
    Change,
    Join,
    Leave,
    Market,
    Resize,
    Side,
    Weigh,
)
from services.matching.kernel.problem import (
    MAX_WEIGHT,
    InvalidProblemError,
    NotOptimalError,
    Problem,
    TooLargeError,
)
from services.matching.kernel.sparse import solve
from tests.support import markets

HEAVIEST = 12


def market(rows: int, columns: int, *, seed: int, degree: int = 5, most: int = 3) -> Market:
    """Return a market with many equal weights, and with people who have no room."""
    return Market(
        markets.problem_of(
            markets.uniform(rows, columns, degree=degree, most=HEAVIEST, seed=seed),
            markets.rooms(rows, 0, most, seed=seed),
            markets.rooms(columns, 0, most, seed=seed + 1),
        )
    )


class Chance:
    """Changes at random, and who is still there to be changed."""

    def __init__(self, market: Market, *, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.here = [list(range(market.size(side))) for side in Side]

    def change(self) -> Change:
        """Return some change."""
        side = self.random.choice(list(Side))
        kind = self.random.choice(["join", "leave", "resize", "weigh", "weigh", "weigh"])
        if kind == "join" and len(self.here[side]) < 40:
            return self.join(side)
        if kind == "leave" and len(self.here[side]) > 10:
            place = self.random.choice(self.here[side])
            self.here[side].remove(place)
            return Leave(side, place)
        if kind == "resize":
            return Resize(side, self.random.choice(self.here[side]), self.random.randrange(4))
        row, column = map(self.random.choice, self.here)
        return Weigh(row, column, self.random.choice([0, 0, *range(HEAVIEST)]))

    def join(self, side: Side) -> Join:
        """Return somebody new with up to six edges."""
        across = self.here[side.other]
        others = sorted(self.random.sample(across, self.random.randrange(min(7, len(across)))))
        weights = [self.random.randint(1, HEAVIEST) for _ in others]
        return Join(side, self.random.randrange(4), others, weights)

    def note(self, changes: list[Change], joined: list[int]) -> None:
        """Note the places of those who came."""
        sides = [change.side for change in changes if isinstance(change, Join)]
        for side, place in zip(sides, joined, strict=True):
            self.here[side].append(place)


@pytest.mark.parametrize("seed", range(8))
def test_stays_optimal_change_by_change(seed: int) -> None:
    changing = market(30, 20, seed=seed)
    chance = Chance(changing, seed=seed)

    for step in range(300):
        change = chance.change()
        chance.note([change], changing.apply(change))
        changing.check()
        if step % 20 == 0:
            assert changing.total == solve(changing.problem()).primal


@pytest.mark.parametrize("seed", range(4))
def test_stays_optimal_among_many(seed: int) -> None:
    changing = Market(markets.SHAPES["alike, room 1-3 on both sides"](400))
    chance = random.Random(seed)  # noqa: S311 - no secret

    for _ in range(40):
        row, column = chance.randrange(200), chance.randrange(200)
        changing.apply(Weigh(row, column, chance.randrange(5_000, 10_000)))
        changing.apply(Resize(Side.COLUMNS, column, chance.randrange(4)))
        changing.check()

    assert changing.total == markets.by_flow(changing.problem())


@pytest.mark.parametrize("seed", range(12))
def test_stays_optimal_batch_by_batch(seed: int) -> None:
    """Several who hold the same person are asked at once: the case that once went wrong."""
    changing = market(24, 8, seed=seed, most=5)
    chance = Chance(changing, seed=seed)

    for _ in range(12):
        changes = [chance.change() for _ in range(10)]
        gone = {(one.side, one.place) for one in changes if isinstance(one, Leave)}
        kept = [change for change in changes if not _is_about(change, gone)]
        chance.note(kept, changing.apply(*kept))
        changing.check()
        assert changing.total == solve(changing.problem()).primal


def _is_about(change: Change, gone: set[tuple[Side, int]]) -> bool:
    """Tell whether a change is about somebody who leaves in the same batch."""
    match change:
        case Leave():
            return False
        case Weigh():
            return (Side.ROWS, change.row) in gone or (Side.COLUMNS, change.column) in gone
        case Resize():
            return (change.side, change.place) in gone
        case Join():
            return any((change.side.other, other) in gone for other in change.others)


def test_fills_many_places_at_once() -> None:
    changing = market(40, 6, seed=3, degree=6, most=1)

    changing.apply(*[Resize(Side.COLUMNS, column, 6) for column in range(6)])
    changing.apply(*[Resize(Side.ROWS, row, 2) for row in range(40)])

    changing.check()
    assert changing.total == markets.by_flow(changing.problem())


def test_empties_and_fills_again() -> None:
    changing = market(12, 12, seed=4)
    before = changing.total
    rooms = changing.problem().first.tolist()

    changing.apply(*[Resize(Side.ROWS, row, 0) for row in range(12)])
    assert changing.total == 0
    assert changing.pairs() == []

    changing.apply(*[Resize(Side.ROWS, row, room) for row, room in enumerate(rooms)])
    assert changing.total == before


def test_grows_from_nothing() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    empty = Problem(np.zeros(1, np.int64), np.zeros(0, np.int32), nothing, nothing, nothing)
    changing = Market(empty)

    for _ in range(100):
        (column,) = changing.apply(Join(Side.COLUMNS, 1, [], []))
        changing.apply(Join(Side.ROWS, 1, list(range(column + 1)), list(range(1, column + 2))))

    changing.check()
    assert changing.total == solve(changing.problem()).primal
    assert changing.size(Side.ROWS) == changing.size(Side.COLUMNS) == 100


def test_answers_equal_changes_equally() -> None:
    one, other = market(30, 20, seed=6), market(30, 20, seed=6)
    chance = Chance(one, seed=6)

    for _ in range(60):
        change = chance.change()
        chance.note([change], one.apply(change))
        other.apply(change)

    assert one.pairs() == other.pairs()
    for side in Side:
        assert one.prices(side).tolist() == other.prices(side).tolist()


def forced(problem: Problem, row: int, column: int) -> int:
    """Return the best total with a pair set, solved anew without it and its places."""
    weights = markets.dense(problem)
    weight = int(weights[row, column])
    weights[row, column] = 0
    first, second = problem.first.copy(), problem.second.copy()
    first[row] -= 1
    second[column] -= 1
    return weight + solve(markets.from_dense(weights, first, second)).primal


@pytest.mark.parametrize("seed", range(4))
def test_tells_what_forcing_a_pair_would_do(seed: int) -> None:
    asked = market(30, 20, seed=seed)
    problem, pairs = asked.problem(), asked.pairs()
    rows = np.repeat(np.arange(30), problem.degrees)

    for row, column in zip(rows.tolist(), problem.columns.tolist(), strict=True):
        answer = asked.what_if(row, column)
        if not problem.first[row] or not problem.second[column]:
            assert answer is None
            continue
        assert answer is not None
        assert answer.change == forced(problem, row, column) - asked.total
        moved = (set(pairs) | set(answer.gained)) - set(answer.lost)
        weights = [markets.weight_of(problem, *one) or 0 for one in moved]
        assert sum(weights) == asked.total + answer.change
        assert (row, column) in moved
        assert set(answer.gained).isdisjoint(pairs)
        assert set(answer.lost) <= set(pairs)


def test_is_as_it_was_after_being_asked() -> None:
    asked, untouched = market(30, 20, seed=7), market(30, 20, seed=7)
    problem = asked.problem()
    rows = np.repeat(np.arange(30), problem.degrees)

    for row, column in zip(rows.tolist(), problem.columns.tolist(), strict=True):
        asked.what_if(row, column)
    asked.apply(Leave(Side.COLUMNS, 3))
    untouched.apply(Leave(Side.COLUMNS, 3))

    asked.check()
    assert asked.pairs() == untouched.pairs()
    assert asked.prices(Side.ROWS).tolist() == untouched.prices(Side.ROWS).tolist()
    assert asked.prices(Side.COLUMNS).tolist() == untouched.prices(Side.COLUMNS).tolist()


def test_does_not_force_what_is_not_allowed() -> None:
    asked = market(6, 6, seed=1, degree=1)
    problem = asked.problem()
    row, column = np.argwhere(markets.dense(problem) == 0)[0].tolist()

    with pytest.raises(InvalidProblemError):
        asked.what_if(row, column)


@pytest.mark.parametrize("side", Side)
def test_names_the_nearest_alternatives(side: Side) -> None:
    asked = market(30, 20, seed=8)
    prices = {one: asked.prices(one).tolist() for one in Side}
    problem, pairs = asked.problem(), set(asked.pairs())

    found = asked.alternatives(side, 4, limit=3)

    costs = []
    for other in range(asked.size(side.other)):
        ends = (4, other) if side is Side.ROWS else (other, 4)
        weight = markets.weight_of(problem, *ends)
        if weight is not None and ends not in pairs:
            costs.append((prices[side][4] + prices[side.other][other] - weight, other))
    assert [(cost, other) for other, cost in found] == sorted(costs)[:3]


def test_an_alternative_costs_no_less_than_it_says() -> None:
    asked = market(30, 20, seed=9)

    for column, cost in asked.alternatives(Side.ROWS, 2, limit=5):
        answer = asked.what_if(2, column)
        assert answer is None or -answer.change >= cost


def test_goes_on_after_it_was_ended() -> None:
    changing = market(30, 20, seed=10)
    changes = [Resize(Side.COLUMNS, column, 3) for column in range(20)]

    def step(_done: int, _total: int) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        changing.apply(*changes, step=step)
    changing.apply()

    changing.check()
    assert changing.total == solve(changing.problem()).primal


@pytest.mark.parametrize(
    "change",
    [
        Leave(Side.ROWS, 30),
        Leave(Side.COLUMNS, -1),
        Resize(Side.ROWS, 0, -1),
        Weigh(0, 20, 1),
        Weigh(0, 0, -1),
        Join(Side.ROWS, -1, [], []),
        Join(Side.ROWS, 1, [1, 1], [1, 1]),
        Join(Side.ROWS, 1, [2, 1], [1, 1]),
        Join(Side.ROWS, 1, [20], [1]),
        Join(Side.ROWS, 1, [1], [0]),
        Join(Side.ROWS, 1, [1], []),
    ],
    ids=str,
)
def test_refuses_a_change_that_is_not_possible(change: Change) -> None:
    changing = market(30, 20, seed=11)
    before = changing.pairs()

    with pytest.raises(InvalidProblemError):
        changing.apply(change)

    changing.check()
    assert changing.pairs() == before


def test_refuses_who_left() -> None:
    changing = market(30, 20, seed=12)
    changing.apply(Leave(Side.ROWS, 5))

    with pytest.raises(InvalidProblemError):
        changing.apply(Resize(Side.ROWS, 5, 1))


@pytest.mark.parametrize("weight", [MAX_WEIGHT + 1, MAX_WEIGHT])
def test_refuses_what_could_overflow(weight: int) -> None:
    changing = market(30, 20, seed=13)

    with pytest.raises(TooLargeError):
        changing.apply(Weigh(0, 0, weight))

    changing.check()
    assert changing.total == solve(changing.problem()).primal


def break_a_price(market: Market) -> None:
    market._halves[Side.ROWS].book.price[0] += 1


def break_the_total(market: Market) -> None:
    market._edges.total[0] += 1


@pytest.mark.parametrize("damage", [break_a_price, break_the_total])
def test_notices_what_is_wrong(damage: Callable[[Market], None]) -> None:
    changing = market(30, 20, seed=14)
    damage(changing)

    with pytest.raises(NotOptimalError):
        changing.check()
