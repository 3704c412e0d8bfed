"""Match runs, the proposals they make, and people's answers to them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import product
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor, Scope
from services.api.clients import matching
from services.api.dependencies import (
    ActorDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    Reading,
    ReadingDep,
    ResourcesDep,
    SessionDep,
    WritingDep,
    allow,
    calling_door,
    door,
    id_page,
)
from services.api.match_runs import operations, queries, rules
from services.api.match_runs.rules import ProposalStatus, RunStatus
from services.api.match_runs.schemas import (
    AlternativeView,
    CertificateView,
    ExplanationView,
    FairnessView,
    Pair,
    PartView,
    PresentMemberView,
    ProgressView,
    ProposalCreate,
    ProposalId,
    ProposalMemberView,
    ProposalPage,
    ProposalsQuery,
    ProposalView,
    ReasonView,
    Rerun,
    RunCreate,
    RunFairnessView,
    RunId,
    RunPage,
    RunsQuery,
    RunView,
    StatsView,
    Swap,
    SwappedView,
    UnmatchedView,
)
from services.api.match_runs.tables import MatchRun, Proposal
from services.api.pools import queries as pools
from services.api.pools import rules as pool_rules
from services.api.pools.rules import FrozenTask, PoolOf
from services.api.programs import queries as programs
from services.api.programs.rules import TrackRole
from services.api.programs.schemas import ProgramId, TrackId
from services.api.programs.tables import MatchPolicy, Track
from services.api.resources import Resources
from shared import ids
from shared.errors import InvalidError, NotFoundError, UnavailableError, Violation
from shared.persistence.reads import Reader, SessionReader
from shared.schemas.matching import Explanation, PairScore
from shared.web import responses

router = door("match-runs")
# Explanations and swaps ask matching, with no transaction open while it thinks.
calling_router = calling_door("match-runs")

READ, RUN, PUBLISH = Scope.MATCHING_READ, Scope.MATCHING_RUN, Scope.MATCHING_PUBLISH
MOST_SHOWN = 1000
PAIR = 2


def present_run(row: Mapping[str, Any], actor: Actor) -> RunView:
    """Show a run."""
    status = RunStatus(row["status"])
    return RunView(
        id=ids.format_id("match_run", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        program_id=ids.format_id("program", row["program_id"]),
        track_id=ids.format_id("track", row["track_id"]),
        mode=row["mode"],
        kind=row["kind"],
        policy_id=ids.format_optional("match_policy", row["policy_id"]),
        policy_version=row["policy_version"],
        seed=row["seed"],
        input_hash=row["input_hash"],
        previous_run_id=ids.format_optional("match_run", row["previous_run_id"]),
        started_by=ids.format_optional("person", row["started_by"]),
        status=status,
        allowed=access.offered(
            actor,
            rules.allowed_run_actions(status),
            rules.RUN_NEEDS,
            actor.facts(program_id=row["program_id"]),
        ),
        progress=_progress(row["progress"]),
        stats=_stats(row["stats"]) if row["stats"] else None,
        certificate=_certificate(row["certificate"]) if row["certificate"] else None,
        unmatched=[_unmatched(one) for one in row["unmatched"][:MOST_SHOWN]],
        unmatched_count=len(row["unmatched"]),
        proposals_by_status=row["proposals"] or {},
        failure_code=row["failure_code"],
    )


def _progress(value: Mapping[str, Any]) -> ProgressView:
    return ProgressView(
        phase=value.get("phase"),
        done=value.get("done"),
        total=value.get("total"),
        eta_seconds=value.get("eta_seconds"),
    )


def _stats(value: Mapping[str, Any]) -> StatsView:
    return StatsView(
        people=value["people"],
        matched=value["matched"],
        proposals=value["proposals"],
        mean_score=value["mean_score"],
        min_score=value["min_score"],
        seconds=value["seconds"],
        blocking_pairs=value["blocking_pairs"],
        # Runs from before there were draws do not say it.
        repeated=value.get("repeated"),
        criteria=value["criteria"],
        fairness=_fairness(value["fairness"]),
        warnings=[_reason(one) for one in value["warnings"]],
    )


def _certificate(value: Mapping[str, Any]) -> CertificateView:
    return CertificateView(
        kind=value["kind"],
        objective=value["objective"],
        primal=value["primal"],
        dual=value["dual"],
        gap=value["gap"],
        method=value["method"],
        engine=value["engine"],
        text_model=value["text_model"],
        digest=value["digest"],
    )


def _fairness(value: Mapping[str, Any]) -> FairnessView:
    return FairnessView(
        minimum=value["minimum"],
        fifth_percentile=value["fifth_percentile"],
        gini=value["gini"],
    )


def _unmatched(value: Mapping[str, Any]) -> UnmatchedView:
    return UnmatchedView(
        participant_id=ids.format_id("participant", UUID(value["participant_id"])),
        role=value["role"],
        free=value["free"],
        rule=value["rule"],
        key=value["key"],
        params=value["params"],
    )


def present_proposal(row: Mapping[str, Any], actor: Actor) -> ProposalView:
    """Show a proposal; a member sees neither the coordinator's marks nor others' answers."""
    status = ProposalStatus(row["status"])
    facts = actor.facts(program_id=row["program_id"])
    decides = access.holds("proposal.list", facts)
    is_asked = any(
        one["is_asked"] and UUID(str(one["person_id"])) == actor.person_id for one in row["members"]
    )
    return ProposalView(
        id=ids.format_id("proposal", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        program_id=ids.format_id("program", row["program_id"]),
        track_id=ids.format_id("track", row["track_id"]),
        run_id=ids.format_optional("match_run", row["run_id"]) if decides else None,
        members=[_member(one, actor, decides=decides) for one in _in_order(row["members"])],
        score=row["score"],
        parts=_parts(row["parts"], decides=decides),
        status=status,
        allowed=access.offered(
            actor,
            rules.allowed_proposal_actions(status),
            rules.PROPOSAL_NEEDS,
            facts | {Role.MEMBER} if is_asked else facts,
        ),
        forced=[_reason(one) for one in row["forced"]] if decides else None,
        is_locked=row["is_locked"] if decides else None,
        holds_until=row["holds_until"],
        mentorship_id=ids.format_optional("mentorship", row["mentorship_id"]),
        # Somebody who said no or nothing is not told who comes and goes there.
        present=[
            _present(one)
            for one in _in_order(row["present"])
            if decides or status is ProposalStatus.AWAITING_PEOPLE
        ],
    )


def _present(value: Mapping[str, Any]) -> PresentMemberView:
    return PresentMemberView(
        participant_id=ids.format_id("participant", UUID(str(value["participant_id"]))),
        person_id=ids.format_id("person", UUID(str(value["person_id"]))),
        role=value["role"],
    )


def _in_order(members: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(
        members or (), key=lambda one: (rules.rank_in(one["role"]), str(one["participant_id"]))
    )


def _member(value: Mapping[str, Any], actor: Actor, *, decides: bool) -> ProposalMemberView:
    person_id = UUID(str(value["person_id"]))
    sees_answer = decides or person_id == actor.person_id
    return ProposalMemberView(
        participant_id=ids.format_id("participant", UUID(str(value["participant_id"]))),
        person_id=ids.format_id("person", person_id),
        role=value["role"],
        is_asked=value["is_asked"],
        answer=value["answer"] if sees_answer else None,
        answered_at=value["answered_at"] if sees_answer else None,
    )


def _parts(values: Sequence[Mapping[str, Any]], *, decides: bool) -> list[PartView]:
    """Show what gave the points; whom somebody favors is their own secret, and its effect staff's.

    A member could tell from the part who marked whom.
    """
    return [_part(one) for one in values if decides or one["rule"] != pool_rules.SHORTLISTED]


def _part(value: Mapping[str, Any]) -> PartView:
    return PartView(
        rule=value["rule"],
        key=value["key"],
        params={} if value["rule"] == pool_rules.SHORTLISTED else value["params"],
        points=value["points"],
        weight=value["weight"],
        value=value["value"],
    )


async def _run_view(session: SessionDep, actor: Actor, run: MatchRun) -> RunView:
    row = await queries.get_run(SessionReader(session), actor=actor, run_id=run.id)
    return present_run(row, actor)


async def _proposal_view(session: SessionDep, actor: Actor, proposal: Proposal) -> ProposalView:
    row = await queries.get_proposal(SessionReader(session), actor=actor, proposal_id=proposal.id)
    return present_proposal(row, actor)


async def _answer(session: SessionDep, actor: Actor, proposal: Proposal) -> Response:
    view = await _proposal_view(session, actor, proposal)
    return responses.one(view, version=view["version"])


def _accepted(view: RunView) -> Response:
    return responses.accepted(
        view, version=view["version"], location=f"/v1/match-runs/{view['id']}"
    )


@router.post(
    "/programs/{program_id}/match-runs",
    summary="Start a match run",
    status_code=202,
    response_model=RunView,
    openapi_extra=allow("match_run.start", RUN),
)
async def start_match_run(
    *,
    program_id: ProgramId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    resources: ResourcesDep,
    body: RunCreate,
) -> Response:
    """Queue a run over a track. It goes on by itself: follow its status at `Location`."""
    run = await operations.start(
        session,
        actor=actor,
        program_id=program_id,
        track_id=body.track_id,
        mode=body.mode,
        kind=body.kind,
        policy_id=body.policy_id,
        seed=body.seed,
        run_id=body.id,
        due_at=resources.clock(),
        now=now,
    )
    return _accepted(await _run_view(session, actor, run))


@router.get(
    "/programs/{program_id}/match-runs",
    summary="List match runs",
    response_model=RunPage,
    openapi_extra=allow("match_run.read", READ),
)
async def list_match_runs(
    *,
    request: Request,
    program_id: ProgramId,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[RunsQuery, Query()],
) -> Response:
    """Return the runs of a program, oldest first."""
    await programs.get(reader, actor=actor, program_id=program_id)
    access.require("match_run.read", actor.facts(program_id=program_id))
    filters = query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)

    async def read(after: UUID | None, limit: int) -> Sequence[Mapping[str, Any]]:
        return await queries.list_runs(
            reader, actor=actor, program_id=program_id, filters=filters, after=after, limit=limit
        )

    return await id_page(request, query, read, lambda row: present_run(row, actor))


@router.get(
    "/match-runs/{run_id}",
    summary="Read a match run",
    response_model=RunView,
    openapi_extra=allow("match_run.read", READ),
)
async def get_match_run(*, run_id: RunId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return a run: how far it is, what it found, what is guaranteed, who was left and why."""
    row = await queries.get_run(reader, actor=actor, run_id=run_id)
    return responses.one(present_run(row, actor), version=row["version"])


