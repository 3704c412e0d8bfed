"""Marks, and how many of them somebody keeps."""

from enum import StrEnum
from uuid import UUID

from shared.errors import ConflictError, InvalidError, Violation

MOST_MARKED = 500


class Mark(StrEnum):
    """What somebody noted about somebody else: a wish, or that the two are to be kept apart."""

    FAVORITE = "favorite"
    IGNORE = "ignore"


def require_somebody_else(participant_id: UUID, other_id: UUID) -> None:
    """Refuse a mark about oneself."""
    if participant_id == other_id:
        detail = "Name another participant than yourself."
        raise InvalidError(errors=[Violation("path.other_participant_id", "not_unique", detail)])


def require_room(count: int) -> None:
    """Refuse one more than a list holds."""
    if count >= MOST_MARKED:
        raise ConflictError(f"A shortlist holds {MOST_MARKED} people.", code="limit_reached")
