"""Runs as leased work.

A run is claimed, its input is read in one transaction, matching is called with none open, and
what it found is written in another, which only the holder of the lease may do. A worker that dies
anywhere leaves a run that the next one repeats from the same frozen input.
"""

import asyncio
import base64
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import and_, or_
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.clients import matching
from services.api.match_runs import operations, queries, rules
from services.api.match_runs.operations import LeaseLostError
from services.api.match_runs.rules import RunStatus
from services.api.pools import operations as pools
from services.api.pools import queries as pool_queries
from services.api.pools import rules as pool_rules
from services.api.pools.rules import FrozenTask
from services.api.programs.rules import Format, MatchMode
from services.api.proposals import rules as proposal_rules
from services.api.proposals.rules import Draft
from services.api.timers import queries as timers
from shared.errors import DomainError, InvalidError, UnavailableError
from shared.http import ServiceClient
from shared.persistence import leases
from shared.persistence.leases import ENDLESS, NOW, Claim, JobDatabase, Queue, Search
from shared.persistence.reads import SessionReader
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.schemas.matching import (
    MAX_TEXTS,
    Certificate,
    Circles,
    CirclesLine,
    Draw,
    Fairness,
    Match,
    ProgressLine,
    Reason,
    Solution,
    SolutionLine,
    Totals,
    Unmatched,
    Versions,
)
from shared.workers.backoff import Backoff

# A run that keeps killing its worker is claimed once more, to be given up in sight of everybody.
QUEUE = Queue(queries.RUN, lease_seconds=30, max_attempts=ENDLESS)
DUE = Search(
    QUEUE,
    and_(
        or_(*(queries.RUN.c.status == status for status in sorted(rules.UNFINISHED))),
        queries.RUN.c.due_at <= NOW,
    ),
    limit=1,
)
MOST_ATTEMPTS = 3
RETRYING = Backoff(first=1, ceiling=60)
WAITING = Backoff(first=1, ceiling=60)
TELL_EVERY = timedelta(seconds=2)
LOOK_SECONDS = 0.5
# Much shorter than the lease, which nothing prolongs meanwhile.
EMBEDDING_SECONDS = 8.0

