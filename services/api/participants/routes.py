"""Participants of programs, their reviews, and what they look for."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Header, Query, Request, Response

from services.api.access import roles
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
from services.api.participants import operations, queries, rules
from services.api.participants.rules import ParticipantAction, ParticipantStatus
from services.api.participants.schemas import (
    BlockedView,
    Decision,
    Invitations,
    InvitedView,
    ParticipantCreate,
    ParticipantId,
    ParticipantPage,
    ParticipantPatch,
    ParticipantsQuery,
    ParticipantView,
    Pausing,
    PreferencesPut,
    PreferencesView,
    ReadinessView,
    StrengthView,
    Submission,
    TrackReadinessView,
    TrackRoleView,
)
from services.api.participants.tables import Participant
from services.api.programs import queries as programs
from services.api.programs.schemas import ProgramId
from shared import ids
from shared.errors import NotFoundError
from shared.persistence.reads import SessionReader
from shared.web import responses
from shared.web.pagination import Page

router = door("participants")

READ, WRITE = Scope.PARTICIPANTS_READ, Scope.PARTICIPANTS_WRITE
MERGE_PATCH = "application/merge-patch+json"
MOST_BLOCKED = 200


def present(row: Mapping[str, Any], actor: Actor) -> ParticipantView:
    """Show a participant; answers only as far as the reader may see them."""
    status = ParticipantStatus(row["status"])
    facts = operations.facts_of(
        actor,
        program_id=row["program_id"],
        person_id=row["person_id"],
        manager_id=row["manager_id"],
    )
    sees_answers = roles.grants("participant.read_answers", facts)
    knows = roles.grants("participant.know", facts)
    open_keys = set(row["open_keys"] or ())
    return ParticipantView(
        id=ids.format_id("participant", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        program_id=ids.format_id("program", row["program_id"]),
        person_id=ids.format_id("person", row["person_id"]),
        status=status,
        allowed=access.offered(actor, rules.allowed_actions(status), rules.NEEDS, facts),
        track_roles=[_present_seat(seat) for seat in row["track_roles"] or ()],
        answers={
            key: value for key, value in row["answers"].items() if sees_answers or key in open_keys
        },
        hours_per_month=row["hours_per_month"] if sees_answers else None,
        paused_until_on=row["paused_until"] if knows else None,
        preview_acknowledged_at=row["preview_acknowledged_at"] if sees_answers else None,
        source=row["source"],
        decision_reason=row["decision_reason"] if sees_answers else None,
    )


def _present_seat(seat: Mapping[str, Any]) -> TrackRoleView:
    return TrackRoleView(
        track_id=ids.format_id("track", UUID(str(seat["track_id"]))),
        role=seat["role"],
        capacity=seat["capacity"],
        load=seat["load"],
    )


def present_preferences(row: Mapping[str, Any]) -> PreferencesView:
    """Show what a participant looks for and brings."""
    return PreferencesView(
        participant_id=ids.format_id("participant", row["participant_id"]),
        version=row["version"],
        updated_at=row["updated_at"],
        values=row["values"],
        path_now=row["path_now"],
        path_target=row["path_target"],
        wants=_strength(row["wants"]),
        offers=_strength(row["offers"]),
        wants_skills=row["wants_skills"],
        offers_skills=row["offers_skills"],
        languages=row["languages"],
    )


def _strength(value: Mapping[str, int]) -> StrengthView:
    return StrengthView(encouragement=value.get("encouragement"), challenge=value.get("challenge"))


async def _view(session: SessionDep, actor: Actor, participant: Participant) -> ParticipantView:
    row = await queries.get(SessionReader(session), actor=actor, participant_id=participant.id)
    return present(row, actor)


async def _answer(session: SessionDep, actor: Actor, participant: Participant) -> Response:
    view = await _view(session, actor, participant)
    return responses.one(view, version=view["version"])


async def _page(
    request: Request,
    actor: Actor,
    reader: ReaderDep,
    query: Page,
    filters: Mapping[str, Any],
) -> Response:
    async def read(after: UUID | None, limit: int) -> Sequence[Mapping[str, Any]]:
        return await queries.list_page(
            reader, actor=actor, filters=filters, after=after, limit=limit
        )

    return await id_page(request, query, read, lambda row: present(row, actor))


@router.get(
    "/programs/{program_id}/participants",
    summary="List participants",
    response_model=ParticipantPage,
    openapi_extra=allow("participant.list", READ),
)
async def list_participants(
    *,
    request: Request,
    program_id: ProgramId,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[ParticipantsQuery, Query()],
) -> Response:
    """Return participants, oldest first: all to staff, to others those they may know of."""
    await programs.get(reader, actor=actor, program_id=program_id)
    filters = query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
    return await _page(request, actor, reader, query, {**filters, "program_id": program_id})


@router.post(
    "/programs/{program_id}/participants",
    summary="Register",
    status_code=201,
    response_model=ParticipantView,
    openapi_extra=allow("participant.create", WRITE),
)
async def register_participant(
    *,
    program_id: ProgramId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: ParticipantCreate,
) -> Response:
    """Start a registration. Everybody registers themselves; staff and services also others.

    What they start for somebody is that person's to submit, with a token of their own.
    """
    participant = await operations.register(
        session,
        actor=actor,
        program_id=program_id,
        person_id=body.person_id,
        track_roles=[one.model_dump() for one in body.track_roles],
        answers=body.answers,
        hours_per_month=body.hours_per_month,
        participant_id=body.id,
        now=now,
    )
    view = await _view(session, actor, participant)
    return responses.created(
        view, version=view["version"], location=f"/v1/participants/{view['id']}"
    )


@router.post(
    "/programs/{program_id}/invitations",
    summary="Invite people",
    response_model=InvitedView,
    openapi_extra=allow("participant.invite", WRITE),
)
async def invite_participants(
    *, program_id: ProgramId, actor: ActorDep, session: SessionDep, now: NowDep, body: Invitations
) -> Response:
    """Ask people to take part; whoever takes part already is returned as they are."""
    invited = await operations.invite(
        session,
        actor=actor,
        program_id=program_id,
        person_ids=body.person_ids,
        track_roles=[one.model_dump() for one in body.track_roles],
        now=now,
    )
    return responses.one(InvitedView(items=[await _view(session, actor, one) for one in invited]))


@router.get(
    "/programs/{program_id}/readiness",
    summary="See whether matching can start",
    response_model=ReadinessView,
    openapi_extra=allow("program.readiness", READ),
)
async def get_readiness(*, program_id: ProgramId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return seats and people per track with their ratio, and who cannot be matched yet and why."""
    program = await programs.get(reader, actor=actor, program_id=program_id)
    access.require("program.readiness", actor.facts(program_id=program_id))
    counts = await queries.seat_counts(
        reader, organization_id=actor.organization_id, program_id=program_id
    )
    by_status = await queries.count_by_status(
        reader, organization_id=actor.organization_id, program_id=program_id
    )
    blocked = await queries.blocked(
        reader, organization_id=actor.organization_id, program_id=program_id
    )
    return responses.one(
        ReadinessView(
            program_id=ids.format_id("program", program_id),
            config_version=program["config_version"],
            tracks=_present_tracks(counts),
            waiting_for_review=sum(by_status.get(status, 0) for status in rules.WAITING_FOR_REVIEW),
            not_submitted=sum(by_status.get(status, 0) for status in rules.NOT_SUBMITTED),
            blocked=_present_blocked(blocked),
        )
    )


