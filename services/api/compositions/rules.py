"""Who may be in one mentorship (domain section 9), and who may still join it."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.api.mentorships.rules import (
    FIRST_DRIVER,
    JOINABLE,
    LED_BY,
    LIVE,
    PEOPLE,
    MentorshipStatus,
    size_of,
)
from services.api.programs.rules import (
    FORMATS,
    MENTEE_SIDE,
    MENTOR_SIDE,
    STRICT_GRADES,
    Format,
    Seniority,
    TrackRole,
)
from shared.errors import ConflictError, Violation

MEETINGS_PER_MENTEE = 4


@dataclass(frozen=True, slots=True)
class NewMember:
    """A participant who is to become a member, and as what."""

    participant_id: UUID
    role: TrackRole


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person about to become a member; a rank of None is an unknown grade."""

    person_id: UUID
    participant_id: UUID
    role: TrackRole
    grade_rank: int | None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a track demands of the people in one mentorship."""

    format: Format
    min_members: int
    max_members: int
    seniority: Seniority
    grade_gap_min: int | None
    grade_gap_max: int | None


def broken_composition(candidates: Sequence[Candidate], terms: Terms) -> list[Violation]:
    """Return every rule of its format that these members would break."""
    return [
        *_broken_counts(candidates, terms),
        *_broken_size(candidates, terms),
        *_broken_grades(candidates, terms),
    ]


def broken_joining(
    joining: Sequence[Candidate], present: Sequence[Candidate], terms: Terms
) -> list[Violation]:
    """Return every rule of its format that these would break by joining those who are there.

    What those who are there lack or break already is not held against whoever joins. How many may
    be there is `check_room`'s.
    """
    everybody = [*present, *joining]
    counts = Counter(one.role for one in everybody)
    named = {one.role for one in joining}
    return [
        *_foreign_roles(joining, terms),
        *(
            _wrong_count(terms, role)
            for role, (_fewest, most, _code) in PEOPLE[terms.format].items()
            if role in named and counts[role] > most
        ),
        *_broken_twice(everybody, terms),
        *_broken_grades(everybody, terms, concerning=joining),
    ]


def check_room(
    format_: Format, members: Iterable[tuple[TrackRole, UUID]], *, max_members: int
) -> None:
    """Refuse more members than a track's mentorships have."""
    size = size_of(format_, members)
    if size is None or size > max_members:
        raise full(format_, max_members)


def full(format_: Format, max_members: int) -> ConflictError:
    """Refuse one more in a mentorship that has as many as its track allows."""
    detail = f"It has {max_members} {FORMATS[format_].counted} at most."
    return ConflictError(detail, code="full")


def check_joinable(status: MentorshipStatus) -> None:
    """Refuse to let anybody into a mentorship that is over, or that rests or closes."""
    if status not in LIVE:
        raise ConflictError("This mentorship is over.", code="already_ended")
    if status not in JOINABLE:
        raise ConflictError(f"A mentorship that is {status} takes nobody.", code="not_available")


def check_led(format_: Format, roles: Collection[TrackRole]) -> None:
    """Refuse to let anybody into a mentorship that nobody leads."""
    if format_ in LED_BY and LED_BY[format_] not in roles:
        raise ConflictError(f"Nobody is there as {LED_BY[format_]}.", code="not_available")


def _broken_counts(candidates: Sequence[Candidate], terms: Terms) -> list[Violation]:
    counts = Counter(one.role for one in candidates)
    return [
        *_foreign_roles(candidates, terms),
        *(
            _wrong_count(terms, role)
            for role, (fewest, most, _code) in PEOPLE[terms.format].items()
            if not fewest <= counts[role] <= most
        ),
        *_broken_twice(candidates, terms),
    ]


def _foreign_roles(candidates: Sequence[Candidate], terms: Terms) -> list[Violation]:
    foreign = sorted({one.role for one in candidates} - set(PEOPLE[terms.format]))
    return [
        Violation("#/members", "role", f"The format {terms.format} has no {role}.")
        for role in foreign
    ]


