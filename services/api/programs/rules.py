"""States of a program, and what each format of a track allows."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from shared.errors import ConflictError


class ProgramKind(StrEnum):
    """Dated, or always open."""

    COHORT = "cohort"
    EVERGREEN = "evergreen"


class ProgramStatus(StrEnum):
    """Where a program stands."""

    DRAFT = "draft"
    PUBLISHED = "published"
    REGISTRATION_OPEN = "registration_open"
    REGISTRATION_CLOSED = "registration_closed"
    MATCHING = "matching"
    RUNNING = "running"
    WINDING_DOWN = "winding_down"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    ARCHIVED = "archived"


class ProgramAction(StrEnum):
    """What can be done to a program."""

    PUBLISH = "publish"
    OPEN_REGISTRATION = "open-registration"
    CLOSE_REGISTRATION = "close-registration"
    REOPEN_REGISTRATION = "reopen-registration"
    START_MATCHING = "start-matching"
    START = "start"
    GO_LIVE = "go-live"
    WIND_DOWN = "wind-down"
    COMPLETE = "complete"
    CANCEL = "cancel"
    ARCHIVE = "archive"


_S, _A = ProgramStatus, ProgramAction
_BEFORE_COMPLETED = (
    *(_S.DRAFT, _S.PUBLISHED, _S.REGISTRATION_OPEN, _S.REGISTRATION_CLOSED),
    *(_S.MATCHING, _S.RUNNING, _S.WINDING_DOWN),
)

TRANSITIONS: Mapping[tuple[ProgramStatus, ProgramAction], ProgramStatus] = MappingProxyType(
    {
        (_S.DRAFT, _A.PUBLISH): _S.PUBLISHED,
        (_S.PUBLISHED, _A.OPEN_REGISTRATION): _S.REGISTRATION_OPEN,
        (_S.REGISTRATION_OPEN, _A.CLOSE_REGISTRATION): _S.REGISTRATION_CLOSED,
        (_S.REGISTRATION_CLOSED, _A.REOPEN_REGISTRATION): _S.REGISTRATION_OPEN,
        (_S.REGISTRATION_CLOSED, _A.START_MATCHING): _S.MATCHING,
        (_S.MATCHING, _A.START): _S.RUNNING,
        (_S.PUBLISHED, _A.GO_LIVE): _S.RUNNING,
        (_S.RUNNING, _A.WIND_DOWN): _S.WINDING_DOWN,
        (_S.WINDING_DOWN, _A.COMPLETE): _S.COMPLETED,
        **{(state, _A.CANCEL): _S.CANCELLED for state in _BEFORE_COMPLETED},
        (_S.COMPLETED, _A.ARCHIVE): _S.ARCHIVED,
        (_S.CANCELLED, _A.ARCHIVE): _S.ARCHIVED,
    }
)


def allowed_actions(status: ProgramStatus) -> list[ProgramAction]:
    """Return what can happen next."""
    return [action for (state, action) in TRANSITIONS if state is status]


def next_status(status: ProgramStatus, action: ProgramAction) -> ProgramStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A program that is {status} cannot {action}.",
            code="invalid_transition",
            allowed=allowed_actions(status),
        ) from None


class Format(StrEnum):
    """The form of mentorship a track offers."""

    ONE_TO_ONE = "one_to_one"
    PEER = "peer"
    REVERSE = "reverse"
    GROUP = "group"
    CIRCLE = "circle"
    FLASH = "flash"
    OFFICE_HOURS = "office_hours"
    SPONSORSHIP = "sponsorship"


class MatchMode(StrEnum):
    """How people come together in a track."""

    COORDINATOR = "coordinator"
    REQUEST = "request"
    RANKED = "ranked"
    POOL = "pool"
    FILL = "fill"
    SLOTS = "slots"
    ROULETTE = "roulette"


class TrackRole(StrEnum):
    """What a person is in a track, and later in a mentorship."""

    MENTOR = "mentor"
    MENTEE = "mentee"
    PEER = "peer"
    FACILITATOR = "facilitator"
    SPONSOR = "sponsor"
    PROTEGE = "protege"


class Seniority(StrEnum):
    """How the mentor's grade relates to the mentee's."""

    NONE = "none"
    MENTOR_HIGHER = "mentor_higher"
    MENTOR_LOWER = "mentor_lower"


class ConsentSides(StrEnum):
    """Who is asked before a proposal becomes a mentorship."""

    NONE = "none"
    MENTOR_SIDE = "mentor_side"
    MENTEE_SIDE = "mentee_side"
    BOTH = "both"


class RequestApproval(StrEnum):
    """Who approves a match request that was accepted."""

    NONE = "none"
    COORDINATOR = "coordinator"
    PEOPLE_MANAGER = "people_manager"


class Cadence(StrEnum):
    """How often members mean to meet."""

    WEEKLY = "weekly"
    BIWEEKLY = "biweekly"
    MONTHLY = "monthly"


class FormStatus(StrEnum):
    """Whether a form is being written, used, or no longer offered."""

    DRAFT = "draft"
    PUBLISHED = "published"
    RETIRED = "retired"


class Visibility(StrEnum):
    """What people managers see of their reports' participation."""

    NONE = "none"
    PARTICIPATES = "participates"
    STATUS = "status"


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


class ManagerAcknowledgement(StrEnum):
    """Whether a people manager acknowledges each participant."""

    OFF = "off"
    REQUIRED = "required"


class ManagerSilence(StrEnum):
    """What follows when a people manager does not answer."""

    ESCALATE = "escalate"
    ASSUME_YES = "assume_yes"


MENTOR_SIDE = frozenset({TrackRole.MENTOR, TrackRole.SPONSOR})
MENTEE_SIDE = frozenset({TrackRole.MENTEE, TrackRole.PROTEGE})
