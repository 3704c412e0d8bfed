"""Compare two runs of one track."""

import asyncio
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import Response

from services.api.access import rules as access
from services.api.access.rules import Actor, Scope
from services.api.clients import matching
from services.api.dependencies import (
    ActorDep,
    ReadingDep,
    ResourcesDep,
    allow,
    calling_door,
)
from services.api.match_runs import operations as runs
from services.api.match_runs import queries as run_queries
from services.api.match_runs.schemas import FairnessView, ReasonView
from services.api.pools import rules as pool_rules
from services.api.pools.rules import FrozenTask
from services.api.resources import Resources
from services.api.run_diffs import queries, rules
from services.api.run_diffs.rules import Found, Pair, Person
from services.api.run_diffs.schemas import (
    ComparedPairView,
    ComparedRunView,
    PairsView,
    PartChangeView,
    PersonChangeView,
    RunDiffCreate,
    RunDiffView,
    SameView,
)
from shared import ids
from shared.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    UnavailableError,
    unknown_reference,
)
from shared.persistence.reads import Reader
from shared.web import responses

calling_router = calling_door("match-runs")

READ = Scope.MATCHING_READ
MOST_SHOWN = 1000
SECONDS = 7.5

type Explained = Mapping[Pair, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Side:
    """One of two runs: its row, what it worked on, and what it proposed."""

    row: Mapping[str, Any]
    task: FrozenTask
    found: Found


@calling_router.post(
    "/match-run-diffs",
    summary="Compare two match runs",
    response_model=RunDiffView,
    openapi_extra=allow("match_run.compare", READ),
)
async def compare_match_runs(
    *, actor: ActorDep, reading: ReadingDep, resources: ResourcesDep, body: RunDiffCreate
) -> Response:
    """Return what changed between two runs of one track: pairs, people, and why.

    Runs are compared as their proposals stand; a swapped one counts as what it has become. Why is
    asked of matching for the first pairs; without it the points of each criterion still tell.
    """
    async with reading() as reader:
        rows = [
            await _run(reader, actor, run_id, f"#/{name}")
            for name, run_id in (
                ("base_run_id", body.base_run_id),
                ("other_run_id", body.other_run_id),
            )
        ]
        rules.require_comparable(*rows)
        base, other = [await _side(reader, actor, row) for row in rows]
    people = rules.people_changed(base.found, other.found)
    explained = await _explained(base, other, people, actor, resources)
    difference = pool_rules.difference(
        base.found.pairs.keys(),
        other.found.pairs.keys(),
        is_peer=other.task.problem["format"] == "peer",
    )
    return responses.one(
        RunDiffView(
            track_id=ids.format_id("track", base.row["track_id"]),
            base=_compared(base.row),
            other=_compared(other.row),
            same=_same(base.row, other.row),
            pairs=PairsView(
                kept_count=len(difference.kept),
                changed_count=len(difference.changed),
                lost_count=len(difference.lost),
                new_count=len(difference.new),
                changed=_pairs(difference.changed, other.found),
                lost=_pairs(difference.lost, base.found),
                new=_pairs(difference.new, other.found),
            ),
            people=[
                _person(one, base.found, other.found, explained or {})
                for one in people[:MOST_SHOWN]
            ],
            people_count=len(people),
            is_explained=explained is not None,
        )
    )


async def _run(reader: Reader, actor: Actor, run_id: UUID, pointer: str) -> Mapping[str, Any]:
    try:
        row = await run_queries.get_run(reader, actor=actor, run_id=run_id)
    except NotFoundError:
        raise unknown_reference(pointer) from None
    access.require("match_run.compare", actor.facts(program_id=row["program_id"]))
    return row


async def _side(reader: Reader, actor: Actor, row: Mapping[str, Any]) -> Side:
    named = {"organization_id": actor.organization_id, "run_id": row["id"]}
    task = await runs.frozen_task(reader, **named)
    proposals = await queries.proposals_of(reader, **named)
    return Side(row, task, rules.found(proposals, task.participants.values(), task.there.values()))


async def _explained(
    base: Side, other: Side, people: Sequence[Person], actor: Actor, resources: Resources
) -> Explained | None:
    """Return why pairs of one run are not in the other; None when matching could not be asked."""
    gone, come = rules.pairs_to_explain(people, base.found, other.found)
    is_bounded = all(
        one.task.is_solved and pool_rules.count_pairs(one.task.problem) <= pool_rules.MOST_PAIRS
        for one in (base, other)
    )
    if resources.matching is None or not is_bounded:
        return None
    try:
        async with asyncio.timeout(SECONDS):
            found = await asyncio.gather(
                _why_not(other.task, gone, actor, resources),
                _why_not(base.task, come, actor, resources),
            )
    except (TimeoutError, UnavailableError, InvalidError, ConflictError):
        # Welcome but not needed: what the runs have stored is told without it.
        return None
    return {**found[0], **found[1]}


async def _why_not(
    task: FrozenTask, pairs: Sequence[Pair], actor: Actor, resources: Resources
) -> Explained:
    if not pairs:
        return {}
    opaque = {str(one): name for name, one in task.participants.items()}
    answer = await matching.explain(
        matching.required(resources.matching),
        organization_id=actor.organization_id,
        subject=actor.principal,
        problem=task.problem,
        pairs={
            "first": [opaque[first] for first, _second in pairs],
            "second": [opaque[second] for _first, second in pairs],
        },
    )
    return {
        pair: [
            pool_rules.revealed(one.model_dump(mode="json"), task.names) for one in found.why_not
        ]
        for pair, found in zip(pairs, answer.explanations, strict=True)
    }


def _compared(row: Mapping[str, Any]) -> ComparedRunView:
    stats = row["stats"]
    fairness = stats["fairness"]
    return ComparedRunView(
        match_run_id=ids.format_id("match_run", row["id"]),
        mode=row["mode"],
        status=row["status"],
        policy_id=ids.format_optional("match_policy", row["policy_id"]),
        policy_version=row["policy_version"],
        seed=row["seed"],
        people=stats["people"],
        matched=stats["matched"],
        proposals=stats["proposals"],
        mean_score=stats["mean_score"],
        fairness=FairnessView(
            minimum=fairness["minimum"],
            fifth_percentile=fairness["fifth_percentile"],
            gini=fairness["gini"],
        ),
    )


def _same(base: Mapping[str, Any], other: Mapping[str, Any]) -> SameView:
    policies = [(one["policy_id"], one["policy_version"]) for one in (base, other)]
    return SameView(
        input=base["input_hash"] == other["input_hash"],
        policy=policies[0] == policies[1],
        seed=base["seed"] == other["seed"],
    )


def _pairs(pairs: Collection[Pair], found: Found) -> list[ComparedPairView]:
    return [
        ComparedPairView(participant_ids=_public(pair), score=found.pairs[pair]["score"])
        for pair in sorted(pairs)[:MOST_SHOWN]
    ]


def _public(names: Collection[str]) -> list[str]:
    return [ids.format_id("participant", UUID(one)) for one in names]


def _person(person: Person, base: Found, other: Found, explained: Explained) -> PersonChangeView:
    reasons = rules.reasons_for(person, base, other, explained)
    return PersonChangeView(
        participant_id=ids.format_id("participant", UUID(person.participant_id)),
        change=person.change,
        base_partner_ids=_public(sorted(person.before)),
        other_partner_ids=_public(sorted(person.after)),
        base_score=_mean_score(person, person.before, base),
        other_score=_mean_score(person, person.after, other),
        why=[ReasonView(rule=one["rule"], key=one["key"], params=one["params"]) for one in reasons],
        parts=[
            PartChangeView(rule=rule, base_points=before, other_points=after)
            for rule, (before, after) in rules.parts_changed(person, base, other).items()
        ],
    )


def _mean_score(person: Person, partners: Collection[str], run: Found) -> float | None:
    # Scores are whole numbers; the points they were made of are not.
    known = [
        sum(part["points"] for part in one["parts"])
        for one in rules.proposals_of(person, partners, run)
        if one["score"] is not None
    ]
    return round(statistics.fmean(known), 2) if known else None
