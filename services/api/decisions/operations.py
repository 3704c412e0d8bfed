"""Compose proposals and decide on them, for coordinators; answer, for those who are asked."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.compositions import operations as compositions
from services.api.compositions import rules as composition_rules
from services.api.compositions.rules import Candidate
from services.api.decisions import rules
from services.api.decisions.rules import Judged, Members
from services.api.match_runs import operations as run_operations
from services.api.match_runs import queries as runs
from services.api.match_runs.rules import RunMode, RunStatus
from services.api.match_runs.tables import MatchRun
from services.api.mentorships.tables import MentorshipMember
from services.api.organizations import queries as organizations
from services.api.participants import operations as participants
from services.api.participants import queries as participant_queries
from services.api.participants.rules import ParticipantStatus, Places
from services.api.participants.tables import Participant
from services.api.people import queries as people
from services.api.people.rules import PersonStatus
from services.api.pools import rules as pool_rules
from services.api.programs import queries as programs
from services.api.programs import rules as program_rules
from services.api.programs.rules import Format, TrackRole
from services.api.programs.tables import Track
from services.api.proposals import operations as proposals
from services.api.proposals import queries
from services.api.proposals import rules as proposal_rules
from services.api.proposals.rules import OPEN, ProposalAction, ProposalStatus
from services.api.proposals.tables import Proposal, ProposalMember
from services.api.shortlists import queries as shortlists
from shared.errors import ConflictError, InvalidError, NotFoundError, Violation, unknown_reference
from shared.persistence.reads import SessionReader
from shared.web.preconditions import accept_match

MATCHABLE_PERSON = frozenset({PersonStatus.PENDING, PersonStatus.ACTIVE})
# Whoever is full may be part of a proposal still; whether a place is free is asked apart.
MATCHABLE = frozenset({ParticipantStatus.AVAILABLE, ParticipantStatus.AT_CAPACITY})


async def compose(
    session: AsyncSession,
    *,
    actor: Actor,
    track_id: UUID,
    members: Members,
    judged: Judged,
    is_forced: bool,
    proposal_id: UUID | None,
    now: datetime,
) -> Proposal:
    """Put people together by hand; always-on rules hold here too, forced or not."""
    track = await programs.find_part(
        session, Track, organization_id=actor.organization_id, part_id=track_id
    )
    if track is None:
        raise NotFoundError
    program = await run_operations.program_to_match(
        session, actor=actor, program_id=track.program_id, permission="proposal.decide"
    )
    program_rules.check_matching(program.status)
    found = await _participants(session, track, members)
    await _require_rules(session, track, members, found)
    wanted = await proposals.places_of(session, track=track, members=members, mentorship_id=None)
    await _require_places(session, wanted)
    if judged.broken and not is_forced:
        raise rules.broken_policy(judged.broken)
    return await proposals.add(
        session,
        track=track,
        run_id=None,
        members=[(found[one].id, found[one].person_id, role) for one, role in members],
        score=judged.score,
        parts=judged.parts,
        forced=judged.broken,
        proposal_id=proposal_id,
        actor_id=actor.person_id,
        now=now,
    )


async def _participants(
    session: AsyncSession, track: Track, members: Members
) -> dict[UUID, Participant]:
    """Lock the participants a request names, in a fixed order."""
    found = await participant_queries.lock_all(
        session,
        organization_id=track.organization_id,
        participant_ids={one for one, _role in members},
    )
    for index, (participant_id, _role) in enumerate(members):
        participant = found.get(participant_id)
        if participant is None or participant.program_id != track.program_id:
            raise unknown_reference(f"#/members/{index}/participant_id")
    return found


async def _require_rules(
    session: AsyncSession,
    track: Track,
    members: Members,
    found: Mapping[UUID, Participant],
    *,
    present: Sequence[MentorshipMember] = (),
) -> None:
    """Refuse what no policy may permit: wrong company, people away, one reporting line.

    `present` are those whom the members are to join; what lies between them is not judged anew.
    """
    organization = await organizations.get(
        SessionReader(session), organization_id=track.organization_id
    )
    candidates, broken = [], list[Violation]()
    if track.format is Format.CIRCLE and len(found) < len(members):
        # A mentorship takes its facilitator as a mentor, too; a proposal asks everybody once.
        broken.append(Violation("#/members", "not_unique", "Nobody is proposed twice."))
    for participant_id, role in members:
        participant = found[participant_id]
        person = await people.find(
            session, organization_id=track.organization_id, person_id=participant.person_id
        )
        if person is None:
            raise NotFoundError
        rank = pool_rules.grade_rank(person.grade, organization["grade_order"])
        candidates.append(Candidate(person.id, participant_id, role, rank))
        if person.status not in MATCHABLE_PERSON or participant.status not in MATCHABLE:
            detail = "Somebody does not take part in matching now."
            broken.append(Violation("#/members", "not_available", detail))
    terms, there = compositions.terms_of(track), list[Candidate]()
    if present:
        there = await compositions.candidates_of(session, track, present)
        broken += composition_rules.broken_joining(candidates, there, terms)
    else:
        broken += composition_rules.broken_composition(candidates, terms)
    if await people.are_in_line(
        session,
        organization_id=track.organization_id,
        person_ids=sorted({one.person_id for one in [*candidates, *there]}),
        concerning={one.person_id for one in candidates},
    ):
        detail = "Two of them are in one reporting line."
        broken.append(Violation("#/members", pool_rules.REPORTING_LINE, detail))
    if await shortlists.are_apart(
        SessionReader(session),
        organization_id=track.organization_id,
        participant_ids=sorted({*found, *(one.participant_id for one in there)}),
        concerning=sorted(found),
    ):
        # The word of every reason to keep two apart: who ignores whom is told to nobody.
        broken.append(Violation("#/members", "not_blocked", "Somebody here is kept apart."))
    if broken:
        raise rules.hard_rule_failed(broken)


async def _require_place(
    session: AsyncSession, track: Track, proposal: Proposal, present: Sequence[MentorshipMember]
) -> None:
    """Refuse to fill a mentorship that nobody leads, or that those in it or asked make full."""
    if proposal.mentorship_id is None:
        return
    await compositions.require_led(session, track, present)
    if (
        await proposals.free_places(
            session, track=track, mentorship_id=proposal.mentorship_id, present=present
        )
        < 1
    ):
        raise composition_rules.full(track.format, track.max_members)


async def _require_places(session: AsyncSession, wanted: Sequence[Places]) -> None:
    for one in wanted:
        free = await queries.free_places(session, one)
        if free is None:
            detail = f"Somebody does not take part as {one.role} here."
            raise rules.hard_rule_failed([Violation("#/members", "role", detail)])
        if free < one.count:
            raise rules.seat_taken()


async def approve(
    session: AsyncSession,
    *,
    actor: Actor,
    proposal_id: UUID,
    secret: bytes,
    if_match: str | None,
    now: datetime,
) -> Proposal:
    """Approve a proposal and hold its seats; one that waits for no publication asks at once."""
    proposal, members = await _load(session, actor, proposal_id, "proposal.decide", if_match)
    proposal_rules.next_status(
        proposal.status, ProposalAction.APPROVE, is_locked=proposal.is_locked
    )
    run = await _run_of(session, proposal)
    _require_decidable(run)
    track = await proposals.track_of(session, proposal=proposal)
    pairs = _pairs(members)
    wanted = await proposals.places_of(
        session, track=track, members=pairs, mentorship_id=proposal.mentorship_id
    )
    # Looked at before anything is locked: of many who want a last seat, most learn it here. That
    # a group is full is told before its mentor is asked for.
    await _require_places(
        session, [one for one in wanted if (one.participant_id, one.role) in pairs]
    )
    present = await proposals.present_in(session, proposal=proposal)
    await _require_place(session, track, proposal, present)
    # With who mentors the group they join, so that everybody is locked before any place is held.
    taking = [(one.participant_id, one.role) for one in wanted]
    locked = await _participants(session, track, taking)
    found = {one: locked[one] for one, _role in pairs}
    await _require_rules(session, track, pairs, found, present=present)
    await _hold_places(session, wanted)
    proposal.decided_by = actor.person_id
    await proposals.move(
        session,
        proposal=proposal,
        members=members,
        action=ProposalAction.APPROVE,
        actor_id=actor.person_id,
        now=now,
    )
    if run is None or run.status is RunStatus.PUBLISHED:
        await proposals.ask(
            session,
            proposals=[proposal],
            members={proposal.id: members},
            track=track,
            secret=secret,
            actor=actor,
            now=now,
        )
    return proposal


async def _hold_places(session: AsyncSession, wanted: Sequence[Places]) -> None:
    for one in wanted:
        try:
            await participants.hold_places(session, one)
        except ConflictError as refusal:
            if refusal.code != "capacity_reached":
                raise
            raise rules.seat_taken() from None


async def reject(
    session: AsyncSession,
    *,
    actor: Actor,
    proposal_id: UUID,
    if_match: str | None,
    now: datetime,
) -> Proposal:
    """Turn a proposal down before anybody was told; its pair does not come again in a rerun."""
    proposal, members = await _load(session, actor, proposal_id, "proposal.decide", if_match)
    proposal_rules.next_status(proposal.status, ProposalAction.REJECT, is_locked=proposal.is_locked)
    _require_decidable(await _run_of(session, proposal))
    proposal.decided_by = actor.person_id
    await proposals.move(
        session,
        proposal=proposal,
        members=members,
        action=ProposalAction.REJECT,
        actor_id=actor.person_id,
        now=now,
    )
    proposal.is_locked = False
    return proposal


async def swap(
    session: AsyncSession,
    *,
    actor: Actor,
    proposal_id: UUID,
    other_id: UUID,
    role: TrackRole | None,
    judged: Sequence[Judged],
    if_match: str | None,
    now: datetime,
) -> tuple[Proposal, Proposal]:
    """Exchange the members of two proposals, which makes two new ones to decide on.

    `judged` is what matching said of each; where it said nothing there is no score.
    """
    first, second = await _load_two(session, actor, proposal_id, other_id, if_match)
    track = await proposals.track_of(session, proposal=first[0])
    _require_decidable(await _run_of(session, first[0]))
    rules.require_unlocked(first[0].is_locked, second[0].is_locked)
    if broken := [reason for one in judged for reason in one.broken]:
        raise rules.broken_policy(broken)
    new_members = rules.exchanged(_pairs(first[1]), _pairs(second[1]), role=role)
    people_of = {one.participant_id: one.person_id for one in [*first[1], *second[1]]}
    for proposal, members in (first, second):
        proposal.decided_by = actor.person_id
        await proposals.move(
            session,
            proposal=proposal,
            members=members,
            action=ProposalAction.SWAP,
            actor_id=actor.person_id,
            now=now,
        )
    present = {
        one.id: await proposals.present_in(session, proposal=one)
        # In a fixed order, as others may swap or publish at once.
        for one in sorted((first[0], second[0]), key=lambda one: str(one.mentorship_id))
    }
    made = []
    for left, pairs, said in zip((first[0], second[0]), new_members, judged, strict=True):
        found = await _participants(session, track, pairs)
        await _require_rules(session, track, pairs, found, present=present[left.id])
        wanted = await proposals.places_of(
            session, track=track, members=pairs, mentorship_id=left.mentorship_id
        )
        await _require_places(session, wanted)
        proposal = await proposals.add(
            session,
            track=track,
            run_id=first[0].run_id,
            members=[(one, people_of[one], role_) for one, role_ in pairs],
            score=said.score,
            parts=said.parts,
            mentorship_id=left.mentorship_id,
            actor_id=actor.person_id,
            now=now,
        )
        made.append(proposal)
    return made[0], made[1]


async def _load_two(
    session: AsyncSession, actor: Actor, proposal_id: UUID, other_id: UUID, if_match: str | None
) -> tuple[tuple[Proposal, list[ProposalMember]], tuple[Proposal, list[ProposalMember]]]:
    """Lock two proposals of one run in a fixed order, whichever was named first."""
    if proposal_id == other_id:
        raise InvalidError(
            errors=[Violation("#/with_proposal_id", "not_unique", "Name another proposal.")]
        )
    loaded = {}
    for one in sorted((proposal_id, other_id)):
        try:
            loaded[one] = await _load(
                session,
                actor,
                one,
                "proposal.decide",
                if_match if one == proposal_id else None,
            )
        except NotFoundError:
            if one == proposal_id:
                raise
            raise unknown_reference("#/with_proposal_id") from None
    first, second = loaded[proposal_id], loaded[other_id]
    if (first[0].track_id, first[0].run_id) != (second[0].track_id, second[0].run_id):
        raise unknown_reference("#/with_proposal_id")
    return first, second


async def set_lock(
    session: AsyncSession,
    *,
    actor: Actor,
    proposal_id: UUID,
    is_locked: bool,
    if_match: str | None,
    now: datetime,
) -> Proposal:
    """Keep a proposal's members together in the next run, or no longer."""
    proposal, members = await _load(session, actor, proposal_id, "proposal.decide", if_match)
    if is_locked and proposal.status not in OPEN:
        raise ConflictError(
            "Only a proposal that is still being decided on can be locked.",
            code="invalid_transition",
            allowed=proposal_rules.allowed_actions(proposal.status, is_locked=proposal.is_locked),
        )
    run = await _run_of(session, proposal)
    # What a rerun put aside keeps its lock until that is taken over, so it can be taken away.
    if is_locked or (run is not None and run.mode is RunMode.DRY_RUN):
        _require_decidable(run)
    if proposal.is_locked is not is_locked:
        proposal.is_locked = is_locked
        proposal.touch(now)
        proposals.record(
            session,
            "proposal.changed",
            proposal,
            members,
            actor_id=actor.person_id,
            changed=["is_locked"],
            now=now,
        )
    return proposal


