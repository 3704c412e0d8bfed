"""States of runs and proposals (domain 5.3) and who is asked, as data."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from services.api.access.rules import Declaration, Scope
from services.api.pools.rules import REPORTING_LINE, mentor_first
from services.api.programs.rules import (
    MENTEE_SIDE,
    MENTOR_SIDE,
    ConsentSides,
    MatchMode,
    ProgramStatus,
    TrackRole,
)
from shared.errors import ConflictError, Violation


class RunMode(StrEnum):
    """Whether a run's proposals may become mentorships."""

    REAL = "real"
    DRY_RUN = "dry_run"


class RunKind(StrEnum):
    """What a run does."""

    POOL = "pool"
    FILL = "fill"
    ROULETTE = "roulette"


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    REVIEW = "review"
    SIMULATED = "simulated"
    FAILED = "failed"
    DISCARDED = "discarded"
    PUBLISHED = "published"


class RunAction(StrEnum):
    """What can happen to a run; the first half happens by itself."""

    CLAIM = "claim"
    FINISH = "finish"
    SIMULATE = "simulate"
    FAIL = "fail"
    DISCARD = "discard"
    RERUN = "rerun"
    PUBLISH = "publish"


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
    PUBLISH = "publish"
    CONSENT = "consent"
    DECLINE = "decline"
    EXPIRE = "expire"


_R, _D = RunStatus, RunAction
RUN_TRANSITIONS: Mapping[tuple[RunStatus, RunAction], RunStatus] = MappingProxyType(
    {
        (_R.QUEUED, _D.CLAIM): _R.RUNNING,
        (_R.QUEUED, _D.FAIL): _R.FAILED,
        (_R.QUEUED, _D.DISCARD): _R.DISCARDED,
        (_R.RUNNING, _D.FINISH): _R.REVIEW,
        (_R.RUNNING, _D.SIMULATE): _R.SIMULATED,
        (_R.RUNNING, _D.FAIL): _R.FAILED,
        (_R.RUNNING, _D.DISCARD): _R.DISCARDED,
        (_R.REVIEW, _D.RERUN): _R.DISCARDED,
        (_R.REVIEW, _D.DISCARD): _R.DISCARDED,
        (_R.REVIEW, _D.PUBLISH): _R.PUBLISHED,
    }
)
RUN_ACTIONS_BY_ITSELF = frozenset({_D.CLAIM, _D.FINISH, _D.SIMULATE, _D.FAIL})
UNFINISHED = frozenset({_R.QUEUED, _R.RUNNING})

