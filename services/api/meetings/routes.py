"""Meetings of mentorships: booked, offered, moved, called off and held."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Query, Request, Response

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor, Scope
from services.api.dependencies import (
    ActorDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    SessionDep,
    allow,
    door,
    id_page,
)
from services.api.meetings import operations, queries, rules
from services.api.meetings.operations import Plan
from services.api.meetings.rules import MeetingAction, MeetingStatus
from services.api.meetings.schemas import (
    Confirmation,
    MeetingCreate,
    MeetingId,
    MeetingPage,
    MeetingPatch,
    MeetingsQuery,
    MeetingView,
    Rescheduling,
)
from services.api.meetings.tables import Meeting
from services.api.mentorships import queries as mentorships
from services.api.mentorships.schemas import MentorshipId
from shared import ids
from shared.persistence.reads import SessionReader
from shared.web import responses

router = door("meetings")

READ, WRITE = Scope.MEETINGS_READ, Scope.MEETINGS_WRITE
MERGE_PATCH = "application/merge-patch+json"


def present(row: Mapping[str, Any], actor: Actor, *, warnings: Sequence[str] = ()) -> MeetingView:
    """Show a meeting; row-level security has left the place out for whoever is no member."""
    status = MeetingStatus(row["status"])
    attendees = row["attendee_ids"] or []
    return MeetingView(
        id=ids.format_id("meeting", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        program_id=ids.format_id("program", row["program_id"]),
        mentorship_id=ids.format_id("mentorship", row["mentorship_id"]),
        status=status,
        allowed=_offered(row, actor),
        number=row["number"],
        proposed_times=[datetime.fromisoformat(at) for at in row["proposed_times"]],
        proposed_by=ids.format_optional("person", row["proposed_by"]),
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        minutes=row["minutes"],
        timezone=row["timezone"],
        mode=row["mode"],
        location=row["location"],
        logged_after=row["logged_after"],
        attendee_ids=[ids.format_id("person", person_id) for person_id in attendees],
        ical_uid=row["ical_uid"],
        ical_sequence=row["ical_sequence"],
        warnings=list(warnings),
    )


def _offered(row: Mapping[str, Any], actor: Actor) -> list[str]:
    is_own_offer = row["proposed_by"] is not None and row["proposed_by"] == actor.person_id
    actions = [
        action
        for action in rules.allowed_actions(MeetingStatus(row["status"]))
        if not (is_own_offer and action in rules.ANSWERS)
    ]
    return access.offered(
        actor, actions, rules.NEEDS, {Role.MEMBER} if row["is_member"] else frozenset()
    )


async def _view(
    session: SessionDep, actor: Actor, meeting: Meeting, warnings: Sequence[str] = ()
) -> MeetingView:
    row = await queries.get(SessionReader(session), actor=actor, meeting_id=meeting.id)
    return present(row, actor, warnings=warnings)


async def _answer(
    session: SessionDep, actor: Actor, meeting: Meeting, warnings: Sequence[str] = ()
) -> Response:
    view = await _view(session, actor, meeting, warnings)
    return responses.one(view, version=view["version"])


@router.get(
    "/mentorships/{mentorship_id}/meetings",
    summary="List meetings of a mentorship",
    response_model=MeetingPage,
    openapi_extra=allow("meeting.list", READ),
)
async def list_meetings(
    *,
    request: Request,
    mentorship_id: MentorshipId,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[MeetingsQuery, Query()],
) -> Response:
    """Return the meetings of a mentorship in the order they were made."""
    await mentorships.get(reader, actor=actor, mentorship_id=mentorship_id)
    filters = query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)

    async def read(after: UUID | None, limit: int) -> Sequence[Mapping[str, Any]]:
        return await queries.list_page(
            reader,
            actor=actor,
            filters={**filters, "mentorship_id": mentorship_id},
            after=after,
            limit=limit,
        )

    return await id_page(request, query, read, lambda row: present(row, actor))


@router.post(
    "/mentorships/{mentorship_id}/meetings",
    summary="Arrange a meeting",
    status_code=201,
    response_model=MeetingView,
    openapi_extra=allow("meeting.arrange", WRITE),
)
async def arrange_meeting(
    *,
    mentorship_id: MentorshipId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: MeetingCreate,
) -> Response:
    """Book a time, offer several to choose from, or log a meeting that took place.

    The first meeting with a time starts the mentorship.
    """
    meeting = await operations.arrange(
        session,
        actor=actor,
        mentorship_id=mentorship_id,
        plan=Plan(
            starts_at=body.starts_at,
            proposed_times=body.proposed_times,
            minutes=body.minutes,
            mode=body.mode,
            location=body.location,
            logged_after=body.logged_after,
            meeting_id=body.id,
        ),
        now=now,
    )
    view = await _view(session, actor, meeting)
    return responses.created(view, version=view["version"], location=f"/v1/meetings/{view['id']}")


@router.get(
    "/meetings/{meeting_id}",
    summary="Read a meeting",
    response_model=MeetingView,
    openapi_extra=allow("meeting.read", READ),
)
async def get_meeting(*, meeting_id: MeetingId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return a meeting; its place is shown to members alone."""
    row = await queries.get(reader, actor=actor, meeting_id=meeting_id)
    return responses.one(present(row, actor), version=row["version"])


