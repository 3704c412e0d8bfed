"""States of a program, and what each format of a track allows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from services.api.access.rules import Declaration, Scope
from shared.errors import ConflictError, Violation
from shared.schemas.matching import HARD_RULES, SOFT_RULES, faults_of_rule


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


AUTOMATIC = frozenset({_A.START})
"""Actions nobody asks for: a program starts with its first mentorship."""

NEEDS: Mapping[ProgramAction, Declaration] = MappingProxyType(
    {
        **dict.fromkeys(
            set(ProgramAction) - AUTOMATIC, Declaration("program.change", Scope.PROGRAMS_WRITE)
        ),
        _A.COMPLETE: Declaration("program.complete", Scope.PROGRAMS_WRITE),
        _A.CANCEL: Declaration("program.cancel", Scope.PROGRAMS_WRITE),
        _A.ARCHIVE: Declaration("program.archive", Scope.PROGRAMS_WRITE),
    }
)
"""What each step demands that somebody asks for by name."""


def allowed_actions(status: ProgramStatus) -> list[ProgramAction]:
    """Return what somebody may ask for next."""
    return [action for state, action in TRANSITIONS if state is status and action not in AUTOMATIC]


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


MATCHING = frozenset({_S.MATCHING, _S.RUNNING})
"""States in which people are put together."""
BEFORE_MATCHING = frozenset({_S.DRAFT, _S.PUBLISHED, _S.REGISTRATION_OPEN, _S.REGISTRATION_CLOSED})


def check_matching(status: ProgramStatus) -> None:
    """Refuse to put people together: `not_ready` ends when matching begins, the other never."""
    if status in BEFORE_MATCHING:
        detail = "The program is not in matching yet."
        errors = [Violation("#", "program_status", detail)]
        raise ConflictError(detail, code="not_ready", errors=errors)
    if status not in MATCHING:
        raise ConflictError("This program takes no new mentorships.", code="program_closed")


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
STRICT_GRADES = frozenset({Format.REVERSE, Format.SPONSORSHIP})
"""Formats in which somebody of unknown grade fails the grade rule."""

KNOWN_OF_EVERYBODY = frozenset({"department", "location", "languages", "values", "interests"})
"""Attributes that policies know without a form, and that members may know of each other."""


@dataclass(frozen=True, slots=True)
class FormatRules:
    """What one format allows, and what it starts with."""

    roles: frozenset[TrackRole]
    modes: frozenset[MatchMode]
    minutes: tuple[int, int]
    members: tuple[int, int]
    usual_members: tuple[int, int]
    size_code: str
    seniority: frozenset[Seniority]
    counted: str = "members"
    needs_agreement: bool = True
    least_gap: int = 0
    usual_gap_min: int | None = None
    usual_gap_max: int | None = None
    usual_minutes: int = 45


_M, _R, _N = MatchMode, TrackRole, Seniority
_PAIRED = frozenset({_M.COORDINATOR, _M.REQUEST, _M.RANKED, _M.POOL})
_MENTORING = frozenset({_R.MENTOR, _R.MENTEE})

FORMATS: Mapping[Format, FormatRules] = MappingProxyType(
    {
        Format.ONE_TO_ONE: FormatRules(
            roles=_MENTORING,
            modes=_PAIRED,
            minutes=(30, 60),
            members=(2, 2),
            usual_members=(2, 2),
            size_code="members_1_1",
            seniority=frozenset({_N.NONE, _N.MENTOR_HIGHER}),
        ),
        Format.PEER: FormatRules(
            roles=frozenset({_R.PEER}),
            modes=_PAIRED | {_M.ROULETTE},
            minutes=(30, 60),
            members=(2, 2),
            usual_members=(2, 2),
            size_code="two_peers",
            seniority=frozenset({_N.NONE}),
            usual_gap_max=2,
        ),
        Format.REVERSE: FormatRules(
            roles=_MENTORING,
            modes=_PAIRED,
            minutes=(30, 60),
            members=(2, 2),
            usual_members=(2, 2),
            size_code="members_1_1",
            seniority=frozenset({_N.MENTOR_LOWER}),
            least_gap=1,
            usual_gap_min=1,
        ),
        Format.GROUP: FormatRules(
            roles=_MENTORING | {_R.FACILITATOR},
            modes=frozenset({_M.COORDINATOR, _M.POOL, _M.FILL, _M.REQUEST}),
            minutes=(30, 60),
            members=(2, 100),
            usual_members=(2, 8),
            size_code="size",
            counted="mentees",
            seniority=frozenset({_N.NONE, _N.MENTOR_HIGHER}),
        ),
        Format.CIRCLE: FormatRules(
            roles=_MENTORING | {_R.FACILITATOR},
            modes=frozenset({_M.COORDINATOR, _M.POOL, _M.FILL}),
            minutes=(30, 60),
            members=(3, 20),
            usual_members=(4, 8),
            size_code="size",
            counted="members, who facilitates included",
            seniority=frozenset({_N.NONE}),
        ),
        Format.FLASH: FormatRules(
            roles=_MENTORING,
            modes=frozenset({_M.SLOTS, _M.ROULETTE}),
            minutes=(15, 30),
            members=(2, 2),
            usual_members=(2, 2),
            size_code="members_1_1",
            seniority=frozenset({_N.NONE, _N.MENTOR_HIGHER}),
            needs_agreement=False,
            usual_minutes=20,
        ),
        Format.OFFICE_HOURS: FormatRules(
            roles=_MENTORING,
            modes=frozenset({_M.SLOTS}),
            minutes=(15, 60),
            members=(2, 51),
            usual_members=(2, 6),
            size_code="seats",
            seniority=frozenset({_N.NONE}),
            needs_agreement=False,
            usual_minutes=30,
        ),
        Format.SPONSORSHIP: FormatRules(
            roles=frozenset({_R.SPONSOR, _R.PROTEGE}),
            modes=frozenset({_M.COORDINATOR, _M.REQUEST, _M.POOL}),
            minutes=(30, 60),
            members=(2, 2),
            usual_members=(2, 2),
            size_code="members_1_1",
            seniority=frozenset({_N.MENTOR_HIGHER}),
            least_gap=1,
            usual_gap_min=2,
        ),
    }
)
"""Domain section 9 as data. `members` of a group are its mentees; `counted` says so in words."""

REGULAR_MINUTES = frozenset({30, 45, 60})
POLICY_MODES = frozenset({_M.POOL, _M.FILL, _M.ROULETTE, _M.RANKED})
BESIDE_THE_RULES = frozenset({"name", "tests"})
"""Parts of a policy that no run goes by, so that they may change while runs use it."""


@dataclass(frozen=True, slots=True)
class TrackShape:
    """The values of a track that its format judges."""

    format: Format
    match_modes: frozenset[MatchMode]
    meeting_minutes: int
    min_members: int
    max_members: int
    seniority: Seniority
    grade_gap_min: int | None
    grade_gap_max: int | None


def broken_rules(shape: TrackShape) -> list[Violation]:
    """Return every rule of its format that a track breaks, each with its code."""
    rules = FORMATS[shape.format]
    return [
        *_broken_modes(shape, rules),
        *_broken_minutes(shape, rules),
        *_broken_size(shape, rules),
        *_broken_seniority(shape, rules),
    ]


def _broken_modes(shape: TrackShape, rules: FormatRules) -> list[Violation]:
    foreign = sorted(shape.match_modes - rules.modes)
    if not foreign:
        return []
    allowed = ", ".join(sorted(rules.modes))
    detail = f"The format {shape.format} is matched by: {allowed}."
    return [Violation("#/match_modes", "match_modes", detail)]


def _broken_minutes(shape: TrackShape, rules: FormatRules) -> list[Violation]:
    shortest, longest = rules.minutes
    minutes = shape.meeting_minutes
    is_regular = rules.minutes != (30, 60) or minutes in REGULAR_MINUTES
    if shortest <= minutes <= longest and is_regular:
        return []
    if shape.format is Format.FLASH:
        return [
            Violation(
                "#/meeting_minutes", "flash_too_long", "Flash meetings take 15 to 30 minutes."
            )
        ]
    detail = "Meetings take 30, 45 or 60 minutes."
    return [Violation("#/meeting_minutes", "meeting_minutes", detail)]


def _broken_size(shape: TrackShape, rules: FormatRules) -> list[Violation]:
    fewest, most = rules.members
    if fewest <= shape.min_members <= shape.max_members <= most:
        return []
    is_within = fewest <= shape.min_members and shape.max_members <= most
    if is_within:
        detail = f"The minimum, {shape.min_members}, exceeds the maximum, {shape.max_members}."
        return [Violation("#/min_members", rules.size_code, detail)]
    name = "max_members" if not fewest <= shape.max_members <= most else "min_members"
    detail = f"The format {shape.format} has {fewest} to {most} {rules.counted}."
    return [Violation(f"#/{name}", rules.size_code, detail)]


def _broken_seniority(shape: TrackShape, rules: FormatRules) -> list[Violation]:
    found = []
    if shape.seniority not in rules.seniority:
        allowed = ", ".join(sorted(rules.seniority))
        detail = f"The format {shape.format} takes seniority: {allowed}."
        found.append(Violation("#/seniority", "seniority", detail))
    least, most = shape.grade_gap_min, shape.grade_gap_max
    if rules.least_gap and (least is None or least < rules.least_gap):
        detail = f"The grades differ by at least {rules.least_gap} here."
        found.append(Violation("#/grade_gap_min", "grade_gap", detail))
    if least is not None and most is not None and least > most:
        detail = "The smallest gap is larger than the largest."
        found.append(Violation("#/grade_gap_max", "grade_gap", detail))
    return found


def broken_dates(
    kind: ProgramKind,
    *,
    opens_on: date | None,
    closes_on: date | None,
    starts_on: date,
    ends_on: date | None,
) -> list[Violation]:
    """Return what is wrong with a program's dates: a cohort has all four, in order."""
    if kind is ProgramKind.EVERGREEN:
        if ends_on is None:
            return []
        return [Violation("#/ends_on", "unexpected", "An evergreen program has no end.")]
    named = {
        "registration_opens_on": opens_on,
        "registration_closes_on": closes_on,
        "starts_on": starts_on,
        "ends_on": ends_on,
    }
    missing = [
        Violation(f"#/{name}", "missing", "A cohort needs this day.")
        for name, value in named.items()
        if value is None
    ]
    if missing or not opens_on or not closes_on or not ends_on:
        return missing
    if opens_on <= closes_on <= starts_on < ends_on:
        return []
    detail = "Registration opens, closes, then the program starts, then it ends."
    return [Violation("#/starts_on", "out_of_order", detail)]


