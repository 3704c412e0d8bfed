"""What can be done with an item of an inbox, and how much is counted."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

COUNTED = 100
"""Counts stop here: a badge reads "99+"."""


class ItemAction(StrEnum):
    """What a person does with an item."""

    READ = "read"
    UNREAD = "unread"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Marks:
    """When an item was first seen, and since when it counts as read."""

    seen_at: datetime | None
    read_at: datetime | None


def apply(
    action: ItemAction, *, seen_at: datetime | None, read_at: datetime | None, now: datetime
) -> Marks:
    """Return the marks after an action; what was seen stays seen."""
    if action is ItemAction.UNREAD:
        return Marks(seen_at or now, None)
    return Marks(seen_at or now, read_at or now)
