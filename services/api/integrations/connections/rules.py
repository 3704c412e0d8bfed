"""What a connection decides: who is gone when a file leaves them out, and how much is too much."""

from enum import StrEnum

LEAST_GUARD_PEOPLE, MOST_GUARD_PEOPLE = 5, 10_000
LEAST_GUARD_PERCENT, MOST_GUARD_PERCENT = 10, 50


class ConnectionKind(StrEnum):
    """How people data comes in."""

    FILE = "file"


class ConnectionStatus(StrEnum):
    """Whether data may come in."""

    ACTIVE = "active"


class OnMissing(StrEnum):
    """What it means that a full file leaves somebody out."""

    IGNORE = "ignore"
    DEACTIVATE = "deactivate"


def is_mass_change(*, leavers: int, active: int, people: int, percent: int) -> bool:
    """Tell whether so many leavers need a second look: more than both floors allow."""
    return leavers > max(people, active * percent // 100)
