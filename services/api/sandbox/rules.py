"""Where a sandbox's clock may go, and how far it has to be set for that."""

import math
from datetime import datetime, timedelta

from services.api.organizations.rules import Kind
from shared.errors import ConflictError, InvalidError, Violation

FURTHEST = timedelta(days=10 * 366)
"""How far a clock may be ahead of the real time."""


def require_sandbox(kind: Kind | str) -> None:
    """Refuse outside a sandbox: time is not to be played with where people's programs run."""
    if kind != Kind.SANDBOX:
        raise ConflictError("Only a sandbox organization can do that.", code="not_a_sandbox")


def destination(
    *,
    now: datetime,
    going_to: datetime | None,
    real_now: datetime,
    days: int | None,
    until: datetime | None,
) -> datetime:
    """Return where the clock goes; days count from where it is already going to."""
    start = max(now, going_to or now)
    target = start + timedelta(days=days) if days is not None else until
    if target is None or not start <= target <= real_now + FURTHEST:
        pointer = "#/days" if days is not None else "#/until"
        raise InvalidError(
            errors=[
                Violation(
                    pointer,
                    "out_of_range",
                    "Should lie ahead of the sandbox's clock, and less than ten years from today.",
                )
            ]
        )
    return target


def offset_at(instant: datetime, *, real_now: datetime, current: int) -> int:
    """Return the offset in seconds that lets the clock stand at an instant; never back in time."""
    return max(current, math.ceil((instant - real_now).total_seconds()))


def next_stop(*candidates: datetime | None, now: datetime, target: datetime) -> datetime:
    """Return the next instant at which something is due, the target at the latest."""
    ahead = [one for one in candidates if one is not None and one > now]
    return min([*ahead, target])