DOORS: Mapping[str, matching.Door[Any]] = MappingProxyType({Format.CIRCLE: matching.CIRCLES})
"""Where formats are asked about that are not pairs or groups."""
NOT_COUNTED = -1
LOCKS_NOT_KEPT = "doubt.locks_not_kept"
"""What matching warns of where people who were locked are not together."""
NOT_JUDGED = Fairness(minimum=None, fifth_percentile=None, gini=None)
"""Of draws, whose scores decide nothing."""

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Desk:
    """What a worker needs for runs: the database, matching, and the secret ids are hidden with."""

    database: JobDatabase
    matching: ServiceClient
    secret: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What matching found for a run, whichever door was asked."""

    matches: Sequence[Match]
    unmatched: Sequence[Unmatched]
    totals: Totals
    certificate: Certificate
    versions: Versions
    warnings: Sequence[Reason]
    fairness: Fairness | None = None
    blocking_pairs: int = NOT_COUNTED
    repeated: int | None = None

    @classmethod
    def of(cls, line: matching.Last) -> "Outcome":
        """Return what the last line of an answer says."""
        if isinstance(line, SolutionLine):
            found = line.solution
            return cls(
                **_common(found),
                matches=found.matches,
                fairness=found.fairness,
                blocking_pairs=found.blocking_pairs,
            )
        if isinstance(line, CirclesLine):
            circles = line.circles
            return cls(**_common(circles), matches=circles.circles, fairness=circles.fairness)
        draw = line.draw
        return cls(**_common(draw), matches=draw.matches, repeated=draw.repeated)


def _common(found: Solution | Circles | Draw) -> dict[str, Any]:
    return {
        "unmatched": found.unmatched,
        "totals": found.totals,
        "certificate": found.certificate,
        "versions": found.versions,
        "warnings": found.warnings,
    }


async def turn(desk: Desk) -> int:
    """Work on one run that is due; return how many there were."""
    claims = await leases.claim(desk.database.claims, DUE, now=desk.database.clock())
    for claimed in claims:
        await _work(desk, claimed)
    return len(claims)


async def _work(desk: Desk, claimed: Claim) -> None:
    try:
        task = await read(desk, claimed)
        if task is not None:
            line = await call(desk, claimed, task)
            await write(desk, claimed, task, line)
    except LeaseLostError:
        logger.info("lease_lost", operation="match_runs", subject_id=str(claimed.id))
    except UnavailableError:
        await _leave(desk, claimed, wait=WAITING, counts=False, phase="waiting_for_matching")
    except InvalidError as refusal:
        # What matching refuses now, it refuses again.
        logger.warning("run_refused", code=refusal.code)
        await _give_up(desk, claimed, refusal)
    except Exception as error:  # noqa: BLE001 - whatever it was, it is retried and then shown
        fault = error if isinstance(error, DomainError) else DomainError()
        logger.warning("run_failed", code=fault.code, error_type=type(error).__name__)
        await _retry(desk, claimed, fault)


async def read(desk: Desk, claimed: Claim) -> FrozenTask | None:
    """Freeze what a run works on; None when it has been tried too often."""
    async with transaction(desk.database.sessions, Tenant(claimed.organization_id)) as session:
        run = await operations.lock_claimed(session, claimed)
        now = await _now(desk, session, claimed)
        if claimed.attempts > MOST_ATTEMPTS:
            await operations.fail(session, run=run, code="worker_lost", now=now)
            return None
        operations.begin(session, run=run, now=now)
        of, is_frozen = operations.pool_of(run), run.input_hash is not None
    async with transaction(desk.database.sessions, Tenant(claimed.organization_id)) as session:
        if not is_frozen:
            await operations.freeze(session, claimed=claimed, of=of, secret=desk.secret, now=now)
        return await operations.frozen_task(
            SessionReader(session), organization_id=claimed.organization_id, run_id=claimed.id
        )


async def call(desk: Desk, claimed: Claim, task: FrozenTask) -> matching.Last:
    """Let matching work on it; its progress prolongs the lease, and losing it ends the work."""
    told_at, told_phase = desk.database.clock(), ""

    async def on_progress(line: ProgressLine) -> None:
        nonlocal told_at, told_phase
        now = desk.database.clock()
        if line.phase != told_phase or now - told_at >= TELL_EVERY:
            told_at, told_phase = now, line.phase
            await _tell(desk, claimed, line, now=now)

    async def solve() -> matching.Last:
        return await matching.ask(
            desk.matching,
            _door_of(task),
            organization_id=claimed.organization_id,
            problem=await embedded(desk, claimed.organization_id, task.problem),
            on_progress=on_progress,
        )

    solving = asyncio.create_task(solve())
    watching = asyncio.create_task(_until_lost(desk, claimed))
    try:
        await asyncio.wait({solving, watching}, return_when=asyncio.FIRST_COMPLETED)
        if solving.done():
            return solving.result()
        watching.result()
        raise LeaseLostError
    finally:
        # Hanging up is how matching learns that nobody waits for it any more.
        solving.cancel()
        watching.cancel()
        await asyncio.gather(solving, watching, return_exceptions=True)


def _door_of(task: FrozenTask) -> matching.Door[Any]:
    if task.by is MatchMode.ROULETTE:
        return matching.DRAWS
    return DOORS.get(task.problem["format"], matching.SOLUTIONS)


async def embedded(
    desk: Desk, organization_id: UUID, problem: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return a problem with the vectors of its texts: those that are kept, and others made now.

    Without them matching takes longer and finds the same, so nothing that goes wrong here ends a
    run. Answers, notes and feedback are not among these texts.
    """
    texts = pool_rules.texts_to_compare(problem)
    if not texts:
        return problem
    model, vectors = "", dict[str, bytes]()
    try:
        async with asyncio.timeout(EMBEDDING_SECONDS):
            model = await _text_model(desk, organization_id)
            vectors |= await _kept_vectors(desk, organization_id, model, texts)
            missing = [text for text in texts if text not in vectors]
            for batch in itertools.batched(missing, MAX_TEXTS):
                vectors |= await _made_vectors(desk, organization_id, model, batch)
    except (DomainError, TimeoutError, ValueError) as error:
        logger.info("texts_not_embedded", error_type=type(error).__name__)
    return pool_rules.with_vectors(problem, model=model, vectors=vectors) if vectors else problem


async def _text_model(desk: Desk, organization_id: UUID) -> str:
    """Ask which model matching uses now: what an earlier one made is of no use to it."""
    answer = await matching.embed(desk.matching, organization_id=organization_id, texts=[])
    return answer.model


async def _kept_vectors(
    desk: Desk, organization_id: UUID, model: str, texts: Sequence[str]
) -> Mapping[str, bytes]:
    async with transaction(desk.database.sessions, Tenant(organization_id)) as session:
        return await pool_queries.vectors(
            SessionReader(session), organization_id=organization_id, model=model, texts=texts
        )


async def _made_vectors(
    desk: Desk, organization_id: UUID, model: str, texts: Sequence[str]
) -> Mapping[str, bytes]:
    answer = await matching.embed(desk.matching, organization_id=organization_id, texts=texts)
    if answer.model != model:
        # Matching is being replaced by another release.
        return {}
    made = dict(zip(texts, map(base64.b64decode, answer.vectors), strict=True))
    async with transaction(desk.database.sessions, Tenant(organization_id)) as session:
        await pools.keep_vectors(
            session,
            organization_id=organization_id,
            model=model,
            vectors=made,
            now=desk.database.clock(),
        )
    return made


