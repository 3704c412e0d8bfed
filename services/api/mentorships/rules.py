"""States of a mentorship (domain 5.4), what its formats are made of, and who drives, as data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor, Declaration, Scope
from services.api.programs.rules import MENTEE_SIDE, MENTOR_SIDE, Format, TrackRole
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
    LAPSE = "lapse"


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
            (_S.PAUSED, _A.LAPSE): _S.CLOSING,
            (_S.CLOSING, _A.COMPLETE): _S.COMPLETED,
            (_S.ACTIVE, _A.END_EARLY): _S.ENDED_EARLY,
            (_S.PAUSED, _A.END_EARLY): _S.ENDED_EARLY,
            (_S.CLOSING, _A.END_EARLY): _S.ENDED_EARLY,
        }
    )
)

AUTOMATIC = frozenset({_A.LAPSE})
"""Actions nobody asks for: a pause that nobody ends, or whose program or member is gone."""

NEEDS: Mapping[MentorshipAction, Declaration] = MappingProxyType(
    {
        action: Declaration(permission, Scope.MENTORSHIPS_WRITE)
        for action, permission in {
            _A.START: "mentorship.start",
            _A.PAUSE: "mentorship.pause",
            _A.RESUME: "mentorship.pause",
            _A.EXTEND: "mentorship.extend",
            _A.BEGIN_CLOSING: "mentorship.begin_closing",
            _A.COMPLETE: "mentorship.complete",
            _A.END_EARLY: "mentorship.end_early",
        }.items()
    }
)
"""What each step demands that somebody asks for by name."""

_END_GROUP = Declaration("mentorship.end_group", Scope.MENTORSHIPS_WRITE)

RUNS_OR_RESTS = frozenset({_S.ACTIVE, _S.PAUSED})
LIVE = frozenset({_S.PENDING_START, _S.ACTIVE, _S.PAUSED, _S.CLOSING})
PAST = frozenset({_S.COMPLETED, _S.ENDED_EARLY})
"""States of a mentorship that took place and is over; a cancelled one never did."""

MEETING = frozenset({_S.PENDING_START, _S.ACTIVE, _S.CLOSING})
"""States in which meetings can be arranged."""

JOINABLE = frozenset({_S.PENDING_START, _S.ACTIVE})
"""States in which somebody can still come in: not while it rests, and not once it closes."""


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


class ClosingReason(StrEnum):
    """Why a mentorship ends, coarsely; the other members are told neutral words."""

    COMPLETED = "completed"
    GOAL_REACHED = "goal_reached"
    LEFT_ORGANIZATION = "left_organization"
    NO_FIT = "no_fit"
    NO_TIME = "no_time"
    MOVED = "moved"
    IDLE = "idle"
    OTHER = "other"


NEUTRAL_REASONS = frozenset({ClosingReason.COMPLETED, ClosingReason.GOAL_REACHED})
"""Reasons that every member may read; the others are for coordinators alone."""

FIRST_NUDGE, SECOND_NUDGE = timedelta(days=7), timedelta(days=21)
PENDING_LASTS = timedelta(days=30)
CLOSING_LEAD = timedelta(days=21)
CLOSING_LASTS = timedelta(days=21)
LONGEST_PAUSE = timedelta(days=90)
PAUSE_LAPSES = timedelta(days=14)
REFILL_LASTS = timedelta(days=14)
LONGEST_EXTENSION = timedelta(days=365)
CONTACT_AFTER_END = timedelta(days=90)


def allowed_actions(status: MentorshipStatus) -> list[MentorshipAction]:
    """Return what somebody may ask for next."""
    return [action for state, action in TRANSITIONS if state is status and action not in AUTOMATIC]


def needs(format_: Format) -> Mapping[MentorshipAction, Declaration]:
    """Return what each step demands in a format: no single member ends what many share."""
    return NEEDS if format_ in TWO_MEMBERS else {**NEEDS, _A.END_EARLY: _END_GROUP}


def open_actions(
    status: MentorshipStatus, *, paused_by_safeguarding: bool, is_member: bool
) -> list[MentorshipAction]:
    """Return what this one may ask for next: a pause ends by the side that began it."""
    is_foreign_pause = is_member is paused_by_safeguarding
    return [
        action
        for action in allowed_actions(status)
        if not (action is _A.RESUME and is_foreign_pause)
    ]


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


_R = TrackRole
_ANY = 1_000

PEOPLE: Mapping[Format, Mapping[TrackRole, tuple[int, int, str]]] = MappingProxyType(
    {
        Format.ONE_TO_ONE: {_R.MENTOR: (1, 1, "members_1_1"), _R.MENTEE: (1, 1, "members_1_1")},
        Format.REVERSE: {_R.MENTOR: (1, 1, "members_1_1"), _R.MENTEE: (1, 1, "members_1_1")},
        Format.FLASH: {_R.MENTOR: (1, 1, "members_1_1"), _R.MENTEE: (1, 1, "members_1_1")},
        Format.SPONSORSHIP: {
            _R.SPONSOR: (1, 1, "members_1_1"),
            _R.PROTEGE: (1, 1, "members_1_1"),
        },
        Format.PEER: {_R.PEER: (2, 2, "two_peers")},
        Format.GROUP: {
            _R.MENTOR: (1, 1, "one_mentor"),
            _R.MENTEE: (1, _ANY, "size"),
            _R.FACILITATOR: (0, 1, "facilitators"),
        },
        Format.CIRCLE: {
            _R.FACILITATOR: (1, 2, "facilitators"),
            _R.MENTOR: (1, _ANY, "size"),
            _R.MENTEE: (1, _ANY, "size"),
        },
        Format.OFFICE_HOURS: {_R.MENTOR: (1, 1, "one_mentor"), _R.MENTEE: (1, _ANY, "seats")},
    }
)
"""How many of each role a format takes, and the code of the rule (domain section 9)."""

SIZED: Mapping[Format, frozenset[TrackRole]] = MappingProxyType(
    {
        Format.GROUP: frozenset({_R.MENTEE}),
        Format.CIRCLE: frozenset({_R.FACILITATOR, _R.MENTOR, _R.MENTEE}),
    }
)
"""Roles that count towards a track's smallest and largest size."""