async def consent(
    session: AsyncSession,
    *,
    actor: Actor,
    proposal_id: UUID,
    secret: bytes,
    if_match: str | None,
    now: datetime,
) -> Proposal:
    """Agree; once everybody asked has, the mentorship comes about in the same transaction.

    Where one is filled, those who agreed are in it from then on; who was in it is not asked.
    """
    proposal, members = await _load(session, actor, proposal_id, "proposal.answer", if_match)
    proposal_rules.next_status(proposal.status, ProposalAction.CONSENT)
    own = next(one for one in members if one.person_id == actor.person_id)
    own.answer, own.answered_at = "consented", now
    if all(one.answer == "consented" for one in members if one.is_asked):
        await proposals.accept(
            session,
            proposal=proposal,
            members=members,
            secret=secret,
            actor_id=actor.person_id,
            now=now,
        )
    else:
        proposal.touch(now)
    return proposal


async def decline(
    session: AsyncSession,
    *,
    actor: Actor,
    proposal_id: UUID,
    if_match: str | None,
    now: datetime,
) -> Proposal:
    """Say no, without having to say why; the seats are free again."""
    proposal, members = await _load(session, actor, proposal_id, "proposal.answer", if_match)
    proposal_rules.next_status(proposal.status, ProposalAction.DECLINE)
    own = next(one for one in members if one.person_id == actor.person_id)
    own.answer, own.answered_at = "declined", now
    await proposals.move(
        session,
        proposal=proposal,
        members=members,
        action=ProposalAction.DECLINE,
        actor_id=actor.person_id,
        now=now,
    )
    return proposal