def broken_policy(values: Mapping[str, Any]) -> list[Violation]:
    """Return what matching would refuse about the rules of a policy."""
    known = {"hard": HARD_RULES, "soft": SOFT_RULES}
    return [
        violation
        for part, words in known.items()
        for index, one in enumerate(values.get(part) or ())
        for violation in faults_of_rule(f"#/{part}/{index}", one["rule"], one["params"], words)
    ]


def broken_tests(tests: Sequence[Mapping[str, Any]], pointer: str) -> list[Violation]:
    """Return the tests of a policy that expect nothing, or what no pair meets, or share a name."""
    found, names = list[Violation](), set[str]()
    for index, one in enumerate(tests):
        place, expect = f"{pointer}/{index}", one["expect"]
        least, most = expect.get("score_at_least"), expect.get("score_at_most")
        if one["name"] in names:
            found.append(Violation(f"{place}/name", "not_unique", "Each name stands once."))
        if all(value is None for value in expect.values()):
            found.append(Violation(f"{place}/expect", "missing", "A test expects something."))
        if least is not None and most is not None and least > most:
            detail = "No score is at least this and at most that."
            found.append(
                Violation(f"{place}/expect/score_at_least", "minimum_above_maximum", detail)
            )
        names.add(one["name"])
    return found