def _wrong_count(terms: Terms, role: TrackRole) -> Violation:
    fewest, most, code = PEOPLE[terms.format][role]
    detail = f"The format {terms.format} takes {fewest}" + (
        f" {role}." if fewest == most else f" or more as {role}."
    )
    return Violation("#/members", code, detail)


def _broken_twice(candidates: Sequence[Candidate], terms: Terms) -> list[Violation]:
    if not _is_anybody_twice(candidates, terms):
        return []
    return [Violation("#/members", "not_unique", "Nobody is a member twice.")]


def _is_anybody_twice(candidates: Sequence[Candidate], terms: Terms) -> bool:
    """Tell whether somebody stands twice; who facilitates a circle may also be its mentor."""
    held: dict[UUID, list[TrackRole]] = {}
    for one in candidates:
        held.setdefault(one.person_id, []).append(one.role)
    double = [sorted(roles) for roles in held.values() if len(roles) > 1]
    if terms.format is not Format.CIRCLE:
        return bool(double)
    return any(roles != [TrackRole.FACILITATOR, TrackRole.MENTOR] for roles in double)


def _broken_size(candidates: Sequence[Candidate], terms: Terms) -> list[Violation]:
    size = size_of(terms.format, [(one.role, one.person_id) for one in candidates])
    if size is None:
        return []
    if terms.min_members <= size <= terms.max_members:
        return []
    counted = FORMATS[terms.format].counted
    detail = f"This track takes {terms.min_members} to {terms.max_members} {counted}."
    return [Violation("#/members", "size", detail)]


def _broken_grades(
    candidates: Sequence[Candidate], terms: Terms, *, concerning: Sequence[Candidate] | None = None
) -> list[Violation]:
    """Return whether grades do not fit; of `concerning`, only pairs that one of them is in."""
    if terms.format is Format.PEER:
        return _too_far_apart(candidates, terms)
    if terms.seniority is Seniority.NONE:
        return []
    judged = candidates if concerning is None else concerning
    fits = all(
        _is_senior_enough(upper.grade_rank, lower.grade_rank, terms)
        for upper in candidates
        for lower in candidates
        if upper.role in MENTOR_SIDE and lower.role in MENTEE_SIDE
        if upper in judged or lower in judged
    )
    return [] if fits else [Violation("#/members", "seniority", "The grades do not fit.")]


def _too_far_apart(candidates: Sequence[Candidate], terms: Terms) -> list[Violation]:
    ranks = [one.grade_rank for one in candidates if one.grade_rank is not None]
    if terms.grade_gap_max is None or not ranks or max(ranks) - min(ranks) <= terms.grade_gap_max:
        return []
    return [Violation("#/members", "grade_gap", "The grades lie too far apart.")]


def _is_senior_enough(upper: int | None, lower: int | None, terms: Terms) -> bool:
    if upper is None or lower is None:
        return terms.format not in STRICT_GRADES
    gap = upper - lower if terms.seniority is Seniority.MENTOR_HIGHER else lower - upper
    least = max(terms.grade_gap_min or 0, 1)
    return least <= gap and (terms.grade_gap_max is None or gap <= terms.grade_gap_max)


def broken_flash(*, have_met: bool, mentee_meetings: int) -> list[Violation]:
    """Return what forbids a flash meeting: they met before, or the mentee met enough people."""
    found = []
    if have_met:
        found.append(Violation("#/members", "already_met", "These two have met in this track."))
    if mentee_meetings >= MEETINGS_PER_MENTEE:
        detail = f"Each mentee has {MEETINGS_PER_MENTEE} meetings in this track."
        found.append(Violation("#/members", "mentee_quota", detail))
    return found


def first_driver(format_: Format, candidates: Sequence[Candidate]) -> UUID:
    """Return whose move it is at the beginning: the first listed of the driving role."""
    role = FIRST_DRIVER[format_]
    return next(one.person_id for one in candidates if one.role is role)
