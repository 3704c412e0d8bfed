"""Members: whose move it is, and leaving."""

from datetime import datetime

from fastapi import Response

from services.api.access.rules import Actor, Scope
from services.api.dependencies import ActorDep, IfMatchDep, NowDep, SessionDep, allow, door
from services.api.members import operations
from services.api.members.schemas import DriverChange, MemberId
from services.api.mentorships import queries as mentorships
from services.api.mentorships.schemas import MentorshipId, MentorshipView, mentorship_view
from services.api.mentorships.tables import Mentorship
from shared.persistence.reads import SessionReader
from shared.web import responses

router = door("mentorships")

WRITE = Scope.MENTORSHIPS_WRITE


async def _answer(
    session: SessionDep, actor: Actor, mentorship: Mentorship, now: datetime
) -> Response:
    row = await mentorships.get(SessionReader(session), actor=actor, mentorship_id=mentorship.id)
    view = mentorship_view(row, actor, today=now.date())
    return responses.one(view, version=view["version"])


@router.post(
    "/mentorships/{mentorship_id}/change-driver",
    summary="Make it somebody else's move",
    response_model=MentorshipView,
    openapi_extra=allow("mentorship.change_driver", WRITE),
)
async def change_driver(
    *,
    mentorship_id: MentorshipId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: DriverChange,
    if_match: IfMatchDep = None,
) -> Response:
    """Name the member who drives from now on: the first to be nudged."""
    mentorship = await operations.change_driver(
        session,
        actor=actor,
        mentorship_id=mentorship_id,
        person_id=body.person_id,
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, mentorship, now)


@router.post(
    "/members/{member_id}/leave",
    summary="Leave a group or circle",
    response_model=MentorshipView,
    openapi_extra=allow("member.leave", WRITE),
)
async def leave_mentorship(
    *,
    member_id: MemberId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Leave a mentorship of several people; it goes on without you. Two people end theirs."""
    mentorship = await operations.leave(
        session, actor=actor, member_id=member_id, if_match=if_match, now=now
    )
    return await _answer(session, actor, mentorship, now)


@router.post(
    "/members/{member_id}/remove",
    summary="Take somebody out of a group or circle",
    response_model=MentorshipView,
    openapi_extra=allow("member.remove", WRITE),
)
async def remove_member(
    *,
    member_id: MemberId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Take a member out; too few or no mentor left starts two weeks to find somebody."""
    mentorship = await operations.remove(
        session, actor=actor, member_id=member_id, if_match=if_match, now=now
    )
    return await _answer(session, actor, mentorship, now)