def _present_tracks(counts: Sequence[Mapping[str, Any]]) -> list[TrackReadinessView]:
    tracks: dict[UUID, TrackReadinessView] = {}
    for row in counts:
        view = tracks.setdefault(
            row["track_id"],
            TrackReadinessView(
                track_id=ids.format_id("track", row["track_id"]),
                participants_by_role={},
                free_seats_by_role={},
                ratio=None,
            ),
        )
        view["participants_by_role"][row["role"]] = row["participants"]
        view["free_seats_by_role"][row["role"]] = row["free_seats"]
    for view in tracks.values():
        view["ratio"] = rules.ratio(view["free_seats_by_role"])
    return list(tracks.values())


def _present_blocked(rows: Sequence[Mapping[str, Any]]) -> list[BlockedView]:
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        by_reason.setdefault(row["reason"], []).append(ids.format_id("participant", row["id"]))
    return [
        BlockedView(reason=reason, participant_ids=found[:MOST_BLOCKED], count=len(found))
        for reason, found in by_reason.items()
    ]


@router.get(
    "/me/participants",
    summary="List your participations",
    response_model=ParticipantPage,
    openapi_extra=allow("participant.own", READ),
)
async def list_my_participants(
    *, request: Request, actor: ActorDep, reader: ReaderDep, query: Annotated[Page, Query()]
) -> Response:
    """Return where you take part or took part, oldest first."""
    return await _page(request, actor, reader, query, {"person_id": actor.person_id})


