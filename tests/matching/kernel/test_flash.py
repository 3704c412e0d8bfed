"""Flash schedules: no clash, nobody twice, as good as the flow, and as good as trying all."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching.kernel import flash
from services.matching.kernel.compiling import Ints
from services.matching.kernel.flash import ANY_ROUND, Flash, Side
from services.matching.kernel.terms import ImpossibleLockError, Kind, Why

small = settings(max_examples=80, deadline=None, derandomize=True)
type Problem = tuple[Ints, Side, Side]


def problem(seed: int, mentors: int, mentees: int, rounds: int, absent: float = 0.0) -> Problem:
    """Return weights of which one in ten must not be, and who is there when."""
    chance = np.random.default_rng(seed)
    weights = chance.integers(1, 1000, (mentors, mentees))
    weights[chance.random((mentors, mentees)) < 0.1] = -1
    sides = [
        Side(chance.integers(0, rounds + 2, count), chance.random((count, rounds)) >= absent)
        for count in (mentors, mentees)
    ]
    return weights, sides[0], sides[1]


def check(weights: Ints, mentors: Side, mentees: Side, found: Flash, locks: Ints) -> None:
    """Hold a schedule against every rule."""
    mentor, mentee, when = found.meetings.T
    for side, one in ((mentors, mentor), (mentees, mentee)):
        assert (np.bincount(one, minlength=len(side.meetings)) <= side.meetings).all()
        assert side.present[one, when].all()
        assert len({*zip(one.tolist(), when.tolist(), strict=True)}) == len(one)
    pairs = {*zip(mentor.tolist(), mentee.tolist(), strict=True)}
    locked = {(one, other) for one, other, _ in locks.tolist()}
    assert len(pairs) == len(found.meetings)
    assert locked <= pairs
    assert all(weights[two] > 0 for two in pairs - locked)
    assert found.total == sum(int(weights[two]) for two in pairs - locked) <= found.bound
    assert ((found.why_mentors == Why.PLACED) == np.isin(np.arange(len(weights)), mentor)).all()
    assert ((found.why_mentees == Why.PLACED) == np.isin(np.arange(weights.shape[1]), mentee)).all()


@small
@given(
    seed=st.integers(0, 100_000),
    people=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    rounds=st.integers(1, 5),
    absent=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
)
def test_keeps_every_rule(seed: int, people: tuple[int, int], rounds: int, absent: float) -> None:
    weights, mentors, mentees = problem(seed, *people, rounds, absent)

    found = flash.plan(weights, mentors, mentees)

    check(weights, mentors, mentees, found, np.zeros((0, 3), dtype=np.int64))
    assert found.kind is (Kind.OPTIMAL if found.total == found.bound else Kind.HEURISTIC)
    assert absent or found.kind is Kind.OPTIMAL


def best_of_all(weights: Ints, mentors: Side, mentees: Side) -> int:
    """Return the best total by trying every choice of meetings."""
    slots = [
        (int(one), int(other), when)
        for one, other in np.argwhere(weights > 0)
        for when in range(mentors.present.shape[1])
        if mentors.present[one, when] and mentees.present[other, when]
    ]

    def best(at: int, taken: list[tuple[int, int, int]]) -> int:
        if at == len(slots):
            return sum(int(weights[one, other]) for one, other, _ in taken)
        without = best(at + 1, taken)
        one, other, when = slots[at]
        fits = (
            all((one, other) != (a, b) for a, b, _ in taken)
            and all((one, when) != (a, t) and (other, when) != (b, t) for a, b, t in taken)
            and sum(a == one for a, _, _ in taken) < mentors.meetings[one]
            and sum(b == other for _, b, _ in taken) < mentees.meetings[other]
        )
        return max(without, best(at + 1, [*taken, slots[at]])) if fits else without

    return best(0, [])


@pytest.mark.parametrize(("seed", "absent"), list(itertools.product(range(8), (0.0, 0.3))))
def test_is_hardly_worse_than_trying_everything(seed: int, absent: float) -> None:
    weights, mentors, mentees = problem(seed, 3, 3, 2, absent)

    found = flash.plan(weights, mentors, mentees)

    best = best_of_all(weights, mentors, mentees)
    assert found.total <= best <= found.bound
    assert found.total >= best * 0.95
    assert absent or found.total == best


@pytest.mark.parametrize("seed", range(4))
def test_absences_cost_next_to_nothing(seed: int) -> None:
    chance = np.random.default_rng(seed)
    weights = chance.integers(1, 10_000, (40, 120))
    mentors = Side(chance.integers(5, 9, 40), chance.random((40, 8)) >= 0.12)
    mentees = Side(chance.integers(1, 4, 120), chance.random((120, 8)) >= 0.12)

    found = flash.plan(weights, mentors, mentees)

    check(weights, mentors, mentees, found, np.zeros((0, 3), dtype=np.int64))
    assert found.gap <= 0.002


@small
@given(seed=st.integers(0, 100_000), one=st.integers(1, 9), other=st.integers(1, 9))
def test_as_few_colours_as_anybody_has_edges(seed: int, one: int, other: int) -> None:
    chance = np.random.default_rng(seed)
    edges = np.argwhere(chance.random((one, other)) < chance.random())
    edges = edges[chance.permutation(len(edges))]

    colour = flash.colours(edges, one, other)

    for end in (0, 1):
        assert len({*zip(edges[:, end].tolist(), colour.tolist(), strict=True)}) == len(edges)
    most = max(np.bincount(edges[:, end], minlength=1).max() for end in (0, 1))
    assert len(np.unique(colour)) == most


def everybody(mentors: int, mentees: int, rounds: int) -> Problem:
    return (
        np.ones((mentors, mentees), dtype=np.int64),
        Side(np.full(mentors, rounds), np.ones((mentors, rounds), dtype=bool)),
        Side(np.full(mentees, rounds), np.ones((mentees, rounds), dtype=bool)),
    )


@pytest.mark.parametrize("rounds", [(ANY_ROUND, ANY_ROUND), (1, ANY_ROUND), (0, 1)])
def test_locks_are_kept(rounds: tuple[int, int]) -> None:
    weights, mentors, mentees = everybody(3, 3, 2)
    weights[0, 0] = -1
    locks = np.array([[0, 0, rounds[0]], [0, 1, rounds[1]]])

    found = flash.plan(weights, mentors, mentees, locks=locks)

    check(weights, mentors, mentees, found, locks)
    assert len(found.meetings) == 6
    for one, other, when in locks.tolist():
        assert when == ANY_ROUND or [one, other, when] in found.meetings.tolist()


@pytest.mark.parametrize(
    ("locks", "rule", "row"),
    [
        ([[0, 0, 0], [0, 0, 1]], "already_met", 1),
        ([[0, 0, 0], [0, 1, 0]], "availability", 1),
        ([[2, 0, ANY_ROUND], [2, 1, ANY_ROUND]], "capacity", 1),
        ([[1, 0, 1]], "availability", 0),
        ([[1, 0, ANY_ROUND], [1, 1, ANY_ROUND]], "availability", 0),
    ],
)
def test_an_impossible_lock_names_its_rule(locks: list[list[int]], rule: str, row: int) -> None:
    weights, mentors, mentees = everybody(3, 3, 2)
    mentors.present[1, 1] = False
    mentors.meetings[2] = 1

    with pytest.raises(ImpossibleLockError) as refused:
        flash.plan(weights, mentors, mentees, locks=np.array(locks))

    assert (refused.value.rule, refused.value.row) == (rule, row)


def test_more_locks_than_rounds_are_refused() -> None:
    weights, mentors, mentees = everybody(1, 3, 2)
    mentors.meetings[0] = 3
    locks = np.array([[0, other, ANY_ROUND] for other in range(3)])

    with pytest.raises(ImpossibleLockError) as refused:
        flash.plan(weights, mentors, mentees, locks=locks)

    assert (refused.value.rule, refused.value.row) == ("availability", 2)


def test_everybody_left_out_is_told_why() -> None:
    weights, mentors, mentees = everybody(5, 1, 2)
    weights[:, 0] = [9, 8, -1, 1, 1]
    mentors.present[3] = False
    mentors.present[4, 0] = mentees.present[0, 1] = False
    mentors.meetings[1] = 0

    found = flash.plan(weights, mentors, mentees)

    assert found.meetings.tolist() == [[0, 0, 0]]
    assert found.why_mentors.tolist() == [
        Why.PLACED,
        Why.NO_CAPACITY,
        Why.NOBODY_ALLOWED,
        Why.NEVER_PRESENT,
        Why.NEVER_PRESENT,
    ]


def test_is_the_same_every_time() -> None:
    weights, mentors, mentees = problem(7, 20, 30, 5, absent=0.2)

    first = flash.plan(weights, mentors, mentees)

    assert np.array_equal(first.meetings, flash.plan(weights, mentors, mentees).meetings)


def test_the_work_can_be_cancelled() -> None:
    def out_of_time(_done: int, _total: int) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        flash.plan(*problem(7, 20, 30, 5, absent=0.2), step=out_of_time)
