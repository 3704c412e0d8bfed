"""Putting people together by hand."""

from fastapi import Response

from services.api.access.rules import Scope
from services.api.compositions import operations
from services.api.compositions.rules import NewMember
from services.api.compositions.schemas import MentorshipCreate
from services.api.dependencies import ActorDep, NowDep, SessionDep, allow, door
from services.api.mentorships import queries as mentorships
from services.api.mentorships.schemas import MentorshipView, mentorship_view
from services.api.programs.schemas import TrackId
from shared.persistence.reads import SessionReader
from shared.web import responses

router = door("mentorships")

WRITE = Scope.MENTORSHIPS_WRITE


@router.post(
    "/tracks/{track_id}/mentorships",
    summary="Put people together",
    status_code=201,
    response_model=MentorshipView,
    openapi_extra=allow("mentorship.create", WRITE),
)
async def create_mentorship(
    *, track_id: TrackId, actor: ActorDep, session: SessionDep, now: NowDep, body: MentorshipCreate
) -> Response:
    """Compose a mentorship by hand; the format of the track says who may be in it."""
    mentorship = await operations.compose(
        session,
        actor=actor,
        track_id=track_id,
        members=[NewMember(one.participant_id, one.role) for one in body.members],
        name=body.name,
        common_ground=body.common_ground,
        mentorship_id=body.id,
        now=now,
    )
    row = await mentorships.get(SessionReader(session), actor=actor, mentorship_id=mentorship.id)
    view = mentorship_view(row, actor, today=now.date())
    return responses.created(
        view, version=view["version"], location=f"/v1/mentorships/{view['id']}"
    )
