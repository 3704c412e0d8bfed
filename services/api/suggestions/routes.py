"""Suggestions: who would fit, and two or three of them side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Response

from services.api.access import rules as access
from services.api.access.rules import Actor, Scope
from services.api.clients import matching
from services.api.dependencies import (
    MAY_CONFLICT,
    ActorDep,
    NowDep,
    ReadingDep,
    ResourcesDep,
    allow,
    calling_door,
)
from services.api.match_runs.schemas import part_view
from services.api.participants import queries as participants
from services.api.participants.rules import ParticipantStatus
from services.api.participants.schemas import ParticipantId
from services.api.pools import queries as pools
from services.api.pools import rules as pool_rules
from services.api.pools.rules import PoolOf
from services.api.programs import queries as programs
from services.api.programs.rules import ProgramStatus, TrackRole
from services.api.programs.tables import MatchPolicy, Track
from services.api.proposals import rules as proposal_rules
from services.api.resources import Resources
from services.api.suggestions import queries, rules
from services.api.suggestions.schemas import SuggestionsQuery, SuggestionsView, SuggestionView
from shared import ids
from shared.errors import InvalidError, Violation, unknown_reference
from shared.persistence.reads import Reader
from shared.schemas.matching import PairScore
from shared.web import responses

calling_router = calling_door("match-runs")

READ = Scope.MATCHING_READ
COMPARED = range(2, 4)


@dataclass(frozen=True, slots=True)
class Search:
    """Whom somebody may choose from, as matching sees it, and who those people are."""

    track_id: UUID
    role: TrackRole
    me: str
    problem: Mapping[str, Any]
    participants: Mapping[str, UUID]
    people: Mapping[UUID, UUID]
    favorites: frozenset[UUID]


@calling_router.get(
    "/participants/{participant_id}/suggestions",
    summary="See who would fit you",
    response_model=SuggestionsView,
    openapi_extra=allow("suggestion.own", READ),
    responses=MAY_CONFLICT,
)
async def list_suggestions(
    *,
    participant_id: ParticipantId,
    actor: ActorDep,
    now: NowDep,
    reading: ReadingDep,
    resources: ResourcesDep,
    query: Annotated[SuggestionsQuery, Query()],
) -> Response:
    """Return who would fit you in a track where people choose each other, the best first.

    Left out are people you were with before, people without a free place, and whoever is kept
    apart from you. With `compare`, the two or three you name come side by side instead; somebody
    of them who cannot be chosen is `is_available: false`, whatever the reason.
    """
    compared = _compared(query.compare)
    async with reading() as reader:
        search = await _search(reader, actor, participant_id, query, resources, now=now)
        shown = [
            await participants.get(reader, actor=actor, participant_id=one) for one in compared
        ]
    found = await _scored(search, actor, resources, compared, limit=query.limit)
    if compared:
        items = [_beside(row, found.get(row["id"]), search) for row in shown]
    else:
        items = [
            _suggestion(search.participants[other], pair, search)
            for other, pair in ((_other(one, search.me), one) for one in found.values())
        ]
    return responses.one(
        SuggestionsView(
            participant_id=ids.format_id("participant", participant_id),
            track_id=ids.format_id("track", search.track_id),
            role=search.role,
            items=items,
        )
    )


def _compared(text: str | None) -> list[UUID]:
    if text is None:
        return []
    try:
        found = [ids.parse_id("participant", part.strip()) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in COMPARED or len(set(found)) != len(found):
        detail = "Name two or three different participants, separated by commas."
        raise InvalidError(errors=[Violation("query.compare", "malformed", detail)])
    return found


async def _search(
    reader: Reader,
    actor: Actor,
    participant_id: UUID,
    query: SuggestionsQuery,
    resources: Resources,
    *,
    now: datetime,
) -> Search:
    row = await participants.get(reader, actor=actor, participant_id=participant_id)
    access.require(
        "suggestion.own", actor.facts(program_id=row["program_id"], person_id=row["person_id"])
    )
    track_id = _track_of(row["track_roles"] or (), query.track_id)
    track = await programs.get_part(reader, Track, actor=actor, part_id=track_id)
    program = await programs.get(reader, actor=actor, program_id=row["program_id"])
    rules.require_offered(
        modes=track["match_modes"],
        has_policy=track["policy_id"] is not None,
        program=ProgramStatus(program["status"]),
        is_paused=program["matching_paused"],
        participant=ParticipantStatus(row["status"]),
    )
    policy = await programs.get_part(reader, MatchPolicy, actor=actor, part_id=track["policy_id"])
    task = await pools.live_task(
        reader,
        # Whoever looks must not learn from what is missing what a coordinator has decided.
        of=PoolOf(actor.organization_id, row["program_id"], track_id, as_told=True),
        policy=policy,
        seed=policy["seed"],
        secret=resources.cursor_secret,
        as_of=now.date(),
    )
    key = pool_rules.organization_secret(resources.cursor_secret, actor.organization_id)
    me = pool_rules.opaque_id(key, row["person_id"])
    role = rules.role_among(pool_rules.roles_of(task.problem, me), query.role)
    problem = rules.seen_by(task.problem, me, role)
    return Search(
        track_id=track_id,
        role=role,
        me=me,
        problem=problem,
        participants=task.participants,
        people=await queries.people_of(
            reader,
            organization_id=actor.organization_id,
            participant_ids=[task.participants[one] for one in problem["participants"]["id"]],
        ),
        favorites=await queries.favorites_of(
            reader, organization_id=actor.organization_id, participant_id=participant_id
        ),
    )


def _track_of(seats: Sequence[Mapping[str, Any]], wanted: UUID | None) -> UUID:
    tracks = {UUID(str(seat["track_id"])) for seat in seats}
    if wanted is not None:
        if wanted not in tracks:
            raise unknown_reference("query.track_id")
        return wanted
    if len(tracks) != 1:
        detail = "Say for which of your tracks."
        raise InvalidError(errors=[Violation("query.track_id", "missing", detail)])
    return tracks.pop()


async def _scored(
    search: Search,
    actor: Actor,
    resources: Resources,
    compared: Sequence[UUID],
    *,
    limit: int,
) -> dict[UUID, PairScore]:
    """Return what matching says of those who may be chosen, best first."""
    opaque = {search.participants[name]: name for name in search.problem["participants"]["id"]}
    named = [opaque[one] for one in compared if opaque.get(one, search.me) != search.me]
    if compared and not named:
        return {}
    if compared:
        answer = await matching.score(
            matching.required(resources.matching),
            organization_id=actor.organization_id,
            subject=actor.principal,
            problem=search.problem,
            pairs={"first": [search.me] * len(named), "second": named},
        )
    else:
        answer = await matching.best_of(
            matching.required(resources.matching),
            organization_id=actor.organization_id,
            subject=actor.principal,
            problem=search.problem,
            about=search.me,
            limit=limit,
        )
    return {
        search.participants[_other(pair, search.me)]: pair for pair in answer.pairs if pair.allowed
    }


def _other(pair: PairScore, me: str) -> str:
    return pair.second if pair.first == me else pair.first


def _beside(row: Mapping[str, Any], pair: PairScore | None, search: Search) -> SuggestionView:
    if pair is not None:
        return _suggestion(row["id"], pair, search)
    return SuggestionView(
        participant_id=ids.format_id("participant", row["id"]),
        person_id=ids.format_id("person", row["person_id"]),
        is_available=False,
        is_favorite=False,
        score=None,
        parts=[],
    )


def _suggestion(participant_id: UUID, pair: PairScore, search: Search) -> SuggestionView:
    return SuggestionView(
        participant_id=ids.format_id("participant", participant_id),
        person_id=ids.format_id("person", search.people[participant_id]),
        is_available=True,
        is_favorite=participant_id in search.favorites,
        score=round(pair.score),
        parts=[part_view(proposal_rules.told(part.model_dump(mode="json"))) for part in pair.parts],
    )