@router.get(
    "/match-runs/{run_id}/proposals",
    summary="List the proposals of a run",
    response_model=ProposalPage,
    openapi_extra=allow("proposal.list", READ),
)
async def list_run_proposals(
    *,
    request: Request,
    run_id: RunId,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[ProposalsQuery, Query()],
) -> Response:
    """Return what a run proposed, best scores not first but oldest first, each with its parts."""
    run = await queries.get_run(reader, actor=actor, run_id=run_id)
    access.require("proposal.list", actor.facts(program_id=run["program_id"]))
    filters = query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
    return await _proposals(request, actor, reader, query, {**filters, "run_id": run_id})


async def _proposals(
    request: Request,
    actor: Actor,
    reader: Reader,
    query: ProposalsQuery,
    filters: Mapping[str, Any],
    *,
    is_own: bool = False,
) -> Response:
    async def read(after: UUID | None, limit: int) -> Sequence[Mapping[str, Any]]:
        return await queries.list_proposals(
            reader, actor=actor, filters=filters, is_own=is_own, after=after, limit=limit
        )

    return await id_page(request, query, read, lambda row: present_proposal(row, actor))


@router.get(
    "/match-runs/{run_id}/fairness",
    summary="Read how evenly a run matched",
    response_model=RunFairnessView,
    openapi_extra=allow("match_run.read", READ),
)
async def get_run_fairness(*, run_id: RunId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return the least score, the 5th percentile and the Gini index over a run's proposals."""
    row = await queries.get_run(reader, actor=actor, run_id=run_id)
    if not row["stats"]:
        raise NotFoundError("The run has not found anything yet.")
    return responses.one(
        RunFairnessView(
            match_run_id=ids.format_id("match_run", run_id),
            fairness=_fairness(row["stats"]["fairness"]),
        )
    )


@calling_router.get(
    "/match-runs/{run_id}/explanations",
    summary="Explain a pair",
    response_model=ExplanationView,
    openapi_extra=allow("match_run.explain", READ),
)
async def explain_pair(
    *,
    run_id: RunId,
    pair: Annotated[Pair, Query()],
    actor: ActorDep,
    reading: ReadingDep,
    resources: ResourcesDep,
) -> Response:
    """Say why a run put two participants together, rule by rule, or why it did not.

    Members may ask about their own pair once they have been asked whether they agree; what
    could have been instead is for coordinators. Circles are chosen as a whole and draws by chance,
    so their pairs answer 409 `not_explainable`. Who joins a group is a pair with its mentor.
    """
    wanted = _parsed_pair(pair)
    async with reading() as reader:
        decides = await _require_explainable(reader, actor, run_id, wanted)
        task = await _task(reader, actor, run_id)
    rules.require_pairs(is_solved=task.is_solved)
    pairs = list(product(*(task.rows_of(one) for one in wanted)))
    if not pairs:
        raise NotFoundError("Somebody of this pair was not in the run.")
    answer = await matching.explain(
        matching.required(resources.matching),
        organization_id=actor.organization_id,
        subject=actor.principal,
        problem=task.problem,
        pairs={"first": [one for one, _ in pairs], "second": [other for _, other in pairs]},
    )
    # Of several groups of one mentor, the one that somebody joins or comes nearest to.
    nearest = max(answer.explanations, key=lambda one: (one.matched, one.allowed, one.score))
    return responses.one(_explanation(nearest, run_id, wanted, task.names, decides=decides))


def _parsed_pair(text: str) -> tuple[UUID, UUID]:
    parts = [part.strip() for part in text.split(",")]
    try:
        found = [ids.parse_id("participant", part) for part in parts]
    except ValueError:
        found = []
    if len(found) != PAIR or found[0] == found[1]:
        detail = "Name two different participants, separated by a comma."
        raise InvalidError(errors=[Violation("query.pair", "malformed", detail)])
    return found[0], found[1]


async def _require_explainable(
    reader: Reader, actor: Actor, run_id: UUID, pair: tuple[UUID, UUID]
) -> bool:
    """Let in who may ask about the pair; tell whether they also see what could have been."""
    if actor.person_id is not None and await queries.was_told_of_pair(
        reader, actor=actor, run_id=run_id, pair=pair
    ):
        own = await queries.find_run_program(
            reader, organization_id=actor.organization_id, run_id=run_id
        )
        facts = actor.facts(program_id=own) | {Role.MEMBER}
        access.require("match_run.explain", facts)
        return access.holds("match_run.read", facts)
    await queries.get_run(reader, actor=actor, run_id=run_id)
    return True


def _explanation(
    found: Explanation,
    run_id: UUID,
    pair: tuple[UUID, UUID],
    names: Mapping[str, str],
    *,
    decides: bool,
) -> ExplanationView:
    shown = pool_rules.revealed(found.model_dump(mode="json"), names)
    return ExplanationView(
        match_run_id=ids.format_id("match_run", run_id),
        participant_ids=[ids.format_id("participant", one) for one in pair],
        is_matched=shown["matched"],
        is_allowed=shown["allowed"],
        score=shown["score"],
        parts=_parts(shown["parts"], decides=decides),
        broken=[_reason(one) for one in shown["broken"]],
        why_not=[_reason(one) for one in shown["why_not"]] if decides else [],
        alternatives=[_alternative(one) for one in shown["alternatives"]] if decides else [],
    )


def _reason(value: Mapping[str, Any]) -> ReasonView:
    return ReasonView(rule=value["rule"], key=value["key"], params=value["params"])


def _alternative(value: Mapping[str, Any]) -> AlternativeView:
    return AlternativeView(
        participant_ids=[value["first"], value["second"]],
        score=value["score"],
        cost=value["cost"],
    )


async def _task(reader: Reader, actor: Actor, run_id: UUID) -> FrozenTask:
    """Return what a run worked on, as it was frozen."""
    return await operations.frozen_task(
        reader, organization_id=actor.organization_id, run_id=run_id
    )


@router.post(
    "/match-runs/{run_id}/rerun",
    summary="Run again",
    status_code=202,
    response_model=RunView,
    openapi_extra=allow("match_run.decide", PUBLISH),
)
async def rerun_match_run(
    *,
    run_id: RunId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    resources: ResourcesDep,
    body: Rerun | None = None,
    if_match: IfMatchDep = None,
) -> Response:
    """Put a run aside and queue another; locked pairs stay, pairs you rejected do not return."""
    run = await operations.rerun(
        session,
        actor=actor,
        run_id=run_id,
        seed=body.seed if body else None,
        if_match=if_match,
        due_at=resources.clock(),
        now=now,
    )
    return _accepted(await _run_view(session, actor, run))


@router.post(
    "/match-runs/{run_id}/discard",
    summary="Discard a run",
    response_model=RunView,
    openapi_extra=allow("match_run.decide", PUBLISH),
)
async def discard_match_run(
    *, run_id: RunId, actor: ActorDep, session: SessionDep, now: NowDep, if_match: IfMatchDep = None
) -> Response:
    """Put a run aside; nobody was told of it, and the places it held are free again.

    One that waits or runs is cancelled: its work stops within seconds, and another may start.
    """
    run = await operations.discard(session, actor=actor, run_id=run_id, if_match=if_match, now=now)
    view = await _run_view(session, actor, run)
    return responses.one(view, version=view["version"])


@router.post(
    "/match-runs/{run_id}/publish",
    summary="Publish a run",
    response_model=RunView,
    openapi_extra=allow("match_run.decide", PUBLISH),
)
async def publish_match_run(
    *,
    run_id: RunId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    resources: ResourcesDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Ask the people of every approved proposal; this is the first moment they hear of it.

    Proposals you have not decided on stay; approving one later asks its people at once.
    """
    run = await operations.publish(
        session,
        actor=actor,
        run_id=run_id,
        secret=resources.cursor_secret,
        if_match=if_match,
        now=now,
    )
    view = await _run_view(session, actor, run)
    return responses.one(view, version=view["version"])


@calling_router.post(
    "/tracks/{track_id}/proposals",
    summary="Compose a proposal",
    status_code=201,
    response_model=ProposalView,
    openapi_extra=allow("proposal.decide", RUN),
)
async def compose_proposal(
    *,
    track_id: TrackId,
    actor: ActorDep,
    now: NowDep,
    reading: ReadingDep,
    writing: WritingDep,
    resources: ResourcesDep,
    body: ProposalCreate,
) -> Response:
    """Put people together by hand. A pair that a hard rule forbids is refused by the rule's name.

    Hard rules of the policy are judged by matching, which also says how well two people fit; with
    `force` they give way. Rules that always hold are checked here: one's own reporting line, the
    format, and people who are kept apart.
    """
    members = [(one.participant_id, one.role) for one in body.members]
    judged = await _judged(reading, resources, actor, track_id, members, now=now)

    async def work(session: SessionDep) -> Response:
        proposal = await operations.compose(
            session,
            actor=actor,
            track_id=track_id,
            members=members,
            judged=judged,
            is_forced=body.force,
            proposal_id=body.id,
            now=now,
        )
        view = await _proposal_view(session, actor, proposal)
        return responses.created(
            view, version=view["version"], location=f"/v1/proposals/{view['id']}"
        )

    return await writing(work)


async def _judged(
    reading: Reading,
    resources: Resources,
    actor: Actor,
    track_id: UUID,
    members: operations.Members,
    *,
    now: datetime,
) -> operations.Judged:
    """Ask matching about people put together by hand, where only it can judge a rule."""
    async with reading() as reader:
        task = await _task_by_hand(reader, resources, actor, track_id, now=now)
    opaque = {one: name for name, one in task.participants.items()} if task else {}
    if task is None or not all(
        role is TrackRole.FACILITATOR
        or role in pool_rules.roles_of(task.problem, opaque.get(one, ""))
        for one, role in members
    ):
        # Whoever has no place now is refused by name when the proposal itself is tried.
        return operations.Judged()
    roles: dict[str, set[TrackRole]] = {}
    for one, role in members:
        if one in opaque:
            roles.setdefault(opaque[one], set()).add(role)
    pairs = rules.pairs_to_judge([(opaque[one], role) for one, role in members if one in opaque])
    if not pairs:
        return operations.Judged()
    problem = pool_rules.narrowed(task.problem, roles)
    # Who is kept apart is looked up anew where the proposal is made.
    problem["blocks"] = {"first": [], "second": []}
    answer = await matching.score(
        matching.required(resources.matching),
        organization_id=actor.organization_id,
        subject=actor.principal,
        problem=problem,
        pairs={"first": [one for one, _ in pairs], "second": [other for _, other in pairs]},
    )
    judges = rules.only_matching_judges(task.problem["policy"]["hard"])
    return operations.Judged(
        score=round(answer.pairs[0].score) if len(answer.pairs) == 1 else None,
        parts=_parts_of(answer.pairs[0], task.names) if len(answer.pairs) == 1 else (),
        broken=[
            pool_rules.revealed(one.model_dump(mode="json"), task.names)
            for pair in answer.pairs
            for one in pair.broken
            if one.rule in judges
        ],
    )


async def _task_by_hand(
    reader: Reader, resources: Resources, actor: Actor, track_id: UUID, *, now: datetime
) -> FrozenTask | None:
    """Return the pool of a track whose policy has rules only matching can judge."""
    track = await programs.get_part(reader, Track, actor=actor, part_id=track_id)
    facts = actor.facts(program_id=track["program_id"])
    is_solved = track["format"] in pool_rules.SOLVED
    if track["policy_id"] is None or not is_solved or not access.holds("proposal.decide", facts):
        return None
    policy = await programs.get_part(reader, MatchPolicy, actor=actor, part_id=track["policy_id"])
    if not rules.only_matching_judges(policy["hard"]):
        return None
    return await pools.live_task(
        reader,
        of=PoolOf(actor.organization_id, track["program_id"], track_id),
        policy=policy,
        seed=policy["seed"],
        secret=resources.cursor_secret,
        as_of=now.date(),
    )


@router.get(
    "/proposals/{proposal_id}",
    summary="Read a proposal",
    response_model=ProposalView,
    openapi_extra=allow("proposal.read", READ),
)
async def get_proposal(*, proposal_id: ProposalId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return a proposal; members see theirs from the moment they are asked."""
    row = await queries.get_proposal(reader, actor=actor, proposal_id=proposal_id)
    return responses.one(present_proposal(row, actor), version=row["version"])


@router.get(
    "/me/proposals",
    summary="List proposals that ask you",
    response_model=ProposalPage,
    openapi_extra=allow("proposal.own", READ),
)
async def list_my_proposals(
    *,
    request: Request,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[ProposalsQuery, Query()],
) -> Response:
    """Return proposals that await your answer or had it, oldest first."""
    filters = query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
    return await _proposals(request, actor, reader, query, filters, is_own=True)


@router.post(
    "/proposals/{proposal_id}/approve",
    summary="Approve a proposal",
    response_model=ProposalView,
    openapi_extra=allow("proposal.decide", RUN),
)
async def approve_proposal(
    *,
    proposal_id: ProposalId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    resources: ResourcesDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Hold the members' places. People are asked when the run is published, else at once."""
    proposal = await operations.approve(
        session,
        actor=actor,
        proposal_id=proposal_id,
        secret=resources.cursor_secret,
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, proposal)


@router.post(
    "/proposals/{proposal_id}/reject",
    summary="Reject a proposal",
    response_model=ProposalView,
    openapi_extra=allow("proposal.decide", RUN),
)
async def reject_proposal(
    *,
    proposal_id: ProposalId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Turn a proposal down before anybody was told; a rerun does not bring the pair again."""
    proposal = await operations.reject(
        session, actor=actor, proposal_id=proposal_id, if_match=if_match, now=now
    )
    return await _answer(session, actor, proposal)


@calling_router.post(
    "/proposals/{proposal_id}/swap",
    summary="Swap members of two proposals",
    response_model=SwappedView,
    openapi_extra=allow("proposal.decide", RUN),
)
async def swap_proposals(
    *,
    proposal_id: ProposalId,
    actor: ActorDep,
    now: NowDep,
    reading: ReadingDep,
    writing: WritingDep,
    resources: ResourcesDep,
    body: Swap,
    if_match: IfMatchDep = None,
) -> Response:
    """Exchange members of two proposals of one run and return the two new ones to decide on.

    The new proposals carry scores when matching answers, and a pair that a hard rule forbids is
    refused by the rule's name; without matching they carry none.
    """
    scored, broken = await _scores_after_swap(
        reading, resources, actor, (proposal_id, body.with_proposal_id), body.role
    )

    async def work(session: SessionDep) -> Response:
        made = await operations.swap(
            session,
            actor=actor,
            proposal_id=proposal_id,
            other_id=body.with_proposal_id,
            role=body.role,
            scored=scored,
            broken=broken,
            if_match=if_match,
            now=now,
        )
        return responses.one(
            SwappedView(items=[await _proposal_view(session, actor, one) for one in made])
        )

    return await writing(work)


async def _scores_after_swap(
    reading: Reading,
    resources: Resources,
    actor: Actor,
    proposal_ids: tuple[UUID, UUID],
    role: TrackRole | None,
) -> tuple[operations.Scored, list[dict[str, Any]]]:
    """Ask matching what the new pairs are worth and which rules forbid them.

    Nothing when there is nobody to ask.
    """
    async with reading() as reader:
        rows = [
            await queries.find_proposal(reader, actor=actor, proposal_id=one)
            for one in proposal_ids
        ]
        pairs = operations.pairs_after_swap(rows, role)
        run_id = rows[0]["run_id"] if rows[0] else None
        if not pairs or run_id is None or resources.matching is None:
            return {}, []
        task = await _task(reader, actor, run_id)
    meant = {**task.participants}
    if task.is_solved:
        meant |= {name: one.mentorship_id for name, one in task.there.items() if one.leads}
    opaque = {one: name for name, one in meant.items()}
    if not opaque.keys() >= {one for pair in pairs for one in pair}:
        return {}, []
    try:
        answer = await matching.score(
            resources.matching,
            organization_id=actor.organization_id,
            subject=actor.principal,
            problem=task.problem,
            pairs={
                "first": [opaque[first] for first, _second in pairs],
                "second": [opaque[second] for _first, second in pairs],
            },
        )
    except (UnavailableError, InvalidError):
        # A score is welcome but not needed: the coordinator may swap without it.
        return {}, []
    judges = rules.only_matching_judges(task.problem["policy"]["hard"])
    scored = {
        frozenset(meant[one] for one in (pair.first, pair.second)): (
            round(pair.score),
            _parts_of(pair, task.names),
        )
        for pair in answer.pairs
    }
    broken = [
        one.model_dump(mode="json")
        for pair in answer.pairs
        for one in pair.broken
        if one.rule in judges
    ]
    return scored, broken


def _parts_of(pair: PairScore, names: Mapping[str, str]) -> list[dict[str, Any]]:
    return [pool_rules.revealed(part.model_dump(mode="json"), names) for part in pair.parts]


def _mount_lock(action: str, summary: str, description: str, *, is_locked: bool) -> None:
    async def endpoint(
        *,
        proposal_id: ProposalId,
        actor: ActorDep,
        session: SessionDep,
        now: NowDep,
        if_match: IfMatchDep = None,
    ) -> Response:
        proposal = await operations.set_lock(
            session,
            actor=actor,
            proposal_id=proposal_id,
            is_locked=is_locked,
            if_match=if_match,
            now=now,
        )
        return await _answer(session, actor, proposal)

    endpoint.__name__ = f"{action}_proposal"
    router.post(
        f"/proposals/{{proposal_id}}/{action}",
        name=endpoint.__name__,
        summary=summary,
        description=description,
        response_model=ProposalView,
        openapi_extra=allow("proposal.decide", RUN),
    )(endpoint)


_mount_lock(
    "lock",
    "Lock a proposal",
    "Keep the members together in the next run of the track, too.",
    is_locked=True,
)
_mount_lock(
    "unlock",
    "Unlock a proposal",
    "Let the next run decide freely about the members again.",
    is_locked=False,
)


@router.post(
    "/proposals/{proposal_id}/consent",
    summary="Agree to a proposal",
    response_model=ProposalView,
    openapi_extra=allow("proposal.answer", Scope.MENTORSHIPS_WRITE),
)
async def consent_to_proposal(
    *,
    proposal_id: ProposalId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    resources: ResourcesDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Agree. Once everybody asked has agreed, the mentorship exists: see `mentorship_id`.

    Where members are to join one that is there, they are in it then.
    """
    proposal = await operations.consent(
        session,
        actor=actor,
        proposal_id=proposal_id,
        secret=resources.cursor_secret,
        if_match=if_match,
        now=now,
    )
    return await _answer(session, actor, proposal)


@router.post(
    "/proposals/{proposal_id}/decline",
    summary="Decline a proposal",
    response_model=ProposalView,
    openapi_extra=allow("proposal.answer", Scope.MENTORSHIPS_WRITE),
)
async def decline_proposal(
    *,
    proposal_id: ProposalId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    if_match: IfMatchDep = None,
) -> Response:
    """Say no, without a reason; the others are told in neutral words."""
    proposal = await operations.decline(
        session, actor=actor, proposal_id=proposal_id, if_match=if_match, now=now
    )
    return await _answer(session, actor, proposal)
