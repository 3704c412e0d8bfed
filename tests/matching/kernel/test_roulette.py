"""Roulette: everybody meets everybody, nothing is repeated before it must be, chance is a seed."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching.kernel import roulette
from services.matching.kernel.compiling import Ints, Mask
from services.matching.kernel.roulette import NOBODY, Draw, History
from services.matching.kernel.terms import ImpossibleLockError, Kind, Why

small = settings(max_examples=60, deadline=None, derandomize=True)


def nothing_yet(people: int) -> History:
    empty = np.zeros((people, people), dtype=np.int64)
    return History(empty, empty.copy(), np.zeros(people, dtype=np.int64))


def anybody(people: int) -> Mask:
    return ~np.eye(people, dtype=bool)


def met(history: History, draw: Draw) -> History:
    """Return the history after a draw."""
    together = (draw.group[:, None] == draw.group) & (draw.group >= 0)
    np.fill_diagonal(together, val=False)
    return History(
        times=history.times + together,
        ago=np.where(together, 1, np.where(history.ago > 0, history.ago + 1, 0)),
        alone=history.alone + (draw.group == NOBODY),
    )


def rounds(people: int, count: int, seed: int) -> History:
    history = nothing_yet(people)
    for number in range(count):
        draw = roulette.draw_pairs(anybody(people), history, seed=seed + number)
        history = met(history, draw)
    return history


@pytest.mark.parametrize(("people", "seed"), [(n, seed) for n in (4, 6, 8) for seed in range(6)])
def test_everybody_meets_everybody_once_before_anybody_twice(people: int, seed: int) -> None:
    history = rounds(people, people - 1, seed)

    assert (history.times == anybody(people)).all()
    assert not history.alone.any()


@pytest.mark.parametrize(("people", "seed"), [(n, seed) for n in (3, 5, 7) for seed in range(4)])
def test_an_odd_number_sits_out_in_turns(people: int, seed: int) -> None:
    history = rounds(people, people, seed)

    assert (history.times == anybody(people)).all()
    assert (history.alone == 1).all()


def test_who_may_not_meet_never_does_and_the_others_all_do() -> None:
    allowed = anybody(8)
    for one, other in ((0, 1), (2, 3), (4, 5), (6, 7)):
        allowed[one, other] = allowed[other, one] = False
    history = nothing_yet(8)

    for seed in range(6):
        history = met(history, roulette.draw_pairs(allowed, history, seed=seed))

    assert (history.times == allowed).all()


def every_pairing(people: list[int]) -> Iterator[list[tuple[int, int]]]:
    if not people:
        yield []
        return
    one, *others = people
    yield from every_pairing(others)
    for other in others:
        for more in every_pairing([left for left in others if left != other]):
            yield [(one, other), *more]


def some_history(seed: int, people: int) -> tuple[Mask, History]:
    chance = np.random.default_rng(seed)

    def both(values: Ints) -> Ints:
        upper = np.triu(values, 1)
        return upper + upper.T

    times = both(chance.integers(0, 3, (people, people)))
    ago = both(chance.integers(1, 9, (people, people))) * (times > 0)
    allowed = both((chance.random((people, people)) < 0.7).astype(np.int64)) > 0
    return allowed, History(times, ago, chance.integers(0, 3, people))


def cost_of(history: History, pairs: list[tuple[int, int]]) -> int:
    return sum(
        64 * int(history.times[two]) + (63 - int(history.ago[two])) * bool(history.ago[two])
        for two in pairs
    )


@small
@given(seed=st.integers(0, 100_000), people=st.sampled_from([0, 1, 2, 4, 6]))
def test_repeats_as_little_as_can_be(seed: int, people: int) -> None:
    allowed, history = some_history(seed, people)

    draw = roulette.draw_pairs(allowed, history, seed=seed)

    possible = [
        pairs for pairs in every_pairing(list(range(people))) if all(allowed[two] for two in pairs)
    ]
    most = max(map(len, possible))
    least = min(cost_of(history, pairs) for pairs in possible if len(pairs) == most)
    groups = [
        np.flatnonzero(draw.group == group) for group in range(draw.group.max(initial=-1) + 1)
    ]
    assert all(len(group) == 2 and allowed[tuple(group)] for group in groups)
    assert len(groups) == most
    if allowed.any(axis=1).sum() % 2 == 0:
        assert (draw.cost, draw.bound, draw.kind) == (least, least, Kind.OPTIMAL)
    assert ((draw.group == NOBODY) == (draw.why != Why.PLACED)).all()


def test_an_odd_one_joins_where_least_is_repeated() -> None:
    history = nothing_yet(5)
    for number in range(4):
        draw = roulette.draw_with_trio(anybody(5), history, seed=number)
        assert sorted(np.bincount(draw.group).tolist()) == [2, 3]
        assert draw.cost >= draw.bound
        history = met(history, draw)

    assert not history.alone.any()
    assert (history.times[anybody(5)] >= 1).all()


def test_nobody_joins_whom_they_may_not_meet() -> None:
    allowed = anybody(3)
    allowed[0, 2] = allowed[2, 0] = False

    draw = roulette.draw_with_trio(allowed, nothing_yet(3), seed=1)

    assert (draw.group >= 0).sum() == 2
    assert draw.why[draw.group == NOBODY].tolist() == [Why.ODD_ONE_OUT]


@pytest.mark.parametrize("seed", range(5))
def test_order_does_not_change_who_meets_whom(seed: int) -> None:
    chance = np.random.default_rng(seed)
    allowed, history = some_history(seed, 30)
    names = chance.integers(0, 2**63, 30).astype(np.uint64)
    order = chance.permutation(30)
    mixed = np.ix_(order, order)

    draw = roulette.draw_pairs(allowed, history, seed=seed, names=names)
    other = roulette.draw_pairs(
        allowed[mixed],
        History(history.times[mixed], history.ago[mixed], history.alone[order]),
        seed=seed,
        names=names[order],
    )

    def together(group: Ints, named: np.ndarray) -> set[frozenset[int]]:
        return {frozenset(named[group == number].tolist()) for number in range(group.max() + 1)}

    assert together(draw.group, names) == together(other.group, names[order])


def test_is_chance_by_its_seed() -> None:
    drawn = {
        roulette.draw_pairs(anybody(12), nothing_yet(12), seed=seed).group.tobytes()
        for seed in (1, 1, 2, 3, 4)
    }

    assert len(drawn) == 4


def test_chance_is_even() -> None:
    count = np.zeros((4, 4), dtype=np.int64)
    for seed in range(150):
        count += met(
            nothing_yet(4), roulette.draw_pairs(anybody(4), nothing_yet(4), seed=seed)
        ).times

    assert count[anybody(4)].min() > 30


def test_many_are_drawn_without_repetition() -> None:
    history = nothing_yet(400)
    for seed in range(3):
        draw = roulette.draw_pairs(anybody(400), history, seed=seed)
        assert (draw.cost, draw.kind) == (0, Kind.OPTIMAL)
        history = met(history, draw)

    assert history.times.max() == 1


def test_locks_are_kept_and_everybody_left_out_is_told_why() -> None:
    allowed = anybody(6)
    allowed[5] = allowed[:, 5] = False

    draw = roulette.draw_pairs(allowed, nothing_yet(6), seed=1, locks=np.array([[4, 1]]))

    assert draw.group[4] == draw.group[1] >= 0
    assert sorted(draw.why[[0, 2, 3]].tolist()) == [Why.PLACED, Why.PLACED, Why.ODD_ONE_OUT]
    assert draw.why[5] == Why.NOBODY_ALLOWED


def test_an_impossible_lock_names_its_rule() -> None:
    allowed = anybody(4)
    allowed[0, 1] = allowed[1, 0] = False

    with pytest.raises(ImpossibleLockError, match="not_blocked"):
        roulette.draw_pairs(allowed, nothing_yet(4), seed=1, locks=np.array([[0, 1]]))
