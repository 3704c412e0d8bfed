"""States of proposals (domain 5.3), who is asked, and what circles share, as data."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from services.api.access.rules import Declaration, Scope
from services.api.pools.rules import SHORTLISTED, FrozenTask, revealed
from services.api.programs.rules import (
    KNOWN_OF_EVERYBODY,
    MENTEE_SIDE,
    ConsentSides,
    TrackRole,
)
from shared.errors import ConflictError, Violation
from shared.schemas.matching import Circle, Match, Member, Part, Reason


class ProposalStatus(StrEnum):
    """Where a proposal stands."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    SWAPPED = "swapped"
    AWAITING_PEOPLE = "awaiting_people"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    EXPIRED = "expired"


class ProposalAction(StrEnum):
    """What can happen to a proposal."""

    APPROVE = "approve"
    REJECT = "reject"
    SWAP = "swap"
    LOCK = "lock"
    UNLOCK = "unlock"
    PUBLISH = "publish"
    CONSENT = "consent"
    DECLINE = "decline"
    EXPIRE = "expire"


_S, _A = ProposalStatus, ProposalAction
TRANSITIONS: Mapping[tuple[ProposalStatus, ProposalAction], ProposalStatus] = MappingProxyType(
    {
        (_S.PROPOSED, _A.APPROVE): _S.APPROVED,
        (_S.PROPOSED, _A.REJECT): _S.REJECTED,
        (_S.APPROVED, _A.REJECT): _S.REJECTED,
        (_S.PROPOSED, _A.SWAP): _S.SWAPPED,
        (_S.APPROVED, _A.SWAP): _S.SWAPPED,
        (_S.APPROVED, _A.PUBLISH): _S.AWAITING_PEOPLE,
        (_S.AWAITING_PEOPLE, _A.CONSENT): _S.ACCEPTED,
        (_S.AWAITING_PEOPLE, _A.DECLINE): _S.DECLINED,
        (_S.AWAITING_PEOPLE, _A.EXPIRE): _S.EXPIRED,
    }
)
AUTOMATIC = frozenset({_A.PUBLISH, _A.EXPIRE})
_COORDINATOR = Declaration("proposal.decide", Scope.MATCHING_RUN)
_ASKED = Declaration("proposal.answer", Scope.MENTORSHIPS_WRITE)

NEEDS: Mapping[ProposalAction, Declaration] = MappingProxyType(
    {
        **dict.fromkeys((_A.APPROVE, _A.REJECT, _A.SWAP, _A.LOCK, _A.UNLOCK), _COORDINATOR),
        **dict.fromkeys((_A.CONSENT, _A.DECLINE), _ASKED),
    }
)
"""What each step demands that somebody asks for by name."""

OPEN = frozenset({_S.PROPOSED, _S.APPROVED})
"""States in which a coordinator still decides, and in which nobody was told."""

HOLDING = frozenset({_S.APPROVED, _S.AWAITING_PEOPLE})
"""States in which a proposal itself holds the seats of its members."""

TOLD = frozenset({_S.AWAITING_PEOPLE, _S.ACCEPTED, _S.DECLINED, _S.EXPIRED})
"""States that exist only once people were asked."""

COMMON_GROUND = "common_ground"
LONGEST_GROUND = 500
MOST_FORCED = 50

GROUND = frozenset(
    {
        *("offers_wants", "path_fit", "shared_values", "shared_interests", "shared_language"),
        *("expectation_fit", "timezone_overlap", "availability_overlap"),
        COMMON_GROUND,
    }
)
"""What is found of people as ground that all of them share, with its particulars."""

PUBLISHED = frozenset({"location"})
ON_AN_ATTRIBUTE = frozenset({"attribute_equal", "attribute_different", "choice_overlap"})
"""What members know of each other beside common ground, from the directory or as ground.

Everything else rests on what they may not read: grades, the day somebody came, marks, wishes, and
answers that are for coordinators. Whoever can change their own side of a comparison finds out the
other one from its result, so they are shown none.
"""

OF_ONE = frozenset({"missing"})
"""Particulars of it that are about one of them: what is wanted and not offered."""

REMIND_AFTER = timedelta(days=3)
EXPIRE_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal as a run has found it; with a mentorship, its members are to join that one.

    `forced` are the rules of the policy that gave way because its members are locked.
    """

    members: Sequence[tuple[UUID, TrackRole]]
    score: float
    parts: Sequence[Mapping[str, Any]]
    is_locked: bool
    forced: Sequence[Mapping[str, Any]] = ()
    mentorship_id: UUID | None = None


def next_status(
    status: ProposalStatus, action: ProposalAction, *, is_locked: bool = False
) -> ProposalStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A proposal that is {status} cannot be changed by {action}.",
            code="invalid_transition",
            allowed=allowed_actions(status, is_locked=is_locked),
        ) from None


def outlasts(action: ProposalAction, *, is_decided: bool) -> bool:
    """Tell whether a lock outlasts a step: nothing that somebody turned down is kept together.

    What is rejected without anybody's decision was put aside, and comes again.
    """
    if action is ProposalAction.REJECT:
        return not is_decided
    return action not in {ProposalAction.DECLINE, ProposalAction.EXPIRE}


def allowed_actions(status: ProposalStatus, *, is_locked: bool = False) -> list[ProposalAction]:
    """Return what somebody may ask for next: who is locked together changes no places.

    A lock is no state, so it stays with a proposal that is decided on, or that was put aside.
    """
    kept = {ProposalAction.SWAP} if is_locked else set()
    steps = [
        action
        for state, action in TRANSITIONS
        if state is status and action not in AUTOMATIC | kept
    ]
    if is_locked:
        return [*steps, ProposalAction.UNLOCK]
    return [*steps, ProposalAction.LOCK] if status in OPEN else steps


def overbooked(
    needs: Mapping[UUID, Sequence[Hashable]], too_many: Mapping[Hashable, int]
) -> set[UUID]:
    """Return the proposals to take back so that nothing is held more often than it is there.

    `needs` says what each holds, once each, the oldest proposal first; `too_many` how often each is
    held beyond what there is. The newest lose theirs.
    """
    left = dict(too_many)
    lost = set[UUID]()
    for proposal_id in reversed([*needs]):
        if any(left[one] > 0 for one in needs[proposal_id]):
            lost.add(proposal_id)
            for one in needs[proposal_id]:
                left[one] -= 1
    return lost


def not_ready(code: str, detail: str) -> ConflictError:
    """Refuse because something is missing that matching needs."""
    return ConflictError(detail, code="not_ready", errors=[Violation("#", code, detail)])


def ground_part(key: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all of a circle share as a part of its proposal, which adds no points."""
    return {
        "rule": COMMON_GROUND,
        "key": key,
        "params": dict(params),
        "points": 0.0,
        "weight": 0,
        "value": 1.0,
    }


