"""Reads of the start page that no single feature below can make."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Text, Uuid, and_, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by

from services.api.access.rules import Actor
from services.api.participants.queries import PARTICIPANT
from services.api.participants.rules import CLOSED, ParticipantStatus
from services.api.people.queries import TABLE as PERSON
from services.api.programs.queries import PROGRAM
from services.api.proposals.rules import ProposalStatus
from services.api.proposals.tables import Proposal, ProposalMember
from shared.persistence.reads import AnySelect, Reader, once

PROPOSAL = Proposal.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
MEMBER = ProposalMember.__table__  # type: ignore[attr-defined]  # as above

_ME = bindparam("me", type_=Uuid)
_OWN = MEMBER.alias("own")
_OPEN = tuple(sorted(set(ParticipantStatus) - CLOSED))


@once
def _participations() -> AnySelect:
    return (
        select(
            PARTICIPANT.c.id,
            PARTICIPANT.c.status,
            PARTICIPANT.c.program_id,
            PROGRAM.c.name.label("program_name"),
            PROGRAM.c.status.label("program_status"),
        )
        .join(
            PROGRAM,
            and_(
                PROGRAM.c.organization_id == PARTICIPANT.c.organization_id,
                PROGRAM.c.id == PARTICIPANT.c.program_id,
            ),
        )
        .where(
            PARTICIPANT.c.organization_id == bindparam("organization_id"),
            PARTICIPANT.c.person_id == _ME,
            cast(PARTICIPANT.c.status, Text) == func.any(bindparam("states", type_=ARRAY(Text))),
        )
        .order_by(PARTICIPANT.c.id)
        .limit(bindparam("limit"))
    )


_MEMBERS = (
    select(
        func.jsonb_agg(
            aggregate_order_by(
                func.jsonb_build_object(
                    *("person_id", MEMBER.c.person_id),
                    *("role", MEMBER.c.role),
                    *("given_name", func.coalesce(PERSON.c.preferred_name, PERSON.c.given_name)),
                    *("family_name", PERSON.c.family_name),
                ),
                MEMBER.c.participant_id,
            ),
            type_=JSONB,
        )
    )
    .where(
        MEMBER.c.organization_id == PROPOSAL.c.organization_id,
        MEMBER.c.proposal_id == PROPOSAL.c.id,
        PERSON.c.organization_id == MEMBER.c.organization_id,
        PERSON.c.id == MEMBER.c.person_id,
    )
    .correlate(PROPOSAL)
    .scalar_subquery()
    .label("members")
)


@once
def _waiting_proposals() -> AnySelect:
    asks_me = select(_OWN.c.person_id).where(
        _OWN.c.organization_id == PROPOSAL.c.organization_id,
        _OWN.c.proposal_id == PROPOSAL.c.id,
        _OWN.c.person_id == _ME,
        _OWN.c.is_asked,
        _OWN.c.answer.is_(None),
    )
    return (
        select(
            PROPOSAL.c.id,
            PROPOSAL.c.program_id,
            PROPOSAL.c.track_id,
            PROPOSAL.c.holds_until,
            _MEMBERS,
        )
        .where(
            PROPOSAL.c.organization_id == bindparam("organization_id"),
            cast(PROPOSAL.c.status, Text) == ProposalStatus.AWAITING_PEOPLE.value,
            asks_me.exists(),
        )
        .order_by(PROPOSAL.c.holds_until.asc().nulls_last(), PROPOSAL.c.id)
        .limit(bindparam("limit"))
    )


async def participations(reader: Reader, *, actor: Actor, limit: int) -> list[Mapping[str, Any]]:
    """Return where the acting person takes part now, with the program's name."""
    return await reader.fetch(
        _participations(),
        organization_id=actor.organization_id,
        me=actor.person_id,
        states=list(_OPEN),
        limit=limit,
    )


async def waiting_proposals(reader: Reader, *, actor: Actor, limit: int) -> list[Mapping[str, Any]]:
    """Return proposals that wait for the acting person's answer, the most urgent first."""
    return await reader.fetch(
        _waiting_proposals(),
        organization_id=actor.organization_id,
        me=actor.person_id,
        limit=limit,
    )
