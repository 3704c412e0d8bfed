"""Pricing: exactly the pairs that pay, and a bound that nothing exceeds."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from services.matching import candidates, pricing
from services.matching.blocks import HIGHEST
from services.matching.board import Board
from services.matching.candidates import Candidates, Ints
from services.matching.pricing import Paying, Solved
from tests.support.pools import board_of, quiet, varied

small = settings(max_examples=60, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10_000)
NOBODY: tuple[Ints, Ints, Ints] = (np.zeros(0, dtype=np.int64),) * 3

# As objectives nest: any pair counts 30,000, one at or above 40 points of 100 another 20,000.
WORTH = np.arange(HIGHEST + 1) + 30_000 + 20_000 * (np.arange(HIGHEST + 1) >= 4000)


def pool(seed: int) -> tuple[Board, Candidates]:
    board = board_of(varied(9, 8, seed=seed))
    return board, candidates.find(board.blocks(), 2, NOBODY, step=quiet)


def whole(board: Board) -> Ints:
    """Return the score of every pair, -1 where a rule forbids it."""
    first, second = np.indices(board.shape)
    scores = board.scores(first.ravel(), second.ravel())
    scores[~board.allowed(first.ravel(), second.ravel())] = -1
    return scores.reshape(board.shape)


def invented(board: Board, seed: int) -> Solved:
    """Return prices that prove nothing, so that some pairs pay and some do not."""
    chance = np.random.default_rng(seed)
    first, second = board.shape
    return Solved(
        worth=WORTH,
        price_first=chance.integers(0, 40_000, first),
        price_second=chance.integers(0, 40_000, second),
        capacity_first=chance.integers(0, 3, first),
        capacity_second=chance.integers(0, 3, second),
    )


def plainly(
    board: Board, made: Candidates, solved: Solved, margin: int = 0
) -> dict[tuple[int, int], int]:
    """Return by how much every pair outside the candidates pays, one after the other."""
    inside = set(zip(made.rows.tolist(), made.columns.tolist(), strict=True))
    found = {}
    for (one, other), score in np.ndenumerate(whole(board)):
        if score < 0 or not solved.capacity_first[one] or not solved.capacity_second[other]:
            continue
        excess = int(WORTH[score] - solved.price_first[one] - solved.price_second[other])
        if excess > -margin and (one, other) not in inside:
            found[one, other] = excess
    return found


def pairs_of(paying: Paying) -> list[tuple[int, int]]:
    return list(zip(paying.first.tolist(), paying.second.tolist(), strict=True))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "ROWS", 4)
    monkeypatch.setattr(pricing, "COLUMNS", 3)


@small
@given(seed=SEEDS)
def test_pricing_finds_exactly_the_pairs_that_pay(seed: int) -> None:
    board, made = pool(seed)
    solved = invented(board, seed)
    expected = plainly(board, made, solved)

    found = pricing.paying(board.blocks(), made, solved, most=99, margin=0, step=quiet)

    assert pairs_of(found) == sorted(expected)
    assert found.count == len(expected)
    assert found.scores.tolist() == board.scores(found.first, found.second).tolist()


@small
@given(seed=SEEDS, margin=st.integers(1, 10_000))
def test_pairs_that_nearly_pay_are_returned_but_not_counted(seed: int, margin: int) -> None:
    board, made = pool(seed)
    solved = invented(board, seed)
    strictly = pricing.paying(board.blocks(), made, solved, most=99, margin=0, step=quiet)

    found = pricing.paying(board.blocks(), made, solved, most=99, margin=margin, step=quiet)

    assert pairs_of(found) == sorted(plainly(board, made, solved, margin))
    assert (found.count, found.excess) == (strictly.count, strictly.excess)


@small
@given(seed=SEEDS, most=st.integers(1, 3))
def test_of_many_the_best_of_each_row_are_returned(seed: int, most: int) -> None:
    board, made = pool(seed)
    solved = invented(board, seed)
    expected = plainly(board, made, solved)

    found = pricing.paying(board.blocks(), made, solved, most=most, margin=0, step=quiet)

    assert found.count == len(expected)
    for row in range(board.shape[0]):
        ranked = sorted(
            (excess for (one, _), excess in expected.items() if one == row), reverse=True
        )
        kept = sorted((expected[pair] for pair in pairs_of(found) if pair[0] == row), reverse=True)
        assert kept == ranked[:most]


def best_of(weights: Ints, allowed: Any, solved: Solved) -> tuple[int, Ints, Ints]:
    """Return the best total over some pairs, and the prices that prove it (linear program)."""
    rows, columns = np.nonzero(allowed)
    size = sum(weights.shape)
    taken = np.zeros((size, len(rows)))
    taken[rows, np.arange(len(rows))] = 1
    taken[weights.shape[0] + columns, np.arange(len(rows))] = 1
    room = np.concatenate([solved.capacity_first, solved.capacity_second])
    answer = linprog(-weights[rows, columns], A_ub=taken, b_ub=room, bounds=(0, 1))
    prices = np.rint(-answer.ineqlin.marginals).astype(np.int64)
    return round(-answer.fun), prices[: weights.shape[0]], prices[weights.shape[0] :]


@small
@given(seed=SEEDS)
def test_no_solution_exceeds_the_bound_and_none_paying_means_none_better(seed: int) -> None:
    board, made = pool(seed)
    room = invented(board, seed)
    scores = whole(board)
    inside = np.zeros(board.shape, dtype=bool)
    inside[made.rows, made.columns] = True
    weights = WORTH[np.maximum(scores, 0)]
    dual, first, second = best_of(weights, inside, room)
    best, _, _ = best_of(weights, scores >= 0, room)
    solved = Solved(WORTH, first, second, room.capacity_first, room.capacity_second)

    found = pricing.paying(board.blocks(), made, solved, most=99, margin=0, step=quiet)

    assert dual <= best <= dual + found.excess
    assert found.count or best == dual


@small
@given(seed=SEEDS)
def test_adding_what_pays_until_nothing_does_ends_at_the_best(seed: int) -> None:
    board, made = pool(seed)
    room = invented(board, seed)
    scores = whole(board)
    weights = WORTH[np.maximum(scores, 0)]
    while True:
        inside = np.zeros(board.shape, dtype=bool)
        inside[made.rows, made.columns] = True
        dual, first, second = best_of(weights, inside, room)
        solved = Solved(WORTH, first, second, room.capacity_first, room.capacity_second)
        found = pricing.paying(board.blocks(), made, solved, most=1, margin=0, step=quiet)
        if not found.count:
            break
        made = made.with_pairs(found.first, found.second, found.scores)

    assert dual == best_of(weights, scores >= 0, room)[0]


def test_rows_without_reach_are_not_even_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    board, made = pool(1)
    dear = Solved(WORTH, *(np.full(count, 70_000) for count in (9, 8, 9, 8)))
    monkeypatch.setattr(pricing, "_find", None)

    found = pricing.paying(board.blocks(), made, dear, most=9, margin=0, step=quiet)

    assert (found.count, found.excess) == (0, 0)


def test_a_search_can_be_ended_at_any_block() -> None:
    board, made = pool(1)
    free = Solved(WORTH, *(np.full(count, 1) for count in (9, 8, 9, 8)))

    def step(_phase: str, done: int, _total: int) -> None:
        if done:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        pricing.paying(board.blocks(), made, free, most=9, margin=0, step=step)
