"""Match runs, and why a pair was put together."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor, Scope
from services.api.clients import matching
from services.api.dependencies import (
    MAY_CONFLICT,
    ActorDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    ReadingDep,
    ResourcesDep,
    SessionDep,
    allow,
    calling_door,
    door,
    id_page,
)
from services.api.match_runs import operations, queries, rules
from services.api.match_runs.rules import RunStatus
from services.api.match_runs.schemas import (
    AlternativeView,
    CertificateView,
    ExplanationView,
    FailureView,
    FairnessView,
    MoveView,
    Pair,
    ProgressView,
    ReasonView,
    Rerun,
    RunCreate,
    RunFairnessView,
    RunId,
    RunPage,
    RunsQuery,
    RunView,
    StatsView,
    UnmatchedView,
    WhatIfView,
    WithWhatIf,
    part_view,
)
from services.api.match_runs.tables import MatchRun
from services.api.pools import rules as pool_rules
from services.api.programs import queries as programs
from services.api.programs.schemas import ProgramId
from services.api.proposals import queries as proposals
from services.api.proposals import rules as proposal_rules
from shared import ids
from shared.errors import InvalidError, NotFoundError, Violation
from shared.persistence.reads import Reader, SessionReader
from shared.schemas.matching import Explanation
from shared.web import responses

router = door("match-runs")
# Explanations ask matching, with no transaction open while it thinks.
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
            rules.allowed_actions(status),
            rules.NEEDS,
            actor.facts(program_id=row["program_id"]),
        ),
        progress=_progress(row["progress"]),
        stats=_stats(row["stats"]) if row["stats"] else None,
        certificate=_certificate(row["certificate"]) if row["certificate"] else None,
        unmatched=[_unmatched(one) for one in row["unmatched"][:MOST_SHOWN]],
        unmatched_count=len(row["unmatched"]),
        proposals_by_status=row["proposals"] or {},
        failure_code=row["failure_code"],
        failure_errors=[
            FailureView(pointer=one["pointer"], code=one["code"], detail=one["detail"])
            for one in row["failure_errors"]
        ],
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


async def _run_view(session: SessionDep, actor: Actor, run: MatchRun) -> RunView:
    row = await queries.get_run(SessionReader(session), actor=actor, run_id=run.id)
    return present_run(row, actor)


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
    "/match-runs/{run_id}/fairness",
    summary="Read how evenly a run matched",
    response_model=RunFairnessView,
    openapi_extra=allow("match_run.read", READ),
    responses=MAY_CONFLICT,
)
async def get_run_fairness(*, run_id: RunId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return the least score, the 5th percentile and the Gini index over a run's pairs.

    Pairs are those inside its proposals: in a group each mentee with the mentor, in a circle any
    two of its mentors and mentees.
    """
    row = await queries.get_run(reader, actor=actor, run_id=run_id)
    if not row["stats"]:
        raise proposal_rules.not_ready("nothing_found", "The run has not found anything.")
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
    responses=MAY_CONFLICT,
)
async def explain_pair(
    *,
    run_id: RunId,
    pair: Annotated[Pair, Query()],
    actor: ActorDep,
    reading: ReadingDep,
    resources: ResourcesDep,
    what_if: Annotated[WithWhatIf, Query()] = False,
) -> Response:
    """Say why a run put two participants together, rule by rule, or why it did not.

    Members may ask about their own pair once they have been asked whether they agree: their
    proposal names its run. They are shown score and points of the criteria they may see, as if
    there were no others, and `params` of what both share only. Which hard rules were set aside and
    what could have been instead is for coordinators. Circles are chosen as a whole and draws by
    chance, so their pairs answer 409 `not_explainable`. Who joins a group is a pair with its
    mentor.

    With `what_if` coordinators are told what would change if these two had to be together: the
    total, exactly, and who would move from whom to whom. Members are not; for them it does nothing.
    """
    wanted = _parsed_pair(pair)
    async with reading() as reader:
        decides = await _require_explainable(reader, actor, run_id, wanted)
        task = await operations.frozen_task(
            reader, organization_id=actor.organization_id, run_id=run_id
        )
    rules.require_pairs(is_solved=task.is_solved)
    pairs = task.pairs_of(wanted)
    if pairs is None:
        detail = "Both are on one side of the match; name one of each."
        raise InvalidError(errors=[Violation("query.pair", "members_1_1", detail)])
    if not pairs:
        raise NotFoundError("Somebody of this pair was not in the run.")
    answer = await matching.explain(
        matching.required(resources.matching),
        organization_id=actor.organization_id,
        subject=actor.principal,
        problem=task.problem,
        pairs={"first": [one for one, _ in pairs], "second": [other for _, other in pairs]},
        with_what_if=what_if and decides,
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
    if actor.person_id is not None and await proposals.was_told_of_pair(
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
    score, parts = proposal_rules.shown(shown["score"], shown["parts"], decides=decides)
    return ExplanationView(
        match_run_id=ids.format_id("match_run", run_id),
        participant_ids=[ids.format_id("participant", one) for one in pair],
        is_matched=shown["matched"],
        is_allowed=shown["allowed"] if decides else None,
        score=score,
        parts=[part_view(one) for one in parts],
        broken=[_reason(one) for one in shown["broken"]] if decides else [],
        why_not=[_reason(one) for one in shown["why_not"]] if decides else [],
        alternatives=[_alternative(one) for one in shown["alternatives"]] if decides else [],
        what_if=_what_if(shown) if decides else None,
    )


def _what_if(value: Mapping[str, Any]) -> WhatIfView | None:
    told = value["what_if"]
    if told is None or value["matched"]:
        return None
    moves = rules.moves_of(*(_ends(told[name]) for name in ("lost", "gained")))
    return WhatIfView(
        is_possible=told["possible"],
        reasons=[_reason(one) for one in told["reasons"]],
        change=told["change"],
        moves=[
            MoveView(
                participant_id=who,
                from_participant_ids=left[:MOST_SHOWN],
                to_participant_ids=joined[:MOST_SHOWN],
            )
            for who, left, joined in moves[:MOST_SHOWN]
        ],
        moves_count=len(moves),
    )


def _ends(pairs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(one["first"], one["second"]) for one in pairs]


def _reason(value: Mapping[str, Any]) -> ReasonView:
    return ReasonView(rule=value["rule"], key=value["key"], params=value["params"])


def _alternative(value: Mapping[str, Any]) -> AlternativeView:
    return AlternativeView(
        participant_ids=[value["first"], value["second"]],
        score=value["score"],
        costs_at_least=value["costs_at_least"],
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

    Proposals you have not decided on stay: nobody is asked about them, and `proposals_by_status`
    of the answer counts them as `proposed`. Approving one later asks its people at once; rejecting
    it tells nobody. A published run is neither repeated nor discarded.
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
