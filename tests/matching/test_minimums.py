"""Groups of a smallest size against trying every set of groups and everybody in each."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from services.matching import minimums, questions, solver
from services.matching.decision import Decision
from shared.schemas.matching import CertificateKind, Explanation, ExplanationsRequest
from tests.support.pools import MAX_CELLS, Weighed, problem, quiet, shuffled, solve, weigh

OBJECTIVES = ("most_matched", "best_total", "fair_floor")
SHAPES = ((4, 8), (5, 7), (6, 9))


def grouped(shape: tuple[int, int], seed: int, **changes: Any) -> dict[str, Any]:
    """Return groups of three at least, of mentors with less, as much and more time than that."""
    mentors, mentees = shape
    chance = np.random.default_rng(seed)
    values = problem(
        mentors=mentors,
        mentees=mentees,
        seats=chance.choice([1, 2, 3, 3, 4, 5], mentors).tolist(),
        wants=chance.choice([1, 1, 1, 2], mentees).tolist() if seed % 3 == 0 else None,
        format="group",
        seed=seed,
        track={"min_members": 3},
    )
    apart = np.argwhere(chance.random(shape) < 0.3).tolist()
    values["blocks"] = {
        "first": [f"mentor-{one}" for one, _ in apart],
        "second": [f"mentee-{other}" for _, other in apart],
    }
    return {**values, **changes}


def decided(values: dict[str, Any]) -> tuple[Weighed, Decision]:
    """Return a problem as matrices, and what the solver decides."""
    weighed = weigh(values)
    return weighed, solver.solve(weighed.board, step=quiet)


def value(objective: str, scores: list[int]) -> tuple[int, ...]:
    """Return how good pairs of these scores are, to be compared."""
    if objective == "best_total":
        return sum(scores), len(scores)
    if objective == "fair_floor":
        return len(scores), min(scores, default=0), sum(scores)
    return len(scores), sum(scores)


def best(
    objective: str, weighed: Weighed, forced: tuple[int, int] | None = None
) -> tuple[int, ...]:
    """Return how good the best choice is, by trying every size that groups can have.

    Mentees are taken in turn. Of choices that leave the same places, what comes first only counts
    by its own value, so the best of each is kept; for the worst pair, all that none exceeds.
    """
    board = weighed.board
    seats = [int(one) for one in board.first.capacity]
    found: dict[tuple[int, ...], set[tuple[int, int, int]]] = {(0,) * len(seats): {(0, 0, 9**9)}}
    for other, wanted in enumerate(board.second.capacity.tolist()):
        following: dict[tuple[int, ...], set[tuple[int, int, int]]] = {}
        for sizes, before in found.items():
            for hosts in _hosts(weighed, other, wanted, forced):
                after = [size + (one in hosts) for one, size in enumerate(sizes)]
                if all(size <= most for size, most in zip(after, seats, strict=True)):
                    scores = [int(weighed.scores[one, other]) for one in hosts]
                    # Who is forced is not asked how badly they fit.
                    judged = [
                        score
                        for one, score in zip(hosts, scores, strict=True)
                        if (one, other) != forced
                    ]
                    following.setdefault(tuple(after), set()).update(
                        (count + len(scores), total + sum(scores), min([worst, *judged]))
                        for count, total, worst in before
                    )
        found = {sizes: _undominated(some) for sizes, some in following.items()}
    least = board.first.minimum.tolist()
    goals = [
        _goal(objective, *one)
        for sizes, some in found.items()
        if all(not size or size >= few for size, few in zip(sizes, least, strict=True))
        for one in some
    ]
    return max(goals, default=())


def _hosts(
    weighed: Weighed, other: int, wanted: int, forced: tuple[int, int] | None
) -> Iterator[tuple[int, ...]]:
    able = np.flatnonzero(weighed.allowed[:, other]).tolist()
    for count in range(wanted + 1):
        for hosts in itertools.combinations(able, count):
            if forced is None or forced[1] != other or forced[0] in hosts:
                yield hosts


def _undominated(some: set[tuple[int, int, int]]) -> set[tuple[int, int, int]]:
    """Return what nothing exceeds; the number of pairs is the same for the same sizes."""
    kept = set[tuple[int, int, int]]()
    worst = -1
    for one in sorted(some, key=lambda one: (-one[1], -one[2])):
        if one[2] > worst:
            kept.add(one)
            worst = one[2]
    return kept


def _goal(objective: str, count: int, total: int, worst: int) -> tuple[int, ...]:
    if objective == "best_total":
        return total, count
    return (count, worst if count else 0, total) if objective == "fair_floor" else (count, total)


def reached(objective: str, weighed: Weighed, found: Decision) -> tuple[int, ...]:
    """Return how good a decision is, once its groups are seen to be large enough."""
    sizes = found.taken.sizes[0]
    assert all(not size or size >= 3 for size in sizes.tolist())
    assert (sizes <= weighed.board.first.capacity).all()
    scores = weighed.scores[found.taken.first, found.taken.second].tolist()
    return value(objective, scores)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(12))
def test_no_other_groups_are_better(objective: str, shape: tuple[int, int], seed: int) -> None:
    values = grouped(shape, seed)
    values["policy"]["objective"] = objective

    weighed, found = decided(values)

    assert reached(objective, weighed, found) == best(objective, weighed)
    assert found.certificate.kind == CertificateKind.OPTIMAL


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(100, 105))
def test_nor_are_they_where_few_candidates_are_looked_at_first(objective: str, seed: int) -> None:
    values = grouped((4, 8), seed)
    values["policy"] |= {"objective": objective, "limits": {"max_candidates": 2}}

    weighed, found = decided(values)

    assert reached(objective, weighed, found) == best(objective, weighed)
    assert found.certificate.kind == CertificateKind.OPTIMAL


def liking(wanted: Mapping[str, int], seats: list[int], **changes: Any) -> dict[str, Any]:
    """Return mentors of whom each offers one more than the one before, and who wants which."""
    values = problem(
        mentors=len(seats), mentees=len(wanted), seats=seats, format="group", **changes
    )
    values["policy"]["soft"] = [{"rule": "style_fit", "weight": 100}]
    offers = [*range(1, len(seats) + 1), *([3] * len(wanted))]
    wants = [*([3] * len(seats)), *wanted.values()]
    for kind in ("encouragement", "challenge"):
        values["participants"] |= {f"offers_{kind}": offers, f"wants_{kind}": wants}
    return values


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_mentor_who_never_has_a_group_takes_nobody_from_one_that_can_be(objective: str) -> None:
    found = solve(
        liking({"x": 2, "y": 2, "z": 1}, [3, 2], track={"min_members": 3}, objective=objective)
    )

    assert found.totals.matched == 4
    assert found.certificate.kind == CertificateKind.OPTIMAL
    assert [(one.id, one.reason.key) for one in found.unmatched] == [
        ("mentor-1", "unmatched.group_too_small")
    ]


def test_nobody_in_a_group_is_the_best_where_none_can_be() -> None:
    found = solve(liking({"x": 1, "y": 1}, [3, 2], track={"min_members": 3}))

    assert not found.matches
    assert (found.certificate.kind, found.certificate.gap) == (CertificateKind.OPTIMAL, 0)
    assert {one.reason.key for one in found.unmatched} == {"unmatched.group_too_small"}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_changes_nothing(objective: str, seed: int) -> None:
    values = grouped((6, 11), seed)
    values["policy"]["objective"] = objective

    digests = {
        solver.digest_of(solve(one))
        for one in (values, *(shuffled(values, seed=n) for n in range(3)))
    }

    assert len(digests) == 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_few_steps_find_groups_that_are_large_enough_and_tell_an_honest_gap(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = grouped((10, 20), 8)
    values["policy"]["objective"] = objective
    certified = decided(values)[1].certificate
    monkeypatch.setattr(minimums, "EFFORT", 3_000)

    weighed, found = decided(values)

    few = found.certificate
    assert reached(objective, weighed, found)
    assert certified.kind == CertificateKind.OPTIMAL
    if objective != "fair_floor":
        assert few.dual is not None
        assert few.primal <= certified.primal <= few.dual


# A pair that is forced.


def explained(values: dict[str, Any], *asked: tuple[str, str]) -> list[Explanation]:
    """Return what is said of pairs, what would be if they were forced included."""
    first, second = ([pair[side] for pair in asked] for side in (0, 1))
    body = {"problem": values, "pairs": {"first": first, "second": second}, "with_what_if": True}
    request = ExplanationsRequest.model_validate(body)
    return questions.explain(request, max_cells=MAX_CELLS, step=quiet).explanations


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(4))
def test_a_forced_pair_changes_what_its_best_groups_do(objective: str, seed: int) -> None:
    values = grouped((4, 7), seed)
    values["policy"]["objective"] = objective
    weighed = weigh(values)
    board, total = weighed.board, 0 if objective == "best_total" else -1
    pairs = [(int(one), int(other)) for one, other in np.argwhere(weighed.allowed)]

    told = explained(
        values, *((board.first.ids[one], board.second.ids[other]) for one, other in pairs)
    )

    whole = best(objective, weighed)[total]
    goals = [best(objective, weighed, forced=pair) for pair in pairs]
    assert [one.what_if and one.what_if.change for one in told] == [
        (goal[total] - whole) / 100 if goal else None for goal in goals
    ]
    assert {reason.key for one in told if one.what_if for reason in one.what_if.reasons} <= {
        "why_not.group_too_small"
    }


def test_a_group_that_never_reaches_its_size_is_the_reason_and_not_who_was_placed() -> None:
    values = liking({"x": 1, "y": 2, "z": 2}, [1, 3], track={"min_members": 2})

    (told,) = explained(values, ("mentor-0", "mentee-0"))

    assert [(one.key, one.params) for one in told.why_not] == [
        ("why_not.group_too_small", {"who": "mentor-0", "minimum": 2})
    ]
    assert told.what_if is not None
    assert (told.what_if.possible, told.what_if.reasons) == (False, told.why_not)
    assert told.costs_at_least is None
    assert "mentor-0" not in {one.first for one in told.alternatives}


def test_a_group_that_is_locked_takes_one_more_however_small_it_stays() -> None:
    values = liking(
        {"x": 1, "y": 2, "z": 2},
        [2, 3],
        track={"min_members": 3},
        locks={"first": ["mentor-0"], "second": ["mentee-0"]},
    )

    (told,) = explained(values, ("mentor-0", "mentee-1"))

    assert told.matched or (told.what_if is not None and told.what_if.possible)


def test_a_stable_choice_with_a_pair_whose_group_stays_too_small_is_none() -> None:
    values = liking({"x": 1, "y": 2, "z": 2}, [2, 3], track={"min_members": 2}, objective="stable")
    values["blocks"] = {"first": ["mentor-0"] * 2, "second": ["mentee-1", "mentee-2"]}

    (told,) = explained(values, ("mentor-0", "mentee-0"))

    assert told.what_if is not None
    assert [one.key for one in told.what_if.reasons] == ["why_not.group_too_small"]
