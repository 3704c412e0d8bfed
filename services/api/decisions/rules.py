"""Who changes places in a swap, and what matching is asked of people put together by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

from services.api.pools.rules import (
    REPORTING_LINE,
    SOLVED,
    FrozenTask,
    roles_of,
    seating,
)
from services.api.programs.rules import MENTEE_SIDE, MENTOR_SIDE, Format, TrackRole
from services.api.proposals import rules as proposal_rules
from shared.errors import ConflictError, Violation

CHECKED_HERE = frozenset({"not_oneself", "not_blocked", "not_ignored"})
JUDGED_AS: Mapping[str, str] = MappingProxyType({Format.FLASH: Format.ONE_TO_ONE})
"""Formats whose pairs matching scores as those of another."""
JUDGED = SOLVED | {Format.FLASH, Format.CIRCLE}
"""Formats in which matching judges who is put together by hand."""

type Members = Sequence[tuple[UUID, TrackRole]]
"""Who is to be together: participants, each with a role."""

type Rows = Sequence[tuple[str, TrackRole]]
"""Who is to be together, as a problem names them: rows, each with a role."""


@dataclass(frozen=True, slots=True)
class Composition:
    """Who is put together by hand, and in which mentorship if it is there already."""

    members: Members
    mentorship_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What matching said of people put together by hand, where it was asked."""

    score: int | None = None
    parts: Sequence[Mapping[str, Any]] = ()
    broken: Sequence[Mapping[str, Any]] = ()


def exchanged(
    first: Members, second: Members, *, role: TrackRole | None
) -> tuple[Members, Members]:
    """Return the members of two proposals after those in one role have changed places.

    Where several are in that role, the last of each changes. When nobody says which role, it is
    the mentee side, and among peers one peer.
    """
    chosen = _usual_swap_role(first) if role is None else role
    moved_first, moved_second = _last_in(first, chosen), _last_in(second, chosen)
    if moved_first is None or moved_second is None or moved_first == moved_second:
        raise ConflictError(
            "Both proposals need somebody else in that role.",
            code="hard_rule_failed",
            errors=[Violation("#/role", "role", "Nobody could change places.")],
        )
    return (
        [moved_second if one == moved_first else one for one in first],
        [moved_first if one == moved_second else one for one in second],
    )


def _last_in(members: Members, role: TrackRole) -> tuple[UUID, TrackRole] | None:
    return next((one for one in reversed(members) if one[1] is role), None)


def require_unlocked(first: bool, second: bool) -> None:  # noqa: FBT001 - of either proposal
    """Refuse to exchange members of proposals of which one is to stay as it is."""
    pointers = [
        pointer
        for is_locked, pointer in ((first, "#"), (second, "#/with_proposal_id"))
        if is_locked
    ]
    if pointers:
        raise ConflictError(
            "Its members are locked together.",
            code="proposal_locked",
            errors=[
                Violation(one, "proposal_locked", "This proposal is locked.") for one in pointers
            ],
        )


def rank_in(role: str) -> int:
    """Return where a role stands in a proposal: who leads, then who gives, then who seeks."""
    return 0 if role == TrackRole.FACILITATOR else 2 if role in MENTEE_SIDE else 1


def _usual_swap_role(members: Members) -> TrackRole:
    roles = [role for _participant, role in members]
    return next((role for role in roles if role in MENTEE_SIDE), roles[-1])


def hard_rule_failed(broken: Sequence[Violation]) -> ConflictError:
    """Refuse members that always-on rules keep apart."""
    return ConflictError(
        "These people cannot be put together; each rule is listed in errors.",
        code="hard_rule_failed",
        errors=broken,
    )


