"""Where a sandbox's clock may go."""

from datetime import UTC, datetime, timedelta

import pytest

from services.api.organizations.rules import Kind
from services.api.sandbox import rules
from shared.errors import ConflictError, InvalidError

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def destination(
    *, days: int | None = None, until: datetime | None = None, going_to: datetime | None = None
) -> datetime:
    return rules.destination(now=NOW, going_to=going_to, real_now=NOW, days=days, until=until)


def test_days_count_from_now_or_from_where_the_clock_is_going() -> None:
    assert destination(days=3) == NOW + 3 * DAY
    assert destination(days=3, going_to=NOW + 2 * DAY) == NOW + 5 * DAY


def test_a_clock_never_goes_back_nor_beyond_ten_years() -> None:
    assert destination(until=NOW + DAY) == NOW + DAY
    for refused in (NOW - DAY, NOW + rules.FURTHEST + DAY):
        with pytest.raises(InvalidError):
            destination(until=refused)
    with pytest.raises(InvalidError):
        destination(until=NOW + DAY, going_to=NOW + 2 * DAY)


def test_an_offset_reaches_the_instant_and_never_shrinks() -> None:
    instant = NOW + timedelta(seconds=10.2)
    assert rules.offset_at(instant, real_now=NOW, current=0) == 11
    assert rules.offset_at(NOW, real_now=NOW, current=500) == 500


def test_the_next_stop_is_the_first_due_time_ahead_and_the_target_at_the_latest() -> None:
    target = NOW + 3 * DAY
    assert rules.next_stop(None, None, now=NOW, target=target) == target
    assert rules.next_stop(NOW - DAY, NOW + DAY, now=NOW, target=target) == NOW + DAY
    assert rules.next_stop(NOW + 9 * DAY, now=NOW, target=target) == target


def test_only_a_sandbox_lets_its_clock_be_moved() -> None:
    rules.require_sandbox(Kind.SANDBOX)
    with pytest.raises(ConflictError) as refused:
        rules.require_sandbox(Kind.PRODUCTION)
    assert refused.value.code == "not_a_sandbox"
