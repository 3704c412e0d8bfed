"""What a channel says about one message for one person."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """The other side took responsibility for it."""

    answer: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now: the other side is busy, away, or asks to come again."""

    reason: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Never: this recipient or this message is refused for good."""

    reason: str
    answer: str = ""


type Result = Accepted | Retry | Rejected
