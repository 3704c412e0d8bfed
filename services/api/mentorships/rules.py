"""States of a mentorship and of its members, as data."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from shared.errors import ConflictError


class MentorshipStatus(StrEnum):
    """Where a mentorship stands."""

    PENDING_START = "pending_start"
    ACTIVE = "active"
    PAUSED = "paused"
    CLOSING = "closing"
    COMPLETED = "completed"
    ENDED_EARLY = "ended_early"
    CANCELLED = "cancelled"


class MentorshipAction(StrEnum):
    """What can happen to a mentorship."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    EXTEND = "extend"
    BEGIN_CLOSING = "begin-closing"
    COMPLETE = "complete"
    END_EARLY = "end-early"


_S, _A = MentorshipStatus, MentorshipAction

TRANSITIONS: Mapping[tuple[MentorshipStatus, MentorshipAction], MentorshipStatus] = (
    MappingProxyType(
        {
            (_S.PENDING_START, _A.START): _S.ACTIVE,
            (_S.PENDING_START, _A.END_EARLY): _S.CANCELLED,
            (_S.ACTIVE, _A.PAUSE): _S.PAUSED,
            (_S.PAUSED, _A.RESUME): _S.ACTIVE,
            (_S.ACTIVE, _A.EXTEND): _S.ACTIVE,
            (_S.CLOSING, _A.EXTEND): _S.ACTIVE,
            (_S.ACTIVE, _A.BEGIN_CLOSING): _S.CLOSING,
            (_S.PAUSED, _A.BEGIN_CLOSING): _S.CLOSING,
            (_S.CLOSING, _A.COMPLETE): _S.COMPLETED,
            (_S.ACTIVE, _A.END_EARLY): _S.ENDED_EARLY,
            (_S.PAUSED, _A.END_EARLY): _S.ENDED_EARLY,
            (_S.CLOSING, _A.END_EARLY): _S.ENDED_EARLY,
        }
    )
)

LIVE = frozenset({_S.PENDING_START, _S.ACTIVE, _S.PAUSED, _S.CLOSING})


class MemberStatus(StrEnum):
    """Where one member stands."""

    INVITED = "invited"
    REQUESTED = "requested"
    WAITLISTED = "waitlisted"
    ACTIVE = "active"
    DECLINED = "declined"
    LEFT = "left"
    REMOVED = "removed"


class MentorshipSource(StrEnum):
    """How a mentorship came about."""

    PROPOSAL = "proposal"
    REQUEST = "request"
    COORDINATOR = "coordinator"
    BOOKING = "booking"
    REMATCH = "rematch"
    IMPORT = "import"


def allowed_actions(status: MentorshipStatus) -> list[MentorshipAction]:
    """Return what can happen next."""
    return [action for (state, action) in TRANSITIONS if state is status]


def next_status(status: MentorshipStatus, action: MentorshipAction) -> MentorshipStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A mentorship that is {status} cannot {action}.",
            code="invalid_transition",
            allowed=allowed_actions(status),
        ) from None
