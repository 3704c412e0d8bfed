"""Solutions against trying everything, for every objective; locks, blocks and odd pools."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching import solver
from shared.errors import InvalidError
from shared.schemas.matching import Match, Problem
from tests.support.pools import (
    Weighed,
    every_choice,
    pairs,
    peers,
    problem,
    quiet,
    shuffled,
    solve,
    weigh,
)

small = settings(max_examples=60, deadline=None, derandomize=True)
SEATS = st.lists(st.integers(0, 2), min_size=1, max_size=3)
SEEDS = st.integers(0, 10_000)
FEW = st.sampled_from([1, 64])


def blocked(seed: int, mentors: int, mentees: int) -> dict[str, list[str]]:
    """Return blocks between roughly a third of the people."""
    found = [
        (f"mentor-{one}", f"mentee-{other}")
        for one in range(mentors)
        for other in range(mentees)
        if (seed * 7 + one * 13 + other * 29) % 3 == 0
    ]
    return {"first": [one for one, _ in found], "second": [other for _, other in found]}


def decided(weighed: Weighed) -> list[tuple[int, int]]:
    """Return what the solver chose."""
    taken = solver.solve(weighed.board, step=quiet).taken
    return list(taken.once() if weighed.is_peer else taken)


def most_matched(weighed: Weighed, chosen: list[tuple[int, int]]) -> tuple[int, ...]:
    floor = weighed.board.problem.policy.floor * 100
    scores = [int(weighed.scores[pair]) for pair in chosen]
    above = sum(score >= floor for score in scores) if floor else 0
    return len(scores), above, sum(scores)


def best_total(weighed: Weighed, chosen: list[tuple[int, int]]) -> tuple[int, ...]:
    scores = [int(weighed.scores[pair]) for pair in chosen]
    return sum(scores), len(scores)


def fair_floor(weighed: Weighed, chosen: list[tuple[int, int]]) -> tuple[int, ...]:
    scores = [int(weighed.scores[pair]) for pair in chosen]
    return len(scores), min(scores, default=0), sum(scores)


GOALS = {"most_matched": most_matched, "best_total": best_total, "fair_floor": fair_floor}


@pytest.mark.parametrize("objective", GOALS)
@small
@given(places=st.tuples(SEATS, SEATS), seed=SEEDS, floor=st.sampled_from([0, 60]), few=FEW)
def test_two_sides_equal_trying_everything(
    objective: str, places: tuple[list[int], list[int]], seed: int, floor: int, few: int
) -> None:
    seats, wants = places
    values = problem(
        mentors=len(seats),
        mentees=len(wants),
        seats=seats,
        wants=wants,
        seed=seed,
        objective=objective,
        blocks=blocked(seed, len(seats), len(wants)),
    )
    values["policy"] |= {"floor": floor, "limits": {"max_candidates": few}}
    weighed = weigh(values)
    goal = GOALS[objective]

    best = max(goal(weighed, chosen) for chosen in every_choice(weighed))

    assert goal(weighed, decided(weighed)) == best


@pytest.mark.parametrize("objective", GOALS)
@small
@given(count=st.integers(0, 6), seed=SEEDS)
def test_peers_equal_trying_everything(objective: str, count: int, seed: int) -> None:
    weighed = weigh(peers(count, seed=seed, objective=objective))
    goal = GOALS[objective]

    best = max(goal(weighed, chosen) for chosen in every_choice(weighed))

    assert goal(weighed, decided(weighed)) == best


@small
@given(seats=SEATS, wants=SEATS, seed=SEEDS)
def test_nobody_would_rather_change_in_a_stable_solution(
    seats: list[int], wants: list[int], seed: int
) -> None:
    solution = solve(
        problem(
            mentors=len(seats),
            mentees=len(wants),
            seats=seats,
            wants=wants,
            seed=seed,
            objective="stable",
            blocks=blocked(seed, len(seats), len(wants)),
        )
    )

    assert solution.blocking_pairs == 0
    assert solution.certificate.kind == "optimal"


@small
@given(count=st.integers(2, 9), seed=SEEDS)
def test_peers_of_like_mind_are_stable(count: int, seed: int) -> None:
    solution = solve(peers(count, seed=seed, objective="stable"))

    assert solution.blocking_pairs == 0
    assert solution.totals.matched == count // 2 * 2


def test_ranked_lists_decide_before_scores_when_stable() -> None:
    said = {
        "by": ["mentee-0", "mentee-1", "mentor-0", "mentor-1"],
        "about": ["mentor-1", "mentor-0", "mentee-1", "mentee-0"],
        "mark": ["yes"] * 4,
        "rank": [1] * 4,
    }

    solution = solve(problem(mentors=2, mentees=2, objective="stable", preferences=said))

    assert pairs(solution) == [("mentor-0", "mentee-1"), ("mentor-1", "mentee-0")]


@pytest.mark.parametrize("objective", [*GOALS, "stable"])
def test_prices_prove_the_optimum(objective: str) -> None:
    solution = solve(problem(mentors=6, mentees=9, seats=[1, 2, 1, 0, 3, 1], objective=objective))

    assert solution.certificate.kind == "optimal"
    # What is stable is proven by looking at pairs, with no bound.
    assert solution.certificate.dual == (
        None if objective == "stable" else solution.certificate.primal
    )
    assert bool(solution.prices) is (objective != "stable")


@small
@given(seed=SEEDS, order=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(seed: int, order: Any) -> None:
    values = problem(mentors=4, mentees=5, seats=[2, 1, 1, 1], seed=seed)
    values["policy"]["soft"] = [{"rule": "shared_values", "weight": 1}]
    count = len(values["participants"]["id"])
    rows = list(range(count))
    order.shuffle(rows)
    moved = {row: place for place, row in enumerate(rows)}
    shuffled = {
        **values,
        "participants": {
            name: [column[row] for row in rows] for name, column in values["participants"].items()
        },
        "places": {
            **values["places"],
            "participant": [moved[row] for row in values["places"]["participant"]],
        },
    }

    assert solve(shuffled).model_dump_json() == solve(values).model_dump_json()


def test_the_same_problem_has_the_same_bytes_and_another_seed_another_digest() -> None:
    first, again = solve(problem()), solve(problem())
    other = solve(problem() | {"seed": 2})

    assert solver.digest_of(first) == solver.digest_of(again)
    assert first.input_hash != other.input_hash


# What was decided before.


def test_locks_are_kept_and_use_up_places() -> None:
    locks = {"first": ["mentor-0"], "second": ["mentee-2"]}

    solution = solve(problem(locks=locks))

    assert ("mentor-0", "mentee-2") in pairs(solution)
    assert [match.is_locked for match in solution.matches].count(True) == 1
    assert len(solution.matches) == 3


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (
            {"blocks": {"first": ["mentee-0"], "second": ["mentor-0"]}},
            "lock_breaks_rule",
        ),
        ({"seats": [0, 1, 1]}, "lock_exceeds_capacity"),
    ],
)
def test_an_impossible_lock_is_an_error_that_names_the_rule(
    changes: dict[str, Any], code: str
) -> None:
    locks = {"first": ["mentor-0"], "second": ["mentee-0"]}

    with pytest.raises(InvalidError) as refused:
        weigh(problem(locks=locks, **changes))

    assert {one.code for one in refused.value.errors} == {code}
    assert all("rule" in one.detail for one in refused.value.errors)


def test_a_lock_on_the_wrong_side_is_an_error() -> None:
    with pytest.raises(InvalidError) as refused:
        weigh(problem(locks={"first": ["mentee-0"], "second": ["mentor-0"]}))

    assert [one.code for one in refused.value.errors] == ["lock_without_place"]


def test_a_bonus_keeps_current_pairs_together() -> None:
    values = problem(mentors=4, mentees=4)
    best = pairs(solve(values))
    current = [(best[0][0], best[1][1]), (best[1][0], best[0][1])]
    values["current_pairs"] = {
        "first": [one for one, _ in current],
        "second": [other for _, other in current],
    }

    values["policy"]["stay_bonus"] = 100
    solution = solve(values)

    assert set(current) <= set(pairs(solution))
    assert solution.churn.model_dump() == {"kept": 2, "lost": 0, "made": 2}


def test_past_pairs_are_kept_apart_where_the_policy_says_so() -> None:
    values = problem(mentors=2, mentees=2)
    before = pairs(solve(values))
    values["past_pairs"] = {
        "first": [other for _, other in before],
        "second": [one for one, _ in before],
    }
    values["policy"]["hard"] = [{"rule": "not_past_pair"}]

    assert not set(before) & set(pairs(solve(values)))


# Groups.


def grouped(**changes: Any) -> dict[str, Any]:
    return problem(mentors=3, mentees=5, seats=[4, 4, 4], format="group", **changes)


def test_groups_hold_everybody_of_one_mentor() -> None:
    solution = solve(grouped(track={"max_members": 2}))

    assert sorted(len(match.members) for match in solution.matches) == [2, 3, 3]
    assert all(match.pairs and match.score for match in solution.matches)
    assert solution.totals.matched == 8


def test_how_even_groups_are_is_told_of_the_pairs_in_them() -> None:
    solution = solve(grouped(track={"max_members": 2}))

    least = min(pair.score for match in solution.matches for pair in match.pairs)
    assert solution.fairness.minimum == least
    assert least < min(match.score for match in solution.matches)


def test_groups_below_their_minimum_are_not_made() -> None:
    solution = solve(grouped(track={"min_members": 3}))

    assert all(len(match.members) > 3 for match in solution.matches)
    assert solution.certificate.kind == "optimal"
    reasons = {one.reason.key for one in solution.unmatched}
    assert "unmatched.group_too_small" in reasons


def test_who_seeks_a_group_that_stays_too_small_hears_what_its_mentor_hears() -> None:
    solution = solve(
        problem(mentors=1, mentees=3, seats=[3], format="group", track={"min_members": 5})
    )

    assert {(one.id, one.reason.key) for one in solution.unmatched} == {
        (one, "unmatched.group_too_small")
        for one in ("mentor-0", "mentee-0", "mentee-1", "mentee-2")
    }
    assert {one.reason.params["minimum"] for one in solution.unmatched} == {5}


def test_who_could_have_joined_a_group_that_is_held_lacks_its_places() -> None:
    solution = solve(
        problem(mentors=2, mentees=5, seats=[3, 2], format="group", track={"min_members": 3})
    )

    told = {one.id: one.reason.key for one in solution.unmatched}
    assert told.pop("mentor-1") == "unmatched.group_too_small"
    assert [*told.values()] == ["unmatched.places_taken"] * 2


def test_a_rule_that_stands_there_twice_counts_each_pair_once() -> None:
    values = problem(mentors=1, mentees=24)
    values["participants"]["grade_rank"] = [3, *([9] * 12), *([3] * 12)]
    values["policy"]["hard"] = [
        {"rule": "seniority", "params": {"gap_min": 2, "relation": "mentor_higher"}},
        {"rule": "seniority", "params": {"gap_min": 1}},
    ]

    solution = solve(values)

    assert {one.reason.params["pairs"]["seniority"] for one in solution.unmatched} == {24, 1}


@pytest.mark.parametrize("objective", ["stable", "best_total", "fair_floor"])
def test_closed_groups_never_claim_more_than_is_known(objective: str) -> None:
    solution = solve(grouped(track={"min_members": 4}, objective=objective))

    assert [len(match.members) for match in solution.matches] == [5]
    assert solution.certificate.kind == ("heuristic" if objective == "stable" else "optimal")


def test_a_locked_group_is_never_closed() -> None:
    locks = {"first": ["mentor-1"], "second": ["mentee-0"]}

    solution = solve(grouped(track={"min_members": 3}, locks=locks))

    assert ("mentor-1", "mentee-0") in pairs(solution)


def test_a_facilitator_is_named_as_not_matched() -> None:
    values = grouped()
    values["places"]["role"][0] = "facilitator"

    solution = solve(values)

    assert "unmatched.role_not_matched" in {one.reason.key for one in solution.unmatched}


# Odd pools.


@pytest.mark.parametrize("objective", [*GOALS, "stable"])
@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"mentors": 0, "mentees": 3}, "unmatched.nobody_there"),
        ({"mentors": 1, "mentees": 0}, "unmatched.nobody_there"),
        ({"mentors": 1, "mentees": 1, "seats": [0]}, "unmatched.no_place"),
    ],
)
def test_nobody_to_match_is_an_honest_empty_solution(
    objective: str, shape: dict[str, Any], reason: str
) -> None:
    solution = solve(problem(objective=objective, **shape))

    assert solution.matches == []
    assert solution.fairness.minimum is None
    assert reason in {one.reason.key for one in solution.unmatched}
    assert len(solution.unmatched) == solution.totals.people


@pytest.mark.parametrize("objective", [*GOALS, "stable"])
@pytest.mark.parametrize("count", [0, 1])
def test_a_lonely_peer_is_told_so(objective: str, count: int) -> None:
    solution = solve(peers(count, objective=objective))

    assert [one.reason.key for one in solution.unmatched] == ["unmatched.nobody_there"] * count


def test_everybody_blocked_names_the_rule() -> None:
    blocks = {
        "first": [f"mentor-{one}" for one in range(2) for _ in range(2)],
        "second": [f"mentee-{other}" for _ in range(2) for other in range(2)],
    }

    solution = solve(problem(mentors=2, mentees=2, blocks=blocks))

    assert {one.reason.rule for one in solution.unmatched} == {"not_blocked"}
    assert solution.matches == []


def test_zero_weights_match_people_anyway_and_say_so() -> None:
    values = problem()
    for rule in values["policy"]["soft"]:
        rule["weight"] = 0

    solution = solve(values)

    assert len(solution.matches) == 3
    assert "doubt.no_weight" in {one.key for one in solution.warnings}


def test_too_few_places_leave_the_rest_with_a_reason() -> None:
    solution = solve(problem(mentors=1, mentees=3))

    assert [one.reason.key for one in solution.unmatched] == ["unmatched.places_taken"] * 2


def test_people_in_both_roles_are_not_matched_with_themselves() -> None:
    values = problem(mentors=2, mentees=0)
    values["places"] = {
        "participant": [0, 1, 0, 1],
        "role": ["mentor", "mentor", "mentee", "mentee"],
        "capacity": [1] * 4,
    }

    assert pairs(solve(values)) == [("mentor-0", "mentor-1"), ("mentor-1", "mentor-0")]


def test_who_could_only_meet_themselves_is_kept_apart_by_that_alone() -> None:
    values = problem(mentors=2, mentees=0)
    values["places"] = {
        "participant": [0, 1, 0],
        "role": ["mentor", "mentor", "mentee"],
        "capacity": [1, 0, 1],
    }

    solution = solve(values)

    told = {(one.id, one.role): (one.reason.key, one.reason.params) for one in solution.unmatched}
    kept = "unmatched.kept_apart", {"pairs": {"not_oneself": 1}}
    assert told == {
        ("mentor-0", "mentor"): kept,
        ("mentor-0", "mentee"): kept,
        ("mentor-1", "mentor"): ("unmatched.no_place", {}),
    }


def test_no_rule_keeps_somebody_from_more_than_there_are() -> None:
    values = peers(7)
    values["participants"]["grade_rank"] = [5] * 7
    values["participants"]["reporting_line"] = [["mentor-1"], *[[]] * 6]
    values["policy"]["hard"] = [{"rule": "seniority", "params": {"gap_min": 1}}]

    solution = solve(values)

    told = {one.id: one.reason.params["pairs"] for one in solution.unmatched}
    in_line = {"seniority": 6, "reporting_line_distance": 1}
    assert told == {f"mentor-{n}": in_line if n < 2 else {"seniority": 6} for n in range(7)}
    assert {one.reason.rule for one in solution.unmatched} == {"seniority"}


def test_a_peer_among_others_without_a_place_has_nobody() -> None:
    values = peers(3)
    values["places"]["capacity"] = [1, 0, 0]

    solution = solve(values)

    assert [one.reason.key for one in solution.unmatched] == [
        "unmatched.nobody_there",
        *["unmatched.no_place"] * 2,
    ]


def test_a_peer_has_one_partner_and_is_told() -> None:
    values = peers(3)
    values["places"]["capacity"] = [2, 2, 2]

    solution = solve(values)

    assert solution.totals.pairs == 1
    assert "doubt.one_peer_each" in {one.key for one in solution.warnings}


def test_rules_that_forbid_everything_or_nothing_are_named() -> None:
    values = problem()
    values["participants"]["department"] = ["law"] * 6
    rule = {"rule": "attribute_different", "params": {"attribute": "department"}}
    values["policy"]["hard"] = [rule]
    values["policy"]["soft"].append({"rule": "path_fit", "weight": 10})

    solution = solve(values)

    found = {(one.rule, one.key) for one in solution.warnings}
    assert ("attribute_different", "doubt.forbids_everything") in found
    assert ("path_fit", "doubt.same_for_everybody") in found


def test_large_peer_pools_say_how_far_they_may_be_from_the_best() -> None:
    solution = solve(peers(320))

    assert solution.totals.matched == 320
    assert solution.certificate.gap is not None
    assert solution.certificate.gap < 0.01


def test_a_lock_that_cannot_be_is_pointed_at_where_it_was_asked() -> None:
    asked = Problem.model_validate(
        problem(
            locks={"first": ["mentor-2", "mentor-0"], "second": ["mentee-2", "mentee-0"]},
            blocks={"first": ["mentor-0"], "second": ["mentee-0"]},
        )
    )

    with pytest.raises(InvalidError) as refused:
        solver.lay_out(asked, max_cells=100, step=quiet)

    assert [one.pointer for one in refused.value.errors] == ["#/locks/first/1"]


def test_a_lock_that_was_said_twice_is_one_lock() -> None:
    asked = Problem.model_validate(
        problem(locks={"first": ["mentor-0"] * 2, "second": ["mentee-0"] * 2})
    )

    assert solver.lay_out(asked, max_cells=100, step=quiet).shape == (3, 3)


def test_locks_that_yield_are_left_out_where_they_cannot_be() -> None:
    values = problem(
        mentors=4,
        mentees=4,
        locks={
            "first": ["mentor-0", "mentor-1", "mentor-1", "mentee-3"],
            "second": ["mentee-0", "mentee-1", "mentee-2", "mentor-3"],
        },
        locks_yield=True,
        blocks={"first": ["mentee-0"], "second": ["mentor-0"]},
    )

    solution = solve(values)

    assert ("mentor-0", "mentee-0") not in pairs(solution)
    assert [pairs_of(one) for one in solution.matches if one.is_locked] == ["mentor-1 mentee-1"]
    assert len(solution.matches) == 4
    assert [(one.rule, one.params) for one in solution.warnings if one.rule == "locks"] == [
        ("locks", {"locks": 3})
    ]
    assert solve(shuffled(values, seed=2)) == solution


def pairs_of(match: Match) -> str:
    return " ".join(member.id for member in match.members)


def test_a_lock_that_yields_holds_against_the_policy_alone() -> None:
    hard = [{"rule": "attribute_equal", "params": {"attribute": "department"}}]
    values = problem(locks={"first": ["mentor-0"], "second": ["mentee-0"]}, locks_yield=True)
    values["policy"]["hard"] = hard
    values["participants"]["department"] = ["a", "b", "b", "c", "b", "b"]

    solution = solve(values)
    values["policy"]["hard"] = [*hard, {"rule": "reporting_line_distance"}]
    values["participants"]["reporting_line"] = [[], [], [], ["x", "mentor-0"], [], []]
    in_line = solve(values)

    assert len(solution.matches) == 3
    assert [
        (pairs_of(one), [rule.rule for rule in one.broken])
        for one in solution.matches
        if one.is_locked or one.broken
    ] == [("mentor-0 mentee-0", ["attribute_equal"])]
    assert ("mentor-0", "mentee-0") not in pairs(in_line)


def test_a_group_names_the_rule_that_gave_way_to_one_of_its_locks() -> None:
    values = problem(
        mentors=1,
        mentees=3,
        seats=[3],
        format="group",
        locks={"first": ["mentor-0"], "second": ["mentee-0"]},
        past_pairs={"first": ["mentee-0"], "second": ["mentor-0"]},
        locks_yield=True,
    )
    values["policy"]["hard"] = [{"rule": "not_past_pair"}]

    [group] = solve(values).matches

    assert (len(group.members), group.is_locked) == (4, False)
    assert [one.rule for one in group.broken] == ["not_past_pair"]


def test_peers_who_are_locked_twice_keep_the_first() -> None:
    values = peers(4) | {
        "locks": {"first": ["mentor-2", "mentor-1"], "second": ["mentor-0", "mentor-0"]},
        "locks_yield": True,
    }

    solution = solve(values)

    assert [pairs_of(one) for one in solution.matches if one.is_locked] == ["mentor-0 mentor-1"]