@router.get(
    "/participants/{participant_id}",
    summary="Read a participant",
    response_model=ParticipantView,
    openapi_extra=allow("participant.read", READ),
)
async def get_participant(
    *, participant_id: ParticipantId, actor: ActorDep, reader: ReaderDep
) -> Response:
    """Return a participant. Answers are shown as far as the reader may see them."""
    row = await queries.get(reader, actor=actor, participant_id=participant_id)
    return responses.one(present(row, actor), version=row["version"])


@router.patch(
    "/participants/{participant_id}",
    summary="Change a participant",
    response_model=ParticipantView,
    openapi_extra=allow("participant.change", WRITE),
)
async def change_participant(
    *,
    participant_id: ParticipantId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Annotated[ParticipantPatch, Body(media_type=MERGE_PATCH)],
    if_match: IfMatchDep = None,
) -> Response:
    """Change your answers, roles, capacity or hours; coordinators change roles and capacity."""
    participant = await operations.change(
        session,
        actor=actor,
        participant_id=participant_id,
        changes=body.sent(),
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, participant)


@router.post(
    "/participants/{participant_id}/submit",
    summary="Submit a registration",
    response_model=ParticipantView,
    openapi_extra=allow("participant.answer", WRITE),
)
async def submit_participant(
    *,
    participant_id: ParticipantId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Submission,
    if_match: IfMatchDep = None,
) -> Response:
    """Hand your registration in, once you have seen what others will see of you.

    Nobody does that for somebody else: it takes the token of the person, not one of staff or a key.
    """
    participant = await operations.submit(
        session,
        actor=actor,
        participant_id=participant_id,
        has_seen_preview=body.preview_acknowledged,
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, participant)


PLAIN = (
    (
        ParticipantAction.DECLINE,
        "decline_invitation",
        "participant.answer",
        "Decline an invitation",
    ),
    (ParticipantAction.ANSWER, "answer_question", "participant.answer", "Answer a question"),
    (ParticipantAction.WITHDRAW, "withdraw_participant", "participant.answer", "Leave a program"),
    (
        ParticipantAction.RESUME,
        "resume_matching",
        "participant.answer",
        "Be available for matching again",
    ),
    (
        ParticipantAction.ACKNOWLEDGE,
        "acknowledge_participant",
        "participant.acknowledge",
        "Acknowledge a report's participation",
    ),
    (ParticipantAction.ASK, "ask_participant", "participant.review", "Ask for more"),
    (ParticipantAction.APPROVE, "approve_participant", "participant.review", "Approve"),
    (
        ParticipantAction.WAITLIST,
        "waitlist_participant",
        "participant.review",
        "Put on the waitlist",
    ),
)
REASONED = (
    (
        ParticipantAction.REFUSE,
        "refuse_participant",
        "participant.acknowledge",
        "Refuse a report's participation",
    ),
    (ParticipantAction.REJECT, "reject_participant", "participant.review", "Turn down"),
    (
        ParticipantAction.REMOVE,
        "remove_participant",
        "participant.review",
        "Take out of the program",
    ),
)


