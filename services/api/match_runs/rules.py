"""States of runs, and what each kind needs (domain 5.3), as data."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import islice
from types import MappingProxyType

from services.api.access.rules import Declaration, Scope
from services.api.pools.rules import OPAQUE_LENGTH
from services.api.programs.rules import MatchMode
from services.api.proposals.rules import not_ready
from shared.errors import ConflictError, Violation

MOST_FAILURES = 100
OPAQUE = re.compile(rf"\b[0-9a-f]{{{OPAQUE_LENGTH}}}\b")


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


_S, _A = RunStatus, RunAction
TRANSITIONS: Mapping[tuple[RunStatus, RunAction], RunStatus] = MappingProxyType(
    {
        (_S.QUEUED, _A.CLAIM): _S.RUNNING,
        (_S.QUEUED, _A.FAIL): _S.FAILED,
        (_S.QUEUED, _A.DISCARD): _S.DISCARDED,
        (_S.RUNNING, _A.FINISH): _S.REVIEW,
        (_S.RUNNING, _A.SIMULATE): _S.SIMULATED,
        (_S.RUNNING, _A.FAIL): _S.FAILED,
        (_S.RUNNING, _A.DISCARD): _S.DISCARDED,
        (_S.REVIEW, _A.RERUN): _S.DISCARDED,
        (_S.REVIEW, _A.DISCARD): _S.DISCARDED,
        (_S.REVIEW, _A.PUBLISH): _S.PUBLISHED,
    }
)
AUTOMATIC = frozenset({_A.CLAIM, _A.FINISH, _A.SIMULATE, _A.FAIL})
UNFINISHED = frozenset({_S.QUEUED, _S.RUNNING})
_DECIDER = Declaration("match_run.decide", Scope.MATCHING_PUBLISH)

NEEDS: Mapping[RunAction, Declaration] = MappingProxyType(
    dict.fromkeys(set(RunAction) - AUTOMATIC, _DECIDER)
)
"""What each step demands that somebody asks for by name."""

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


def require_enough(kind: RunKind, waiting: int) -> None:
    """Refuse a run of fewer people than it takes to put anybody together."""
    if waiting >= FEWEST[kind]:
        return
    code, detail = "nobody", "Nobody in this track waits to be matched."
    if waiting:
        code, detail = "one_alone", "One person in this track waits, and nobody to be matched with."
    raise not_ready(code, detail)


def next_status(status: RunStatus, action: RunAction) -> RunStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A run that is {status} cannot be changed by {action}.",
            code="invalid_transition",
            allowed=allowed_actions(status),
        ) from None


def allowed_actions(status: RunStatus) -> list[RunAction]:
    """Return what somebody may ask for next."""
    return [action for state, action in TRANSITIONS if state is status and action not in AUTOMATIC]


def moves_of(
    lost: Iterable[tuple[str, str]], gained: Iterable[tuple[str, str]]
) -> list[tuple[str, list[str], list[str]]]:
    """Return who moves, from whom and to whom, where some pairs end and others begin.

    Who only changes from one group of a mentor to another does not move.
    """
    before, after = _partners(lost), _partners(gained)
    moves = [
        (who, sorted(before[who] - after[who]), sorted(after[who] - before[who]))
        for who in sorted(before.keys() | after.keys())
    ]
    return [one for one in moves if one[1] or one[2]]


def _partners(pairs: Iterable[tuple[str, str]]) -> defaultdict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for one, other in pairs:
        found[one].add(other)
        found[other].add(one)
    return found


def failures_of(errors: Iterable[Violation]) -> list[dict[str, str]]:
    """Return what was wrong with a run, as it is told: nobody is named, not even opaquely."""
    return [
        {
            "pointer": one.pointer[:2000],
            "code": one.code[:64],
            "detail": OPAQUE.sub("somebody", one.detail)[:2000],
        }
        for one in islice(errors, MOST_FAILURES)
    ]


def require_pairs(*, is_solved: bool) -> None:
    """Refuse to explain a pair where scores of pairs have not decided who is together."""
    if not is_solved:
        raise ConflictError(
            "Circles are chosen as a whole and draws by chance; no pair of them is explained.",
            code="not_explainable",
        )
