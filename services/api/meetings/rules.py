"""States of a meeting, as data."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

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


def allowed_actions(status: MeetingStatus) -> list[MeetingAction]:
    """Return what can happen next."""
    return [action for (state, action) in TRANSITIONS if state is status]


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
