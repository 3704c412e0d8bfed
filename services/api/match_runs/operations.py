"""Start, judge and publish runs; compose, decide and answer proposals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.credentials import queries as credentials
from services.api.events import operations as events
from services.api.match_runs import queries, rules
from services.api.match_runs.rules import (
    OPEN,
    ProposalAction,
    ProposalStatus,
    RunAction,
    RunKind,
    RunMode,
    RunStatus,
)
from services.api.match_runs.tables import MatchRun, PastPair, Proposal, ProposalMember
from services.api.mentorships import operations as mentorships
from services.api.mentorships import queries as mentorship_queries
from services.api.mentorships import rules as mentorship_rules
from services.api.mentorships.rules import Candidate, MentorshipSource, NewMember
from services.api.mentorships.tables import MentorshipMember
from services.api.organizations import queries as organizations
from services.api.participants import operations as participants
from services.api.participants import queries as participant_queries
from services.api.participants.rules import ParticipantStatus
from services.api.participants.tables import Participant
from services.api.people import queries as people
from services.api.people.rules import PersonStatus
from services.api.pools import queries as pools
from services.api.pools import rules as pool_rules
from services.api.pools.rules import FrozenTask, PoolOf, There
from services.api.programs import operations as program_operations
from services.api.programs import queries as programs
from services.api.programs.rules import (
    MENTEE_SIDE,
    ConsentSides,
    Format,
    ProgramStatus,
    TrackRole,
)
from services.api.programs.tables import MatchPolicy, Program, Track
from services.api.shortlists import queries as shortlists
from services.api.timers import operations as timers
from shared import ids
from shared.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    Violation,
    unknown_reference,
)
from shared.persistence.leases import Claim
from shared.persistence.reads import Reader, SessionReader
from shared.web.preconditions import accept_match

EVENT_OF_RUN: Mapping[RunStatus, str] = {
    RunStatus.QUEUED: "match_run.queued",
    RunStatus.RUNNING: "match_run.running",
    RunStatus.REVIEW: "match_run.completed",
    RunStatus.SIMULATED: "match_run.completed",
    RunStatus.FAILED: "match_run.failed",
    RunStatus.DISCARDED: "match_run.discarded",
    RunStatus.PUBLISHED: "match_run.published",
}
TELLS_STARTER = frozenset({RunStatus.REVIEW, RunStatus.SIMULATED, RunStatus.FAILED})
EVENT_OF_PROPOSAL: Mapping[ProposalStatus, str] = {
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
MATCHABLE_PERSON = frozenset({PersonStatus.PENDING, PersonStatus.ACTIVE})
PAIR = 2
# Whoever is full may be part of a proposal still; whether a place is free is asked apart.
MATCHABLE = frozenset({ParticipantStatus.AVAILABLE, ParticipantStatus.AT_CAPACITY})


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal as a run has found it; with a mentorship, its members are to join that one."""

    members: Sequence[tuple[UUID, TrackRole]]
    score: float
    parts: Sequence[Mapping[str, Any]]
    is_locked: bool
    mentorship_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What matching said of people put together by hand, where it was asked."""

    score: int | None = None
    parts: Sequence[Mapping[str, Any]] = ()
    broken: Sequence[Mapping[str, Any]] = ()


type Scored = Mapping[frozenset[UUID], tuple[int, list[dict[str, Any]]]]
"""What matching said of pairs of participants, or of one and whom they join: score and parts."""

type Members = Sequence[tuple[UUID, TrackRole]]
"""Who is to be together: participants, each with a role."""


# Runs


async def start(
    session: AsyncSession,
    *,
    actor: Actor,
    program_id: UUID,
    track_id: UUID,
    mode: RunMode,
    kind: RunKind,
    policy_id: UUID | None,
    seed: int | None,
    run_id: UUID | None,
    due_at: datetime,
    now: datetime,
) -> MatchRun:
    """Queue a run over a track; its policy can no longer change from here on.

    `due_at` is the real time, on which leases run; `now` is the organization's.
    """
    program = await _program(session, actor, program_id, "match_run.start")
    track = await _track_of(session, program, track_id)
    _require_startable(program, track, kind)
    policy = await _frozen_policy(session, track, policy_id)
    await _require_people(session, track, kind)
    if mode is RunMode.REAL:
        await _require_no_other(session, track)
    run = MatchRun(
        organization_id=actor.organization_id,
        id=run_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        program_id=program.id,
        track_id=track.id,
        mode=mode,
        kind=kind,
        policy_id=policy.id,
        policy_version=policy.policy_version,
        seed=policy.seed if seed is None else seed,
        started_by=actor.person_id,
        due_at=due_at,
    )
    session.add(run)
    await session.flush()
    _record_run(session, run, actor_id=actor.person_id, before=None, now=now)
    return run


async def _program(
    session: AsyncSession, actor: Actor, program_id: UUID, permission: str
) -> Program:
    program = await programs.find(
        session, organization_id=actor.organization_id, program_id=program_id
    )
    facts = actor.facts(program_id=program_id)
    is_hidden = program is not None and program.status is ProgramStatus.DRAFT
    if program is None or (is_hidden and not access.holds("program.read_draft", facts)):
        raise NotFoundError
    access.require(permission, facts)
    return program


async def _track_of(session: AsyncSession, program: Program, track_id: UUID) -> Track:
    track = await programs.find_part(
        session, Track, organization_id=program.organization_id, part_id=track_id
    )
    if track is None or track.program_id != program.id:
        raise unknown_reference("#/track_id")
    return track


def _require_startable(program: Program, track: Track, kind: RunKind) -> None:
    rules.require_matching(program.status)
    if program.matching_paused:
        raise ConflictError("Matching is paused in this program.", code="matching_paused")
    if rules.MODE_OF_KIND[kind] not in track.match_modes:
        raise rules.not_ready("match_modes", f"This track is not matched by {kind}.")


async def _frozen_policy(
    session: AsyncSession, track: Track, policy_id: UUID | None
) -> MatchPolicy:
    chosen = policy_id or track.policy_id
    if chosen is None:
        raise rules.not_ready("no_policy", "The track has no match policy.")
    try:
        policy = await program_operations.freeze_policy(
            session, organization_id=track.organization_id, policy_id=chosen
        )
    except NotFoundError:
        raise unknown_reference("#/policy_id") from None
    if policy.program_id != track.program_id:
        raise unknown_reference("#/policy_id")
    return policy


async def _require_people(session: AsyncSession, track: Track, kind: RunKind) -> None:
    """Refuse a run that cannot find anything: nobody waits, or nothing that is there takes more."""
    is_filled = kind is RunKind.FILL
    waiting = await queries.count_waiting(
        session,
        organization_id=track.organization_id,
        program_id=track.program_id,
        track_id=track.id,
        roles=pool_rules.JOINING[track.format] if is_filled else TrackRole,
    )
    if waiting < rules.FEWEST[kind]:
        raise rules.not_ready("nobody", "Nobody in this track waits to be matched.")
    of = PoolOf(track.organization_id, track.program_id, track.id)
    if is_filled and not await pools.places_there(SessionReader(session), of=of):
        raise rules.not_ready("no_free_place", "No mentorship of this track has a free place.")


async def _require_no_other(session: AsyncSession, track: Track) -> None:
    if await queries.unfinished_runs(
        session, organization_id=track.organization_id, track_id=track.id
    ):
        raise ConflictError("A run of this track is under way.", code="already_exists")


async def rerun(
    session: AsyncSession,
    *,
    actor: Actor,
    run_id: UUID,
    seed: int | None,
    if_match: str | None,
    due_at: datetime,
    now: datetime,
) -> MatchRun:
    """Put a run aside and queue another like it, which keeps what was locked."""
    old = await _load_run(session, actor, run_id, if_match)
    rules.next_run_status(old.status, RunAction.RERUN)
    await _put_aside(session, old, RunAction.RERUN, actor_id=actor.person_id, now=now)
    run = await start(
        session,
        actor=actor,
        program_id=old.program_id,
        track_id=old.track_id,
        mode=old.mode,
        kind=old.kind,
        policy_id=old.policy_id,
        seed=old.seed if seed is None else seed,
        run_id=None,
        due_at=due_at,
        now=now,
    )
    run.previous_run_id = old.id
    return run


async def discard(
    session: AsyncSession, *, actor: Actor, run_id: UUID, if_match: str | None, now: datetime
) -> MatchRun:
    """Put a run aside; seats its proposals held are free again, and whoever works on it stops."""
    run = await _load_run(session, actor, run_id, if_match)
    await _put_aside(session, run, RunAction.DISCARD, actor_id=actor.person_id, now=now)
    return run


async def put_aside(session: AsyncSession, *, run: MatchRun, now: datetime) -> None:
    """Discard a locked run because its program makes no new matches."""
    await _put_aside(session, run, RunAction.DISCARD, actor_id=None, now=now)


async def _put_aside(
    session: AsyncSession, run: MatchRun, action: RunAction, *, actor_id: UUID | None, now: datetime
) -> None:
    advance_run(session, run, action, actor_id=actor_id, now=now)
    run.progress = {}
    _end_lease(run)
    proposals = await queries.lock_proposals(
        session, organization_id=run.organization_id, run_id=run.id, statuses=OPEN
    )
    members = await queries.members_of(
        session,
        organization_id=run.organization_id,
        proposal_ids=[one.id for one in proposals],
    )
    for proposal in proposals:
        # Nobody decided on this one, so its lock and its pair stay open to the next run.
        proposal.decided_by = None
        await _move(
            session,
            proposal,
            members[proposal.id],
            ProposalAction.REJECT,
            actor_id=actor_id,
            now=now,
        )


async def publish(
    session: AsyncSession,
    *,
    actor: Actor,
    run_id: UUID,
    secret: bytes,
    if_match: str | None,
    now: datetime,
) -> MatchRun:
    """Ask the people of every approved proposal; refused once the frozen input no longer fits."""
    run = await _load_run(session, actor, run_id, if_match)
    rules.next_run_status(run.status, RunAction.PUBLISH)
    program = await programs.find(
        session, organization_id=run.organization_id, program_id=run.program_id
    )
    if program is None:
        raise NotFoundError
    rules.require_matching(program.status)
    track = await _track_of(session, program, run.track_id)
    approved = await queries.lock_proposals(
        session,
        organization_id=run.organization_id,
        run_id=run.id,
        statuses=[ProposalStatus.APPROVED],
    )
    members = await queries.members_of(
        session, organization_id=run.organization_id, proposal_ids=[one.id for one in approved]
    )
    lost = await _without_a_place(session, track, approved)
    asked = [one for one in approved if one.id not in lost]
    await _require_unchanged(session, run, asked, members, secret)
    advance_run(session, run, RunAction.PUBLISH, actor_id=actor.person_id, now=now)
    for proposal in approved:
        if proposal.id in lost:
            # Nobody turned them down, so that another run may find them a place.
            proposal.decided_by = None
            await _move(
                session,
                proposal,
                members[proposal.id],
                ProposalAction.REJECT,
                actor_id=actor.person_id,
                now=now,
            )
    for proposal in asked:
        await _ask(
            session, proposal, members[proposal.id], track, secret=secret, actor=actor, now=now
        )
    await _limit_answers(session, organization_id=run.organization_id, asked=asked, now=now)
    return run


async def _without_a_place(
    session: AsyncSession, track: Track, approved: Sequence[Proposal]
) -> set[UUID]:
    """Return the approved proposals whose mentorship has ended or become full since.

    Locks their mentorships in a fixed order, as two runs may be published at once.
    """
    filling: dict[UUID, list[UUID]] = {}
    for proposal in approved:
        if proposal.mentorship_id is not None:
            filling.setdefault(proposal.mentorship_id, []).append(proposal.id)
    lost = set[UUID]()
    for mentorship_id in sorted(filling):
        held = filling[mentorship_id]
        try:
            mentorship, present = await mentorships.lock_to_join(
                session, organization_id=track.organization_id, mentorship_id=mentorship_id
            )
        except ConflictError:
            lost |= {*held}
            continue
        free = await _free_places(session, track, mentorship.id, present)
        # Their own places are held; less than none are free where the track takes fewer now.
        lost |= {*held[max(len(held) + min(free, 0), 0) :]}
    return lost


async def _free_places(
    session: AsyncSession, track: Track, mentorship_id: UUID, present: Sequence[MentorshipMember]
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


async def _require_unchanged(
    session: AsyncSession,
    run: MatchRun,
    approved: Sequence[Proposal],
    members: Mapping[UUID, Sequence[ProposalMember]],
    secret: bytes,
) -> None:
    """Refuse a run whose frozen input no longer fits.

    Who joins a mentorship depends on nobody who joins another, so a run that fills them fits as
    long as everything does that its approved proposals rest on.
    """
    row = await queries.snapshot(
        SessionReader(session), organization_id=run.organization_id, run_id=run.id
    )
    frozen = row["snapshot"]["input"]
    current = await pools.read(SessionReader(session), of=pool_of(run), secret=secret)
    # What was decided about the run before stood fixed when this one began.
    for name in ("locks", "turned_down", "current"):
        current["input"][name] = frozen[name]
    if pool_of(run).is_filled:
        key = pool_rules.organization_secret(secret, run.organization_id)
        fits = all(
            pool_rules.rests_on(frozen, **joining)
            == pool_rules.rests_on(current["input"], **joining)
            for proposal in approved
            for joining in _joining(proposal, members[proposal.id], key)
        )
    else:
        fits = pool_rules.digest(current["input"]) == run.input_hash
    if not fits:
        raise ConflictError(
            "People or places have changed since this run; run it again.",
            code="stale_run",
            allowed=[RunAction.RERUN, RunAction.DISCARD],
        )


def _joining(
    proposal: Proposal, members: Sequence[ProposalMember], key: bytes
) -> list[dict[str, str]]:
    """Return who is to join the mentorship of a proposal, as a frozen input names them."""
    return [
        {
            "person": pool_rules.opaque_id(key, one.person_id),
            "role": one.role,
            "mentorship": pool_rules.opaque_id(key, proposal.mentorship_id),
        }
        for one in members
        if proposal.mentorship_id is not None
    ]


async def _load_run(
    session: AsyncSession, actor: Actor, run_id: UUID, if_match: str | None
) -> MatchRun:
    run = await queries.lock_run(session, organization_id=actor.organization_id, run_id=run_id)
    facts = actor.facts(program_id=run.program_id)
    if not access.holds("match_run.read", facts):
        raise NotFoundError
    access.require("match_run.decide", facts)
    accept_match(if_match, version=run.version)
    return run


def advance_run(
    session: AsyncSession, run: MatchRun, action: RunAction, *, actor_id: UUID | None, now: datetime
) -> None:
    """Apply an action to a locked run, whoever wants it."""
    before = run.status
    run.status = rules.next_run_status(before, action)
    run.touch(now)
    _record_run(session, run, actor_id=actor_id, before=before, now=now)


def _record_run(
    session: AsyncSession,
    run: MatchRun,
    *,
    actor_id: UUID | None,
    before: RunStatus | None,
    now: datetime,
) -> None:
    tells = run.status in TELLS_STARTER and run.started_by is not None
    events.record(
        session,
        EVENT_OF_RUN[run.status],
        run,
        now=now,
        actor_id=actor_id,
        program_id=run.program_id,
        from_state=before,
        to_state=run.status,
        named={"track_id": run.track_id},
        recipients={"starter": [run.started_by]} if tells and run.started_by else None,
    )


# Proposals


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
    program = await _program(session, actor, track.program_id, "proposal.decide")
    rules.require_matching(program.status)
    found = await _participants(session, track, members)
    await _require_rules(session, track, members, found)
    await _require_seats(session, track, members)
    if judged.broken and not is_forced:
        raise rules.broken_policy(judged.broken)
    proposal = await add_proposal(
        session,
        track=track,
        run_id=None,
        members=[(found[one].id, found[one].person_id, role) for one, role in members],
        score=judged.score,
        parts=judged.parts,
        forced=judged.broken,
        proposal_id=proposal_id,
        now=now,
    )
    await _record_proposal(session, proposal, [], actor_id=actor.person_id, before=None, now=now)
    return proposal


async def _participants(
    session: AsyncSession, track: Track, members: Members
) -> dict[UUID, Participant]:
    """Lock the participants a request names, in a fixed order."""
    found = {}
    for participant_id in sorted({one for one, _role in members}):
        index = [one for one, _role in members].index(participant_id)
        try:
            participant = await participant_queries.lock(
                session, organization_id=track.organization_id, participant_id=participant_id
            )
        except NotFoundError:
            raise unknown_reference(f"#/members/{index}/participant_id") from None
        if participant.program_id != track.program_id:
            raise unknown_reference(f"#/members/{index}/participant_id")
        found[participant_id] = participant
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
    terms, there = mentorships.terms_of(track), list[Candidate]()
    if present:
        there = await mentorships.candidates_of(session, track, present)
        broken += mentorship_rules.broken_joining(candidates, there, terms)
    else:
        broken += mentorship_rules.broken_composition(candidates, terms)
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


async def _present_in(session: AsyncSession, proposal: Proposal) -> list[MentorshipMember]:
    """Lock the mentorship that a proposal fills and return who is in it; nobody where it is new."""
    if proposal.mentorship_id is None:
        return []
    _mentorship, present = await mentorships.lock_to_join(
        session, organization_id=proposal.organization_id, mentorship_id=proposal.mentorship_id
    )
    return present


async def _require_place(
    session: AsyncSession, track: Track, proposal: Proposal, present: Sequence[MentorshipMember]
) -> None:
    """Refuse to fill a mentorship that is full with those who are in it or may yet join it."""
    if proposal.mentorship_id is None:
        return
    if await _free_places(session, track, proposal.mentorship_id, present) < 1:
        raise mentorship_rules.full(track.max_members)


async def _require_seats(session: AsyncSession, track: Track, members: Members) -> None:
    for participant_id, role in members:
        free = await queries.free_seats(
            session,
            organization_id=track.organization_id,
            participant_id=participant_id,
            track_id=track.id,
            role=role,
        )
        if free is None:
            detail = f"Somebody does not take part as {role} here."
            raise rules.hard_rule_failed([Violation("#/members", "role", detail)])
        if free < 1:
            raise rules.seat_taken()


async def add_proposal(
    session: AsyncSession,
    *,
    track: Track,
    run_id: UUID | None,
    members: Sequence[tuple[UUID, UUID, TrackRole]],
    score: int | None,
    parts: Sequence[Mapping[str, Any]],
    forced: Sequence[Mapping[str, Any]] = (),
    is_locked: bool = False,
    mentorship_id: UUID | None = None,
    proposal_id: UUID | None = None,
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
        is_locked=is_locked,
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
    return proposal


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
    rules.next_proposal_status(proposal.status, ProposalAction.APPROVE)
    run = await _run_of(session, proposal)
    _require_decidable(run)
    track = await _track(session, proposal)
    pairs = _pairs(members)
    # Looked at before anything is locked: of many who want a last seat, most learn it here.
    await _require_seats(session, track, pairs)
    present = await _present_in(session, proposal)
    await _require_place(session, track, proposal, present)
    found = await _participants(session, track, pairs)
    await _require_rules(session, track, pairs, found, present=present)
    await _hold_seats(session, track, pairs)
    proposal.decided_by = actor.person_id
    await _move(
        session, proposal, members, ProposalAction.APPROVE, actor_id=actor.person_id, now=now
    )
    if run is None or run.status is RunStatus.PUBLISHED:
        await _ask(session, proposal, members, track, secret=secret, actor=actor, now=now)
        await _limit_answers(
            session, organization_id=proposal.organization_id, asked=[proposal], now=now
        )
    return proposal


async def _hold_seats(session: AsyncSession, track: Track, members: Members) -> None:
    for participant_id, role in sorted(members):
        try:
            await participants.hold_seat(
                session,
                organization_id=track.organization_id,
                participant_id=participant_id,
                track_id=track.id,
                role=role,
            )
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
    proposal.decided_by = actor.person_id
    await _move(
        session, proposal, members, ProposalAction.REJECT, actor_id=actor.person_id, now=now
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
    scored: Scored,
    broken: Sequence[Mapping[str, Any]],
    if_match: str | None,
    now: datetime,
) -> tuple[Proposal, Proposal]:
    """Exchange the members of two proposals, which makes two new ones to decide on.

    `scored` holds what matching said of the new pairs, `broken` the policy's rules that forbid
    them; where it said nothing there is no score.
    """
    first, second = await _load_two(session, actor, proposal_id, other_id, if_match)
    track = await _track(session, first[0])
    _require_decidable(await _run_of(session, first[0]))
    if broken:
        raise rules.broken_policy(broken)
    new_members = exchange(_pairs(first[1]), _pairs(second[1]), role)
    people_of = {one.participant_id: one.person_id for one in [*first[1], *second[1]]}
    for proposal, members in (first, second):
        proposal.decided_by = actor.person_id
        await _move(
            session, proposal, members, ProposalAction.SWAP, actor_id=actor.person_id, now=now
        )
        proposal.is_locked = False
    present = {
        one.id: await _present_in(session, one)
        # In a fixed order, as others may swap or publish at once.
        for one in sorted((first[0], second[0]), key=lambda one: str(one.mentorship_id))
    }
    made = []
    for (left, _members_left), pairs in zip((first, second), new_members, strict=True):
        found = await _participants(session, track, pairs)
        await _require_rules(session, track, pairs, found, present=present[left.id])
        score, parts = scored.get(
            frozenset([*(one for one, _role in pairs), *filter(None, [left.mentorship_id])]),
            (None, []),
        )
        proposal = await add_proposal(
            session,
            track=track,
            run_id=first[0].run_id,
            members=[(one, people_of[one], role_) for one, role_ in pairs],
            score=score,
            parts=parts,
            mentorship_id=left.mentorship_id,
            now=now,
        )
        await _record_proposal(
            session, proposal, [], actor_id=actor.person_id, before=None, now=now
        )
        made.append(proposal)
    return made[0], made[1]


def exchange(first: Members, second: Members, role: TrackRole | None) -> tuple[Members, Members]:
    """Return who would be together after a swap."""
    return rules.exchanged(first, second, role=role or rules.usual_swap_role(first))


def pairs_after_swap(
    rows: Sequence[Mapping[str, Any] | None], role: TrackRole | None
) -> list[tuple[UUID, UUID]]:
    """Return the pairs that a swap of two proposals would make, or none where it cannot.

    Who joins a mentorship is a pair with it.
    """
    known = [row for row in rows if row is not None and row["members"]]
    if len(known) != PAIR:
        return []
    told = [
        [(UUID(str(one["participant_id"])), TrackRole(one["role"])) for one in row["members"]]
        for row in known
    ]
    there = [
        [(one, TrackRole.MENTOR) for one in filter(None, [row["mentorship_id"]])] for row in known
    ]
    try:
        made = exchange(told[0], told[1], role)
    except ConflictError:
        # Whoever swaps is told so when the swap itself is tried.
        return []
    return [
        (members[0][0], members[1][0])
        for members in (
            sorted([*beside, *one], key=_is_below) for beside, one in zip(there, made, strict=True)
        )
        if len(members) == PAIR
    ]


def _is_below(member: tuple[UUID, TrackRole]) -> bool:
    return member[1] in MENTEE_SIDE


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
            allowed=rules.allowed_proposal_actions(proposal.status),
        )
    if proposal.is_locked is not is_locked:
        proposal.is_locked = is_locked
        proposal.touch(now)
        _record(
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
    rules.next_proposal_status(proposal.status, ProposalAction.CONSENT)
    own = next(one for one in members if one.person_id == actor.person_id)
    own.answer, own.answered_at = "consented", now
    if all(one.answer == "consented" for one in members if one.is_asked):
        await _accept(session, proposal, members, secret=secret, actor_id=actor.person_id, now=now)
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
    rules.next_proposal_status(proposal.status, ProposalAction.DECLINE)
    own = next(one for one in members if one.person_id == actor.person_id)
    own.answer, own.answered_at = "declined", now
    await _move(
        session, proposal, members, ProposalAction.DECLINE, actor_id=actor.person_id, now=now
    )
    return proposal


async def close(
    session: AsyncSession, *, organization_id: UUID, proposal_id: UUID, now: datetime
) -> None:
    """End a proposal that can no longer come about: its time, a member or its program is over."""
    proposal = await queries.lock_proposal(
        session, organization_id=organization_id, proposal_id=proposal_id
    )
    members = await _members(session, proposal)
    for action in (ProposalAction.EXPIRE, ProposalAction.REJECT):
        if (proposal.status, action) in rules.PROPOSAL_TRANSITIONS:
            await _move(session, proposal, members, action, actor_id=None, now=now)
            return


async def remind(
    session: AsyncSession, *, organization_id: UUID, proposal_id: UUID, now: datetime
) -> None:
    """Note that people still owe an answer."""
    proposal = await queries.lock_proposal(
        session, organization_id=organization_id, proposal_id=proposal_id
    )
    if proposal.status is not ProposalStatus.AWAITING_PEOPLE:
        return
    members = await _members(session, proposal)
    silent = [one.person_id for one in members if one.is_asked and one.answer is None]
    _record(
        session,
        "proposal.reminder_due",
        proposal,
        members,
        actor_id=None,
        recipients={"asked": silent},
        now=now,
    )


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
    await _move(
        session, proposal, members, ProposalAction.PUBLISH, actor_id=actor.person_id, now=now
    )
    await _reveal_seats(session, proposal, members, now=now)
    if track.consent_sides is ConsentSides.NONE or not any(one.is_asked for one in members):
        await _accept(session, proposal, members, secret=secret, actor_id=actor.person_id, now=now)


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


async def _accept(
    session: AsyncSession,
    proposal: Proposal,
    members: Sequence[ProposalMember],
    *,
    secret: bytes,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    proposal.status = rules.next_proposal_status(proposal.status, ProposalAction.CONSENT)
    new = [NewMember(one.participant_id, one.role) for one in members]
    present = await _present_in(session, proposal)
    if proposal.mentorship_id is None:
        proposal.mentorship_id = await _create(session, proposal, new, actor_id=actor_id, now=now)
    else:
        await mentorships.join(
            session,
            organization_id=proposal.organization_id,
            mentorship_id=proposal.mentorship_id,
            members=new,
            actor_id=actor_id,
            now=now,
        )
    proposal.holds_until = None
    proposal.touch(now)
    await timers.cancel(session, organization_id=proposal.organization_id, subject_id=proposal.id)
    await _remember_pairs(session, proposal, members, present, secret, now=now)
    await _record_proposal(
        session,
        proposal,
        members,
        actor_id=actor_id,
        before=ProposalStatus.AWAITING_PEOPLE,
        now=now,
    )


async def _create(
    session: AsyncSession,
    proposal: Proposal,
    members: Sequence[NewMember],
    *,
    actor_id: UUID | None,
    now: datetime,
) -> UUID:
    track = await _track(session, proposal)
    mentorship = await mentorships.create(
        session,
        organization_id=proposal.organization_id,
        track_id=proposal.track_id,
        members=members,
        source=MentorshipSource.PROPOSAL,
        because=[one for one in proposal.parts if one["rule"] != pool_rules.SHORTLISTED],
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
        await session.merge(
            PastPair(
                organization_id=proposal.organization_id,
                pair_hash=pool_rules.pair_hash(key, *pair),
                at=now,
            )
        )


async def _move(
    session: AsyncSession,
    proposal: Proposal,
    members: Sequence[ProposalMember],
    action: ProposalAction,
    *,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    """Take a locked proposal to its next state; leaving a state that holds seats frees them."""
    before = proposal.status
    proposal.status = rules.next_proposal_status(before, action)
    proposal.touch(now)
    if before in rules.HOLDING and proposal.status not in rules.HOLDING:
        proposal.holds_until = None
        if before in rules.OPEN:
            await _drop_seats(session, proposal, members)
        else:
            await _release_seats(session, proposal, members, now=now)
        await timers.cancel(
            session, organization_id=proposal.organization_id, subject_id=proposal.id
        )
    await _record_proposal(session, proposal, members, actor_id=actor_id, before=before, now=now)


async def _reveal_seats(
    session: AsyncSession,
    proposal: Proposal,
    members: Sequence[ProposalMember],
    *,
    now: datetime,
) -> None:
    for member in sorted(members, key=lambda one: one.participant_id):
        await participants.reveal_seat(
            session,
            organization_id=proposal.organization_id,
            participant_id=member.participant_id,
            track_id=proposal.track_id,
            role=member.role,
            now=now,
        )


async def _drop_seats(
    session: AsyncSession, proposal: Proposal, members: Sequence[ProposalMember]
) -> None:
    for member in sorted(members, key=lambda one: one.participant_id):
        await participants.drop_seat(
            session,
            organization_id=proposal.organization_id,
            participant_id=member.participant_id,
            track_id=proposal.track_id,
            role=member.role,
        )


async def _release_seats(
    session: AsyncSession,
    proposal: Proposal,
    members: Sequence[ProposalMember],
    *,
    now: datetime,
) -> None:
    for member in sorted(members, key=lambda one: one.participant_id):
        await participants.release_seat(
            session,
            organization_id=proposal.organization_id,
            participant_id=member.participant_id,
            track_id=proposal.track_id,
            role=member.role,
            now=now,
        )


async def _load(
    session: AsyncSession,
    actor: Actor,
    proposal_id: UUID,
    permission: str,
    if_match: str | None,
) -> tuple[Proposal, list[ProposalMember]]:
    """Lock a proposal for the actor: 404 for who may not know, 403 for who may not act."""
    proposal = await queries.lock_proposal(
        session, organization_id=actor.organization_id, proposal_id=proposal_id
    )
    members = await _members(session, proposal)
    facts = actor.facts(program_id=proposal.program_id)
    own = next((one for one in members if one.person_id == actor.person_id), None)
    if own is not None and proposal.status in rules.TOLD:
        # Whoever was not asked learns of it as a member, but has nothing to answer.
        may_know = proposal.status is ProposalStatus.ACCEPTED and permission != "proposal.answer"
        if own.is_asked or may_know:
            facts |= {Role.MEMBER}
    if not access.holds("proposal.read", facts):
        raise NotFoundError
    access.require(permission, facts)
    accept_match(if_match, version=proposal.version)
    return proposal, members


async def _members(session: AsyncSession, proposal: Proposal) -> list[ProposalMember]:
    found = await queries.members_of(
        session, organization_id=proposal.organization_id, proposal_ids=[proposal.id]
    )
    return found[proposal.id]


async def _run_of(session: AsyncSession, proposal: Proposal) -> MatchRun | None:
    if proposal.run_id is None:
        return None
    return await queries.find_run(
        session, organization_id=proposal.organization_id, run_id=proposal.run_id
    )


def _require_decidable(run: MatchRun | None) -> None:
    """Refuse to decide on what was only simulated or was put aside."""
    if run is not None and run.status not in {RunStatus.REVIEW, RunStatus.PUBLISHED}:
        raise ConflictError(f"The run of this proposal is {run.status}.", code="invalid_transition")


async def _track(session: AsyncSession, proposal: Proposal) -> Track:
    track = await session.get(Track, (proposal.organization_id, proposal.track_id))
    if track is None:
        raise NotFoundError
    return track


def _pairs(members: Sequence[ProposalMember]) -> list[tuple[UUID, TrackRole]]:
    return [(one.participant_id, one.role) for one in members]


async def _record_proposal(
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
    _record(
        session,
        EVENT_OF_PROPOSAL[proposal.status],
        proposal,
        members,
        actor_id=actor_id,
        before=before,
        recipients=told,
        now=now,
    )


def _record(
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


def pool_of(run: MatchRun) -> PoolOf:
    """Return which pool a run works on."""
    return PoolOf(
        organization_id=run.organization_id,
        program_id=run.program_id,
        track_id=run.track_id,
        run_id=run.id,
        previous_run_id=run.previous_run_id,
        by=rules.MODE_OF_KIND[run.kind],
    )


# What a worker does to a run it has claimed


class LeaseLostError(Exception):
    """Somebody else works on this run now, or it has ended."""


async def lock_claimed(session: AsyncSession, claimed: Claim) -> MatchRun:
    """Load a claimed run for a change; refused once the lease is somebody else's."""
    run = await queries.lock_run(
        session, organization_id=claimed.organization_id, run_id=claimed.id
    )
    if run.lease_token != claimed.lease_token or run.status not in rules.UNFINISHED:
        raise LeaseLostError
    return run


