"""The exact solver against trying everything, SciPy and OR-Tools; what it refuses; its order."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from services.matching.kernel import proof
from services.matching.kernel.problem import (
    MAX_WEIGHT,
    InvalidProblemError,
    NotOptimalError,
    Problem,
    TooLargeError,
)
from services.matching.kernel.sparse import Assignment, solve
from tests.support import markets

small = settings(max_examples=300, deadline=None, derandomize=True)


@st.composite
def problems(draw: st.DrawFn, heaviest: int = 6) -> Problem:
    """Return small problems of every shape, those that are empty included."""
    rows, columns = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    weight = st.integers(1, heaviest) | st.just(0)
    row = st.lists(weight, min_size=columns, max_size=columns)
    matrix = draw(st.lists(row, min_size=rows, max_size=rows))
    capacity = st.integers(0, 3)
    first = draw(st.lists(capacity, min_size=rows, max_size=rows))
    second = draw(st.lists(capacity, min_size=columns, max_size=columns))
    return markets.from_dense(
        np.array(matrix, dtype=np.int64).reshape(rows, columns),
        np.array(first, dtype=np.int64),
        np.array(second, dtype=np.int64),
    )


def assert_consistent(problem: Problem, found: Assignment) -> None:
    """Assert what the answer says of itself, counted in another way than the solver does."""
    rows = np.repeat(np.arange(len(problem.first)), problem.degrees)
    used = np.bincount(rows[found.taken], minlength=len(problem.first))
    used_second = np.bincount(problem.columns[found.taken], minlength=len(problem.second))
    surplus = problem.weights - found.first_prices[rows] - found.second_prices[problem.columns]
    dual = (
        (problem.first * found.first_prices).sum()
        + (problem.second * found.second_prices).sum()
        + np.maximum(0, surplus[found.taken]).sum()
    )
    assert (used <= problem.first).all()
    assert (used_second <= problem.second).all()
    assert found.first_prices.min(initial=0) >= 0
    assert found.second_prices.min(initial=0) >= 0
    assert surplus[~found.taken].max(initial=0) <= 0
    assert found.primal == found.dual == dual == problem.weights[found.taken].sum()


@small
@given(problem=problems())
def test_equals_trying_everything(problem: Problem) -> None:
    found = solve(problem)

    assert found.primal == markets.by_trying(problem)
    assert_consistent(problem, found)


@small
@given(problem=problems(heaviest=MAX_WEIGHT // 16))
def test_equals_trying_everything_where_weights_are_huge(problem: Problem) -> None:
    found = solve(problem)

    assert found.primal == markets.by_trying(problem)
    assert_consistent(problem, found)


@pytest.mark.parametrize("seed", range(12))
def test_equals_scipy(seed: int) -> None:
    chance = np.random.default_rng(seed)
    rows, columns = chance.integers(1, 120, 2)
    weights = chance.integers(1, (10, 10_000)[seed % 2], (rows, columns))
    ones = np.ones(rows, dtype=np.int64), np.ones(columns, dtype=np.int64)

    found = solve(markets.from_dense(weights, *ones))

    best = linear_sum_assignment(weights, maximize=True)
    assert found.primal == weights[best].sum()


@pytest.mark.parametrize("shape", markets.SHAPES)
def test_equals_a_minimum_cost_flow(shape: str) -> None:
    problem = markets.SHAPES[shape](600)

    found = solve(problem)

    assert found.primal == markets.by_flow(problem)
    assert_consistent(problem, found)


def nested(*, seed: int) -> Problem:
    """Return a problem whose weights say first how many, then how good."""
    rows, columns, weights = markets.alike(300, 100, degree=20, seed=seed)
    first, second = (markets.rooms(size, 1, 4, seed=seed) for size in (300, 100))
    return markets.problem_of((rows, columns, 10**14 + weights), first, second)


def test_equals_a_minimum_cost_flow_where_objectives_are_nested() -> None:
    problem = nested(seed=5)

    found = solve(problem)

    # OR-Tools multiplies costs by the number of nodes, so it is asked for both levels apart.
    most = Problem(
        problem.starts,
        problem.columns,
        np.ones_like(problem.weights),
        problem.first,
        problem.second,
    )
    assert found.taken.sum() == markets.by_flow(most)
    assert_consistent(problem, found)


def test_answers_an_equal_problem_equally() -> None:
    problem = markets.SHAPES["equal weights, room 1-5, tight"](400)

    one, other = solve(problem), solve(problem)

    assert one.taken.tobytes() == other.taken.tobytes()
    assert one.first_prices.tobytes() == other.first_prices.tobytes()
    assert one.second_prices.tobytes() == other.second_prices.tobytes()


@pytest.mark.parametrize("seed", range(5))
def test_finds_the_same_total_in_any_order(seed: int) -> None:
    problem = markets.SHAPES["equal weights, room 1-5, tight"](300)

    found = solve(markets.permuted(problem, seed=seed))

    assert found.primal == solve(problem).primal


def test_leaves_a_problem_as_it_is() -> None:
    problem = markets.SHAPES["alike, room 1-3 on both sides"](300)
    before = copy.deepcopy(problem)

    solve(problem)

    assert problem.starts.tolist() == before.starts.tolist()
    assert problem.columns.tolist() == before.columns.tolist()
    assert problem.weights.tolist() == before.weights.tolist()
    assert problem.first.tolist() == before.first.tolist()
    assert problem.second.tolist() == before.second.tolist()


def test_tells_progress() -> None:
    told: list[tuple[int, int]] = []

    solve(
        markets.SHAPES["alike, one to one, tight"](500),
        step=lambda done, total: told.append((done, total)),
    )

    assert told == sorted(told)
    assert told[-1][0] <= told[-1][1]


def test_ends_when_told_to() -> None:
    calls = 0

    def step(_done: int, _total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        solve(markets.SHAPES["alike, one to one, tight"](500), step=step)


def pair(weight: int, *, first: int = 1, second: int = 1) -> Problem:
    """Return a problem of one pair."""
    return Problem(
        starts=np.array([0, 1]),
        columns=np.array([0], dtype=np.int32),
        weights=np.array([weight]),
        first=np.array([first]),
        second=np.array([second]),
    )


def row_of(weights: list[int], *, first: int, second: list[int]) -> Problem:
    """Return a problem of one row that may have all columns."""
    return markets.from_dense(np.array([weights]), np.array([first]), np.array(second))


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(0, 0), (0, 3), (3, 0), (3, 3)],
    ids=["nobody", "no rows", "no columns", "nobody is allowed"],
)
def test_takes_nothing_where_there_is_no_pair(rows: int, columns: int) -> None:
    nothing = np.zeros((rows, columns), dtype=np.int64)
    problem = markets.from_dense(nothing, np.ones(rows, np.int64), np.ones(columns, np.int64))

    found = solve(problem)

    assert found.primal == found.dual == 0
    assert found.taken.tolist() == []
    assert found.first_prices.tolist() == [0] * rows
    assert found.second_prices.tolist() == [0] * columns


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (0, 0)])
def test_takes_nothing_without_capacity(first: int, second: int) -> None:
    problem = pair(5, first=first, second=second)

    found = solve(problem)

    assert found.primal == 0
    assert_consistent(problem, found)


def test_takes_the_one_pair_there_is() -> None:
    assert solve(pair(5)).taken.tolist() == [True]


def test_takes_a_pair_once_whatever_room_there_is() -> None:
    assert solve(pair(5, first=3, second=4)).primal == 5


def test_gives_one_row_the_best_of_many_columns() -> None:
    problem = row_of(list(range(1, 501)), first=3, second=[1] * 500)

    found = solve(problem)

    assert found.primal == 498 + 499 + 500
    assert_consistent(problem, found)


def test_skips_columns_without_capacity() -> None:
    assert solve(row_of([9, 5, 7], first=1, second=[0, 1, 1])).primal == 7


def test_takes_the_largest_weight() -> None:
    assert solve(pair(MAX_WEIGHT)).primal == MAX_WEIGHT


def test_refuses_a_weight_that_is_too_large() -> None:
    with pytest.raises(TooLargeError):
        pair(MAX_WEIGHT + 1)


def test_refuses_a_sum_that_is_too_large() -> None:
    many = 2**63 // MAX_WEIGHT
    diagonal = np.diag(np.full(many, MAX_WEIGHT))
    ones = np.ones(many, dtype=np.int64)

    with pytest.raises(TooLargeError):
        markets.from_dense(diagonal, ones, ones)


@pytest.mark.parametrize(
    ("starts", "columns", "weights"),
    [
        ([0, 2], [1, 0], [1, 1]),
        ([0, 2], [0, 0], [1, 1]),
        ([0, 1], [2], [1]),
        ([0, 1], [-1], [1]),
        ([0, 1], [0], [0]),
        ([0, 1], [0], [-5]),
        ([0, 2], [0], [1]),
        ([1, 1], [], []),
        ([0], [], []),
        ([0, 1], [0], [1, 1]),
    ],
    ids=[
        "columns fall",
        "a pair twice",
        "no such column",
        "a column below zero",
        "weight zero",
        "weight below zero",
        "starts beyond the pairs",
        "starts not at zero",
        "a row without a start",
        "too many weights",
    ],
)
def test_refuses_arrays_that_contradict_each_other(
    starts: list[int], columns: list[int], weights: list[int]
) -> None:
    with pytest.raises(InvalidProblemError):
        Problem(
            starts=np.array(starts, dtype=np.int64),
            columns=np.array(columns, dtype=np.int32),
            weights=np.array(weights, dtype=np.int64),
            first=np.array([1]),
            second=np.array([1, 1]),
        )


def test_refuses_a_capacity_below_zero() -> None:
    with pytest.raises(InvalidProblemError):
        pair(1, first=-1)


def test_refuses_other_types() -> None:
    with pytest.raises(InvalidProblemError):
        Problem(
            starts=np.array([0, 0]),
            columns=np.array([], dtype=np.int64),
            weights=np.array([], dtype=np.int64),
            first=np.array([1]),
            second=np.array([1]),
        )


@pytest.mark.parametrize(
    ("taken", "first", "second", "room"),
    [(1, 3, 3, 1), (0, 3, 2, 1), (0, 0, 0, 1), (1, -1, 6, 1), (1, 5, 0, 0)],
    ids=["too dear", "room left", "outweighed", "below zero", "no room"],
)
def test_proves_nothing_that_is_not_optimal(taken: int, first: int, second: int, room: int) -> None:
    with pytest.raises(NotOptimalError):
        proof.prove(
            pair(5, first=room),
            np.array([taken], dtype=np.uint8),
            np.array([first]),
            np.array([second]),
        )