async def _load(
    session: AsyncSession,
    actor: Actor,
    proposal_id: UUID,
    permission: str,
    if_match: str | None,
) -> tuple[Proposal, list[ProposalMember]]:
    """Lock a proposal for the actor: 404 for who may not know, 403 for who may not act."""
    proposal = await queries.lock(
        session, organization_id=actor.organization_id, proposal_id=proposal_id
    )
    members = await proposals.members_of(session, proposal=proposal)
    facts = actor.facts(program_id=proposal.program_id)
    own = next((one for one in members if one.person_id == actor.person_id), None)
    if own is not None and proposal.status in proposal_rules.TOLD:
        # Whoever was not asked learns of it as a member, but has nothing to answer.
        may_know = proposal.status is ProposalStatus.ACCEPTED and permission != "proposal.answer"
        if own.is_asked or may_know:
            facts |= {Role.MEMBER}
    if not access.holds("proposal.read", facts):
        raise NotFoundError
    access.require(permission, facts)
    accept_match(if_match, version=proposal.version)
    return proposal, members


async def _run_of(session: AsyncSession, proposal: Proposal) -> MatchRun | None:
    if proposal.run_id is None:
        return None
    return await runs.find_run(
        session, organization_id=proposal.organization_id, run_id=proposal.run_id
    )


def _require_decidable(run: MatchRun | None) -> None:
    """Refuse to decide on what was only simulated or was put aside."""
    if run is not None and run.status not in {RunStatus.REVIEW, RunStatus.PUBLISHED}:
        raise ConflictError(f"The run of this proposal is {run.status}.", code="invalid_transition")


def _pairs(members: Sequence[ProposalMember]) -> list[tuple[UUID, TrackRole]]:
    return [(one.participant_id, one.role) for one in members]
