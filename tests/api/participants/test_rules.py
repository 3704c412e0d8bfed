"""Every state against every action, what follows by itself, and what forms accept."""

from typing import Any

import pytest

from services.api.participants import rules
from services.api.participants.rules import ParticipantAction as A
from services.api.participants.rules import ParticipantStatus as S
from services.api.participants.rules import Review, Seats
from shared.errors import ConflictError


@pytest.mark.parametrize("status", S)
@pytest.mark.parametrize("action", A)
def test_every_state_meets_every_action(status: S, action: A) -> None:
    if (status, action) in rules.TRANSITIONS:
        assert rules.next_status(status, action) is rules.TRANSITIONS[status, action]
        return
    with pytest.raises(ConflictError) as refusal:
        rules.next_status(status, action)
    assert refusal.value.code == "invalid_transition"
    assert list(refusal.value.allowed) == rules.allowed_actions(status)


@pytest.mark.parametrize("status", sorted(rules.CLOSED))
def test_nothing_leaves_a_closed_state(status: S) -> None:
    assert not [action for state, action in rules.TRANSITIONS if state is status]


def test_people_are_offered_only_what_they_can_ask_for() -> None:
    offered = {action for status in S for action in rules.allowed_actions(status)}

    assert offered.isdisjoint(rules.AUTOMATIC)


@pytest.mark.parametrize(
    ("review", "path"),
    [
        (Review(asks_manager=True, asks_coordinator=True), [A.ASK_MANAGER]),
        (Review(asks_manager=False, asks_coordinator=True), [A.ASK_COORDINATOR]),
        (Review(asks_manager=False, asks_coordinator=False), [A.PASS_REVIEW, A.OPEN]),
    ],
)
def test_a_submission_goes_as_far_as_nobody_decides(review: Review, path: list[A]) -> None:
    status, taken = S.SUBMITTED, []
    while action := rules.automatic_action(status, review):
        taken.append(action)
        status = rules.next_status(status, action)

    assert taken == path


def test_an_acknowledged_submission_skips_a_review_that_is_off() -> None:
    review = Review(asks_manager=True, asks_coordinator=False)

    assert rules.automatic_action(S.COORDINATOR_REVIEW, review) is A.PASS_REVIEW


@pytest.mark.parametrize(
    ("status", "seats", "expected"),
    [
        (S.AVAILABLE, [Seats(1, 1)], A.FILL),
        (S.AVAILABLE, [Seats(1, 1), Seats(2, 1)], None),
        (S.AVAILABLE, [Seats(0, 0)], A.FILL),
        (S.AT_CAPACITY, [Seats(2, 1)], A.FREE),
        (S.AT_CAPACITY, [Seats(1, 1)], None),
        (S.PAUSED, [Seats(1, 1)], None),
        (S.STARTED, [Seats(1, 0)], None),
    ],
)
def test_seats_decide_who_is_available(status: S, seats: list[Seats], expected: A | None) -> None:
    assert rules.occupancy(status, seats) is expected


def question(kind: str, *, required: bool = False, options: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"key": "q", "type": kind, "required": required, "options": list(options)}


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        (question("short_text"), "yes", None),
        (question("short_text"), 3, "wrong_type"),
        (question("short_text", required=True), "", "missing"),
        (question("short_text"), None, None),
        (question("number"), 3.5, None),
        (question("number"), True, "wrong_type"),
        (question("scale"), "3", "wrong_type"),
        (question("boolean"), False, None),
        (question("boolean"), 0, "wrong_type"),
        (question("date"), "2026-02-28", None),
        (question("date"), "2026-02-30", "wrong_type"),
        (question("date"), 20260228, "wrong_type"),
        (question("single_choice", options=("a", "b")), "a", None),
        (question("single_choice", options=("a", "b")), "c", "wrong_type"),
        (question("multi_choice", options=("a", "b")), ["a", "b"], None),
        (question("multi_choice", options=("a", "b")), ["a", "a"], "wrong_type"),
        (question("ranked_choice", options=("a", "b")), ["b", "c"], "wrong_type"),
        (question("skill_list"), ["Python"], None),
        (question("language_list"), "en", "wrong_type"),
        (question("skill_list", required=True), [], "missing"),
    ],
)
def test_an_answer_fits_its_question(field: dict[str, Any], value: Any, code: str | None) -> None:
    broken = rules.broken_answers([field], {"q": value}, is_final=True)

    assert [one.code for one in broken] == ([code] if code else [])


def test_what_is_missing_counts_only_at_the_end() -> None:
    assert rules.broken_answers([question("number", required=True)], {}, is_final=False) == []


def test_an_answer_to_nothing_is_refused() -> None:
    broken = rules.broken_answers([], {"q": 1}, is_final=False)

    assert [(one.pointer, one.code) for one in broken] == [("#/answers/q", "unknown_field")]