async def begin(session: AsyncSession, *, run: MatchRun, secret: bytes, now: datetime) -> None:
    """Freeze what a run works on, the first time it is worked on."""
    if run.status is RunStatus.QUEUED:
        advance_run(session, run, RunAction.CLAIM, actor_id=None, now=now)
    if run.input_hash is None:
        snapshot = await pools.read(SessionReader(session), of=pool_of(run), secret=secret)
        run.snapshot = {"as_of": now.date().isoformat(), **snapshot}
        run.input_hash = pool_rules.digest(snapshot["input"])


async def frozen_task(reader: Reader, *, organization_id: UUID, run_id: UUID) -> FrozenTask:
    """Return what a run works on; 404 before it was frozen."""
    row = await queries.snapshot(reader, organization_id=organization_id, run_id=run_id)
    snapshot = row["snapshot"]
    if snapshot is None:
        raise NotFoundError("The run has not begun yet.")
    return FrozenTask(
        problem=pool_rules.problem_of(
            snapshot["input"],
            as_of=date.fromisoformat(snapshot["as_of"]),
            policy={name: row[name] for name in pool_rules.OF_A_POLICY},
            seed=row["run_seed"],
        ),
        participants={name: UUID(one) for name, one in snapshot["participants"].items()},
        by=rules.MODE_OF_KIND[RunKind(row["kind"])],
        there={
            name: There(UUID(mentorship), UUID(participant), leads=leads)
            for name, (mentorship, participant, leads) in snapshot.get("there", {}).items()
        },
    )