async def _until_lost(desk: Desk, claimed: Claim) -> None:
    """Return once a run is no longer ours: matching may be silent for seconds, so it is asked."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        async with transaction(desk.database.sessions, Tenant(claimed.organization_id)) as session:
            if not await queries.is_claimed(session, claimed=claimed):
                return


async def _tell(desk: Desk, claimed: Claim, line: ProgressLine, *, now: datetime) -> None:
    async with transaction(desk.database.sessions, Tenant(claimed.organization_id)) as session:
        is_ours = await queries.note_progress(
            session,
            claimed=claimed,
            progress=line.model_dump(include={"phase", "done", "total", "eta_seconds"}),
            leased_until=now + timedelta(seconds=QUEUE.lease_seconds),
        )
    if not is_ours:
        raise LeaseLostError


async def write(desk: Desk, claimed: Claim, task: FrozenTask, line: matching.Last) -> None:
    """Store what matching found, if the run is still ours."""
    outcome = Outcome.of(line)
    names = task.names
    drafts = [draft for match in outcome.matches for draft in proposal_rules.drafts_of(match, task)]
    async with transaction(desk.database.sessions, Tenant(claimed.organization_id)) as session:
        run = await operations.lock_claimed(session, claimed)
        await operations.finish(
            session,
            run=run,
            drafts=drafts,
            stats=_stats(outcome, task, drafts, seconds=sum(line.timings.model_dump().values())),
            certificate={
                **outcome.certificate.model_dump(mode="json"),
                **outcome.versions.model_dump(),
                "digest": line.digest,
            },
            unmatched=[
                {
                    "participant_id": str(task.participants[one.id]),
                    "role": one.role.value,
                    "free": one.free,
                    **pool_rules.revealed(one.reason.model_dump(mode="json"), names),
                }
                for one in outcome.unmatched
                # A mentorship that is there and stays as it is has nobody who waits.
                if one.id in task.participants
            ],
            now=await _now(desk, session, claimed),
        )


def _stats(
    outcome: Outcome, task: FrozenTask, drafts: Sequence[Draft], *, seconds: float
) -> dict[str, Any]:
    totals = outcome.totals
    return {
        "people": len(task.participants),
        "matched": len({one for draft in drafts for one, _role in draft.members}),
        "proposals": len(drafts),
        "mean_score": totals.mean,
        "min_score": min((one.score for one in drafts), default=None),
        "seconds": round(seconds, 3),
        "blocking_pairs": outcome.blocking_pairs,
        "repeated": outcome.repeated,
        "criteria": totals.criteria,
        "fairness": (outcome.fairness or NOT_JUDGED).model_dump(),
        "warnings": [one.model_dump(mode="json") for one in _warnings(outcome, task)],
    }


def _warnings(outcome: Outcome, task: FrozenTask) -> list[Reason]:
    """Return what matching warns of, with the locks that it was never told of counted in."""
    others = [one for one in outcome.warnings if one.key != LOCKS_NOT_KEPT]
    lost = task.lost_locks + sum(
        one.params["locks"] for one in outcome.warnings if one.key == LOCKS_NOT_KEPT
    )
    said = Reason(rule="locks", key=LOCKS_NOT_KEPT, params={"locks": lost})
    return [*others, said] if lost else others


async def _retry(desk: Desk, claimed: Claim, refusal: DomainError) -> None:
    if claimed.attempts < MOST_ATTEMPTS:
        await _leave(desk, claimed, wait=RETRYING, counts=True, phase="retrying")
    else:
        await _give_up(desk, claimed, refusal)


async def _give_up(desk: Desk, claimed: Claim, refusal: DomainError) -> None:
    async with transaction(desk.database.sessions, Tenant(claimed.organization_id)) as session:
        try:
            run = await operations.lock_claimed(session, claimed)
        except LeaseLostError:
            return
        now = await _now(desk, session, claimed)
        await operations.fail(session, run=run, code=refusal.code, errors=refusal.errors, now=now)


async def _leave(desk: Desk, claimed: Claim, *, wait: Backoff, counts: bool, phase: str) -> None:
    async with transaction(desk.database.sessions, Tenant(claimed.organization_id)) as session:
        try:
            run = await operations.lock_claimed(session, claimed)
        except LeaseLostError:
            return
        tries = claimed.attempts if counts else run.progress.get("waits", 0) + 1
        due_at = desk.database.clock() + wait.after(tries)
        operations.leave(run, due_at=due_at, counts=counts, phase=phase)


async def _now(desk: Desk, session: AsyncSession, claimed: Claim) -> datetime:
    return await timers.organization_now(
        session,
        organization_id=claimed.organization_id,
        real_now=desk.database.clock(),
    )


async def on_program_closed(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """End every run of a program that makes no new matches."""
    for run_id in await queries.run_ids_of_program(
        session,
        organization_id=organization_id,
        program_id=subject_id,
        statuses=[*rules.UNFINISHED, RunStatus.REVIEW],
    ):
        run = await queries.lock_run(session, organization_id=organization_id, run_id=run_id)
        if run.status is RunStatus.REVIEW:
            await operations.put_aside(session, run=run, now=now)
        elif run.status in rules.UNFINISHED:
            await operations.fail(session, run=run, code="program_closed", now=now)
