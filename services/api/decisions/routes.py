"""Proposals, composed by hand or made by a run: decided on, and answered."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor, Scope
from services.api.clients import matching
from services.api.decisions import operations, rules
from services.api.decisions.schemas import (
    PresentMemberView,
    ProposalCreate,
    ProposalId,
    ProposalMemberView,
    ProposalPage,
    ProposalsQuery,
    ProposalView,
    Swap,
    SwappedView,
)
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
from services.api.match_runs import operations as run_operations
from services.api.match_runs import queries as runs
from services.api.match_runs.schemas import PartView, ReasonView, RunId
from services.api.pools import queries as pools
from services.api.pools import rules as pool_rules
from services.api.pools.rules import FrozenTask, PoolOf
from services.api.programs import queries as programs
from services.api.programs.rules import TrackRole
from services.api.programs.schemas import TrackId
from services.api.programs.tables import MatchPolicy, Track
from services.api.proposals import queries
from services.api.proposals import rules as proposal_rules
from services.api.proposals.rules import ProposalStatus
from services.api.proposals.tables import Proposal
from services.api.resources import Resources
from shared import ids
from shared.errors import InvalidError, UnavailableError
from shared.persistence.reads import Reader, SessionReader
from shared.schemas.matching import PairScore
from shared.web import responses

router = door("match-runs")
# What is put together by hand is judged by matching, with no transaction open while it thinks.
calling_router = calling_door("match-runs")

READ, RUN = Scope.MATCHING_READ, Scope.MATCHING_RUN


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
        parts=[_part(one) for one in proposal_rules.shown(row["parts"], decides=decides)],
        status=status,
        allowed=access.offered(
            actor,
            proposal_rules.allowed_actions(status),
            proposal_rules.NEEDS,
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


def _part(value: Mapping[str, Any]) -> PartView:
    return PartView(
        rule=value["rule"],
        key=value["key"],
        params=value["params"],
        points=value["points"],
        weight=value["weight"],
        value=value["value"],
    )


def _reason(value: Mapping[str, Any]) -> ReasonView:
    return ReasonView(rule=value["rule"], key=value["key"], params=value["params"])


async def _proposal_view(session: SessionDep, actor: Actor, proposal: Proposal) -> ProposalView:
    row = await queries.get(SessionReader(session), actor=actor, proposal_id=proposal.id)
    return present_proposal(row, actor)


async def _answer(session: SessionDep, actor: Actor, proposal: Proposal) -> Response:
    view = await _proposal_view(session, actor, proposal)
    return responses.one(view, version=view["version"])


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
    run = await runs.get_run(reader, actor=actor, run_id=run_id)
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
        return await queries.list_visible(
            reader, actor=actor, filters=filters, is_own=is_own, after=after, limit=limit
        )

    return await id_page(request, query, read, lambda row: present_proposal(row, actor))


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
    row = await queries.get(reader, actor=actor, proposal_id=proposal_id)
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
        rows = [await queries.find(reader, actor=actor, proposal_id=one) for one in proposal_ids]
        pairs = operations.pairs_after_swap(rows, role)
        run_id = rows[0]["run_id"] if rows[0] else None
        if not pairs or run_id is None or resources.matching is None:
            return {}, []
        task = await run_operations.frozen_task(
            reader, organization_id=actor.organization_id, run_id=run_id
        )
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