LED_BY: Mapping[Format, TrackRole] = MappingProxyType(
    {Format.GROUP: TrackRole.MENTOR, Format.CIRCLE: TrackRole.FACILITATOR}
)
"""Without whom a mentorship that is there is not filled, because nobody knows what it will be."""

TWO_MEMBERS = frozenset(
    {Format.ONE_TO_ONE, Format.REVERSE, Format.FLASH, Format.SPONSORSHIP, Format.PEER}
)

FIRST_DRIVER: Mapping[Format, TrackRole] = MappingProxyType(
    {
        Format.ONE_TO_ONE: _R.MENTEE,
        Format.REVERSE: _R.MENTEE,
        Format.FLASH: _R.MENTEE,
        Format.SPONSORSHIP: _R.PROTEGE,
        Format.PEER: _R.PEER,
        Format.GROUP: _R.MENTEE,
        Format.CIRCLE: _R.FACILITATOR,
        Format.OFFICE_HOURS: _R.MENTOR,
    }
)


def size_of(format_: Format, members: Iterable[tuple[TrackRole, UUID]]) -> int | None:
    """Return how many people count towards the size of a mentorship; None where none is set."""
    counted = SIZED.get(format_)
    if counted is None:
        return None
    return len({person_id for role, person_id in members if role in counted})


def places_of(format_: Format, role: TrackRole, roles: Iterable[TrackRole]) -> int:
    """Return how many places somebody takes by being in a mentorship with people of these roles.

    The mentor of a group has time for so many mentees, everybody else for so many mentorships.
    """
    if format_ is Format.GROUP and role is TrackRole.MENTOR:
        return sum(one is TrackRole.MENTEE for one in roles)
    return 1


def next_driver(format_: Format, members: Sequence[tuple[TrackRole, UUID]]) -> UUID | None:
    """Return who drives once the driver has left; `members` are those who stay, by time joined.

    Without anybody of the driving role somebody else keeps the place until a coordinator chooses.
    """
    driving = FIRST_DRIVER[format_]
    ordered = sorted(members, key=lambda one: one[0] is not driving)
    return ordered[0][1] if ordered else None