async def finish(
    session: AsyncSession,
    *,
    run: MatchRun,
    drafts: Sequence[Draft],
    stats: Mapping[str, Any],
    certificate: Mapping[str, Any],
    unmatched: Sequence[Mapping[str, Any]],
    now: datetime,
) -> None:
    """Store what a run has found, all at once, and let its coordinators know."""
    proposals = await _store(session, run, drafts, now=now)
    is_real = run.mode is RunMode.REAL
    if is_real:
        await _note_proposals(session, run, proposals, now=now)
        await _hand_over_locks(session, run, drafts)
    run.stats = dict(stats)
    run.certificate = dict(certificate)
    run.unmatched = [dict(one) for one in unmatched]
    run.progress = {}
    _end_lease(run)
    action = RunAction.FINISH if is_real else RunAction.SIMULATE
    advance_run(session, run, action, actor_id=None, now=now)


async def _store(
    session: AsyncSession, run: MatchRun, drafts: Sequence[Draft], *, now: datetime
) -> list[Proposal]:
    people_of = await queries.people_of_participants(
        session,
        organization_id=run.organization_id,
        participant_ids=[one for draft in drafts for one, _role in draft.members],
    )
    proposals = [
        Proposal(
            organization_id=run.organization_id,
            id=ids.new_id(),
            created_at=now,
            updated_at=now,
            program_id=run.program_id,
            track_id=run.track_id,
            run_id=run.id,
            score=round(draft.score),
            parts=[dict(part) for part in draft.parts],
            is_locked=draft.is_locked,
            mentorship_id=draft.mentorship_id,
        )
        for draft in drafts
    ]
    session.add_all(proposals)
    await session.flush()
    session.add_all(
        ProposalMember(
            organization_id=run.organization_id,
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


async def _note_proposals(
    session: AsyncSession, run: MatchRun, proposals: Sequence[Proposal], *, now: datetime
) -> None:
    """Record that proposals wait for approval; the coordinators are told once, by the first."""
    coordinators = await credentials.coordinators_of(
        session, organization_id=run.organization_id, program_id=run.program_id
    )
    members = await queries.members_of(
        session,
        organization_id=run.organization_id,
        proposal_ids=[one.id for one in proposals],
    )
    for index, proposal in enumerate(proposals):
        _record(
            session,
            EVENT_OF_PROPOSAL[ProposalStatus.PROPOSED],
            proposal,
            members[proposal.id],
            actor_id=None,
            recipients={"coordinators": coordinators} if index == 0 else None,
            now=now,
        )


async def _hand_over_locks(session: AsyncSession, run: MatchRun, drafts: Sequence[Draft]) -> None:
    """End the locks of earlier proposals that this run's have taken over."""
    kept = {
        frozenset([*(one for one, _role in draft.members), *filter(None, [draft.mentorship_id])])
        for draft in drafts
        if draft.is_locked
    }
    for proposal_id, members in (
        await pools.locked(SessionReader(session), of=pool_of(run))
    ).items():
        if frozenset(one["participant_id"] for one in members) in kept:
            proposal = await queries.lock_proposal(
                session, organization_id=run.organization_id, proposal_id=proposal_id
            )
            proposal.is_locked = proposal.status is ProposalStatus.PROPOSED


async def fail(session: AsyncSession, *, run: MatchRun, code: str, now: datetime) -> None:
    """Give a run up, and say why as a code."""
    run.failure_code = code[:64]
    run.progress = {}
    _end_lease(run)
    advance_run(session, run, RunAction.FAIL, actor_id=None, now=now)


def leave(run: MatchRun, *, due_at: datetime, counts: bool, phase: str) -> None:
    """Leave a run alone until then; waiting for matching is no failure and does not count."""
    waits = 0 if counts else run.progress.get("waits", 0) + 1
    run.progress = {"phase": phase, "waits": waits}
    run.attempts = run.attempts if counts else max(run.attempts - 1, 0)
    run.due_at = due_at
    _end_lease(run)


def _end_lease(run: MatchRun) -> None:
    run.leased_until, run.lease_token = None, None
