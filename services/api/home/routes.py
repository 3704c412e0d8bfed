"""The start page of a front end, in one call."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import Response

from services.api.access import rules as access
from services.api.access.rules import Actor
from services.api.dependencies import ActorDep, NowDep, ReaderDep, allow, door
from services.api.home import queries
from services.api.home.schemas import (
    HomeView,
    MeetingCard,
    MentorshipCard,
    ParticipationCard,
    PersonCard,
    ProposalCard,
    SelfCard,
)
from services.api.meetings import queries as meetings
from services.api.meetings.rules import MeetingStatus
from services.api.mentorships import queries as mentorships
from services.api.mentorships import rules as mentorship_rules
from services.api.mentorships.rules import LIVE, MemberStatus
from services.api.participants import rules as participant_rules
from services.api.participants.rules import ParticipantStatus
from services.api.people import queries as people
from services.api.programs.rules import TrackRole
from shared import ids
from shared.errors import ForbiddenError
from shared.web import responses

router = door("home")

MOST_CARDS = 50
MOST_URGENT = 20


@router.get(
    "/me/home",
    summary="Read your start page",
    response_model=HomeView,
    openapi_extra=allow("me.home"),
)
async def get_home(*, actor: ActorDep, reader: ReaderDep, now: NowDep) -> Response:
    """Return where you take part, what waits for your answer, whom you are with and when."""
    if actor.person_id is None:
        raise ForbiddenError
    person = await people.get(
        reader, organization_id=actor.organization_id, person_id=actor.person_id
    )
    participations = await queries.participations(reader, actor=actor, limit=MOST_CARDS)
    proposals = await queries.waiting_proposals(reader, actor=actor, limit=MOST_URGENT)
    live = await mentorships.list_page(
        reader, actor=actor, filters={"own_live": sorted(LIVE)}, after=None, limit=MOST_CARDS
    )
    coming = await meetings.coming(reader, actor=actor, now=now, limit=MOST_URGENT)
    return responses.one(
        HomeView(
            person=_self(person),
            participations=[_participation(row, actor) for row in participations],
            proposals=[_proposal(row) for row in proposals],
            mentorships=[_mentorship(row, actor) for row in live],
            meetings=[_meeting(row, actor) for row in coming],
        )
    )


def _self(row: Mapping[str, Any]) -> SelfCard:
    return SelfCard(
        id=ids.format_id("person", row["id"]),
        given_name=row["preferred_name"] or row["given_name"],
        family_name=row["family_name"],
        locale=row["locale"],
        timezone=row["timezone"],
    )


def _participation(row: Mapping[str, Any], actor: Actor) -> ParticipationCard:
    status = ParticipantStatus(row["status"])
    return ParticipationCard(
        id=ids.format_id("participant", row["id"]),
        status=status,
        allowed=access.offered(
            actor,
            participant_rules.allowed_actions(status),
            participant_rules.NEEDS,
            actor.facts(program_id=row["program_id"], person_id=actor.person_id),
        ),
        program_id=ids.format_id("program", row["program_id"]),
        program_name=row["program_name"],
        program_status=row["program_status"],
    )


def _proposal(row: Mapping[str, Any]) -> ProposalCard:
    return ProposalCard(
        id=ids.format_id("proposal", row["id"]),
        program_id=ids.format_id("program", row["program_id"]),
        track_id=ids.format_id("track", row["track_id"]),
        holds_until=row["holds_until"],
        members=_people(row["members"]),
    )


def _people(members: Sequence[Mapping[str, Any]]) -> list[PersonCard]:
    return [
        PersonCard(
            person_id=ids.format_id("person", UUID(str(one["person_id"]))),
            given_name=one["given_name"],
            family_name=one["family_name"],
            role=one["role"],
        )
        for one in members
    ]


def _mentorship(row: Mapping[str, Any], actor: Actor) -> MentorshipCard:
    me = actor.person_id
    members = [one for one in row["members"] if one["status"] == MemberStatus.ACTIVE]
    held = [(TrackRole(one["role"]), UUID(str(one["person_id"]))) for one in members]
    facts = mentorship_rules.facts_of(actor, row, held)
    return MentorshipCard(
        id=ids.format_id("mentorship", row["id"]),
        program_id=ids.format_id("program", row["program_id"]),
        format=row["format"],
        status=row["status"],
        allowed=mentorship_rules.offered(actor, row, facts),
        is_driver=row["driver_person_id"] == me,
        waits_for_you=_waits(row, held, me),
        starts_on=row["starts_on"],
        ends_on=row["ends_on"],
        members=_people(members),
    )


def _waits(
    row: Mapping[str, Any], roles: Sequence[tuple[TrackRole, UUID]], me: UUID | None
) -> bool:
    """Tell whether the other side has said something that mine has not answered."""
    own = mentorship_rules.sides(one for one in roles if one[1] == me)
    asked = ((row["extension"] or {}).get("agreed_by") or [], row["completed_by"])
    for said in asked:
        spoken = mentorship_rules.sides(one for one in roles if str(one[1]) in said)
        if spoken and not own <= spoken:
            return True
    return False


def _meeting(row: Mapping[str, Any], actor: Actor) -> MeetingCard:
    status = MeetingStatus(row["status"])
    is_offer = status is MeetingStatus.PROPOSED
    return MeetingCard(
        id=ids.format_id("meeting", row["id"]),
        mentorship_id=ids.format_id("mentorship", row["mentorship_id"]),
        status=status,
        waits_for_you=is_offer and row["proposed_by"] != actor.person_id,
        proposed_times=[datetime.fromisoformat(at) for at in row["proposed_times"]],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        timezone=row["timezone"],
        mode=row["mode"],
        location=row["location"],
    )
