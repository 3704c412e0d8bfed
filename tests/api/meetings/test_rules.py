"""Lifecycle of a meeting, and what its times have to satisfy."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from services.api.meetings.rules import (
    GONE,
    TRANSITIONS,
    UPCOMING,
    MeetingAction,
    MeetingStatus,
    allowed_actions,
    check_flash,
    check_future,
    check_past,
    next_status,
    warnings,
)
from services.api.programs.rules import Format
from shared.errors import ConflictError

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(("status", "action"), list(product(MeetingStatus, MeetingAction)))
def test_every_state_and_action_is_decided_by_the_table(
    status: MeetingStatus, action: MeetingAction
) -> None:
    expected = TRANSITIONS.get((status, action))

    if expected is not None:
        assert next_status(status, action) is expected
        return
    with pytest.raises(ConflictError) as refused:
        next_status(status, action)
    assert refused.value.code == "invalid_transition"
    assert list(refused.value.allowed) == allowed_actions(status)


def test_nobody_asks_for_an_offer_to_expire() -> None:
    assert allowed_actions(MeetingStatus.PROPOSED) == [
        MeetingAction.CONFIRM,
        MeetingAction.DECLINE_TIMES,
        MeetingAction.CANCEL,
    ]


@pytest.mark.parametrize("status", sorted(GONE | {MeetingStatus.HELD}))
def test_what_is_over_stays_so(status: MeetingStatus) -> None:
    assert allowed_actions(status) == []


@pytest.mark.parametrize("status", sorted(UPCOMING))
def test_what_is_to_come_can_be_called_off(status: MeetingStatus) -> None:
    assert next_status(status, MeetingAction.CANCEL) is MeetingStatus.CANCELLED


def test_meetings_are_arranged_ahead_and_logged_afterwards() -> None:
    check_future([NOW + HOUR], NOW)
    check_past(NOW, NOW)
    with pytest.raises(ConflictError) as late:
        check_future([NOW + HOUR, NOW], NOW)
    with pytest.raises(ConflictError) as early:
        check_past(NOW + HOUR, NOW)
    assert (late.value.code, early.value.code) == ("in_the_past", "too_early")


@pytest.mark.parametrize("kind", Format)
def test_only_flash_meetings_have_to_be_short(kind: Format) -> None:
    check_flash(kind, 30)
    if kind is not Format.FLASH:
        check_flash(kind, 240)
        return
    with pytest.raises(ConflictError) as refused:
        check_flash(kind, 31)
    assert refused.value.code == "flash_too_long"


def test_short_notice_is_a_warning() -> None:
    assert warnings(NOW + HOUR, NOW) == ["short_notice"]
    assert warnings(NOW + 24 * HOUR, NOW) == []
    assert warnings(NOW - HOUR, NOW) == []
    assert warnings(None, NOW) == []
