"""The one place that asks the machine what time it is."""

from collections.abc import Callable
from datetime import UTC, datetime

type Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the real instant, in UTC."""
    return datetime.now(UTC)
