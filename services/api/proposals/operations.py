"""Make proposals, ask their people, and take them from one state to the next."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access.rules import Actor
from services.api.compositions import operations as compositions
from services.api.compositions.rules import NewMember
from services.api.credentials import queries as credentials
from services.api.events import operations as events
from services.api.mentorships import queries as mentorship_queries
from services.api.mentorships import rules as mentorship_rules
from services.api.mentorships.rules import MentorshipSource
from services.api.mentorships.tables import MentorshipMember
from services.api.participants import operations as participants
from services.api.participants import queries as participant_queries
from services.api.participants.rules import Places
from services.api.pools import queries as pools
from services.api.pools import rules as pool_rules
from services.api.pools.rules import PoolOf
from services.api.programs.rules import ConsentSides, Format, TrackRole
from services.api.programs.tables import Track
from services.api.proposals import queries, rules
from services.api.proposals.rules import Draft, ProposalAction, ProposalStatus
from services.api.proposals.tables import PastPair, Proposal, ProposalMember
from services.api.timers import operations as timers
from shared import ids
from shared.errors import ConflictError, NotFoundError
from shared.persistence.reads import SessionReader

EVENT_OF: Mapping[ProposalStatus, str] = {
    ProposalStatus.PROPOSED: "proposal.awaiting_approval",
    ProposalStatus.APPROVED: "proposal.approved",
    ProposalStatus.REJECTED: "proposal.rejected",
    ProposalStatus.SWAPPED: "proposal.swapped",
    ProposalStatus.AWAITING_PEOPLE: "proposal.awaiting_people",
    ProposalStatus.ACCEPTED: "proposal.accepted",
    ProposalStatus.DECLINED: "proposal.declined",
    ProposalStatus.EXPIRED: "proposal.expired",
}
TELLS_OTHERS = frozenset({ProposalStatus.ACCEPTED, ProposalStatus.DECLINED, ProposalStatus.EXPIRED})


async def add(
    session: AsyncSession,
    *,
    track: Track,
    run_id: UUID | None,
    members: Sequence[tuple[UUID, UUID, TrackRole]],
    score: int | None,
    parts: Sequence[Mapping[str, Any]],
    forced: Sequence[Mapping[str, Any]] = (),
    mentorship_id: UUID | None = None,
    proposal_id: UUID | None = None,
    actor_id: UUID | None,
    now: datetime,
) -> Proposal:
    """Store a proposal with its members: participant, person and role of each."""
    proposal = Proposal(
        organization_id=track.organization_id,
        id=proposal_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        program_id=track.program_id,
        track_id=track.id,
        run_id=run_id,
        score=score,
        parts=[dict(part) for part in parts],
        forced=[dict(one) for one in forced],
        mentorship_id=mentorship_id,
    )
    session.add(proposal)
    await session.flush()
    session.add_all(
        ProposalMember(
            organization_id=track.organization_id,
            proposal_id=proposal.id,
            participant_id=participant_id,
            person_id=person_id,
            role=role,
        )
        for participant_id, person_id, role in members
    )
    await _record_state(session, proposal, [], actor_id=actor_id, before=None, now=now)
    return proposal


async def add_drafts(
    session: AsyncSession, *, of: PoolOf, drafts: Sequence[Draft], now: datetime
) -> list[Proposal]:
    """Store what a run has found; of a real run it is to be announced."""
    people_of = await queries.people_of_participants(
        session,
        organization_id=of.organization_id,
        participant_ids=[one for draft in drafts for one, _role in draft.members],
    )
    proposals = [
        Proposal(
            organization_id=of.organization_id,
            id=ids.new_id(),
            created_at=now,
            updated_at=now,
            program_id=of.program_id,
            track_id=of.track_id,
            run_id=of.run_id,
            score=round(draft.score),
            parts=[dict(part) for part in draft.parts],
            forced=[dict(one) for one in draft.forced],
            is_locked=draft.is_locked,
            mentorship_id=draft.mentorship_id,
        )
        for draft in drafts
    ]
    session.add_all(proposals)
    await session.flush()
    session.add_all(
        ProposalMember(
            organization_id=of.organization_id,
            proposal_id=proposal.id,
            participant_id=participant_id,
            person_id=people_of[participant_id],
            role=role,
        )
        for proposal, draft in zip(proposals, drafts, strict=True)
        for participant_id, role in draft.members
    )
    await session.flush()
    return proposals


async def announce(
    session: AsyncSession, *, of: PoolOf, proposals: Sequence[Proposal], now: datetime
) -> None:
    """Record that proposals wait for approval; the coordinators are told once, by the first."""
    coordinators = await credentials.coordinators_of(
        session, organization_id=of.organization_id, program_id=of.program_id
    )
    members = await queries.members_of(
        session,
        organization_id=of.organization_id,
        proposal_ids=[one.id for one in proposals],
    )
    for index, proposal in enumerate(proposals):
        record(
            session,
            EVENT_OF[ProposalStatus.PROPOSED],
            proposal,
            members[proposal.id],
            actor_id=None,
            recipients={"coordinators": coordinators} if index == 0 else None,
            now=now,
        )


async def hand_over_locks(session: AsyncSession, *, of: PoolOf, drafts: Sequence[Draft]) -> None:
    """End the locks of earlier proposals that this run's drafts have taken over."""
    kept = {
        frozenset([*(one for one, _role in draft.members), *filter(None, [draft.mentorship_id])])
        for draft in drafts
        if draft.is_locked
    }
    for proposal_id, members in (await pools.locked(SessionReader(session), of=of)).items():
        if frozenset(one["participant_id"] for one in members) in kept:
            proposal = await queries.lock(
                session, organization_id=of.organization_id, proposal_id=proposal_id
            )
            proposal.is_locked = proposal.status is ProposalStatus.PROPOSED