_S, _A = ProposalStatus, ProposalAction
PROPOSAL_TRANSITIONS: Mapping[tuple[ProposalStatus, ProposalAction], ProposalStatus] = (
    MappingProxyType(
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
)
PROPOSAL_ACTIONS_BY_ITSELF = frozenset({_A.PUBLISH, _A.EXPIRE})
_DECIDER = Declaration("match_run.decide", Scope.MATCHING_PUBLISH)
_COORDINATOR = Declaration("proposal.decide", Scope.MATCHING_RUN)
_ASKED = Declaration("proposal.answer", Scope.MENTORSHIPS_WRITE)

RUN_NEEDS: Mapping[RunAction, Declaration] = MappingProxyType(
    dict.fromkeys(set(RunAction) - RUN_ACTIONS_BY_ITSELF, _DECIDER)
)
PROPOSAL_NEEDS: Mapping[ProposalAction, Declaration] = MappingProxyType(
    {
        **dict.fromkeys((_A.APPROVE, _A.REJECT, _A.SWAP), _COORDINATOR),
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

MODE_OF_KIND: Mapping[RunKind, MatchMode] = MappingProxyType(
    {
        RunKind.POOL: MatchMode.POOL,
        RunKind.FILL: MatchMode.FILL,
        RunKind.ROULETTE: MatchMode.ROULETTE,
    }
)
"""By which mode a track has to be matched for a run of some kind."""
FEWEST: Mapping[RunKind, int] = MappingProxyType(
    {RunKind.POOL: 2, RunKind.FILL: 1, RunKind.ROULETTE: 2}
)
"""How many have to wait for a run of some kind to put anybody together."""

COMMON_GROUND = "common_ground"
LONGEST_GROUND = 500

MATCHING_PROGRAM = frozenset({ProgramStatus.MATCHING, ProgramStatus.RUNNING})

CHECKED_HERE = frozenset({"not_oneself", "not_blocked", "not_ignored"})
REMIND_AFTER = timedelta(days=3)
EXPIRE_AFTER = timedelta(days=7)


def next_run_status(status: RunStatus, action: RunAction) -> RunStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return RUN_TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A run that is {status} cannot be changed by {action}.",
            code="invalid_transition",
            allowed=allowed_run_actions(status),
        ) from None


def allowed_run_actions(status: RunStatus) -> list[RunAction]:
    """Return what somebody may ask for next."""
    return [
        action
        for state, action in RUN_TRANSITIONS
        if state is status and action not in RUN_ACTIONS_BY_ITSELF
    ]


def next_proposal_status(status: ProposalStatus, action: ProposalAction) -> ProposalStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return PROPOSAL_TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A proposal that is {status} cannot be changed by {action}.",
            code="invalid_transition",
            allowed=allowed_proposal_actions(status),
        ) from None


def allowed_proposal_actions(status: ProposalStatus) -> list[ProposalAction]:
    """Return what somebody may ask for next."""
    return [
        action
        for state, action in PROPOSAL_TRANSITIONS
        if state is status and action not in PROPOSAL_ACTIONS_BY_ITSELF
    ]


def require_matching(status: ProgramStatus) -> None:
    """Refuse to match in a program that is not there yet, or no longer."""
    if status not in MATCHING_PROGRAM:
        raise not_ready("program_status", "The program is neither in matching nor running.")


def not_ready(code: str, detail: str) -> ConflictError:
    """Refuse because something is missing that matching needs."""
    return ConflictError(detail, code="not_ready", errors=[Violation("#", code, detail)])


def require_pairs(*, is_solved: bool) -> None:
    """Refuse to explain a pair where scores of pairs have not decided who is together."""
    if not is_solved:
        raise ConflictError(
            "Circles are chosen as a whole and draws by chance; no pair of them is explained.",
            code="not_explainable",
        )


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


def is_asked(role: TrackRole, sides: ConsentSides) -> bool:
    """Tell whether a member in this role is asked; each peer is a side, so peers always are."""
    if sides is ConsentSides.NONE:
        return False
    if sides is ConsentSides.BOTH or role is TrackRole.PEER:
        return True
    return (role in MENTEE_SIDE) is (sides is ConsentSides.MENTEE_SIDE)


def exchanged[Member: tuple[UUID, TrackRole]](
    first: Sequence[Member], second: Sequence[Member], *, role: TrackRole
) -> tuple[list[Member], list[Member]]:
    """Return the members of two proposals after those in one role have changed places.

    Where both of a pair are in that role, the last of each changes.
    """
    moved_first, moved_second = _last_in(first, role), _last_in(second, role)
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


def _last_in[Member: tuple[UUID, TrackRole]](
    members: Sequence[Member], role: TrackRole
) -> Member | None:
    return next((one for one in reversed(members) if one[1] is role), None)


def rank_in(role: str) -> int:
    """Return where a role stands in a proposal: who leads, then who gives, then who seeks."""
    return 0 if role == TrackRole.FACILITATOR else 2 if role in MENTEE_SIDE else 1


def usual_swap_role(members: Sequence[tuple[UUID, TrackRole]]) -> TrackRole:
    """Return who changes places when nobody says: the mentee side, among peers one peer."""
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


def pairs_to_judge(members: Sequence[tuple[str, TrackRole]]) -> list[tuple[str, str]]:
    """Return the pairs that matching can judge; none where a side is missing, which is refused."""
    sides = [one for one in members if one[1] is not TrackRole.FACILITATOR]
    has_both = any(role in MENTEE_SIDE for _one, role in sides) and any(
        role in MENTOR_SIDE for _one, role in sides
    )
    if has_both or all(role is TrackRole.PEER for _one, role in sides):
        return mentor_first(sides)
    return []


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