def only_matching_judges(hard: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Return the hard rules of a policy that are not checked here whoever is put together."""
    return frozenset(
        one["rule"]
        for one in hard
        if one["rule"] not in CHECKED_HERE and (one["rule"] != REPORTING_LINE or one["params"])
    )


def after_swap(
    rows: Sequence[Mapping[str, Any] | None], role: TrackRole | None
) -> list[Composition]:
    """Return whom a swap of two proposals would put together, or nothing where it cannot."""
    known = [row for row in rows if row is not None and row["members"]]
    if len(known) != len(rows):
        return []
    # In the order in which the swap itself reads them, as the last in a role changes places.
    first, second = (
        sorted((UUID(str(one["participant_id"])), TrackRole(one["role"])) for one in row["members"])
        for row in known
    )
    try:
        made = exchanged(first, second, role=role)
    except ConflictError:
        # Whoever swaps is told so when the swap itself is tried.
        return []
    return [
        Composition(members, row["mentorship_id"]) for members, row in zip(made, known, strict=True)
    ]


# What matching is asked: a problem in which only those have a place who are put together.


def rows_to_judge(task: FrozenTask, composition: Composition) -> Rows:
    """Return the rows of a problem that stand for who is put together, and for whom they join.

    None where matching cannot judge them: somebody has no place, or a side is missing. Both are
    refused by name when the proposal itself is tried.
    """
    names = {one: name for name, one in task.participants.items()}
    new = [(names.get(one, ""), role) for one, role in composition.members]
    there = [
        (name, role)
        for name, one in task.there.items()
        if one.mentorship_id == composition.mentorship_id
        for role in roles_of(task.problem, name)
    ]
    is_circle = task.problem["format"] == Format.CIRCLE
    rows = [*there, *(one for one in new if is_circle or one[1] is not TrackRole.FACILITATOR)]
    if not all(role in roles_of(task.problem, name) for name, role in rows):
        return []
    has_sides = _has_sides([role for _name, role in rows])
    is_led = not is_circle or any(role is TrackRole.FACILITATOR for _name, role in rows)
    return rows if has_sides and is_led else []


def _has_sides(roles: Sequence[TrackRole]) -> bool:
    has_both = any(role in MENTEE_SIDE for role in roles) and any(
        role in MENTOR_SIDE for role in roles
    )
    return has_both or all(role is TrackRole.PEER for role in roles)


def pairs_question(task: FrozenTask, compositions: Iterable[Rows]) -> dict[str, Any]:
    """Return the problem of pairs in which rows that are put together have a place."""
    format_ = task.problem["format"]
    return seating(task.problem, _roles(compositions)) | {"format": JUDGED_AS.get(format_, format_)}


def circles_question(task: FrozenTask, compositions: Sequence[Rows]) -> dict[str, Any]:
    """Return the problem in which each composition is a circle that is there.

    Where it is one that has begun, only those are judged who join: they are locked to its leader.
    """
    seats, locks, begun = list[tuple[str, TrackRole, int]](), list[tuple[str, str]](), list[int]()
    for circle, rows in enumerate(compositions):
        leader = [name for name, _role in rows if name in task.there and task.there[name].leads]
        begun += [circle for _name in leader]
        for name, role in rows:
            if leader and name not in task.there:
                locks.append((leader[0], name))
            else:
                seats.append((name, role, circle))
    return seating(task.problem, _roles(compositions)) | {
        "there": {
            "id": [name for name, _role, _circle in seats],
            "role": [role for _name, role, _circle in seats],
            "circle": [circle for _name, _role, circle in seats],
        },
        "openings": {"circle": begun, "places": [1] * len(begun)},
        "locks": {
            "first": [leader for leader, _name in locks],
            "second": [name for _leader, name in locks],
        },
    }


def _roles(compositions: Iterable[Rows]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for rows in compositions:
        for name, role in rows:
            found.setdefault(name, set()).add(role)
    return found


def judged_broken(task: FrozenTask, broken: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rules that only matching judges of those that are broken, each said once."""
    judges = only_matching_judges(task.problem["policy"]["hard"])
    return proposal_rules.each_once(one for one in broken if one["rule"] in judges)


def broken_policy(broken: Sequence[Mapping[str, Any]]) -> ConflictError:
    """Refuse members whom the policy keeps apart, naming each of its rules once."""
    return hard_rule_failed(
        [
            Violation("#/members", rule, f"The policy keeps two of them apart: {rule}.")
            for rule in dict.fromkeys(one["rule"] for one in broken)
        ]
    )


def seat_taken() -> ConflictError:
    """Refuse because somebody of the proposal has no free place left."""
    return ConflictError("Somebody here has no free place any more.", code="seat_taken")