async def without_a_place(
    session: AsyncSession,
    *,
    track: Track,
    approved: Sequence[Proposal],
    members: Mapping[UUID, Sequence[ProposalMember]],
) -> set[UUID]:
    """Return the approved proposals that have no place left in the mentorship they fill.

    It has ended, become full or lost who leads it, or somebody whose places they hold offers fewer.
    Locks mentorships, then people, then places, each in a fixed order: two runs may be published at
    once.
    """
    joined = {one.id: one.mentorship_id for one in approved if one.mentorship_id is not None}
    too_many: dict[Hashable, int] = {
        one: await _held_too_often(session, track=track, mentorship_id=one, coming=len(joined))
        for one in sorted({*joined.values()})
    }
    held = {one.id: await _places_of(session, one, members[one.id]) for one in approved}
    too_many |= await _lock_places(session, track, {*chain.from_iterable(held.values())})
    return rules.overbooked({one: [joined[one], *held[one]] for one in joined}, too_many)


async def _held_too_often(
    session: AsyncSession, *, track: Track, mentorship_id: UUID, coming: int
) -> int:
    """Lock a mentorship; return how many of those who are to come have no place in it."""
    try:
        mentorship, present = await compositions.lock_to_join(
            session, organization_id=track.organization_id, mentorship_id=mentorship_id
        )
        await compositions.require_led(session, track, present)
    except ConflictError:
        return coming
    # Their own places are held; less than none are free where the track takes fewer now.
    return -await free_places(session, track=track, mentorship_id=mentorship.id, present=present)


async def _lock_places(
    session: AsyncSession, track: Track, held: Collection[Places]
) -> dict[Hashable, int]:
    """Lock people and what they offer; return how many more of it is taken than they have."""
    people = {one.participant_id for one in held}
    await participant_queries.lock_all(
        session, organization_id=track.organization_id, participant_ids=people
    )
    seats = await participant_queries.lock_seats(
        session, organization_id=track.organization_id, track_id=track.id, participant_ids=people
    )
    offered = {(one.participant_id, one.role): one.taken - one.capacity for one in seats}
    # Whoever no longer has a role offers nothing in it; what a run rests on tells of them.
    return {one: offered.get((one.participant_id, one.role), 0) for one in held}


