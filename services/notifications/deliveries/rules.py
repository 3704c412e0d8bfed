"""States of a delivery, when it is tried again, and when it is no longer worth sending."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from shared.errors import ConflictError


class MessageClass(StrEnum):
    """What a message wants of its reader, which decides what may be done with it."""

    ACT = "act"
    KNOW = "know"
    NUDGE = "nudge"
    THANK = "thank"
    MANDATORY = "mandatory"


class MessageState(StrEnum):
    """Whether a message was told; if not, its reason says why."""

    TOLD = "told"
    SUPPRESSED = "suppressed"
    FOLDED = "folded"
    SUPERSEDED = "superseded"


class Channel(StrEnum):
    """A way to reach a person outside the product."""

    EMAIL = "email"


class Lane(StrEnum):
    """Which deliveries share working places; first attempts and retries never compete."""

    URGENT = "urgent"
    NORMAL = "normal"
    RETRY = "retry"


class DeliveryState(StrEnum):
    """Where a delivery stands; while a lease is live, a pending one is being worked on."""

    PENDING = "pending"
    SENT = "sent"
    BOUNCED = "bounced"
    DEAD = "dead"
    SUPPRESSED = "suppressed"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


class Outcome(StrEnum):
    """What an attempt came to."""

    SEND = "send"
    REFUSE = "refuse"
    GIVE_UP = "give-up"
    SUPPRESS = "suppress"
    SUPERSEDE = "supersede"
    EXPIRE = "expire"
    POSTPONE = "postpone"


class AttemptResult(StrEnum):
    """What is known of one attempt; after a kill nothing is."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"


_S, _O = DeliveryState, Outcome

TRANSITIONS: Mapping[tuple[DeliveryState, Outcome], DeliveryState] = MappingProxyType(
    {
        (_S.PENDING, _O.SEND): _S.SENT,
        (_S.PENDING, _O.POSTPONE): _S.PENDING,
        (_S.PENDING, _O.REFUSE): _S.BOUNCED,
        (_S.PENDING, _O.GIVE_UP): _S.DEAD,
        (_S.PENDING, _O.SUPPRESS): _S.SUPPRESSED,
        (_S.PENDING, _O.SUPERSEDE): _S.SUPERSEDED,
        (_S.PENDING, _O.EXPIRE): _S.EXPIRED,
    }
)

UNKEPT = frozenset({"sign_in.code_requested", "person.address_changed"})
"""Kinds whose words are deleted as soon as nobody has to send them any more."""

WAITS = (
    *(timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15)),
    *(timedelta(hours=1), timedelta(hours=4), timedelta(hours=12)),
)
"""How long after each failed attempt the next one comes; after the last there is none."""

MAX_ATTEMPTS = len(WAITS) + 1


def next_status(state: DeliveryState, outcome: Outcome) -> DeliveryState:
    """Return the state after an outcome; an illegal one is a `ConflictError`."""
    try:
        return TRANSITIONS[state, outcome]
    except KeyError:
        raise ConflictError(
            f"A delivery that is {state} cannot {outcome}.", code="invalid_transition"
        ) from None


def wait_after(attempts: int) -> timedelta | None:
    """Return how long to wait after so many attempts, or None when enough were made."""
    return WAITS[attempts - 1] if attempts <= len(WAITS) else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a delivery right before it would go out."""

    is_reachable: bool
    address: str | None
    expires_at: datetime | None
    is_newer_sent: bool


def objection(standing: Standing, *, now: datetime) -> tuple[Outcome, str] | None:
    """Return why a delivery must not go out any more, or None if it may."""
    if not standing.is_reachable:
        return Outcome.SUPERSEDE, "person_left"
    if standing.address is None:
        return Outcome.SUPPRESS, "no_address"
    if standing.is_newer_sent:
        return Outcome.SUPERSEDE, "newer_invitation_sent"
    if standing.expires_at is not None and standing.expires_at <= now:
        return Outcome.EXPIRE, "too_late"
    return None
