"""States of a delivery, its waits, and what keeps it from going out."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise, product

import pytest

from services.notifications.deliveries import rules
from services.notifications.deliveries.rules import (
    TRANSITIONS,
    WAITS,
    DeliveryState,
    Outcome,
    Standing,
)
from shared.errors import ConflictError

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(("state", "outcome"), list(product(DeliveryState, Outcome)))
def test_only_pending_deliveries_go_anywhere(state: DeliveryState, outcome: Outcome) -> None:
    if (state, outcome) in TRANSITIONS:
        assert rules.next_status(state, outcome) is TRANSITIONS[state, outcome]
    else:
        with pytest.raises(ConflictError):
            rules.next_status(state, outcome)
    assert ((state, outcome) in TRANSITIONS) == (state is DeliveryState.PENDING)


def test_waits_grow_and_end() -> None:
    waits = [rules.wait_after(attempts) for attempts in range(1, rules.MAX_ATTEMPTS + 1)]

    assert waits == [*WAITS, None]
    assert all(first < second for first, second in pairwise(WAITS))


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (Standing(True, "a@example.org", None, False), None),
        (Standing(True, "a@example.org", NOW + timedelta(seconds=1), False), None),
        (Standing(True, "a@example.org", NOW, False), (Outcome.EXPIRE, "too_late")),
        (Standing(True, None, None, False), (Outcome.SUPPRESS, "no_address")),
        (Standing(False, None, None, False), (Outcome.SUPERSEDE, "person_left")),
        (
            Standing(True, "a@example.org", None, True),
            (Outcome.SUPERSEDE, "newer_invitation_sent"),
        ),
    ],
)
def test_what_is_no_longer_right_is_not_sent(
    standing: Standing, expected: tuple[Outcome, str] | None
) -> None:
    assert rules.objection(standing, now=NOW) == expected