def common_ground(parts: Sequence[Mapping[str, Any]], *, otherwise: str) -> str:
    """Return in words what the members of a proposal have in common; else another text."""
    words = [
        word for one in parts if one["rule"] == COMMON_GROUND for word in one["params"]["shared"]
    ]
    return (", ".join(words) or otherwise)[:LONGEST_GROUND]


def is_told(rule: str, params: Mapping[str, Any]) -> bool:
    """Tell whether members may know how a criterion judges them and somebody else."""
    if rule in ON_AN_ATTRIBUTE:
        return params.get("attribute") in KNOWN_OF_EVERYBODY
    return rule in GROUND | PUBLISHED


def told(reason: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part as members read it: particulars only of what they share."""
    params = reason["params"] if reason["rule"] in GROUND else {}
    return {**reason, "params": {name: one for name, one in params.items() if name not in OF_ONE}}


def shown(
    score: float, parts: Sequence[Mapping[str, Any]], *, decides: bool
) -> tuple[float, list[Mapping[str, Any]]]:
    """Return the score and parts that may be shown: all of them only to those who decide.

    Whom somebody favors is told to nobody, and only its effect to those. What is left of a whole
    tells of the rest, so the score of members is as if nothing else had been weighed.
    """
    if decides:
        return score, [
            {**one, "params": {}} if one["rule"] == SHORTLISTED else one for one in parts
        ]
    seen = [told(one) for one in parts if is_told(one["rule"], one["params"])]
    if len(seen) == len(parts):
        return score, seen
    weights = sum(one["weight"] for one in seen)
    seen = [
        {**one, "points": round(100 * one["value"] * one["weight"] / max(1, weights), 2)}
        for one in seen
    ]
    return round(sum(one["points"] for one in seen), 2), seen


def because(parts: Iterable[Mapping[str, Any]], *, are_two: bool) -> list[Mapping[str, Any]]:
    """Return the parts that speak for a mentorship: of two people, only those that gave something.

    Parts of more are means of all pairs. That one of them is nothing, or not, would tell a member
    what it is for the others, so all stay.
    """
    return [
        told(one)
        for one in parts
        if is_told(one["rule"], one["params"]) and (one["points"] > 0 or not are_two)
    ]


def of_all(parts: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the parts that are about all of a group or circle, not about any two of them."""
    return [told(one) for one in parts if one["rule"] == COMMON_GROUND]


def each_once(broken: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return rules that gave way, each said once, however many two of a proposal break it."""
    said: list[Mapping[str, Any]] = []
    for one in broken:
        if one not in said:
            said.append(one)
    return said[:MOST_FORCED]


def is_asked(role: TrackRole, sides: ConsentSides) -> bool:
    """Tell whether a member in this role is asked; each peer is a side, so peers always are."""
    if sides is ConsentSides.NONE:
        return False
    if sides is ConsentSides.BOTH or role is TrackRole.PEER:
        return True
    return (role in MENTEE_SIDE) is (sides is ConsentSides.MENTEE_SIDE)


# What a match proposes.


@dataclass(frozen=True, slots=True)
class _Together:
    """People who are put together at once: all of a match, or one who joins what is there."""

    members: Sequence[Member]
    score: float
    parts: Sequence[Part]
    is_locked: bool
    broken: Sequence[Reason]


def drafts_of(match: Match, task: FrozenTask) -> list[Draft]:
    """Return what a match proposes: all of it at once, or each who joins what is there."""
    names = task.names
    there = [task.there[one.id] for one in match.members if one.id in task.there]
    ground = [ground_part(one.key, one.params) for one in _ground_of(match)]
    return [
        Draft(
            members=[
                (task.participants[one.id], TrackRole(one.role.value)) for one in some.members
            ],
            score=some.score,
            parts=[
                *(revealed(part.model_dump(mode="json"), names) for part in some.parts),
                *ground,
            ],
            is_locked=some.is_locked,
            forced=each_once(revealed(one.model_dump(mode="json"), names) for one in some.broken),
            mentorship_id=there[0].mentorship_id if there else None,
        )
        for some in _together(match, task)
    ]


def _together(match: Match, task: FrozenTask) -> list[_Together]:
    """Return whom a match puts together; who joins what is there is proposed by themselves."""
    if isinstance(match, Circle) and match.members[0].id in task.there:
        return [
            _Together([one], one.score, one.parts, one.id in match.there, one.broken)
            for one in match.joining
        ]
    new = [one for one in match.members if one.id not in task.there]
    return [_Together(new, match.score, match.parts, match.is_locked, match.broken)]


def _ground_of(match: Match) -> Sequence[Reason]:
    return match.common_ground if isinstance(match, Circle) else ()
