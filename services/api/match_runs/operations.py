"""Start, judge and publish runs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import rules as access
from services.api.access.rules import Actor
from services.api.events import operations as events
from services.api.match_runs import queries, rules
from services.api.match_runs.rules import RunAction, RunKind, RunMode, RunStatus
from services.api.match_runs.tables import MatchRun
from services.api.pools import queries as pools
from services.api.pools import rules as pool_rules
from services.api.pools.rules import FrozenTask, PoolOf, There
from services.api.programs import operations as program_operations
from services.api.programs import queries as programs
from services.api.programs import rules as program_rules
from services.api.programs.rules import ProgramStatus, TrackRole
from services.api.programs.tables import MatchPolicy, Program, Track
from services.api.proposals import operations as proposals
from services.api.proposals import queries as proposal_queries
from services.api.proposals import rules as proposal_rules
from services.api.proposals.rules import OPEN, Draft, ProposalStatus
from services.api.proposals.tables import Proposal, ProposalMember
from shared import ids
from shared.errors import ConflictError, NotFoundError, Violation, unknown_reference
from shared.persistence.leases import Claim
from shared.persistence.reads import Reader, SessionReader
from shared.web.preconditions import accept_match

EVENT_OF: Mapping[RunStatus, str] = {
    RunStatus.QUEUED: "match_run.queued",
    RunStatus.RUNNING: "match_run.running",
    RunStatus.REVIEW: "match_run.completed",
    RunStatus.SIMULATED: "match_run.completed",
    RunStatus.FAILED: "match_run.failed",
    RunStatus.DISCARDED: "match_run.discarded",
    RunStatus.PUBLISHED: "match_run.published",
}
TELLS_STARTER = frozenset({RunStatus.REVIEW, RunStatus.SIMULATED, RunStatus.FAILED})


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
    program = await program_to_match(
        session, actor=actor, program_id=program_id, permission="match_run.start"
    )
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


async def program_to_match(
    session: AsyncSession, *, actor: Actor, program_id: UUID, permission: str
) -> Program:
    """Return a program in which somebody may match: 404 for who may not know of it."""
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
    program_rules.check_matching(program.status)
    if program.matching_paused:
        raise ConflictError("Matching is paused in this program.", code="matching_paused")
    if rules.MODE_OF_KIND[kind] not in track.match_modes:
        raise proposal_rules.not_ready("match_modes", f"This track is not matched by {kind}.")


async def _frozen_policy(
    session: AsyncSession, track: Track, policy_id: UUID | None
) -> MatchPolicy:
    chosen = policy_id or track.policy_id
    if chosen is None:
        raise proposal_rules.not_ready("no_policy", "The track has no match policy.")
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
    rules.require_enough(kind, waiting)
    of = PoolOf(track.organization_id, track.program_id, track.id)
    if is_filled and not await pools.places_there(SessionReader(session), of=of):
        raise proposal_rules.not_ready(
            "no_free_place", "No mentorship of this track has a free place."
        )


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
    rules.next_status(old.status, RunAction.RERUN)
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
    undecided, members = await _lock_proposals(session, run, OPEN)
    # Their locks and pairs stay open to the next run.
    await proposals.withdraw(
        session, proposals=undecided, members=members, actor_id=actor_id, now=now
    )


async def _lock_proposals(
    session: AsyncSession, run: MatchRun, statuses: Iterable[ProposalStatus]
) -> tuple[Sequence[Proposal], Mapping[UUID, Sequence[ProposalMember]]]:
    found = await proposal_queries.lock_of_run(
        session, organization_id=run.organization_id, run_id=run.id, statuses=statuses
    )
    members = await proposal_queries.members_of(
        session, organization_id=run.organization_id, proposal_ids=[one.id for one in found]
    )
    return found, members


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
    rules.next_status(run.status, RunAction.PUBLISH)
    program = await programs.find(
        session, organization_id=run.organization_id, program_id=run.program_id
    )
    if program is None:
        raise NotFoundError
    program_rules.check_matching(program.status)
    track = await _track_of(session, program, run.track_id)
    approved, members = await _lock_proposals(session, run, [ProposalStatus.APPROVED])
    lost = await proposals.without_a_place(session, track=track, approved=approved, members=members)
    asked = [one for one in approved if one.id not in lost]
    await _require_unchanged(session, run, asked, members, secret)
    advance_run(session, run, RunAction.PUBLISH, actor_id=actor.person_id, now=now)
    await proposals.withdraw(
        session,
        proposals=[one for one in approved if one.id in lost],
        members=members,
        actor_id=actor.person_id,
        now=now,
    )
    await proposals.ask(
        session,
        proposals=asked,
        members=members,
        track=track,
        secret=secret,
        actor=actor,
        now=now,
    )
    return run


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
    run.status = rules.next_status(before, action)
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
        EVENT_OF[run.status],
        run,
        now=now,
        actor_id=actor_id,
        program_id=run.program_id,
        from_state=before,
        to_state=run.status,
        named={"track_id": run.track_id},
        recipients={"starter": [run.started_by]} if tells and run.started_by else None,
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


def begin(session: AsyncSession, *, run: MatchRun, now: datetime) -> None:
    """Say that a run is worked on, the first time it is."""
    if run.status is RunStatus.QUEUED:
        advance_run(session, run, RunAction.CLAIM, actor_id=None, now=now)


async def freeze(
    session: AsyncSession, *, claimed: Claim, of: PoolOf, secret: bytes, now: datetime
) -> None:
    """Keep what a run works on; nobody who discards it waits until its people have been read."""
    snapshot = await pools.read(SessionReader(session), of=of, secret=secret)
    run = await lock_claimed(session, claimed)
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
        lost_locks=snapshot.get("lost_locks", 0),
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
    of, is_real = pool_of(run), run.mode is RunMode.REAL
    made = await proposals.add_drafts(session, of=of, drafts=drafts, now=now)
    if is_real:
        await proposals.announce(session, of=of, proposals=made, now=now)
        await proposals.hand_over_locks(session, of=of, drafts=drafts)
    run.stats = dict(stats)
    run.certificate = dict(certificate)
    run.unmatched = [dict(one) for one in unmatched]
    run.progress = {}
    _end_lease(run)
    action = RunAction.FINISH if is_real else RunAction.SIMULATE
    advance_run(session, run, action, actor_id=None, now=now)


async def fail(
    session: AsyncSession,
    *,
    run: MatchRun,
    code: str,
    errors: Sequence[Violation] = (),
    now: datetime,
) -> None:
    """Give a run up, and say why: as a code, and what was wrong where."""
    run.failure_code = code[:64]
    run.failure_errors = [dict(one) for one in rules.failures_of(errors)]
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
