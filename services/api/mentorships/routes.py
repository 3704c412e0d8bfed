"""Mentorships: who is together, and how it goes on."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response

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
from services.api.mentorships import operations, queries
from services.api.mentorships.rules import LIVE, PAST
from services.api.mentorships.schemas import (
    Closing,
    Ending,
    Extension,
    MentorshipId,
    MentorshipPage,
    MentorshipPause,
    MentorshipsQuery,
    MentorshipView,
    mentorship_view,
)
from services.api.mentorships.tables import Mentorship
from shared.persistence.reads import SessionReader
from shared.web import responses
from shared.web.pagination import Page

router = door("mentorships")

READ, WRITE = Scope.MENTORSHIPS_READ, Scope.MENTORSHIPS_WRITE


async def _view(
    session: SessionDep, actor: Actor, mentorship: Mentorship, now: datetime
) -> MentorshipView:
    row = await queries.get(SessionReader(session), actor=actor, mentorship_id=mentorship.id)
    return mentorship_view(row, actor, today=now.date())


async def _answer(
    session: SessionDep, actor: Actor, mentorship: Mentorship, now: datetime
) -> Response:
    view = await _view(session, actor, mentorship, now)
    return responses.one(view, version=view["version"])


async def _page(
    request: Request,
    actor: Actor,
    reader: ReaderDep,
    query: Page,
    filters: Mapping[str, Any],
    *,
    now: datetime,
) -> Response:
    async def read(after: UUID | None, limit: int) -> Sequence[Mapping[str, Any]]:
        return await queries.list_page(
            reader, actor=actor, filters=filters, after=after, limit=limit
        )

    return await id_page(
        request, query, read, lambda row: mentorship_view(row, actor, today=now.date())
    )


@router.get(
    "/mentorships",
    summary="List mentorships",
    response_model=MentorshipPage,
    openapi_extra=allow("mentorship.list", READ),
)
async def list_mentorships(
    *,
    request: Request,
    actor: ActorDep,
    reader: ReaderDep,
    now: NowDep,
    query: Annotated[MentorshipsQuery, Query()],
) -> Response:
    """Return mentorships, oldest first: all of theirs to staff, to others their own."""
    filters = query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
    return await _page(request, actor, reader, query, filters, now=now)


@router.get(
    "/me/mentorships",
    summary="List your mentorships",
    response_model=MentorshipPage,
    openapi_extra=allow("mentorship.own", READ),
)
async def list_my_mentorships(
    *,
    request: Request,
    actor: ActorDep,
    reader: ReaderDep,
    now: NowDep,
    query: Annotated[Page, Query()],
) -> Response:
    """Return the live mentorships you are in, oldest first."""
    return await _page(request, actor, reader, query, {"own_live": sorted(LIVE)}, now=now)


@router.get(
    "/me/past-mentorships",
    summary="List your past mentorships",
    response_model=MentorshipPage,
    openapi_extra=allow("mentorship.own", READ),
)
async def list_my_past_mentorships(
    *,
    request: Request,
    actor: ActorDep,
    reader: ReaderDep,
    now: NowDep,
    query: Annotated[Page, Query()],
) -> Response:
    """Return the mentorships that are over for you, oldest first."""
    return await _page(request, actor, reader, query, {"own_past": sorted(PAST)}, now=now)


@router.get(
    "/mentorships/{mentorship_id}",
    summary="Read a mentorship",
    response_model=MentorshipView,
    openapi_extra=allow("mentorship.read", READ),
)
async def get_mentorship(
    *, mentorship_id: MentorshipId, actor: ActorDep, reader: ReaderDep, now: NowDep
) -> Response:
    """Return a mentorship with its members, and how they may reach each other."""
    row = await queries.get(reader, actor=actor, mentorship_id=mentorship_id)
    return responses.one(mentorship_view(row, actor, today=now.date()), version=row["version"])


@router.post(
    "/mentorships/{mentorship_id}/start",
    summary="Begin",
    response_model=MentorshipView,
    openapi_extra=allow("mentorship.start", WRITE),
)
async def start_mentorship(
    *,
    mentorship_id: MentorshipId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Begin a mentorship; arranging the first meeting does so too."""
    mentorship = await operations.start(
        session, actor=actor, mentorship_id=mentorship_id, if_match=if_match, now=now
    )
    return await _answer(session, actor, mentorship, now)


