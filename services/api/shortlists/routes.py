"""The shortlist of a participant, for nobody but themselves."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Query, Request, Response

from services.api.access import rules as access
from services.api.access.rules import Scope
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
from services.api.participants import queries as participants
from services.api.participants.schemas import ParticipantId
from services.api.shortlists import operations, queries
from services.api.shortlists.schemas import (
    OtherId,
    ShortlistEntryView,
    ShortlistPage,
    ShortlistPut,
)
from shared import ids
from shared.web import responses
from shared.web.pagination import Page

router = door("participants")

READ, WRITE = Scope.PARTICIPANTS_READ, Scope.PARTICIPANTS_WRITE


def present(row: Mapping[str, Any]) -> ShortlistEntryView:
    """Show an entry."""
    return ShortlistEntryView(
        participant_id=ids.format_id("participant", row["participant_id"]),
        other_participant_id=ids.format_id("participant", row["other_id"]),
        version=row["version"],
        updated_at=row["updated_at"],
        mark=row["mark"],
    )


@router.get(
    "/participants/{participant_id}/shortlist",
    summary="Read your shortlist",
    response_model=ShortlistPage,
    openapi_extra=allow("shortlist.own", READ),
)
async def list_shortlist(
    *,
    request: Request,
    participant_id: ParticipantId,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[Page, Query()],
) -> Response:
    """Return whom you marked as a favorite or to be ignored; nobody else can read it."""
    row = await participants.get(reader, actor=actor, participant_id=participant_id)
    access.require(
        "shortlist.own", actor.facts(program_id=row["program_id"], person_id=row["person_id"])
    )

    async def read(after: UUID | None, limit: int) -> Sequence[Mapping[str, Any]]:
        return await queries.list_own(
            reader,
            organization_id=actor.organization_id,
            participant_id=participant_id,
            after=after,
            limit=limit,
        )

    return await id_page(request, query, read, present)


@router.put(
    "/participants/{participant_id}/shortlist/{other_participant_id}",
    summary="Mark somebody",
    response_model=ShortlistEntryView,
    responses={201: {"model": ShortlistEntryView, "description": "Marked for the first time."}},
    openapi_extra=allow("shortlist.own", WRITE),
)
async def put_shortlist_entry(
    *,
    participant_id: ParticipantId,
    other_participant_id: OtherId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: ShortlistPut,
    if_match: IfMatchDep = None,
    if_none_match: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            description="`*` when you mark them for the first time.",
            max_length=200,
            examples=["*"],
        ),
    ] = None,
) -> Response:
    """Mark somebody of your program. The first time takes `If-None-Match: *`.

    A `favorite` counts where the policy weighs `shortlisted`; `ignore` keeps you two apart
    everywhere, whichever of you said so. Neither they nor coordinators can read it.
    """
    entry, is_new = await operations.put(
        session,
        actor=actor,
        participant_id=participant_id,
        other_id=other_participant_id,
        mark=body.mark,
        if_match=if_match,
        if_none_match=if_none_match,
        now=now,
    )
    view = present(entry.model_dump())
    return responses.one(view, version=entry.version, status=201 if is_new else 200)


@router.delete(
    "/participants/{participant_id}/shortlist/{other_participant_id}",
    summary="Take a mark back",
    status_code=204,
    response_class=Response,
    openapi_extra=allow("shortlist.own", WRITE),
)
async def delete_shortlist_entry(
    *,
    participant_id: ParticipantId,
    other_participant_id: OtherId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Forget what you noted about somebody."""
    await operations.remove(
        session,
        actor=actor,
        participant_id=participant_id,
        other_id=other_participant_id,
        if_match=if_match,
        now=now,
    )
    return responses.no_content()
