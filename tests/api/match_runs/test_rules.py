"""States of runs, and what each kind needs."""

import itertools

import pytest

from services.api.match_runs import rules
from services.api.match_runs.rules import RunAction, RunKind, RunStatus
from shared.errors import ConflictError, Violation


@pytest.mark.parametrize(
    ("status", "action"), list(itertools.product(RunStatus, RunAction)), ids=str
)
def test_a_run_moves_only_as_its_table_says(status: RunStatus, action: RunAction) -> None:
    expected = rules.TRANSITIONS.get((status, action))

    if expected is not None:
        assert rules.next_status(status, action) is expected
        return
    with pytest.raises(ConflictError) as refused:
        rules.next_status(status, action)
    assert refused.value.code == "invalid_transition"
    assert list(refused.value.allowed) == rules.allowed_actions(status)


def test_a_run_under_way_can_only_be_cancelled() -> None:
    assert rules.allowed_actions(RunStatus.RUNNING) == ["discard"]


def test_who_moves_is_told_with_whom_they_lose_and_whom_they_have_for_it() -> None:
    moves = rules.moves_of([("a", "x"), ("b", "y")], [("a", "y")])

    assert moves == [("a", ["x"], ["y"]), ("b", ["y"], []), ("x", ["a"], []), ("y", ["b"], ["a"])]


def test_from_one_group_to_another_of_the_same_mentor_nobody_moves() -> None:
    assert rules.moves_of([("a", "x"), ("a", "y")], [("a", "x")]) == [
        ("a", ["y"], []),
        ("y", ["a"], []),
    ]


def test_every_kind_of_run_has_a_mode_and_needs_somebody() -> None:
    assert {kind.value for kind in RunKind} == {mode.value for mode in rules.MODE_OF_KIND.values()}
    assert rules.FEWEST == {RunKind.POOL: 2, RunKind.FILL: 1, RunKind.ROULETTE: 2}


@pytest.mark.parametrize(
    ("kind", "waiting", "code"),
    [
        (RunKind.POOL, 0, "nobody"),
        (RunKind.POOL, 1, "one_alone"),
        (RunKind.ROULETTE, 1, "one_alone"),
        (RunKind.FILL, 0, "nobody"),
    ],
)
def test_too_few_are_counted_as_they_are(kind: RunKind, waiting: int, code: str) -> None:
    rules.require_enough(kind, rules.FEWEST[kind])

    with pytest.raises(ConflictError) as refused:
        rules.require_enough(kind, waiting)

    assert [one.code for one in refused.value.errors] == [code]


def test_what_was_wrong_with_a_run_names_nobody() -> None:
    detail = f"The rule not_blocked keeps {'0a' * 12} and {'1b' * 12} apart."

    [told] = rules.failures_of([Violation("#/there/id/0", "lock_breaks_rule", detail)])

    assert told["detail"] == "The rule not_blocked keeps somebody and somebody apart."