def tests_of(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tests of a stored policy, whose row holds ids as text."""
    return [
        {**one, "people": [UUID(person) for person in one["people"]]} for one in policy["tests"]
    ]


@dataclass(frozen=True, slots=True)
class Setup:
    """What a program has when somebody wants to publish it."""

    formats: tuple[Format, ...]
    roles_without_form: frozenset[TrackRole]
    tracks_without_policy: int
    tracks_without_agreement: int
    has_support_contact: bool


def missing_for_publication(setup: Setup) -> list[Violation]:
    """Return what a program still lacks before people may see it."""
    checks = (
        (not setup.formats, "#/tracks", "no_track", "Add a track."),
        (
            bool(setup.roles_without_form),
            "#/forms",
            "no_form",
            f"Publish a form for: {', '.join(sorted(setup.roles_without_form))}.",
        ),
        (setup.tracks_without_policy > 0, "#/tracks", "no_policy", "Give each track a policy."),
        (
            setup.tracks_without_agreement > 0,
            "#/tracks",
            "no_agreement_template",
            "Give each track an agreement template.",
        ),
        (
            not setup.has_support_contact,
            "#/support_contact",
            "no_support_contact",
            "Say whom participants can ask.",
        ),
    )
    return [Violation(pointer, code, detail) for broken, pointer, code, detail in checks if broken]


def is_accepting(kind: ProgramKind, status: ProgramStatus, *, is_switched_on: bool) -> bool:
    """Tell whether people may register: a cohort while open, an evergreen while switched on."""
    if kind is ProgramKind.COHORT:
        return status is ProgramStatus.REGISTRATION_OPEN
    return status is ProgramStatus.RUNNING and is_switched_on


def tells_managers(visibility: Visibility, acknowledgement: ManagerAcknowledgement) -> bool:
    """Tell whether people managers learn of their reports' participation at all."""
    return visibility is not Visibility.NONE or acknowledgement is ManagerAcknowledgement.REQUIRED


BUILT_IN_SECTIONS: tuple[Mapping[str, Any], ...] = (
    {"key": "purpose", "required": True, "locked": False, "default": None},
    {"key": "wants_and_offers", "required": True, "locked": False, "default": None},
    {"key": "candour", "required": True, "locked": False, "default": 3},
    {"key": "cadence", "required": True, "locked": False, "default": "biweekly"},
    {"key": "response_days", "required": True, "locked": False, "default": 3},
    {"key": "confidentiality", "required": True, "locked": True, "default": True},
    {"key": "off_limits", "required": False, "locked": False, "default": []},
    {"key": "cancel_notice_hours", "required": True, "locked": False, "default": 24},
    {"key": "closing_rule", "required": False, "locked": False, "default": None},
)
"""Sections of the agreement template every organization starts with."""
