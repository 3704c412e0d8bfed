"""Bodies of shortlists."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen

from services.api.participants.schemas import Cursor, Version
from services.api.shortlists.rules import Mark
from shared.schemas.base import Body, Id, PublicId, Timestamp

OtherId = Annotated[UUID, Id("participant")]


class ShortlistPut(Body):
    """What you note about somebody."""

    mark: Mark


class ShortlistEntryView(TypedDict):
    """What you noted about somebody; nobody else ever reads it."""

    participant_id: Annotated[str, PublicId("participant")]
    other_participant_id: Annotated[str, PublicId("participant")]
    version: Version
    updated_at: Timestamp
    mark: Mark


class ShortlistPage(TypedDict):
    """One page of a shortlist."""

    items: Annotated[list[ShortlistEntryView], MaxLen(200)]
    next_cursor: Cursor | None
