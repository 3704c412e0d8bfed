"""Reads of what a run proposed, with every member."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Text, and_, bindparam, cast, select

from services.api.proposals.queries import MEMBER, PROPOSAL
from services.api.proposals.rules import ProposalStatus
from shared.persistence.reads import AnySelect, Reader, once


@once
def _proposals() -> AnySelect:
    return (
        select(
            PROPOSAL.c.id,
            PROPOSAL.c.score,
            PROPOSAL.c.parts,
            PROPOSAL.c.mentorship_id,
            MEMBER.c.participant_id,
            cast(MEMBER.c.role, Text).label("role"),
        )
        .join(
            MEMBER,
            and_(
                MEMBER.c.organization_id == PROPOSAL.c.organization_id,
                MEMBER.c.proposal_id == PROPOSAL.c.id,
            ),
        )
        .where(
            PROPOSAL.c.organization_id == bindparam("organization_id"),
            PROPOSAL.c.run_id == bindparam("run_id"),
            cast(PROPOSAL.c.status, Text) != ProposalStatus.SWAPPED.value,
        )
        .order_by(PROPOSAL.c.id, MEMBER.c.participant_id)
    )


async def proposals_of(
    reader: Reader, *, organization_id: UUID, run_id: UUID
) -> list[Mapping[str, Any]]:
    """Return a run's proposals as they stand; swapped ones are what they have become."""
    found: dict[UUID, dict[str, Any]] = {}
    rows = await reader.fetch(_proposals(), organization_id=organization_id, run_id=run_id)
    for row in rows:
        one = found.setdefault(
            row["id"],
            {
                **{name: row[name] for name in ("score", "parts", "mentorship_id")},
                "members": [],
            },
        )
        one["members"].append((row["participant_id"], row["role"]))
    return list(found.values())