@router.post(
    "/mentorships/{mentorship_id}/pause",
    summary="Pause",
    response_model=MentorshipView,
    openapi_extra=allow("mentorship.pause", WRITE),
)
async def pause_mentorship(
    *,
    mentorship_id: MentorshipId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: MentorshipPause,
    if_match: IfMatchDep = None,
) -> Response:
    """Pause until a day, at most 90 days from now. Only you ever read your reason."""
    mentorship = await operations.pause(
        session,
        actor=actor,
        mentorship_id=mentorship_id,
        to_on=body.to_on,
        reason=body.reason,
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, mentorship, now)


@router.post(
    "/mentorships/{mentorship_id}/resume",
    summary="Go on after a pause",
    response_model=MentorshipView,
    openapi_extra=allow("mentorship.pause", WRITE),
)
async def resume_mentorship(
    *,
    mentorship_id: MentorshipId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """End a pause before its day."""
    mentorship = await operations.resume(
        session, actor=actor, mentorship_id=mentorship_id, if_match=if_match, now=now
    )
    return await _answer(session, actor, mentorship, now)


@router.post(
    "/mentorships/{mentorship_id}/extend",
    summary="Go on for longer",
    response_model=MentorshipView,
    openapi_extra=allow("mentorship.extend", WRITE),
)
async def extend_mentorship(
    *,
    mentorship_id: MentorshipId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Extension,
    if_match: IfMatchDep = None,
) -> Response:
    """Propose a later last day; it counts once the other side has named the same day."""
    mentorship = await operations.extend(
        session,
        actor=actor,
        mentorship_id=mentorship_id,
        ends_on=body.ends_on,
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, mentorship, now)


@router.post(
    "/mentorships/{mentorship_id}/begin-closing",
    summary="Begin to close",
    response_model=MentorshipView,
    openapi_extra=allow("mentorship.begin_closing", WRITE),
)
async def begin_closing_mentorship(
    *,
    mentorship_id: MentorshipId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Closing,
    if_match: IfMatchDep = None,
) -> Response:
    """Bring a mentorship to its end, with three weeks to say goodbye."""
    mentorship = await operations.begin_closing(
        session,
        actor=actor,
        mentorship_id=mentorship_id,
        reason=body.reason,
        private_reason=body.private_reason,
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, mentorship, now)


@router.post(
    "/mentorships/{mentorship_id}/complete",
    summary="Say that all is done",
    response_model=MentorshipView,
    openapi_extra=allow("mentorship.complete", WRITE),
)
async def complete_mentorship(
    *,
    mentorship_id: MentorshipId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Say that all is done; the mentorship is complete once both sides have said so."""
    mentorship = await operations.complete(
        session, actor=actor, mentorship_id=mentorship_id, if_match=if_match, now=now
    )
    return await _answer(session, actor, mentorship, now)


@router.post(
    "/mentorships/{mentorship_id}/end-early",
    summary="End before the time",
    response_model=MentorshipView,
    openapi_extra=allow("mentorship.end_early", WRITE),
)
async def end_mentorship_early(
    *,
    mentorship_id: MentorshipId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Ending,
    if_match: IfMatchDep = None,
) -> Response:
    """End without fault: nobody is told who asked for it. Before the start this cancels."""
    mentorship = await operations.end_early(
        session,
        actor=actor,
        mentorship_id=mentorship_id,
        reason=body.reason,
        private_reason=body.private_reason,
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, mentorship, now)
