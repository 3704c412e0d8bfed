"""Deferred acceptance: stable by trying every pair, equal to the package `matching`."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching.kernel import stable
from services.matching.kernel.compiling import Ints, Mask
from services.matching.kernel.stable import Lists, Market
from services.matching.kernel.terms import ImpossibleLockError, Why

small = settings(max_examples=150, deadline=None, derandomize=True)
SEEDS = st.integers(0, 100_000)


def lists_of(ranked: list[list[int]]) -> Lists:
    sizes = np.array([0, *map(len, ranked)])
    return Lists(np.cumsum(sizes), np.array(list(itertools.chain(*ranked)), dtype=np.int32))


def some_lists(chance: np.random.Generator, one: int, other: int) -> list[list[int]]:
    """Return lists of random length and order."""
    return [chance.permutation(other)[: chance.integers(0, other + 1)].tolist() for _ in range(one)]


def ranked_by(lists: list[list[int]], others: int) -> Ints:
    """Return wishes: more for better ranks, 0 for who is not listed."""
    wishes = np.zeros((len(lists), others), dtype=np.int64)
    for one, ranked in enumerate(lists):
        wishes[one, ranked] = np.arange(len(ranked), 0, -1)
    return wishes


def blocking_by_hand(
    allowed: Mask, wish: tuple[Ints, Ints], pairs: Ints, places: Ints, seats: Ints
) -> int:
    """Count the blocking pairs of a choice by the definition; ties go to whoever stands first."""
    taken = {(one, other) for one, other in pairs.tolist()}
    found = 0
    for one, other in itertools.product(range(len(places)), range(len(seats))):
        if not allowed[one, other] or (one, other) in taken:
            continue
        mine = sorted((-wish[0][one, held], held) for by, held in taken if by == one)
        theirs = sorted((-wish[1][by, other], by) for by, held in taken if held == other)
        wants = len(mine) < places[one] or [(-wish[0][one, other], other)] < mine[-1:]
        likes = len(theirs) < seats[other] or [(-wish[1][one, other], one)] < theirs[-1:]
        found += wants and likes
    return found


@small
@given(seed=SEEDS, one=st.integers(0, 7), other=st.integers(0, 7))
def test_lists_of_both_sides_give_a_stable_choice(seed: int, one: int, other: int) -> None:
    chance = np.random.default_rng(seed)
    mine, theirs = some_lists(chance, one, other), some_lists(chance, other, one)
    places, seats = chance.integers(0, 4, one), chance.integers(0, 4, other)
    wish = ranked_by(mine, other), ranked_by(theirs, one).T
    allowed = (wish[0] > 0) & (wish[1] > 0)

    found = stable.defer(stable.from_lists(lists_of(mine), lists_of(theirs)), places, seats)

    assert all(allowed[tuple(pair)] for pair in found.pairs)
    assert (np.bincount(found.pairs[:, 0], minlength=one) <= places).all()
    assert (np.bincount(found.pairs[:, 1], minlength=other) <= seats).all()
    assert len(np.unique(found.pairs, axis=0)) == len(found.pairs)
    assert found.blocking == 0
    assert blocking_by_hand(allowed, wish, found.pairs, places, seats) == 0


@small
@given(seed=SEEDS, one=st.integers(0, 6), other=st.integers(0, 6))
def test_scores_give_a_stable_choice_however_they_come(seed: int, one: int, other: int) -> None:
    chance = np.random.default_rng(seed)
    allowed = chance.random((one, other)) < 0.7
    wish = chance.integers(-2, 3, (one, other)), chance.integers(-2, 3, (one, other))
    places, seats = chance.integers(0, 4, one), chance.integers(0, 4, other)
    edges = np.argwhere(allowed)
    mixed = edges[chance.permutation(len(edges))]
    values = [side[mixed[:, 0], mixed[:, 1]] for side in wish]

    dense = stable.defer(stable.from_matrices(allowed, *wish), places, seats)
    sparse = stable.defer(stable.from_edges((one, other), mixed, *values), places, seats)

    assert blocking_by_hand(allowed, wish, dense.pairs, places, seats) == dense.blocking == 0
    assert np.array_equal(dense.pairs, sparse.pairs)


@small
@given(seed=SEEDS, one=st.integers(1, 5), other=st.integers(1, 5))
def test_blocking_pairs_are_counted_whatever_was_chosen(seed: int, one: int, other: int) -> None:
    chance = np.random.default_rng(seed)
    allowed = chance.random((one, other)) < 0.8
    wish = chance.integers(0, 4, (one, other)), chance.integers(0, 4, (one, other))
    places, seats = np.full(one, 2), np.full(other, 2)
    pairs = np.array(
        [pair for pair in np.argwhere(allowed).tolist() if chance.random() < 0.4],
        dtype=np.int64,
    ).reshape(-1, 2)
    fits = (np.bincount(pairs[:, 0], minlength=one) <= 2).all() and (
        np.bincount(pairs[:, 1], minlength=other) <= 2
    ).all()
    pairs = pairs if fits else pairs[:1]

    counted = stable.count_blocking(stable.from_matrices(allowed, *wish), pairs, places, seats)

    assert counted == blocking_by_hand(allowed, wish, pairs, places, seats)


@small
@given(seed=SEEDS, count=st.integers(1, 5))
def test_no_other_stable_choice_is_better_for_a_proposer(seed: int, count: int) -> None:
    chance = np.random.default_rng(seed)
    mine = [chance.permutation(count).tolist() for _ in range(count)]
    theirs = [chance.permutation(count).tolist() for _ in range(count)]
    market = stable.from_lists(lists_of(mine), lists_of(theirs))
    ones = np.ones(count, dtype=np.int64)

    found = stable.defer(market, ones, ones).pairs

    ranks = ranked_by(mine, count)
    for order in itertools.permutations(range(count)):
        other = np.array(list(enumerate(order)))
        if not stable.count_blocking(market, other, ones, ones):
            assert (ranks[found[:, 0], found[:, 1]] >= ranks[other[:, 0], other[:, 1]]).all()


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_package_matching(seed: int) -> None:
    games = pytest.importorskip("matching.games", reason="the package matching is not installed")
    chance = np.random.default_rng(seed)
    residents, hospitals = int(chance.integers(5, 40)), int(chance.integers(2, 12))
    listed = [
        chance.permutation(hospitals)[: chance.integers(1, hospitals + 1)].tolist()
        for _ in range(residents)
    ]
    ranked = [
        [one for one in chance.permutation(residents).tolist() if other in listed[one]]
        for other in range(hospitals)
    ]
    known = [other for other in range(hospitals) if ranked[other]]
    seats = chance.integers(1, 5, hospitals)

    found = stable.defer(
        stable.from_lists(lists_of(listed), lists_of(ranked)),
        np.ones(residents, dtype=np.int64),
        seats,
    )

    with warnings.catch_warnings():
        # It warns of a hospital with more seats than residents who list it.
        warnings.simplefilter("ignore")
        game = games.HospitalResident.create_from_dictionaries(
            {f"r{one}": [f"h{other}" for other in listed[one]] for one in range(residents)},
            {f"h{other}": [f"r{one}" for one in ranked[other]] for other in known},
            {f"h{other}": int(seats[other]) for other in known},
        )
        expected = {
            (int(one.name[1:]), int(hospital.name[1:]))
            for hospital, ones in game.solve().items()
            for one in ones
        }
    assert {tuple(pair) for pair in found.pairs.tolist()} == expected


def everybody(one: int, other: int) -> Market:
    """Return a market in which everybody takes everybody, the first rather than the last."""
    same = np.zeros((one, other), dtype=np.int64)
    return stable.from_matrices(np.ones((one, other), dtype=bool), same, same)


def test_ties_go_to_whoever_stands_first() -> None:
    ones = np.ones(3, dtype=np.int64)

    found = stable.defer(everybody(3, 3), ones, ones)

    assert found.pairs.tolist() == [[0, 0], [1, 1], [2, 2]]


def test_locks_are_kept_and_blocks_are_not_made() -> None:
    ones = np.ones(3, dtype=np.int64)

    found = stable.defer(
        everybody(3, 3), ones, ones, locks=np.array([[0, 2]]), blocks=np.array([[1, 0]])
    )

    assert found.pairs.tolist() == [[0, 2], [1, 1], [2, 0]]
    assert found.blocking == 0


@pytest.mark.parametrize(
    ("locks", "blocks", "rule", "row"),
    [
        ([[0, 0], [0, 1]], [[2, 2]], "capacity", 0),
        ([[1, 1], [0, 0]], [[0, 0]], "not_blocked", 1),
    ],
)
def test_an_impossible_lock_names_its_rule(
    locks: list[list[int]], blocks: list[list[int]], rule: str, row: int
) -> None:
    ones = np.ones(3, dtype=np.int64)

    with pytest.raises(ImpossibleLockError) as refused:
        stable.defer(everybody(3, 3), ones, ones, locks=np.array(locks), blocks=np.array(blocks))

    assert (refused.value.rule, refused.value.row) == (rule, row)


def test_everybody_left_out_is_told_why() -> None:
    allowed = np.array([[True, True], [True, True], [False, False], [True, True]])
    wish = np.array([[3, 3], [2, 2], [1, 1], [0, 0]])

    found = stable.defer(
        stable.from_matrices(allowed, wish, wish), np.array([1, 1, 1, 0]), np.array([1, 0])
    )

    assert found.pairs.tolist() == [[0, 0]]
    assert found.why_proposers.tolist() == [
        Why.PLACED,
        Why.OTHERS_CAME_FIRST,
        Why.NOBODY_ALLOWED,
        Why.NO_CAPACITY,
    ]
    assert found.why_reviewers.tolist() == [Why.PLACED, Why.NO_CAPACITY]


def test_a_large_market_is_stable_and_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(1)
    residents, hospitals, listed = 10_000, 4_000, 20
    pairs = np.stack(
        (
            np.repeat(np.arange(residents), listed),
            np.concatenate([chance.choice(hospitals, listed, False) for _ in range(residents)]),
        ),
        axis=1,
    )
    market = stable.from_edges((residents, hospitals), pairs, *chance.integers(0, 99, (2, 200_000)))
    places, seats = np.ones(residents, dtype=np.int64), np.full(hospitals, 3)

    assert stable.defer(market, places, seats).blocking == 0
    monkeypatch.setattr(stable, "_QUESTIONS_PER_STEP", 1000)
    with pytest.raises(TimeoutError):
        stable.defer(market, places, seats, step=_out_of_time)


def _out_of_time(_done: int, _total: int) -> None:
    raise TimeoutError