def _mount_plain(action: ParticipantAction, name: str, permission: str, summary: str) -> None:
    async def endpoint(
        *,
        participant_id: ParticipantId,
        actor: ActorDep,
        session: SessionDep,
        now: NowDep,
        if_match: IfMatchDep = None,
    ) -> Response:
        participant = await operations.act(
            session,
            actor=actor,
            participant_id=participant_id,
            action=action,
            permission=permission,
            if_match=if_match,
            now=now,
        )
        return await _answer(session, actor, participant)

    _mount(endpoint, action, name, permission, summary)


def _mount_reasoned(action: ParticipantAction, name: str, permission: str, summary: str) -> None:
    async def endpoint(
        *,
        participant_id: ParticipantId,
        actor: ActorDep,
        session: SessionDep,
        now: NowDep,
        body: Decision,
        if_match: IfMatchDep = None,
    ) -> Response:
        participant = await operations.act(
            session,
            actor=actor,
            participant_id=participant_id,
            action=action,
            permission=permission,
            reason=body.reason,
            if_match=if_match,
            now=now,
        )
        return await _answer(session, actor, participant)

    _mount(endpoint, action, name, permission, summary)


def _mount(
    endpoint: Any, action: ParticipantAction, name: str, permission: str, summary: str
) -> None:
    endpoint.__name__ = name
    router.post(
        f"/participants/{{participant_id}}/{action}",
        name=name,
        summary=summary,
        description=f"{summary}. An illegal moment answers 409 with what is allowed instead.",
        response_model=ParticipantView,
        openapi_extra=allow(permission, WRITE),
    )(endpoint)


for _row in PLAIN:
    _mount_plain(*_row)
for _row in REASONED:
    _mount_reasoned(*_row)


@router.post(
    "/participants/{participant_id}/pause-matching",
    summary="Take no new mentorships for a while",
    response_model=ParticipantView,
    openapi_extra=allow("participant.answer", WRITE),
)
async def pause_matching(
    *,
    participant_id: ParticipantId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Pausing,
    if_match: IfMatchDep = None,
) -> Response:
    """Take no new mentorships, until a day or until you resume; running ones go on."""
    participant = await operations.act(
        session,
        actor=actor,
        participant_id=participant_id,
        action=ParticipantAction.PAUSE,
        permission="participant.answer",
        paused_until=body.until_on,
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, participant)


@router.get(
    "/participants/{participant_id}/preferences",
    summary="Read what a participant looks for",
    response_model=PreferencesView,
    openapi_extra=allow("preference.read", READ),
)
async def get_preferences(
    *, participant_id: ParticipantId, actor: ActorDep, reader: ReaderDep
) -> Response:
    """Return what a participant looks for and brings; for themselves and coordinators."""
    participant = await queries.get(reader, actor=actor, participant_id=participant_id)
    access.require(
        "preference.read",
        actor.facts(program_id=participant["program_id"], person_id=participant["person_id"]),
    )
    row = await queries.find_preferences(
        reader, organization_id=actor.organization_id, participant_id=participant_id
    )
    if row is None:
        raise NotFoundError
    return responses.one(present_preferences(row), version=row["version"])


@router.put(
    "/participants/{participant_id}/preferences",
    summary="Say what you look for",
    response_model=PreferencesView,
    responses={201: {"model": PreferencesView, "description": "Said for the first time."}},
    openapi_extra=allow("preference.write", WRITE),
)
async def put_preferences(
    *,
    participant_id: ParticipantId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: PreferencesPut,
    if_match: IfMatchDep = None,
    if_none_match: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            description="`*` when you say it for the first time.",
            max_length=200,
            examples=["*"],
        ),
    ] = None,
) -> Response:
    """Say what you look for and bring. The first time takes `If-None-Match: *`."""
    preference, is_new = await operations.put_preferences(
        session,
        actor=actor,
        participant_id=participant_id,
        values=body.model_dump(),
        if_match=if_match,
        if_none_match=if_none_match,
        now=now,
    )
    view = present_preferences(preference.model_dump())
    return responses.one(view, version=preference.version, status=201 if is_new else 200)
