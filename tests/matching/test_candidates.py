"""Candidates: exactly everybody's best on either side, whatever the shape of the pool."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching import blocks, candidates
from services.matching.board import Board
from services.matching.candidates import Candidates, Ints
from tests.support.pools import board_of, problem, quiet, varied

small = settings(max_examples=60, deadline=None, derandomize=True)
SIZES, SEEDS = st.integers(0, 9), st.integers(0, 10_000)

NOBODY: tuple[Ints, Ints, Ints] = (np.zeros(0, dtype=np.int64),) * 3


def whole(board: Board) -> list[list[int]]:
    """Return the score of every pair, -1 where a rule forbids it."""
    first, second = np.indices(board.shape)
    scores = board.scores(first.ravel(), second.ravel())
    scores[~board.allowed(first.ravel(), second.ravel())] = -1
    return scores.reshape(board.shape).tolist()


def best(row: list[int], most: int) -> set[int]:
    """Return the places of the best, the earlier of equals first."""
    ranked = sorted((place for place, score in enumerate(row) if score >= 0), key=lambda p: -row[p])
    return set(ranked[:most])


def found(made: Candidates) -> dict[tuple[int, int], int]:
    pairs = zip(made.rows.tolist(), made.columns.tolist(), strict=True)
    return dict(zip(pairs, made.scores.tolist(), strict=True))


@small
@given(mentors=SIZES, mentees=SIZES, most=st.integers(1, 6), seed=SEEDS)
def test_candidates_are_the_best_of_rows_and_of_columns(
    mentors: int, mentees: int, most: int, seed: int
) -> None:
    board = board_of(varied(mentors, mentees, seed=seed))
    scores = whole(board)
    across = [[row[place] for row in scores] for place in range(mentees)]
    expected = {(one, other) for one, row in enumerate(scores) for other in best(row, most)}
    expected |= {(one, other) for other, row in enumerate(across) for one in best(row, most)}

    made = candidates.find(board.blocks(), most, NOBODY, step=quiet)

    assert found(made) == {(one, other): scores[one][other] for one, other in expected}
    assert list(found(made)) == sorted(expected)


@small
@given(seed=SEEDS, most=st.integers(1, 6))
def test_what_is_left_out_is_no_better_than_the_rest(seed: int, most: int) -> None:
    board = board_of(varied(8, 7, seed=seed))
    scores = whole(board)

    made = candidates.find(board.blocks(), most, NOBODY, step=quiet)

    for one, row in enumerate(scores):
        for other, score in enumerate(row):
            if score >= 0 and (one, other) not in found(made):
                assert score <= min(made.rest_first[one], made.rest_second[other])


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (50, 50)])
def test_the_size_of_blocks_changes_nothing(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = board_of(varied(40, 45))
    expected = found(candidates.find(board.blocks(), 4, NOBODY, step=quiet))

    monkeypatch.setattr(candidates, "ROWS", size[0])
    monkeypatch.setattr(candidates, "COLUMNS", size[1])

    assert found(candidates.find(board.blocks(), 4, NOBODY, step=quiet)) == expected


def by_id(board: Board, made: Candidates) -> dict[tuple[str, str], int]:
    return {
        (board.first.ids[one], board.second.ids[other]): score
        for (one, other), score in found(made).items()
    }


@small
@given(seed=SEEDS, order=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(seed: int, order: Any) -> None:
    values = varied(6, 7, seed=seed)
    rows = list(range(13))
    order.shuffle(rows)
    moved = {row: place for place, row in enumerate(rows)}

    def shuffled(table: dict[str, Any]) -> dict[str, Any]:
        return {name: [column[row] for row in rows] for name, column in table.items()}

    people = {name: one for name, one in values["participants"].items() if name != "attributes"}
    other = {
        **values,
        "participants": {
            **shuffled(people),
            "attributes": shuffled(values["participants"]["attributes"]),
        },
        "places": {
            **values["places"],
            "participant": [moved[row] for row in values["places"]["participant"]],
        },
    }
    boards = [board_of(values), board_of(other)]

    made = [candidates.find(board.blocks(), 2, NOBODY, step=quiet) for board in boards]

    assert by_id(boards[0], made[0]) == by_id(boards[1], made[1])


def test_of_equals_the_earlier_ones_are_taken() -> None:
    values = problem(mentors=5, mentees=5)
    values["policy"]["soft"] = []

    made = candidates.find(board_of(values).blocks(), 1, NOBODY, step=quiet)

    assert set(found(made)) == {(one, 0) for one in range(5)} | {(0, one) for one in range(5)}


def test_named_pairs_are_candidates_whatever_they_score() -> None:
    board = board_of(problem(mentors=9, mentees=9))
    scores = np.array(whole(board))
    worst = np.argmin(scores, axis=1)
    rows = np.arange(9)

    made = candidates.find(board.blocks(), 1, (rows, worst, scores[rows, worst]), step=quiet)

    assert {(one, int(other)) for one, other in enumerate(worst)} <= set(found(made))


def test_further_pairs_find_their_place() -> None:
    board = board_of(problem(mentors=6, mentees=6))
    few, all_of_them = (
        candidates.find(board.blocks(), most, NOBODY, step=quiet) for most in (1, 6)
    )
    missing = sorted(set(found(all_of_them)) - set(found(few)))
    first, second = (np.array(side) for side in zip(*missing, strict=True))

    made = few.with_pairs(first, second, board.scores(first, second))

    assert found(made) == found(all_of_them)
    assert made.starts.tolist() == all_of_them.starts.tolist()


@pytest.mark.parametrize(
    ("seats", "wanted", "expected"),
    [([1] * 4, None, 128), ([2] * 4, None, 64), ([1, 1, 1, 3], None, 64), ([1] * 4, 7, 7)],
)
def test_more_candidates_are_needed_where_places_are_short(
    seats: list[int], wanted: int | None, expected: int
) -> None:
    values = problem(mentors=4, mentees=4, seats=seats)
    values["policy"]["limits"] = {"max_candidates": wanted}

    assert candidates.how_many(board_of(values)) == expected


@pytest.mark.parametrize("is_first", [True, False])
def test_rules_tell_how_many_with_a_place_they_keep_from_somebody(is_first: bool) -> None:  # noqa: FBT001
    board = board_of(varied(6, 7))
    side, others = (board.first, board.second) if is_first else (board.second, board.first)
    others.capacity[::3] = 0
    there = np.flatnonzero(others.capacity)
    places = np.array([len(side.ids) - 1, 0, 2])

    counts = candidates.kept_apart(board, places, is_first=is_first)

    for judged, row in zip(board.hard, counts.tolist(), strict=True):
        for place, count in zip(places, row, strict=True):
            here = np.full(len(there), place)
            sides = (here, there) if is_first else (there, here)
            assert count == judged.apart.pairs(*sides).sum()


@pytest.mark.parametrize("is_first", [True, False])
def test_those_allowed_are_counted_who_have_room(is_first: bool) -> None:  # noqa: FBT001
    board = board_of(varied(6, 7))
    scores = np.array(whole(board))
    is_allowed = scores >= 0 if is_first else (scores >= 0).T
    has_room = np.arange(is_allowed.shape[1]) % 3 > 0

    counts = candidates.count_allowed(board.blocks(), has_room, is_first=is_first)

    assert counts.tolist() == (is_allowed & has_room).sum(axis=1).tolist()


def refusing(after: int) -> Callable[[str, int, int], None]:
    def step(_phase: str, done: int, _total: int) -> None:
        if done >= after:
            raise TimeoutError

    return step


def test_a_search_can_be_ended_at_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "ROWS", 2)

    with pytest.raises(TimeoutError):
        candidates.find(board_of(problem()).blocks(), 1, NOBODY, step=refusing(2))


def test_scores_never_leave_sixteen_bits() -> None:
    values = problem(mentors=2, mentees=2)
    values["participants"]["department"] = ["law"] * 4
    rule = {"rule": "attribute_equal", "params": {"attribute": "department"}, "weight": 1}
    values["policy"]["soft"] = [rule] * 50

    board = board_of(values)

    assert board.blocks().block(slice(0, 2), slice(0, 2)).tolist() == [[10_000] * 2] * 2
    assert blocks.points(np.array([10_000]), 1, 50).tolist() == [200]
