"""Pairs that would rather have each other: counted by the definition, whatever was looked at."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching import candidates, stability
from shared.schemas.matching import Objective, Solution
from tests.support.pools import Weighed, pairs, peers, problem, solve, weigh

small = settings(max_examples=40, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10_000)

MARKS = ("favorite", "yes", "maybe", "no", "ignore")
ALIKE = {"favorite": 1, "yes": 1}
"""What was marked so comes before what only scores, one like the other."""
LAST = 1001
"""Where those stand who got no rank: it ends at 1000."""

type Pair = tuple[str, str]
type Wish = tuple[int, int, int]
"""How much somebody is wanted: by rank, then by mark, then by score."""


def pool(seed: int, objective: Objective) -> dict[str, Any]:
    """Return a problem of two sides, of whom some have no place and some have two."""
    chance = random.Random(seed)  # noqa: S311 - no secret, only variety
    seats, wants = (
        [chance.choice([0, 1, 1, 2]) for _ in range(chance.randint(1, 8))] for _ in range(2)
    )
    return problem(
        mentors=len(seats),
        mentees=len(wants),
        seats=seats,
        wants=wants,
        seed=seed,
        objective=objective,
    )


def wishing(values: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the same when some were wished for, are together, are kept apart or are locked.

    Half of such problems know one criterion only, so that many score alike.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret, only variety
    names, roles = values["participants"]["id"], values["places"]["role"]
    role_of = dict(zip(names, roles, strict=True))
    meeting = [
        (one, other)
        for one in names
        for other in names
        if one != other and (role_of[one] != role_of[other] or role_of[one] == "peer")
    ]
    said = [pair for pair in meeting if chance.random() < 0.3]
    values["preferences"] = {
        "by": [by for by, _ in said],
        "about": [about for _, about in said],
        "mark": chance.choices(MARKS, weights=[4, 4, 4, 1, 1], k=len(said)),
        "rank": [chance.choice([None, None, 1, 2, 3]) for _ in said],
    }
    values["policy"]["stay_bonus"] = chance.choice([0, 20])
    values["policy"]["soft"] = values["policy"]["soft"][chance.choice([0, 2]) :]
    for name in ("blocks", "current_pairs"):
        values[name] = table([pair for pair in meeting if chance.random() < 0.05])
    lockable = list(able(weigh(values)))
    values["locks"] = table(chance.sample(lockable, min(1, len(lockable))))
    return values


def table(some: list[Pair]) -> dict[str, list[str]]:
    """Return pairs as two columns."""
    return {"first": [one for one, _ in some], "second": [other for _, other in some]}


def able(weighed: Weighed) -> Iterator[Pair]:
    """Yield the pairs of which both have a place and no rule forbids them."""
    first, second = weighed.board.first, weighed.board.second
    for one, other in zip(*weighed.allowed.nonzero(), strict=True):
        if first.capacity[one] and second.capacity[other]:
            yield first.ids[one], second.ids[other]


def by_definition(values: dict[str, Any], solution: Solution) -> int:
    """Count the pairs, neither made nor locked, of whom each would rather have the other."""
    weighed = weigh(values)
    sides = weighed.board.first, weighed.board.second
    locked = either_way(values["locks"])
    made = either_way(table(pairs(solution))) - locked
    said = {
        (by, about): (mark, rank)
        for by, about, mark, rank in zip(*values["preferences"].values(), strict=True)
    }
    together = either_way(values["current_pairs"])
    room = {
        one: capacity - sum(one == who for who, _ in locked)
        for one, capacity in zip(
            values["participants"]["id"], values["places"]["capacity"], strict=True
        )
    }

    def score_of(one: str, other: str) -> int:
        pair = (one, other) if one in sides[0].place else (other, one)
        return int(weighed.scores[sides[0].place[pair[0]], sides[1].place[pair[1]]])

    def wish(by: str, about: str) -> Wish:
        mark, rank = said.get((by, about), ("maybe", None))
        bonus = values["policy"]["stay_bonus"] * 100 if (by, about) in together else 0
        return -(rank or LAST), ALIKE.get(mark, 0), score_of(by, about) + bonus

    def would_take(by: str, about: str) -> bool:
        held = [other for one, other in made if one == by]
        if len(held) < room[by]:
            return True
        return bool(held) and wish(by, about) > min(wish(by, other) for other in held)

    return sum(
        would_take(one, other) and would_take(other, one)
        for one, other in able(weighed)
        if (one, other) not in made | locked and (one < other or not weighed.is_peer)
    )


def either_way(two: dict[str, list[str]]) -> set[Pair]:
    """Return pairs from the view of either of the two."""
    some = set(zip(two["first"], two["second"], strict=True))
    return some | {(other, one) for one, other in some}


def solved(values: dict[str, Any], *, few: int, rounds: int) -> Solution:
    """Return the solution where so few are looked at, and stable choices are mended so often."""
    values["policy"]["limits"] = {"max_candidates": few}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stability, "WHOLE_CELLS", 0)
        patch.setattr(stability, "ROUNDS", rounds)
        patch.setattr(candidates, "MANY", few)
        return solve(values)


@pytest.mark.parametrize("few", [1, 2, 64])
@pytest.mark.parametrize("objective", Objective)
@small
@given(seed=SEEDS)
def test_pairs_that_would_rather_have_each_other_are_all_counted(
    objective: Objective, few: int, seed: int
) -> None:
    values = wishing(pool(seed, objective), seed)

    solution = solved(values, few=few, rounds=1)

    assert solution.blocking_pairs == by_definition(values, solution)


@pytest.mark.parametrize("few", [1, 2, 64])
@small
@given(seed=SEEDS)
def test_a_stable_choice_that_was_mended_has_none(few: int, seed: int) -> None:
    values = wishing(pool(seed, Objective.STABLE), seed)

    solution = solved(values, few=few, rounds=50)

    assert solution.blocking_pairs == by_definition(values, solution) == 0


@pytest.mark.parametrize("objective", Objective)
@small
@given(count=st.integers(0, 9), seed=SEEDS)
def test_of_equals_each_such_pair_is_counted_once(
    objective: Objective, count: int, seed: int
) -> None:
    values = wishing(peers(count, seed=seed, objective=objective), seed)

    solution = solve(values)

    assert solution.blocking_pairs == by_definition(values, solution)


@pytest.mark.parametrize("objective", Objective)
def test_there_is_something_to_count(objective: Objective) -> None:
    problems = [wishing(pool(seed, objective), seed) for seed in range(20)]

    counts = [solved(values, few=1, rounds=1).blocking_pairs for values in problems]

    assert sum(count > 0 for count in counts) >= 3
