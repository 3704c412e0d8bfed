"""Circles: no rule is ever broken, what is said of them is true, and small pools are solved."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching.kernel import circles
from services.matching.kernel.circles import (
    NOBODY,
    SHARES,
    Circles,
    Effort,
    Facilitators,
    People,
    Sizes,
)
from services.matching.kernel.terms import ImpossibleLockError, Kind, Why

GROUND = 300
small = settings(max_examples=60, deadline=None, derandomize=True)
quick = Effort(rounds=10, moves=20)


def pool(
    seed: int, people: int, leaders: int = 2, *, strict: float = 0.1
) -> tuple[People, Facilitators]:
    """Return people and facilitators; `strict` is how often two must not meet."""
    chance = np.random.default_rng(seed)
    similarity = chance.integers(0, 1000, (people, people))
    barred = np.triu(chance.random((people, people)) < strict, 1)
    return (
        People(
            similarity=np.triu(similarity, 1) + np.triu(similarity, 1).T,
            barred=barred | barred.T,
            topics=chance.random((people, 4)) < 0.5,
            team=chance.integers(-1, 4, people),
            role=chance.integers(0, 2, people),
            seat=np.full(people, NOBODY),
        ),
        Facilitators(
            fit=chance.integers(0, 1000, (leaders, people)),
            barred=chance.random((leaders, people)) < strict / 2,
            circles=chance.integers(0, 3, leaders),
        ),
    )


def worth(people: People, leaders: Facilitators, groups: list[list[int]], leads: list[int]) -> int:
    """Return what circles are worth by the definition."""
    total = 0
    for group, lead in zip(groups, leads, strict=True):
        pairs = sum(people.similarity[two] for two in itertools.combinations(group, 2))
        total += SHARES * int(leaders.fit[lead, group].sum())
        total += int(pairs) * (2 * SHARES // max(1, len(group) - 1)) * (len(group) > 1)
        total += SHARES * GROUND * len(group) * bool(people.topics[group].all(axis=0).any())
    return total


def keeps_rules(
    people: People, leaders: Facilitators, sizes: Sizes, group: list[int], lead: int
) -> bool:
    teams = people.team[group]
    return bool(
        sizes.minimum <= len(group) <= sizes.maximum
        and not people.barred[np.ix_(group, group)].any()
        and not leaders.barred[lead, group].any()
        and np.bincount(teams[teams >= 0], minlength=1).max() <= sizes.of_a_team
        and all((people.role[group] == role).sum() >= n for role, n in enumerate(sizes.needs))
    )


def groups_of(found: Circles) -> list[list[int]]:
    return [np.flatnonzero(found.circle == one).tolist() for one in range(len(found.leader))]


def every_grouping(left: list[int], circles_left: int) -> Iterator[list[list[int]]]:
    """Return every way to put all people into so many circles."""
    if not circles_left:
        if not left:
            yield []
        return
    if not left:
        return
    one, *others = left
    for size in range(len(left)):
        for mates in itertools.combinations(others, size):
            rest = [other for other in others if other not in mates]
            for more in every_grouping(rest, circles_left - 1):
                yield [[one, *mates], *more]


def best_of_all(people: People, leaders: Facilitators, sizes: Sizes, count: int) -> int:
    slots = np.repeat(np.arange(len(leaders.circles)), leaders.circles).tolist()
    return max(
        (
            worth(people, leaders, groups, list(leads))
            for groups in every_grouping(list(range(len(people.seat))), count)
            if all(sizes.minimum <= len(group) <= sizes.maximum for group in groups)
            for leads in set(itertools.permutations(slots, count))
            if all(
                keeps_rules(people, leaders, sizes, group, lead)
                for group, lead in zip(groups, leads, strict=True)
            )
        ),
        default=0,
    )


@st.composite
def problems(draw: st.DrawFn) -> tuple[People, Facilitators, Sizes]:
    """Return problems of every kind, most of which leave somebody out."""
    everybody, facilitators = pool(
        draw(st.integers(0, 100_000)),
        draw(st.integers(0, 30)),
        draw(st.integers(0, 6)),
        strict=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    )
    minimum = draw(st.integers(1, 5))
    needs = draw(st.sampled_from([(0, 0), (1, 1), (0, 2)]))
    return everybody, facilitators, Sizes(minimum, minimum + draw(st.integers(0, 3)), needs=needs)


@small
@given(problem=problems())
def test_no_rule_is_broken_and_what_is_said_is_true(
    problem: tuple[People, Facilitators, Sizes],
) -> None:
    everybody, facilitators, sizes = problem

    found = circles.form(everybody, facilitators, sizes, ground=GROUND, effort=quick)

    groups = groups_of(found)
    leads = found.leader.tolist()
    assert all(
        keeps_rules(everybody, facilitators, sizes, group, lead)
        for group, lead in zip(groups, leads, strict=True)
    )
    assert (
        np.bincount(found.leader, minlength=len(facilitators.circles)) <= facilitators.circles
    ).all()
    assert found.total == worth(everybody, facilitators, groups, leads) <= found.bound
    assert (found.circle != NOBODY).sum() <= found.places
    assert found.has_ground.tolist() == [
        bool(everybody.topics[group].all(axis=0).any()) for group in groups
    ]
    assert ((found.circle == NOBODY) == (found.why != Why.PLACED)).all()
    assert not found.stopped


@pytest.mark.parametrize("seed", range(12))
def test_small_pools_are_solved_as_well_as_by_trying_everything(seed: int) -> None:
    everybody, facilitators = pool(seed, 8, leaders=2, strict=0.02)
    facilitators = replace(facilitators, circles=np.array([1, 1]))
    everybody = replace(everybody, team=np.arange(8))
    sizes = Sizes(3, 5)

    found = circles.form(everybody, facilitators, sizes, ground=GROUND)

    best = best_of_all(everybody, facilitators, sizes, 2)
    assert best <= found.bound
    if best:
        assert found.total == best
    assert found.kind is not Kind.OPTIMAL or found.total == best


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_was_counted_step_by_step_differs_from_counting_anew(seed: int) -> None:
    everybody, facilitators = pool(seed, 60, leaders=12, strict=0.05)
    table_of: list[circles.Table] = []
    described = circles._described

    def seen(search: circles._Search, people: People, table: circles.Table) -> Circles:
        leader, most = (table.known[:-1, column] for column in (circles.LEADER, circles.MOST))
        anew = circles._table(search.pool, table.circle, leader, most)
        table_of.extend((table, anew))
        return described(search, people, table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(circles, "_described", seen)
        circles.form(everybody, facilitators, Sizes(4, 7), ground=GROUND, effort=quick)

    for kept, anew in zip(*table_of, strict=True):
        assert np.array_equal(kept, anew)


def test_is_the_same_every_time_and_depends_on_the_seed() -> None:
    everybody, facilitators = pool(5, 80, leaders=14)

    def formed(seed: int) -> bytes:
        effort = replace(quick, seed=seed)
        return circles.form(everybody, facilitators, Sizes(4, 8), effort=effort).circle.tobytes()

    assert formed(1) == formed(1)
    assert formed(1) != formed(2)


def alike(people: int, leaders: int) -> tuple[People, Facilitators]:
    """Return a pool in which all are alike, and nobody is kept apart."""
    everybody, facilitators = pool(1, people, leaders, strict=0)
    return (
        replace(everybody, team=np.full(people, -1), role=np.zeros(people, dtype=np.int64)),
        replace(facilitators, circles=np.ones(leaders, dtype=np.int64)),
    )


@pytest.mark.parametrize(
    ("people", "leaders", "sizes", "placed", "why"),
    [
        (10, 1, Sizes(4, 6), 6, Why.TOO_FEW_FACILITATORS),
        (10, 0, Sizes(4, 6), 0, Why.TOO_FEW_FACILITATORS),
        (3, 2, Sizes(4, 6), 0, Why.CIRCLE_TOO_SMALL),
        (7, 2, Sizes(4, 6), 6, Why.CIRCLE_TOO_SMALL),
        (6, 2, Sizes(3, 3, needs=(1, 1)), 0, Why.ROLE_IS_MISSING),
    ],
)
def test_whom_sizes_cannot_hold_is_told_why(
    people: int, leaders: int, sizes: Sizes, placed: int, why: Why
) -> None:
    found = circles.form(*alike(people, leaders), sizes, effort=quick)

    assert (found.circle >= 0).sum() == placed
    assert set(found.why.tolist()) == {*([Why.PLACED] if placed else []), why}


def test_whom_a_rule_keeps_out_is_told_which() -> None:
    everybody, facilitators = alike(9, 2)
    everybody.barred[0, 1:] = everybody.barred[1:, 0] = True
    facilitators.barred[:, 1] = True
    everybody.team[2:6] = 0

    found = circles.form(everybody, facilitators, Sizes(2, 9, of_a_team=1), effort=quick)

    assert found.why[:2].tolist() == [Why.KEPT_APART, Why.NO_FACILITATOR_ALLOWED]
    assert sorted(found.why[2:6].tolist()) == [Why.PLACED] * 2 + [Why.TEAM_IS_FULL] * 2


@pytest.mark.parametrize(("loners", "kind"), [(0, Kind.OPTIMAL), (1, Kind.HEURISTIC)])
def test_the_best_is_proven_where_nobody_is_left_who_could_have_a_place(
    loners: int, kind: Kind
) -> None:
    everybody, facilitators = alike(8, 2)
    everybody.similarity[:], facilitators.fit[:] = 0, 0
    everybody.barred[:loners] = everybody.barred[:, :loners] = True

    found = circles.form(everybody, facilitators, Sizes(3, 5), effort=quick)

    assert ((found.circle == NOBODY).sum(), found.places) == (loners, 8)
    assert (found.total, found.bound, found.kind) == (0, 0, kind)


def test_a_small_circle_that_is_there_is_worth_no_more_than_the_bound() -> None:
    everybody, facilitators = alike(8, 2)
    everybody.similarity[:], facilitators.fit[:] = 0, 0
    everybody.similarity[0, 1] = everybody.similarity[1, 0] = 90
    everybody.barred[:2, 2:] = everybody.barred[2:, :2] = True
    everybody = replace(everybody, seat=np.array([0, 0, *[NOBODY] * 6]))

    found = circles.form(everybody, facilitators, Sizes(4, 6), effort=quick)

    assert np.bincount(found.circle).tolist() == [2, 6]
    assert found.total == found.bound == 2 * 90 * SHARES


def test_nobody_is_nobody() -> None:
    found = circles.form(*alike(0, 2), Sizes(2, 4), effort=quick)

    assert (len(found.circle), len(found.leader), found.total, found.bound) == (0, 0, 0, 0)
    assert found.kind is Kind.OPTIMAL


def test_who_has_a_seat_keeps_it_and_so_does_who_leads() -> None:
    everybody, facilitators = alike(12, 3)
    everybody = replace(everybody, seat=np.array([1, 0, 0, *[NOBODY] * 9]))
    facilitators = replace(facilitators, leads=np.array([2, NOBODY]))

    found = circles.form(everybody, facilitators, Sizes(3, 6), effort=quick)

    assert found.circle[:3].tolist() == [1, 0, 0]
    assert found.leader[0] == 2
    assert (found.why == Why.PLACED).all()


@pytest.mark.parametrize(
    ("seat", "rule", "row"),
    [
        ([0, 0, 0, 0], "size", 3),
        ([1, 0, 1, -1], "not_blocked", 2),
        ([0, 0, -1, -1], "team", 1),
        ([-1, -1, -1, 0], "facilitator", 3),
        ([2, 1, 0, -1], "size", 0),
    ],
)
def test_an_impossible_seat_names_its_rule(seat: list[int], rule: str, row: int) -> None:
    everybody, facilitators = alike(4, 2)
    everybody.barred[0, 2] = everybody.barred[2, 0] = rule == "not_blocked"
    everybody.team[:2] = 0 if rule == "team" else -1
    facilitators.barred[1, 3] = True
    facilitators = replace(facilitators, leads=np.array([1]))

    with pytest.raises(ImpossibleLockError) as refused:
        circles.form(
            replace(everybody, seat=np.array(seat)), facilitators, Sizes(2, 3, of_a_team=1)
        )

    assert (refused.value.rule, refused.value.row) == (rule, row)


def test_says_so_when_time_ran_out() -> None:
    found = circles.form(*alike(40, 8), Sizes(4, 6), effort=Effort(seconds=0))

    assert found.stopped
    assert (found.why == Why.PLACED).all()


def test_the_work_can_be_cancelled() -> None:
    def out_of_time(_done: int, _total: int) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        circles.form(*alike(40, 8), Sizes(4, 6), step=out_of_time)
