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
from services.api.decisions.rules import Composition, Judged, Rows
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
from services.api.match_runs.schemas import ReasonView, RunId, part_view
from services.api.pools import queries as pools
from services.api.pools import rules as pool_rules
from services.api.pools.rules import FrozenTask, PoolOf
from services.api.programs import queries as programs
from services.api.programs.rules import Format, TrackRole
from services.api.programs.schemas import TrackId
from services.api.programs.tables import MatchPolicy, Track
from services.api.proposals import queries
from services.api.proposals import rules as proposal_rules
from services.api.proposals.rules import ProposalStatus
from services.api.proposals.tables import Proposal
from services.api.resources import Resources
from shared import ids
from shared.errors import InvalidError, UnavailableError
from shared.http import ServiceClient
from shared.persistence.reads import Reader, SessionReader
from shared.schemas.matching import Match, PairScore, Reason
from shared.web import responses

router = door("match-runs")
# What is put together by hand is judged by matching, with no transaction open while it thinks.
calling_router = calling_door("match-runs")

READ, RUN = Scope.MATCHING_READ, Scope.MATCHING_RUN
PAIR = 2


def present_proposal(row: Mapping[str, Any], actor: Actor) -> ProposalView:
    """Show a proposal; a member sees neither the coordinator's marks nor others' answers."""
    status = ProposalStatus(row["status"])
    facts = actor.facts(program_id=row["program_id"])
    decides = access.holds("proposal.list", facts)
    score, parts = _shown(row, decides=decides)
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
        run_id=ids.format_optional("match_run", row["run_id"]),
        members=[_member(one, actor, decides=decides) for one in _in_order(row["members"])],
        score=score,
        parts=[part_view(one) for one in parts],
        status=status,
        allowed=access.offered(
            actor,
            # What was only simulated is there to be looked at.
            []
            if row["is_simulated"]
            else proposal_rules.allowed_actions(status, is_locked=row["is_locked"]),
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


def _shown(
    row: Mapping[str, Any], *, decides: bool
) -> tuple[int | None, Sequence[Mapping[str, Any]]]:
    if len(row["members"]) > PAIR and not decides:
        # Means, and one's own share of them can be asked for: of two, each knew the other's.
        return None, proposal_rules.of_all(row["parts"])
    score, parts = proposal_rules.shown(row["score"] or 0, row["parts"], decides=decides)
    return None if row["score"] is None else round(score), parts


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
    """Put people together by hand. What a hard rule forbids is refused by the rule's name.

    Hard rules of the policy are judged by matching, in pairs, groups and circles as in runs. It
    also says how well people fit; with `force` hard rules give way. Rules that always hold are
    checked here: one's own reporting line, the format, and people who are kept apart.
    """
    members = [(one.participant_id, one.role) for one in body.members]
    judged = await _judged_by_hand(
        reading, resources, actor, track_id, Composition(members), now=now
    )

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


async def _judged_by_hand(
    reading: Reading,
    resources: Resources,
    actor: Actor,
    track_id: UUID,
    composition: Composition,
    *,
    now: datetime,
) -> Judged:
    """Ask matching about people put together by hand, where only it can judge a rule."""
    async with reading() as reader:
        task = await _task_by_hand(reader, resources, actor, track_id, now=now)
    if task is None:
        return Judged()
    [judged] = await _judged(matching.required(resources.matching), actor, task, [composition])
    return judged


async def _judged(
    client: ServiceClient, actor: Actor, task: FrozenTask, compositions: Sequence[Composition]
) -> list[Judged]:
    """Ask matching what each composition is worth, and which rules it breaks."""
    rows = [rules.rows_to_judge(task, one) for one in compositions]
    asked = [one for one in rows if one]
    if not asked:
        return [Judged() for _ in rows]
    is_circle = task.problem["format"] == Format.CIRCLE
    said = await (_said_of_circles if is_circle else _said_of_pairs)(client, actor, task, asked)
    found = iter(said)
    return [next(found) if one else Judged() for one in rows]


async def _said_of_circles(
    client: ServiceClient, actor: Actor, task: FrozenTask, compositions: Sequence[Rows]
) -> list[Judged]:
    answer = await matching.judge_circles(
        client,
        organization_id=actor.organization_id,
        subject=actor.principal,
        problem=rules.circles_question(task, compositions),
    )
    found = {_people_of(circle): circle for circle in answer.circles}
    circles = [found[frozenset(name for name, _role in rows)] for rows in compositions]
    return [_as_drafted(circle, task, circle.broken) for circle in circles]


async def _said_of_pairs(
    client: ServiceClient, actor: Actor, task: FrozenTask, compositions: Sequence[Rows]
) -> list[Judged]:
    pairs = [pool_rules.mentor_first(rows) for rows in compositions]
    named = [pair for some in pairs for pair in some]
    answer = await matching.score(
        client,
        organization_id=actor.organization_id,
        subject=actor.principal,
        problem=rules.pairs_question(task, compositions),
        pairs={"first": [one for one, _ in named], "second": [other for _, other in named]},
    )
    groups = {_people_of(group): group for group in answer.groups}
    scores = iter(answer.pairs)
    found = []
    for rows, some in zip(compositions, pairs, strict=True):
        scored = [next(scores) for _ in some]
        broken = [reason for one in scored for reason in one.broken]
        group = groups.get(frozenset(name for name, _role in rows))
        if group is not None:
            found.append(_as_drafted(group, task, broken))
        elif len(scored) == 1:
            found.append(_as_scored(scored[0], task, broken))
        else:
            found.append(Judged(broken=_broken(task, broken)))
    return found


def _people_of(match: Match) -> frozenset[str]:
    return frozenset(one.id for one in match.members)


def _as_drafted(match: Match, task: FrozenTask, broken: Sequence[Reason]) -> Judged:
    """Return what a run would have stored of a match, and the rules it breaks."""
    [draft] = proposal_rules.drafts_of(match, task)
    return Judged(score=round(draft.score), parts=draft.parts, broken=_broken(task, broken))


def _as_scored(pair: PairScore, task: FrozenTask, broken: Sequence[Reason]) -> Judged:
    return Judged(
        score=round(pair.score),
        parts=[
            pool_rules.revealed(part.model_dump(mode="json"), task.names) for part in pair.parts
        ],
        broken=_broken(task, broken),
    )


def _broken(task: FrozenTask, broken: Sequence[Reason]) -> list[Mapping[str, Any]]:
    return rules.judged_broken(
        task, [pool_rules.revealed(one.model_dump(mode="json"), task.names) for one in broken]
    )


async def _task_by_hand(
    reader: Reader, resources: Resources, actor: Actor, track_id: UUID, *, now: datetime
) -> FrozenTask | None:
    """Return the pool of a track whose policy has rules only matching can judge."""
    track = await programs.get_part(reader, Track, actor=actor, part_id=track_id)
    facts = actor.facts(program_id=track["program_id"])
    is_judged = track["format"] in rules.JUDGED
    if track["policy_id"] is None or not is_judged or not access.holds("proposal.decide", facts):
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
    """Return a proposal; members see theirs from the moment they are asked.

    Their score and points are those of the criteria they may see: nobody learns from them whom
    others favor.
    """
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
    """Hold the members' places. People are asked when the run is published, else at once.

    So they are asked at once where the run was published before, and where there is no run.
    """
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

    The new proposals carry scores when matching answers, and circles what all of them share; what
    a hard rule forbids is refused by the rule's name. Without matching they carry none of it.
    """
    judged = await _judged_after_swap(
        reading, resources, actor, (proposal_id, body.with_proposal_id), body.role, now=now
    )

    async def work(session: SessionDep) -> Response:
        made = await operations.swap(
            session,
            actor=actor,
            proposal_id=proposal_id,
            other_id=body.with_proposal_id,
            role=body.role,
            judged=judged,
            if_match=if_match,
            now=now,
        )
        return responses.one(
            SwappedView(items=[await _proposal_view(session, actor, one) for one in made])
        )

    return await writing(work)


async def _judged_after_swap(
    reading: Reading,
    resources: Resources,
    actor: Actor,
    proposal_ids: tuple[UUID, UUID],
    role: TrackRole | None,
    *,
    now: datetime,
) -> list[Judged]:
    """Ask matching about both proposals that a swap makes; nothing when it cannot be asked."""
    unjudged = [Judged() for _ in proposal_ids]
    async with reading() as reader:
        rows = [await queries.find(reader, actor=actor, proposal_id=one) for one in proposal_ids]
        compositions = rules.after_swap(rows, role)
        if rows[0] is None or not compositions or resources.matching is None:
            return unjudged
        task = await _task_of(reader, resources, actor, rows[0], now=now)
    if task is None:
        return unjudged
    try:
        return await _judged(resources.matching, actor, task, compositions)
    except (UnavailableError, InvalidError):
        # A score is welcome but not needed: the coordinator may swap without it.
        return unjudged


async def _task_of(
    reader: Reader,
    resources: Resources,
    actor: Actor,
    proposal: Mapping[str, Any],
    *,
    now: datetime,
) -> FrozenTask | None:
    """Return what the run of a proposal worked on, or the pool as it is where there was none."""
    if proposal["run_id"] is None:
        return await _task_by_hand(reader, resources, actor, proposal["track_id"], now=now)
    return await run_operations.frozen_task(
        reader, organization_id=actor.organization_id, run_id=proposal["run_id"]
    )


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
    "Keep the members together in the next run of the track, too. A proposal that is decided on can"
    " be locked; to lock what is locked changes nothing.",
    is_locked=True,
)
_mount_lock(
    "unlock",
    "Unlock a proposal",
    "Let the next run decide freely about the members again, whatever was decided on the proposal"
    " since. To unlock what is not locked changes nothing.",
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
