"""What an organization is, and the limits of its settings."""

from collections.abc import Sequence
from enum import StrEnum


class Kind(StrEnum):
    """Whether people's real programs live here, or rehearsals with a movable clock."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"


class EmailCodes(StrEnum):
    """Whether people may sign in with a code by mail where they have a provider of their own."""

    AUTOMATIC = "automatic"
    ON = "on"


def grade_rank(grade: str | None, order: Sequence[str]) -> int | None:
    """Return how high a grade stands, lowest 0; an unlisted grade has no rank."""
    return order.index(grade) if grade in order else None