async def free_places(
    session: AsyncSession,
    *,
    track: Track,
    mentorship_id: UUID,
    present: Sequence[MentorshipMember],
) -> int:
    """Return how many places of a locked mentorship nobody has, nor is held for anybody."""
    held = await queries.count_filling(
        session,
        organization_id=track.organization_id,
        track_id=track.id,
        mentorship_id=mentorship_id,
    )
    size = mentorship_rules.size_of(track.format, mentorship_queries.roles_of(present))
    return track.max_members - (size or 0) - held


async def close(
    session: AsyncSession, *, organization_id: UUID, proposal_id: UUID, now: datetime
) -> None:
    """End a proposal that can no longer come about: its time, a member or its program is over."""
    proposal = await queries.lock(session, organization_id=organization_id, proposal_id=proposal_id)
    members = await members_of(session, proposal=proposal)
    for action in (ProposalAction.EXPIRE, ProposalAction.REJECT):
        if (proposal.status, action) in rules.TRANSITIONS:
            await move(
                session, proposal=proposal, members=members, action=action, actor_id=None, now=now
            )
            return


async def remind(
    session: AsyncSession, *, organization_id: UUID, proposal_id: UUID, now: datetime
) -> None:
    """Note that people still owe an answer."""
    proposal = await queries.lock(session, organization_id=organization_id, proposal_id=proposal_id)
    if proposal.status is not ProposalStatus.AWAITING_PEOPLE:
        return
    members = await members_of(session, proposal=proposal)
    silent = [one.person_id for one in members if one.is_asked and one.answer is None]
    record(
        session,
        "proposal.reminder_due",
        proposal,
        members,
        actor_id=None,
        recipients={"asked": silent},
        now=now,
    )


async def withdraw(
    session: AsyncSession,
    *,
    proposals: Sequence[Proposal],
    members: Mapping[UUID, Sequence[ProposalMember]],
    actor_id: UUID | None,
    now: datetime,
) -> None:
    """Take locked proposals back on which nobody decided: another run may bring them again."""
    for proposal in proposals:
        proposal.decided_by = None
        await move(
            session,
            proposal=proposal,
            members=members[proposal.id],
            action=ProposalAction.REJECT,
            actor_id=actor_id,
            now=now,
        )


async def ask(
    session: AsyncSession,
    *,
    proposals: Sequence[Proposal],
    members: Mapping[UUID, Sequence[ProposalMember]],
    track: Track,
    secret: bytes,
    actor: Actor,
    now: datetime,
) -> None:
    """Tell the people of approved proposals, and set the days by which they are to answer."""
    for proposal in proposals:
        await _ask(
            session, proposal, members[proposal.id], track, secret=secret, actor=actor, now=now
        )
    await _limit_answers(session, organization_id=track.organization_id, asked=proposals, now=now)


async def _ask(
    session: AsyncSession,
    proposal: Proposal,
    members: Sequence[ProposalMember],
    track: Track,
    *,
    secret: bytes,
    actor: Actor,
    now: datetime,
) -> None:
    """Tell people of an approved proposal: the first moment that anybody is told."""
    for member in members:
        member.is_asked = rules.is_asked(member.role, track.consent_sides)
    proposal.holds_until = now + rules.EXPIRE_AFTER
    await move(
        session,
        proposal=proposal,
        members=members,
        action=ProposalAction.PUBLISH,
        actor_id=actor.person_id,
        now=now,
    )
    for one in await _places_of(session, proposal, members):
        await participants.reveal_places(session, one, now=now)
    if track.consent_sides is ConsentSides.NONE or not any(one.is_asked for one in members):
        await accept(
            session,
            proposal=proposal,
            members=members,
            secret=secret,
            actor_id=actor.person_id,
            now=now,
        )


async def _limit_answers(
    session: AsyncSession, *, organization_id: UUID, asked: Sequence[Proposal], now: datetime
) -> None:
    """Set the days on which people are reminded, and on which their silence is an answer."""
    waiting = [one.id for one in asked if one.status is ProposalStatus.AWAITING_PEOPLE]
    for kind, after in (
        ("proposal.remind", rules.REMIND_AFTER),
        ("proposal.expire", rules.EXPIRE_AFTER),
    ):
        await timers.schedule_each(
            session,
            organization_id=organization_id,
            kind=kind,
            subject_ids=waiting,
            due_at=now + after,
        )


