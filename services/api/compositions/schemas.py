"""Bodies that put people together."""

from typing import Annotated

from annotated_types import MaxLen, MinLen

from services.api.mentorships.schemas import CommonGround, MentorshipId, Name
from services.api.participants.schemas import ParticipantId
from services.api.programs.rules import TrackRole
from shared.schemas.base import Body


class NewMemberBody(Body):
    """A participant and what they will be."""

    participant_id: ParticipantId
    role: TrackRole


class MentorshipCreate(Body):
    """The people to put together; the first listed of the driving role drives."""

    id: MentorshipId | None = None
    members: Annotated[list[NewMemberBody], MinLen(1), MaxLen(110)]
    name: Name | None = None
    common_ground: CommonGround | None = None