@dataclass(frozen=True, slots=True)
class Gaps:
    """What a mentorship of several lacks after somebody left."""

    below_minimum: bool
    needs_mentor: bool


def gaps(format_: Format, members: Sequence[tuple[TrackRole, UUID]], *, min_members: int) -> Gaps:
    """Return what is missing of a group or circle; formats of two people never lack anybody."""
    if format_ in TWO_MEMBERS:
        return Gaps(below_minimum=False, needs_mentor=False)
    size = size_of(format_, members)
    return Gaps(
        below_minimum=size is not None and size < min_members,
        needs_mentor=not any(role in MENTOR_SIDE for role, _person in members),
    )


def side(role: TrackRole, person_id: UUID) -> str:
    """Return the side a member speaks for: each peer is a side of their own."""
    if role is TrackRole.PEER:
        return str(person_id)
    return "mentee_side" if role in MENTEE_SIDE else "mentor_side"


def sides(members: Iterable[tuple[TrackRole, UUID]]) -> set[str]:
    """Return all sides of a mentorship."""
    return {side(role, person_id) for role, person_id in members}


def agreeing(
    members: Sequence[tuple[TrackRole, UUID]], said: Sequence[str], person_id: UUID
) -> tuple[list[str], bool]:
    """Add a member's word to those said so far; tell whether every side has now spoken.

    Somebody whose side has spoken already waits for the other one: a `ConflictError`.
    """
    spoken = sides(one for one in members if str(one[1]) in said)
    if sides(one for one in members if one[1] == person_id) <= spoken:
        raise ConflictError("Your side has said so; the other has not.", code="other_side_needed")
    heard = [*said, str(person_id)]
    return heard, sides(one for one in members if str(one[1]) in heard) == sides(members)


def contact_lasts_until(*ends: date | None) -> date | None:
    """Return the day until which members may contact each other; None while nothing has ended."""
    ended = [day for day in ends if day is not None]
    return min(ended) + CONTACT_AFTER_END if ended else None


def last_day(starts_on: date, *, length_days: int, program_ends_on: date | None) -> date:
    """Return when a mentorship ends: after its length, never after its program."""
    planned = starts_on + timedelta(days=length_days)
    return min(planned, program_ends_on) if program_ends_on else planned


def check_pause(from_on: date, to_on: date) -> None:
    """Refuse a pause that ends before it begins or lasts too long."""
    if not from_on < to_on <= from_on + LONGEST_PAUSE:
        raise ConflictError(
            f"A pause ends within {LONGEST_PAUSE.days} days.", code="pause_too_long"
        )


def check_extension(today: date, ends_on: date, *, program_ends_on: date | None) -> None:
    """Refuse an end that lies in the past, after the program, or more than a year ahead."""
    latest = program_ends_on or today + LONGEST_EXTENSION
    if not today < ends_on <= latest:
        raise ConflictError(f"It can last until {latest} at most.", code="beyond_program")


def facts_of(
    actor: Actor, mentorship: Mapping[str, Any], members: Sequence[tuple[TrackRole, UUID]]
) -> frozenset[Role]:
    """Return what the actor is towards one mentorship; `members` are those who are in it now.

    A coordinator who is a member has no coordinator's rights on their own mentorship. Any of two
    peers may pass the drive on, as its driver may elsewhere.
    """
    facts = actor.facts(program_id=mentorship["program_id"])
    held = {role for role, person_id in members if person_id == actor.person_id}
    if not held:
        return facts
    own = {Role.MEMBER}
    if TrackRole.FACILITATOR in held:
        own.add(Role.FACILITATOR)
    if TrackRole.PEER in held or mentorship["driver_person_id"] == actor.person_id:
        own.add(Role.DRIVER)
    return facts - {Role.COORDINATOR} | own


def offered(actor: Actor, mentorship: Mapping[str, Any], facts: frozenset[Role]) -> list[str]:
    """Return what the actor, with these facts towards a mentorship, may do with it now."""
    actions = open_actions(
        MentorshipStatus(mentorship["status"]),
        paused_by_safeguarding=mentorship["paused_by_safeguarding"],
        is_member=Role.MEMBER in facts,
    )
    return access.offered(actor, actions, needs(Format(mentorship["format"])), facts)
