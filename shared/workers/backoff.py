"""When to try again: doubling waits with a ceiling and a spread, as a pure value."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits of `first`, twice that, and so on up to `ceiling`, in seconds."""

    first: float
    ceiling: float

    def after(self, attempts: int, *, spread: float = 0.5) -> timedelta:
        """Return the wait after so many attempts; `spread` in [0, 1) moves it by up to 20 %."""
        doubled = self.first * 2.0 ** min(max(attempts - 1, 0), 30)
        return timedelta(seconds=min(doubled, self.ceiling) * (0.8 + 0.4 * spread))
