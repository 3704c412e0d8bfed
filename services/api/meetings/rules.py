"""States of a meeting, as data."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from services.api.access.rules import Declaration, Scope
from services.api.programs.rules import Format
from shared.errors import ConflictError


class MeetingStatus(StrEnum):
    """Where a meeting stands."""

    PROPOSED = "proposed"
    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    HELD = "held"
    DECLINED = "declined"
    CANCELLED = "cancelled"


class MeetingAction(StrEnum):
    """What can happen to a meeting."""

    CONFIRM = "confirm"
    DECLINE_TIMES = "decline-times"
    EXPIRE = "expire"
    RESCHEDULE = "reschedule"
    CANCEL = "cancel"
    START = "start"
    FINISH = "finish"


class MeetingMode(StrEnum):
    """How people meet."""

    VIDEO = "video"
    PHONE = "phone"
    IN_PERSON = "in_person"


_S, _A = MeetingStatus, MeetingAction

TRANSITIONS: Mapping[tuple[MeetingStatus, MeetingAction], MeetingStatus] = MappingProxyType(
    {
        (_S.PROPOSED, _A.CONFIRM): _S.SCHEDULED,
        (_S.PROPOSED, _A.DECLINE_TIMES): _S.DECLINED,
        (_S.PROPOSED, _A.EXPIRE): _S.DECLINED,
        (_S.SCHEDULED, _A.RESCHEDULE): _S.SCHEDULED,
        (_S.PROPOSED, _A.CANCEL): _S.CANCELLED,
        (_S.SCHEDULED, _A.CANCEL): _S.CANCELLED,
        (_S.SCHEDULED, _A.START): _S.IN_PROGRESS,
        (_S.IN_PROGRESS, _A.FINISH): _S.HELD,
    }
)


AUTOMATIC = frozenset({_A.EXPIRE})
"""Actions nobody asks for by name."""

NEEDS: Mapping[MeetingAction, Declaration] = MappingProxyType(
    dict.fromkeys(
        set(MeetingAction) - AUTOMATIC, Declaration("meeting.arrange", Scope.MEETINGS_WRITE)
    )
)
"""What each step demands that somebody asks for by name."""

ANSWERS = frozenset({_A.CONFIRM, _A.DECLINE_TIMES})
"""Steps of whoever did not offer the times."""

UPCOMING = frozenset({_S.PROPOSED, _S.SCHEDULED})
"""States of a meeting that is still to come."""

OCCUPYING = frozenset({_S.SCHEDULED, _S.IN_PROGRESS})
"""States in which a meeting takes up its attendees' time."""

GONE = frozenset({_S.DECLINED, _S.CANCELLED})
"""States of a meeting that never was."""

OFFER_LASTS = timedelta(hours=72)
SHORT_NOTICE = timedelta(hours=24)
LONGEST_FLASH = 30
ONE_MEETING = frozenset({Format.FLASH, Format.OFFICE_HOURS})
"""Formats that meet once."""


def allowed_actions(status: MeetingStatus) -> list[MeetingAction]:
    """Return what somebody may ask for next."""
    return [action for state, action in TRANSITIONS if state is status and action not in AUTOMATIC]


def next_status(status: MeetingStatus, action: MeetingAction) -> MeetingStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A meeting that is {status} cannot {action}.",
            code="invalid_transition",
            allowed=allowed_actions(status),
        ) from None


def check_future(times: Sequence[datetime], now: datetime) -> None:
    """Refuse a time that is not ahead."""
    if any(at <= now for at in times):
        raise ConflictError("Choose a time to come.", code="in_the_past")


def check_past(ends_at: datetime, now: datetime) -> None:
    """Refuse to log a meeting that is not over."""
    if ends_at > now:
        raise ConflictError("This meeting is not over yet.", code="too_early")


def check_flash(format_: Format, minutes: int) -> None:
    """Keep flash meetings short."""
    if format_ is Format.FLASH and minutes > LONGEST_FLASH:
        raise ConflictError(
            f"Flash meetings take {LONGEST_FLASH} minutes at most.", code="flash_too_long"
        )


def warnings(starts_at: datetime | None, now: datetime) -> list[str]:
    """Return what to tell somebody who moves or cancels a meeting: never more than a warning."""
    is_short = starts_at is not None and now < starts_at < now + SHORT_NOTICE
    return ["short_notice"] if is_short else []
