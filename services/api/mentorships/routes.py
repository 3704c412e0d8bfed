"""Mentorships: who is together, and how it goes on."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response

from services.api.access import rules as access
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
from services.api.mentorships import operations, queries, rules
from services.api.mentorships.rules import LIVE, PAST, MemberStatus, MentorshipStatus, NewMember
from services.api.mentorships.schemas import (
    BecauseView,
    Closing,
    ContactView,
    DriverChange,
    Ending,
    Extension,
    ExtensionView,
    FlagsView,
    MemberId,
    MemberView,
    MentorshipCreate,
    MentorshipId,
    MentorshipPage,
    MentorshipPause,
    MentorshipsQuery,
    MentorshipView,
    OwnReasonView,
    PauseView,
)
from services.api.mentorships.tables import Mentorship
from services.api.programs.rules import Format, TrackRole
from services.api.programs.schemas import TrackId
from shared import ids
from shared.persistence.reads import SessionReader
from shared.web import responses
from shared.web.pagination import Page

router = door("mentorships")

READ, WRITE = Scope.MENTORSHIPS_READ, Scope.MENTORSHIPS_WRITE


def present(row: Mapping[str, Any], actor: Actor, *, today: date) -> MentorshipView:
    """Show a mentorship: all to its members, no private words to staff, little to managers."""
    status = MentorshipStatus(row["status"])
    members = _members(row)
    present_now = [(one["role"], one["person_id"]) for one in members if _is_in(one)]
    facts = operations.facts_of(actor, row, present_now)
    own = [one for one in members if one["person_id"] == actor.person_id and one["joined_at"]]
    is_close = bool(own) or access.holds("mentorship.know", facts)
    reads_reason = access.holds("mentorship.read_reason", facts)
    may_write = access.holds("person.read_contact", facts)
    seen = members if is_close else [one for one in members if _reports_to(one, actor)]
    return MentorshipView(
        id=ids.format_id("mentorship", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        program_id=ids.format_id("program", row["program_id"]),
        track_id=ids.format_id("track", row["track_id"]),
        format=row["format"],
        status=status,
        allowed=operations.offered(actor, row, facts),
        name=row["name"] if is_close else None,
        common_ground=row["common_ground"] if is_close else None,
        driver_person_id=(ids.format_id("person", row["driver_person_id"]) if is_close else None),
        members=[
            _present_member(
                one,
                shows_contact=may_write or _may_write(own, one, row["ended_on"], today=today),
            )
            for one in seen
        ],
        cadence=row["cadence"],
        meeting_minutes=row["meeting_minutes"],
        timezone=row["timezone"],
        starts_on=row["starts_on"],
        ends_on=row["ends_on"],
        ended_on=row["ended_on"],
        source=row["source"],
        because=[_present_because(one) for one in row["because"]] if is_close else [],
        flags=_flags(row, present_now),
        pause=_pause(row),
        extension=_extension(row["extension"]) if is_close else None,
        closing_reason=_reason(row["closing_reason"], reads_all=reads_reason),
        completed_by=_people(row["completed_by"]) if is_close else [],
        own_reasons=[_present_reason(one) for one in row["own_reasons"] or ()],
    )


def _members(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **one,
            "id": UUID(one["id"]),
            "participant_id": UUID(one["participant_id"]),
            "person_id": UUID(one["person_id"]),
            "role": TrackRole(one["role"]),
            "joined_at": _instant(one["joined_at"]),
            "left_at": _instant(one["left_at"]),
        }
        for one in row["members"]
    ]


def _instant(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _is_in(member: Mapping[str, Any]) -> bool:
    return MemberStatus(member["status"]) is MemberStatus.ACTIVE


def _reports_to(member: Mapping[str, Any], actor: Actor) -> bool:
    return actor.person_id is not None and member["manager_id"] == str(actor.person_id)


def _may_write(
    own: Sequence[Mapping[str, Any]],
    other: Mapping[str, Any],
    ended_on: date | None,
    *,
    today: date,
) -> bool:
    """Tell whether one member may still contact another."""
    if not own or not other["joined_at"]:
        return False
    left = [one["left_at"].date() for one in (own[0], other) if one["left_at"]]
    until = rules.contact_lasts_until(ended_on, *left)
    return until is None or today <= until


def _present_member(member: Mapping[str, Any], *, shows_contact: bool) -> MemberView:
    contact = ContactView(email=member["email"], phone=member["phone"])
    return MemberView(
        id=ids.format_id("member", member["id"]),
        participant_id=ids.format_id("participant", member["participant_id"]),
        person_id=ids.format_id("person", member["person_id"]),
        given_name=member["given_name"],
        family_name=member["family_name"],
        role=member["role"],
        status=member["status"],
        joined_at=member["joined_at"],
        left_at=member["left_at"],
        contact=contact if shows_contact else None,
    )


def _present_because(one: Mapping[str, Any]) -> BecauseView:
    return BecauseView(rule=one["rule"], params=one.get("params") or {})


def _present_reason(one: Mapping[str, Any]) -> OwnReasonView:
    return OwnReasonView(
        kind=one["kind"], reason=one["reason"], at=datetime.fromisoformat(one["at"])
    )


def _flags(row: Mapping[str, Any], members: Sequence[tuple[TrackRole, UUID]]) -> FlagsView:
    found = rules.gaps(Format(row["format"]), members, min_members=row["min_members"])
    return FlagsView(below_minimum=found.below_minimum, needs_mentor=found.needs_mentor)


def _pause(row: Mapping[str, Any]) -> PauseView | None:
    if row["paused_from_on"] is None:
        return None
    return PauseView(from_on=row["paused_from_on"], to_on=row["paused_to_on"])


def _extension(value: Mapping[str, Any] | None) -> ExtensionView | None:
    if value is None:
        return None
    return ExtensionView(
        ends_on=date.fromisoformat(value["ends_on"]), agreed_by=_people(value["agreed_by"])
    )


def _people(texts: Sequence[str]) -> list[str]:
    return [ids.format_id("person", UUID(one)) for one in texts]


def _reason(value: str | None, *, reads_all: bool) -> rules.ClosingReason | None:
    if value is None:
        return None
    reason = rules.ClosingReason(value)
    return reason if reads_all or reason in rules.NEUTRAL_REASONS else None


async def _view(
    session: SessionDep, actor: Actor, mentorship: Mentorship, now: datetime
) -> MentorshipView:
    row = await queries.get(SessionReader(session), actor=actor, mentorship_id=mentorship.id)
    return present(row, actor, today=now.date())


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

    return await id_page(request, query, read, lambda row: present(row, actor, today=now.date()))


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
    view = await _view(session, actor, mentorship, now)
    return responses.created(
        view, version=view["version"], location=f"/v1/mentorships/{view['id']}"
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
    return responses.one(present(row, actor, today=now.date()), version=row["version"])


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
