"""Flash schedules: nobody is in two places or meets twice, small ones are as good as can be."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching import schedules
from services.matching.schedules import Rounds
from shared.errors import InvalidError
from shared.schemas.matching import CertificateKind, FlashProblem, Schedule
from tests.support.pools import MAX_CELLS, flash, quiet, shuffled

small = settings(max_examples=40, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10_000)


def rounds_of(values: dict[str, Any]) -> Rounds:
    return schedules.lay_out(FlashProblem.model_validate(values), max_cells=MAX_CELLS, step=quiet)


def plan(values: dict[str, Any]) -> Schedule:
    rounds = rounds_of(values)
    return schedules.describe(rounds, schedules.plan(rounds, step=quiet), step=quiet)


def met(found: Schedule) -> set[tuple[str, str]]:
    return {(one.first, one.second) for one in found.meetings}


def reasons(found: Schedule) -> dict[str, str]:
    return {one.id: one.reason.key.removeprefix("unmatched.") for one in found.unmatched}


def faults(values: dict[str, Any]) -> set[tuple[str, str]]:
    with pytest.raises(InvalidError) as refused:
        plan(values)
    return {(one.pointer, one.code) for one in refused.value.errors}


def absent(*rows: tuple[str, int]) -> dict[str, list[Any]]:
    return {"id": [one for one, _ in rows], "round": [when for _, when in rows]}


def test_everybody_has_their_meetings_and_nobody_is_in_two_places() -> None:
    found = plan(flash())

    people = [(one.round, who) for one in found.meetings for who in (one.first, one.second)]
    assert len(people) == len(set(people))
    assert len(met(found)) == len(found.meetings) == 12
    assert (found.rounds, found.shortfalls, found.unmatched) == (3, [], [])
    assert (found.certificate.kind, found.certificate.gap) == (CertificateKind.OPTIMAL, 0.0)


def test_a_meeting_says_why_the_two_fit() -> None:
    for one in plan(flash()).meetings:
        assert round(sum(part.points for part in one.parts), 2) == one.score


def test_meetings_of_a_mentee_are_limited() -> None:
    found = plan(flash(meetings_per_mentee=1))

    assert len(found.meetings) == 6


def test_whoever_met_before_does_not_meet_again() -> None:
    past = {"first": ["mentee-0", "mentor-1"], "second": ["mentor-0", "mentee-0"]}

    found = plan(flash(past_pairs=past))

    assert not {("mentor-0", "mentee-0"), ("mentor-1", "mentee-0")} & met(found)


def test_nobody_meets_while_absent() -> None:
    gone = absent(("mentor-0", 0), ("mentor-0", 1), ("mentee-3", 2))

    found = plan(flash(absences=gone))

    there = {(who, one.round) for one in found.meetings for who in (one.first, one.second)}
    assert not there & set(zip(gone["id"], gone["round"], strict=True))
    assert len(found.meetings) == 11


def test_a_mentee_with_fewer_meetings_than_wanted_is_named() -> None:
    found = plan(flash(1, 2, rounds=3, meetings_per_mentee=2))

    assert [(one.id, one.wanted, one.meetings) for one in found.shortfalls] == [
        ("mentee-0", 2, 1),
        ("mentee-1", 2, 1),
    ]


# What is decided.


def test_meetings_that_are_decided_keep_their_rounds() -> None:
    fixed = {"mentor": ["mentor-0"], "mentee": ["mentee-5"], "round": [3]}
    locks = {"first": ["mentor-1"], "second": ["mentee-4"]}

    found = plan(flash(fixed=fixed, locks=locks))

    locked = {(one.first, one.second): one.round for one in found.meetings if one.is_locked}
    assert locked["mentor-0", "mentee-5"] == 3
    assert set(locked) == {("mentor-0", "mentee-5"), ("mentor-1", "mentee-4")}


def fixed(*rows: tuple[str, str, int | None]) -> dict[str, list[Any]]:
    names = ("mentor", "mentee", "round")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {
                "locks": {"first": ["mentor-3", "mentor-0"], "second": ["mentee-0", "mentee-0"]},
                "blocks": {"first": ["mentee-0"], "second": ["mentor-0"]},
            },
            ("#/locks/first/1", "lock_breaks_rule"),
        ),
        (
            {
                "locks": {"first": ["mentor-0"], "second": ["mentee-0"]},
                "past_pairs": {"first": ["mentee-0"], "second": ["mentor-0"]},
            },
            ("#/locks/first/0", "lock_breaks_rule"),
        ),
        (
            {"fixed": fixed(*((f"mentor-{n}", "mentee-0", None) for n in range(3)))},
            ("#/fixed/mentor/2", "lock_exceeds_capacity"),
        ),
        (
            {"fixed": fixed(("mentor-0", "mentee-0", 1), ("mentor-1", "mentee-0", 1))},
            ("#/fixed/mentor/1", "lock_breaks_rule"),
        ),
        (
            {
                "fixed": fixed(("mentor-0", "mentee-0", 1)),
                "absences": absent(("mentee-0", 1)),
            },
            ("#/fixed/mentor/0", "lock_breaks_rule"),
        ),
        ({"fixed": fixed(("mentor-0", "mentee-0", 4))}, ("#/fixed/round/0", "out_of_range")),
        ({"absences": absent(("mentor-0", 4))}, ("#/absences/round/0", "out_of_range")),
        ({"absences": absent(("stranger", 1))}, ("#/absences/id/0", "unknown_reference")),
        ({"fixed": fixed(("mentee-0", "mentor-0", 1))}, ("#/fixed/mentor/0", "lock_without_place")),
        ({"fixed": {"mentor": ["mentor-0"]}}, ("#/fixed/mentee", "wrong_length")),
        ({"format": "office_hours"}, ("#/format", "format_not_supported")),
    ],
    ids=[
        "blocked",
        "met before",
        "too many",
        "two places",
        "absent",
        "no such round",
        "absent in no round",
        "unknown",
        "wrong side",
        "lengths",
        "format",
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], fault: tuple[str, str]) -> None:
    assert fault in faults(flash(**changes))


# Against trying everything.


def best(rounds: Rounds) -> int:
    """Return the most that a schedule can count, over every set of meetings that has one."""
    weights = schedules._weights(rounds)
    possible = [(int(one), int(other)) for one, other in np.argwhere(weights > 0)]
    found = 0
    for size in range(len(possible) + 1):
        for chosen in itertools.combinations(possible, size):
            value = sum(int(weights[pair]) for pair in chosen)
            if value > found and _is_held(rounds, chosen):
                found = value
    return found


def _is_held(rounds: Rounds, chosen: tuple[tuple[int, int], ...]) -> bool:
    sides = (rounds.board.first.capacity, rounds.board.second.capacity)
    for place, capacity in enumerate(sides):
        held = np.bincount([pair[place] for pair in chosen], minlength=len(capacity))
        if (held > capacity).any():
            return False
    return _find(rounds, chosen, set())


def _find(
    rounds: Rounds, left: tuple[tuple[int, int], ...], busy: set[tuple[int, int, int]]
) -> bool:
    if not left:
        return True
    mentor, mentee = left[0]
    for when in range(rounds.problem.rounds):
        taken = {(0, mentor, when), (1, mentee, when)}
        there = rounds.present[0][mentor, when] and rounds.present[1][mentee, when]
        if there and not taken & busy and _find(rounds, left[1:], busy | taken):
            return True
    return False


@pytest.mark.parametrize("objective", ["most_matched", "best_total"])
@small
@given(seed=SEEDS, mentees=st.integers(1, 3), each=st.integers(1, 3))
def test_a_small_schedule_is_as_good_as_any(
    objective: str, seed: int, mentees: int, each: int
) -> None:
    blocks = {"first": ["mentor-0"], "second": ["mentee-0"]}
    values = flash(3, mentees, rounds=3, meetings_per_mentee=each, seed=seed, blocks=blocks)
    values["policy"]["objective"] = objective
    rounds = rounds_of(values)

    made = schedules.plan(rounds, step=quiet)

    assert made.total == made.bound == best(rounds)


@small
@given(
    seed=SEEDS,
    gone=st.sets(
        st.tuples(st.sampled_from(["mentor-0", "mentor-1", "mentee-0"]), st.integers(0, 2))
    ),
)
def test_with_absences_the_bound_is_one_and_the_gap_is_told(
    seed: int, gone: set[tuple[str, int]]
) -> None:
    values = flash(3, 3, rounds=3, seed=seed, absences=absent(*sorted(gone)))
    rounds = rounds_of(values)

    made = schedules.plan(rounds, step=quiet)
    reachable = best(rounds)

    assert made.total <= reachable <= made.bound
    # So near in pools of this size; nothing is promised.
    assert made.total >= 0.9 * reachable


# Odd pools.


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (flash(0, 0), {}),
        (flash(0, 1), {"mentee-0": "nobody_there"}),
        (flash(1, 0), {"mentor-0": "nobody_there"}),
        (
            flash(1, 1, blocks={"first": ["mentor-0"], "second": ["mentee-0"]}),
            {"mentor-0": "kept_apart", "mentee-0": "kept_apart"},
        ),
        (
            flash(1, 1, absences=absent(*(("mentor-0", n) for n in range(4)))),
            {"mentor-0": "never_there", "mentee-0": "never_there"},
        ),
    ],
    ids=["nobody", "one mentee", "one mentor", "blocked", "absent"],
)
def test_a_pool_without_a_meeting_is_answered_with_reasons(
    values: dict[str, Any], expected: dict[str, str]
) -> None:
    found = plan(values)

    assert found.meetings == []
    assert reasons(found) == expected


def test_whoever_has_no_capacity_has_no_place() -> None:
    values = flash()
    values["places"]["capacity"][0] = values["places"]["capacity"][4] = 0

    found = plan(values)

    assert reasons(found) == {"mentor-0": "no_place", "mentee-0": "no_place"}


def test_a_rule_that_keeps_apart_is_named() -> None:
    found = plan(flash(1, 2, blocks={"first": ["mentee-1"], "second": ["mentor-0"]}))

    (left,) = found.unmatched
    assert (left.reason.rule, left.reason.params) == ("not_blocked", {"pairs": {"not_blocked": 1}})


def test_an_objective_that_is_not_known_is_told() -> None:
    values = flash()
    values["policy"]["objective"] = "fair_floor"

    found = plan(values)

    assert "doubt.objective_not_used" in {one.key for one in found.warnings}
    assert found.certificate.objective == "most_matched"


def test_more_rounds_than_can_be_weighed_are_refused() -> None:
    asked = FlashProblem.model_validate(flash(rounds=200))

    with pytest.raises(InvalidError) as refused:
        schedules.lay_out(asked, max_cells=1000, step=quiet)

    assert [one.pointer for one in refused.value.errors] == ["#/rounds"]


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    values = flash(
        5,
        9,
        absences=absent(("mentor-0", 0), ("mentee-3", 2), ("mentee-3", 1)),
        fixed=fixed(("mentor-4", "mentee-8", 3), ("mentor-2", "mentee-1", None)),
        locks={"first": ["mentor-1", "mentor-3"], "second": ["mentee-0", "mentee-5"]},
        past_pairs={"first": ["mentee-2", "mentee-0"], "second": ["mentor-2", "mentor-0"]},
    )

    assert plan(values).model_dump_json() == plan(shuffled(values, seed=seed)).model_dump_json()
