"""States of a participant (domain 5.2), what a form asks of them, and seats, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from services.api.access.rules import Declaration, Scope
from services.api.programs.rules import MENTEE_SIDE, MENTOR_SIDE, TrackRole
from shared.errors import ConflictError, Violation

VECTORS_KEPT_FOR = timedelta(days=365)
"""Afterwards they are made anew where they are needed; so those of a former model go, too."""


class ParticipantStatus(StrEnum):
    """Where a person stands in a program."""

    INVITED = "invited"
    STARTED = "started"
    SUBMITTED = "submitted"
    MANAGER_REVIEW = "manager_review"
    COORDINATOR_REVIEW = "coordinator_review"
    INFO_REQUESTED = "info_requested"
    WAITLISTED = "waitlisted"
    APPROVED = "approved"
    AVAILABLE = "available"
    AT_CAPACITY = "at_capacity"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    DECLINED = "declined"
    EXPIRED = "expired"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    REMOVED = "removed"
    COMPLETED = "completed"


class ParticipantSource(StrEnum):
    """How a person came to be a participant."""

    SELF = "self"
    INVITATION = "invitation"
    ELIGIBILITY_RULE = "eligibility_rule"
    PEOPLE_MANAGER = "people_manager"
    IMPORT = "import"
    PAY_FORWARD = "pay_forward"


class ParticipantAction(StrEnum):
    """What can happen to a participant; the second half happens by itself."""

    REGISTER = "register"
    DECLINE = "decline"
    SUBMIT = "submit"
    ACKNOWLEDGE = "acknowledge"
    REFUSE = "refuse"
    ASK = "ask"
    ANSWER = "answer"
    APPROVE = "approve"
    REJECT = "reject"
    WAITLIST = "waitlist"
    PAUSE = "pause-matching"
    RESUME = "resume-matching"
    WITHDRAW = "withdraw"
    REMOVE = "remove"
    ASK_MANAGER = "ask-manager"
    ASK_COORDINATOR = "ask-coordinator"
    PASS_REVIEW = "pass-review"  # noqa: S105 - no password
    OPEN = "open"
    FILL = "fill"
    FREE = "free"
    EXPIRE = "expire"
    COMPLETE = "complete"


_S, _A = ParticipantStatus, ParticipantAction

AUTOMATIC = frozenset(
    {
        *(_A.ASK_MANAGER, _A.ASK_COORDINATOR, _A.PASS_REVIEW, _A.OPEN, _A.FILL, _A.FREE),
        *(_A.EXPIRE, _A.COMPLETE),
    }
)
"""Actions nobody asks for by name."""

CLOSED = frozenset({_S.DECLINED, _S.EXPIRED, _S.REJECTED, _S.WITHDRAWN, _S.REMOVED, _S.COMPLETED})
MATCHABLE = frozenset({_S.APPROVED, _S.AVAILABLE, _S.AT_CAPACITY, _S.PAUSED})
"""States in which others in the program may know of a participant."""

WAITING_FOR_REVIEW = (_S.MANAGER_REVIEW, _S.COORDINATOR_REVIEW, _S.WAITLISTED)
NOT_SUBMITTED = (_S.INVITED, _S.STARTED, _S.INFO_REQUESTED)

_LIVE = tuple(state for state in ParticipantStatus if state not in CLOSED)
_REVIEWED = (_S.APPROVED, _S.AVAILABLE, _S.AT_CAPACITY, _S.PAUSED)

TRANSITIONS: Mapping[tuple[ParticipantStatus, ParticipantAction], ParticipantStatus] = (
    MappingProxyType(
        {
            (_S.INVITED, _A.REGISTER): _S.STARTED,
            (_S.INVITED, _A.DECLINE): _S.DECLINED,
            (_S.STARTED, _A.SUBMIT): _S.SUBMITTED,
            (_S.SUBMITTED, _A.ASK_MANAGER): _S.MANAGER_REVIEW,
            (_S.SUBMITTED, _A.ASK_COORDINATOR): _S.COORDINATOR_REVIEW,
            (_S.SUBMITTED, _A.PASS_REVIEW): _S.APPROVED,
            (_S.MANAGER_REVIEW, _A.ACKNOWLEDGE): _S.COORDINATOR_REVIEW,
            (_S.MANAGER_REVIEW, _A.ASK_COORDINATOR): _S.COORDINATOR_REVIEW,
            (_S.MANAGER_REVIEW, _A.REFUSE): _S.REJECTED,
            (_S.COORDINATOR_REVIEW, _A.PASS_REVIEW): _S.APPROVED,
            (_S.COORDINATOR_REVIEW, _A.ASK): _S.INFO_REQUESTED,
            (_S.INFO_REQUESTED, _A.ANSWER): _S.COORDINATOR_REVIEW,
            (_S.COORDINATOR_REVIEW, _A.APPROVE): _S.APPROVED,
            (_S.COORDINATOR_REVIEW, _A.REJECT): _S.REJECTED,
            (_S.COORDINATOR_REVIEW, _A.WAITLIST): _S.WAITLISTED,
            (_S.WAITLISTED, _A.APPROVE): _S.APPROVED,
            (_S.APPROVED, _A.OPEN): _S.AVAILABLE,
            (_S.AVAILABLE, _A.FILL): _S.AT_CAPACITY,
            (_S.AT_CAPACITY, _A.FREE): _S.AVAILABLE,
            (_S.AVAILABLE, _A.PAUSE): _S.PAUSED,
            (_S.AT_CAPACITY, _A.PAUSE): _S.PAUSED,
            (_S.PAUSED, _A.RESUME): _S.AVAILABLE,
            (_S.INVITED, _A.EXPIRE): _S.EXPIRED,
            (_S.INFO_REQUESTED, _A.EXPIRE): _S.EXPIRED,
            **{(state, _A.WITHDRAW): _S.WITHDRAWN for state in _LIVE},
            **{(state, _A.REMOVE): _S.REMOVED for state in _LIVE},
            **{(state, _A.COMPLETE): _S.COMPLETED for state in _REVIEWED},
            **{
                (state, _A.COMPLETE): _S.EXPIRED
                for state in _LIVE
                if state not in {*_REVIEWED, _S.SUSPENDED}
            },
        }
    )
)

_OWN = Declaration("participant.answer", Scope.PARTICIPANTS_WRITE)
_MANAGER = Declaration("participant.acknowledge", Scope.PARTICIPANTS_WRITE)
_REVIEWER = Declaration("participant.review", Scope.PARTICIPANTS_WRITE)

NEEDS: Mapping[ParticipantAction, Declaration] = MappingProxyType(
    {
        **dict.fromkeys(
            (_A.REGISTER, _A.DECLINE, _A.SUBMIT, _A.ANSWER, _A.PAUSE, _A.RESUME, _A.WITHDRAW), _OWN
        ),
        **dict.fromkeys((_A.ACKNOWLEDGE, _A.REFUSE), _MANAGER),
        **dict.fromkeys((_A.ASK, _A.APPROVE, _A.REJECT, _A.WAITLIST, _A.REMOVE), _REVIEWER),
    }
)
"""What each step demands that somebody asks for by name."""

INVITE_LASTS = timedelta(days=14)
INFO_LASTS = timedelta(days=14)
MANAGER_HAS = timedelta(days=10)


def allowed_actions(status: ParticipantStatus) -> list[ParticipantAction]:
    """Return what somebody may ask for next."""
    return [action for state, action in TRANSITIONS if state is status and action not in AUTOMATIC]


def next_status(status: ParticipantStatus, action: ParticipantAction) -> ParticipantStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A participant who is {status} cannot {action}.",
            code="invalid_transition",
            allowed=allowed_actions(status),
        ) from None


@dataclass(frozen=True, slots=True)
class Review:
    """Who looks at a registration before it counts."""

    asks_manager: bool
    asks_coordinator: bool


def automatic_action(status: ParticipantStatus, review: Review) -> ParticipantAction | None:
    """Return what follows by itself once a participant stands here, or None."""
    if status is _S.SUBMITTED:
        if review.asks_manager:
            return _A.ASK_MANAGER
        return _A.ASK_COORDINATOR if review.asks_coordinator else _A.PASS_REVIEW
    if status is _S.COORDINATOR_REVIEW and not review.asks_coordinator:
        return _A.PASS_REVIEW
    return _A.OPEN if status is _S.APPROVED else None


@dataclass(frozen=True, slots=True)
class Places:
    """So many places of one participant in one role of a track."""

    organization_id: UUID
    participant_id: UUID
    track_id: UUID
    role: TrackRole
    count: int


@dataclass(frozen=True, slots=True)
class Seats:
    """How many places a participant offers in one track role, and how many are taken."""

    capacity: int
    load: int

    @property
    def is_free(self) -> bool:
        """Tell whether one more fits."""
        return self.load < self.capacity


def occupancy(status: ParticipantStatus, seats: Sequence[Seats]) -> ParticipantAction | None:
    """Return what a change of seats does to somebody who takes part in matching, or None."""
    has_room = any(one.is_free for one in seats)
    if status is _S.AVAILABLE and not has_room:
        return _A.FILL
    return _A.FREE if status is _S.AT_CAPACITY and has_room else None


def broken_answers(
    fields: Sequence[Mapping[str, Any]], answers: Mapping[str, Any], *, is_final: bool
) -> list[Violation]:
    """Return what is wrong with answers to a form; what is missing counts only at the end."""
    known = {field["key"]: field for field in fields}
    found = [
        Violation(f"#/answers/{key}", "unknown_field", "No question has this key.")
        for key in answers
        if key not in known
    ]
    for key, field in known.items():
        value = answers.get(key)
        if value in (None, "", []):
            if field["required"] and is_final:
                found.append(Violation(f"#/answers/{key}", "missing", "This is required."))
        elif not _fits(field, value):
            found.append(
                Violation(f"#/answers/{key}", "wrong_type", f"This should be a {field['type']}.")
            )
    return found


def _fits(field: Mapping[str, Any], value: Any) -> bool:
    judge = _JUDGES.get(field["type"], _is_text)
    return judge(field, value)


def _is_text(_field: Mapping[str, Any], value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST


def _is_number(_field: Mapping[str, Any], value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_boolean(_field: Mapping[str, Any], value: Any) -> bool:
    return isinstance(value, bool)


def _is_day(_field: Mapping[str, Any], value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(date.fromisoformat(value))
    except ValueError:
        return False


def _is_option(field: Mapping[str, Any], value: Any) -> bool:
    return isinstance(value, str) and value in _options(field)


def _are_options(field: Mapping[str, Any], value: Any) -> bool:
    return _are_texts(field, value) and set(value) <= _options(field)


def _are_texts(_field: Mapping[str, Any], value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= _MOST_CHOICES
        and all(isinstance(one, str) for one in value)
        and len(set(value)) == len(value)
    )


def _options(field: Mapping[str, Any]) -> set[str]:
    return set(field["options"])


_LONGEST = 4000
_MOST_CHOICES = 100
_JUDGES = MappingProxyType(
    {
        "number": _is_number,
        "scale": _is_number,
        "boolean": _is_boolean,
        "date": _is_day,
        "single_choice": _is_option,
        "multi_choice": _are_options,
        "ranked_choice": _are_options,
        "skill_list": _are_texts,
        "language_list": _are_texts,
    }
)


def ratio(free_seats: Mapping[str, int]) -> float | None:
    """Return how many places are sought for each that is offered."""
    offered = sum(seats for role, seats in free_seats.items() if role in MENTOR_SIDE)
    sought = sum(seats for role, seats in free_seats.items() if role in MENTEE_SIDE)
    return round(sought / offered, 2) if offered else None


def capacity_reached() -> ConflictError:
    """Refuse one more than there are places."""
    return ConflictError("There is no free place.", code="capacity_reached")