async def accept(
    session: AsyncSession,
    *,
    proposal: Proposal,
    members: Sequence[ProposalMember],
    secret: bytes,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    """Let a mentorship come about, or be joined, as everybody asked has agreed."""
    proposal.status = rules.next_status(proposal.status, ProposalAction.CONSENT)
    new = [NewMember(one.participant_id, one.role) for one in members]
    present = await present_in(session, proposal=proposal)
    if proposal.mentorship_id is None:
        proposal.mentorship_id = await _create(session, proposal, new, actor_id=actor_id, now=now)
    else:
        await compositions.join(
            session,
            organization_id=proposal.organization_id,
            mentorship_id=proposal.mentorship_id,
            members=new,
            actor_id=actor_id,
            now=now,
        )
        await _spare_who_left(session, proposal, members, present, now=now)
    proposal.holds_until = None
    proposal.touch(now)
    await timers.cancel(session, organization_id=proposal.organization_id, subject_id=proposal.id)
    await _remember_pairs(session, proposal, members, present, secret, now=now)
    await _record_state(
        session,
        proposal,
        members,
        actor_id=actor_id,
        before=ProposalStatus.AWAITING_PEOPLE,
        now=now,
    )


async def _spare_who_left(
    session: AsyncSession,
    proposal: Proposal,
    members: Sequence[ProposalMember],
    present: Sequence[MentorshipMember],
    *,
    now: datetime,
) -> None:
    """Give back what a mentor kept for somebody who came after they had left."""
    there = {*(one.participant_id for one in members), *(one.participant_id for one in present)}
    for one in await _places_of(session, proposal, members):
        if one.participant_id not in there:
            await participants.release_places(session, one, now=now)


async def _create(
    session: AsyncSession,
    proposal: Proposal,
    members: Sequence[NewMember],
    *,
    actor_id: UUID | None,
    now: datetime,
) -> UUID:
    track = await track_of(session, proposal=proposal)
    mentorship = await compositions.create(
        session,
        organization_id=proposal.organization_id,
        track_id=proposal.track_id,
        members=members,
        source=MentorshipSource.PROPOSAL,
        because=rules.because(proposal.parts, are_two=track.format in mentorship_rules.TWO_MEMBERS),
        common_ground=_common_ground(track, proposal),
        actor_id=actor_id,
        holds_seats=True,
        now=now,
    )
    return mentorship.id


def _common_ground(track: Track, proposal: Proposal) -> str | None:
    """Return what a circle's members share: a value of all, else what the track is about."""
    if track.format is not Format.CIRCLE:
        return None
    return rules.common_ground(proposal.parts, otherwise=track.name)


async def _remember_pairs(
    session: AsyncSession,
    proposal: Proposal,
    members: Sequence[ProposalMember],
    present: Sequence[MentorshipMember],
    secret: bytes,
    *,
    now: datetime,
) -> None:
    """Keep that people were matched: the members with each other, and with whom they join."""
    key = pool_rules.organization_secret(secret, proposal.organization_id)
    new = {one.person_id for one in members}
    everybody = [
        *((one.person_id, one.role) for one in members),
        *((one.person_id, one.role) for one in present),
    ]
    for pair in pool_rules.pairs_across(everybody):
        if new.isdisjoint(pair):
            continue
        first, second = sorted(pool_rules.past_hash(key, one) for one in pair)
        await session.merge(
            PastPair(
                organization_id=proposal.organization_id,
                first_hash=first,
                second_hash=second,
                at=now,
            )
        )


async def move(
    session: AsyncSession,
    *,
    proposal: Proposal,
    members: Sequence[ProposalMember],
    action: ProposalAction,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    """Take a locked proposal to its next state; leaving a state that holds seats frees them."""
    before = proposal.status
    proposal.status = rules.next_status(before, action)
    proposal.is_locked &= rules.outlasts(action, is_decided=proposal.decided_by is not None)
    proposal.touch(now)
    if before in rules.HOLDING and proposal.status not in rules.HOLDING:
        proposal.holds_until = None
        if before in rules.OPEN:
            for one in await _places_of(session, proposal, members):
                await participants.drop_places(session, one)
        else:
            for one in await _places_of(session, proposal, members):
                await participants.release_places(session, one, now=now)
        await timers.cancel(
            session, organization_id=proposal.organization_id, subject_id=proposal.id
        )
    await _record_state(session, proposal, members, actor_id=actor_id, before=before, now=now)


async def _places_of(
    session: AsyncSession, proposal: Proposal, members: Sequence[ProposalMember]
) -> list[Places]:
    return await places_of(
        session,
        track=await track_of(session, proposal=proposal),
        members=[(one.participant_id, one.role) for one in members],
        mentorship_id=proposal.mentorship_id,
    )


async def places_of(
    session: AsyncSession,
    *,
    track: Track,
    members: Sequence[tuple[UUID, TrackRole]],
    mentorship_id: UUID | None,
) -> list[Places]:
    """Return whose places being together takes and how many, always in the same order.

    Whoever joins a group takes one of its mentor's, too. That one is held and given back alike
    after the mentor has left, so that nothing stays held.
    """
    roles = [role for _one, role in members]
    taking = [*members]
    if mentorship_id is not None and track.format is Format.GROUP:
        mentor = await mentorship_queries.mentor_of_group(
            session, organization_id=track.organization_id, mentorship_id=mentorship_id
        )
        taking += [] if mentor is None else [(mentor.participant_id, mentor.role)]
    return [
        Places(
            track.organization_id,
            participant_id,
            track.id,
            role,
            mentorship_rules.places_of(track.format, role, roles),
        )
        for participant_id, role in sorted(taking)
    ]


async def present_in(session: AsyncSession, *, proposal: Proposal) -> list[MentorshipMember]:
    """Lock the mentorship that a proposal fills and return who is in it; nobody where it is new."""
    if proposal.mentorship_id is None:
        return []
    _mentorship, present = await compositions.lock_to_join(
        session, organization_id=proposal.organization_id, mentorship_id=proposal.mentorship_id
    )
    return present


async def members_of(session: AsyncSession, *, proposal: Proposal) -> list[ProposalMember]:
    """Return the members of a proposal, in a fixed order."""
    found = await queries.members_of(
        session, organization_id=proposal.organization_id, proposal_ids=[proposal.id]
    )
    return found[proposal.id]


async def track_of(session: AsyncSession, *, proposal: Proposal) -> Track:
    """Return the track of a proposal."""
    track = await session.get(Track, (proposal.organization_id, proposal.track_id))
    if track is None:
        raise NotFoundError
    return track


async def _record_state(
    session: AsyncSession,
    proposal: Proposal,
    members: Sequence[ProposalMember],
    *,
    actor_id: UUID | None,
    before: ProposalStatus | None,
    now: datetime,
) -> None:
    """Record what happened; only people who were asked are ever told."""
    asked = [one.person_id for one in members if one.is_asked]
    told: dict[str, list[UUID]] = {}
    if proposal.status is ProposalStatus.AWAITING_PEOPLE:
        told = {"asked": asked}
    elif proposal.status in TELLS_OTHERS:
        told = {"others": [one for one in asked if one != actor_id]}
    record(
        session,
        EVENT_OF[proposal.status],
        proposal,
        members,
        actor_id=actor_id,
        before=before,
        recipients=told,
        now=now,
    )


def record(
    session: AsyncSession,
    kind: str,
    proposal: Proposal,
    members: Sequence[ProposalMember],
    *,
    actor_id: UUID | None,
    before: ProposalStatus | None = None,
    changed: Sequence[str] = (),
    recipients: Mapping[str, Sequence[UUID]] | None = None,
    now: datetime,
) -> None:
    """Record an event of a proposal with everybody in it."""
    events.record(
        session,
        kind,
        proposal,
        now=now,
        actor_id=actor_id,
        program_id=proposal.program_id,
        from_state=before,
        to_state=proposal.status,
        changed=changed,
        named={
            "run_id": proposal.run_id,
            "track_id": proposal.track_id,
            "participant_ids": [one.participant_id for one in members],
            "mentorship_id": proposal.mentorship_id,
        },
        recipients=recipients,
    )