@router.patch(
    "/meetings/{meeting_id}",
    summary="Change how or where to meet",
    response_model=MeetingView,
    openapi_extra=allow("meeting.arrange", WRITE),
)
async def change_meeting(
    *,
    meeting_id: MeetingId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Annotated[MeetingPatch, Body(media_type=MERGE_PATCH)],
    if_match: IfMatchDep = None,
) -> Response:
    """Change the mode or the place; use `reschedule` for another time."""
    meeting = await operations.change(
        session,
        actor=actor,
        meeting_id=meeting_id,
        changes=body.sent(),
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, meeting)


@router.post(
    "/meetings/{meeting_id}/confirm",
    summary="Choose a time offered",
    response_model=MeetingView,
    openapi_extra=allow("meeting.arrange", WRITE),
)
async def confirm_meeting(
    *,
    meeting_id: MeetingId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Confirmation,
    if_match: IfMatchDep = None,
) -> Response:
    """Choose one of the times that another member offered."""
    meeting = await operations.confirm(
        session,
        actor=actor,
        meeting_id=meeting_id,
        starts_at=body.starts_at,
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, meeting)


@router.post(
    "/meetings/{meeting_id}/decline-times",
    summary="Decline the times offered",
    response_model=MeetingView,
    openapi_extra=allow("meeting.arrange", WRITE),
)
async def decline_meeting_times(
    *,
    meeting_id: MeetingId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Say that none of the times suits; offer others as a new meeting."""
    meeting = await operations.decline_times(
        session, actor=actor, meeting_id=meeting_id, if_match=if_match, now=now
    )
    return await _answer(session, actor, meeting)


@router.post(
    "/meetings/{meeting_id}/reschedule",
    summary="Move a meeting",
    response_model=MeetingView,
    openapi_extra=allow("meeting.arrange", WRITE),
)
async def reschedule_meeting(
    *,
    meeting_id: MeetingId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Rescheduling,
    if_match: IfMatchDep = None,
) -> Response:
    """Move a meeting to another time; short notice is a warning only."""
    meeting, warnings = await operations.reschedule(
        session,
        actor=actor,
        meeting_id=meeting_id,
        starts_at=body.starts_at,
        minutes=body.minutes,
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, meeting, warnings)


PLAIN = (
    (MeetingAction.CANCEL, "cancel_meeting", "Call a meeting off"),
    (MeetingAction.START, "start_meeting", "Note that a meeting begins"),
    (MeetingAction.FINISH, "finish_meeting", "Note that a meeting is over"),
)


def _mount_plain(action: MeetingAction, name: str, summary: str) -> None:
    async def endpoint(
        *,
        meeting_id: MeetingId,
        actor: ActorDep,
        session: SessionDep,
        now: NowDep,
        if_match: IfMatchDep = None,
    ) -> Response:
        meeting, warnings = await operations.act(
            session,
            actor=actor,
            meeting_id=meeting_id,
            action=action,
            if_match=if_match,
            now=now,
        )
        return await _answer(session, actor, meeting, warnings)

    endpoint.__name__ = name
    router.post(
        f"/meetings/{{meeting_id}}/{action}",
        name=name,
        summary=summary,
        description=f"{summary}. An illegal moment answers 409 with what is allowed instead.",
        response_model=MeetingView,
        openapi_extra=allow("meeting.arrange", WRITE),
    )(endpoint)


for _row in PLAIN:
    _mount_plain(*_row)
