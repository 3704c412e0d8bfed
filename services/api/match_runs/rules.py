"""States of runs and proposals, as data."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


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
    """What can happen to a run."""

    CLAIM = "claim"
    FINISH = "finish"
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
