"""Try a policy before anybody is matched by it."""

import asyncio
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import Response

from services.api.access import rules as access
from services.api.access.rules import Actor, Scope
from services.api.clients import matching
from services.api.dependencies import (
    ActorDep,
    NowDep,
    ReadingDep,
    ResourcesDep,
    allow,
    calling_door,
)
from services.api.match_runs.schemas import CertificateView, ReasonView
from services.api.pools import queries as pools
from services.api.pools import rules as pool_rules
from services.api.pools.rules import FrozenTask, PoolOf
from services.api.programs import operations as program_operations
from services.api.programs import queries as programs
from services.api.programs import rules as program_rules
from services.api.programs.tables import MatchPolicy, Track
from services.api.resources import Resources
from services.api.simulations import rules
from services.api.simulations.schemas import (
    CheckedTestView,
    EffectView,
    FindingView,
    LeftView,
    PairCountsView,
    PolicyCheck,
    PolicyCheckView,
    PolicySimulation,
    PresentView,
    ScoresView,
    SimulationView,
)
from shared import ids
from shared.errors import (
    ForbiddenError,
    InvalidError,
    NotFoundError,
    Violation,
    unknown_reference,
)
from shared.persistence.reads import Reader
from shared.schemas.matching import PolicyCheckAnswer, ProgressLine, Solution, SolutionLine
from shared.web import responses

calling_router = calling_door("programs")

READ = Scope.PROGRAMS_READ


@calling_router.post(
    "/policy-checks",
    summary="Check a policy",
    response_model=PolicyCheckView,
    openapi_extra=allow("policy.try", READ),
)
async def check_policy(
    *,
    actor: ActorDep,
    now: NowDep,
    reading: ReadingDep,
    resources: ResourcesDep,
    body: PolicyCheck,
) -> Response:
    """Judge a policy document: unknown words, contradictions, weights that cannot matter.

    With a track it is tried on the people who could be matched there now, and its own tests are
    run; without one they are not, and a finding says so. Every finding is a key with params and
    points into your document, or into the stored policy as if it were there. Nothing is stored.
    """
    task = None
    async with reading() as reader:
        track = None if body.track_id is None else await _track(reader, actor, body.track_id)
        if track is None and not actor.coordinates_anything():
            raise ForbiddenError
        policy = await _policy(reader, actor, body, track)
        if track is not None:
            rules.require_solved(track["format"])
            task = await _live(reader, actor, resources, track, policy, now=now)
            rules.require_bounded(task.problem, "#/track_id")
    synonyms = task.problem["policy"]["synonyms"] if task else []
    judged = {
        **pool_rules.policy_of(policy, synonyms=synonyms),
        "tests": _asked(policy["tests"], actor, resources),
    }
    try:
        async with asyncio.timeout(rules.SECONDS):
            answer = await matching.check_policy(
                matching.required(resources.matching),
                organization_id=actor.organization_id,
                subject=actor.principal,
                policy=judged,
                problem=task.problem if task else None,
            )
    except TimeoutError:
        raise rules.took_too_long() from None
    return responses.one(_checked(answer, policy))


async def _track(reader: Reader, actor: Actor, track_id: UUID) -> Mapping[str, Any]:
    track = await programs.get_part(reader, Track, actor=actor, part_id=track_id)
    access.require("policy.try", actor.facts(program_id=track["program_id"]))
    return track


async def _live(
    reader: Reader,
    actor: Actor,
    resources: Resources,
    track: Mapping[str, Any],
    policy: Mapping[str, Any],
    *,
    now: datetime,
) -> FrozenTask:
    return await pools.live_task(
        reader,
        of=PoolOf(actor.organization_id, track["program_id"], track["id"]),
        policy=policy,
        seed=policy["seed"],
        secret=resources.cursor_secret,
        as_of=now.date(),
    )


def _asked(
    tests: Sequence[Mapping[str, Any]], actor: Actor, resources: Resources
) -> list[dict[str, Any]]:
    """Return tests as matching is asked them: under the names by which it knows people."""
    key = pool_rules.organization_secret(resources.cursor_secret, actor.organization_id)
    return [
        {
            "name": test["name"],
            "people": [pool_rules.opaque_id(key, one) for one in test["people"]],
            "expect": {name: value for name, value in test["expect"].items() if value is not None},
        }
        for test in tests
    ]


def _checked(answer: PolicyCheckAnswer, policy: Mapping[str, Any]) -> PolicyCheckView:
    count = len(policy["hard"])
    findings = rules.findings(answer, policy)
    return PolicyCheckView(
        valid=all(one.kind != "fault" for one in findings),
        findings=[
            FindingView(
                kind=one.kind,
                rule=one.rule,
                key=one.key,
                params=dict(one.params),
                pointer=one.pointer,
            )
            for one in findings
        ],
        pairs=answer.pairs,
        allowed_pairs=answer.allowed_pairs,
        effects=[
            EffectView(
                rule=one.rule,
                pointer=f"#/policy/hard/{one.index}"
                if one.index is not None and one.index < count
                else None,
                pairs=one.pairs,
                only=one.only,
            )
            for one in answer.effects
        ],
        tests=[
            CheckedTestView(name=one.name, passed=one.passed, found=dict(rules.found_of(one)))
            for one in answer.tests
        ],
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """A pool under the policy to try, and under the track's own where it has one."""

    tried: Mapping[str, Any]
    present: Mapping[str, Any] | None


@calling_router.post(
    "/policy-simulations",
    summary="See what a policy would do",
    response_model=SimulationView,
    openapi_extra=allow("policy.try", READ),
)
async def simulate_policy(
    *,
    actor: ActorDep,
    now: NowDep,
    reading: ReadingDep,
    resources: ResourcesDep,
    body: PolicySimulation,
) -> Response:
    """Match a track's pool by a policy, stored or given, and compare with its present one.

    Nothing is stored and nobody is told. With `synthetic` invented people take the place of
    yours. A pool too large for a request, or work that takes longer than a few seconds, answers
    409 `limit_reached`: a dry run has no such bound.
    """
    async with reading() as reader:
        track = await _track(reader, actor, body.track_id)
        rules.require_solved(track["format"])
        policy = await _policy(reader, actor, body, track)
        present = await _policy_of(reader, actor, track["policy_id"])
        trial = await _trial(
            reader,
            actor,
            resources,
            body,
            track=track,
            policies=(policy, present),
            now=now,
        )
    rules.require_bounded(trial.tried, "#/synthetic" if body.synthetic else "#/track_id")
    tried, compared = await _solved(trial, actor, resources)
    solution = tried.solution
    return responses.one(
        SimulationView(
            track_id=ids.format_id("track", body.track_id),
            policy_id=ids.format_optional("match_policy", body.policy_id),
            is_synthetic=body.synthetic is not None,
            input_hash=solution.input_hash,
            people=solution.totals.people,
            matched=solution.totals.matched,
            proposals=solution.totals.matches,
            unmatched=_left(solution),
            scores=_scores(solution),
            criteria=solution.totals.criteria,
            blocking_pairs=solution.blocking_pairs,
            certificate=_certificate(tried),
            warnings=[
                ReasonView(rule=one.rule, key=one.key, params=one.params)
                for one in solution.warnings
            ],
            present=_present(solution, compared.solution, track) if compared else None,
        )
    )


async def _policy(
    reader: Reader,
    actor: Actor,
    body: PolicyCheck | PolicySimulation,
    track: Mapping[str, Any] | None,
) -> Mapping[str, Any]:
    """Return the policy to try: exactly one is named or given, and one of the track's program."""
    if body.policy_id is None and body.policy is None:
        detail = "Name a stored policy, or give one."
        raise InvalidError(errors=[Violation("#/policy_id", "missing", detail)])
    if body.policy_id is not None and body.policy is not None:
        detail = "Name a stored policy or give one, not both."
        raise InvalidError(errors=[Violation("#/policy", "exclusive", detail)])
    if body.policy is not None:
        given = body.policy.model_dump()
        await program_operations.require_sound_tests(
            reader,
            organization_id=actor.organization_id,
            tests=given.get("tests", ()),
            pointer="#/policy/tests",
        )
        return given
    try:
        found = await _policy_of(reader, actor, body.policy_id)
    except NotFoundError:
        raise unknown_reference("#/policy_id") from None
    if found is None or (track is not None and found["program_id"] != track["program_id"]):
        raise unknown_reference("#/policy_id")
    if not access.holds("policy.try", actor.facts(program_id=found["program_id"])):
        raise unknown_reference("#/policy_id")
    return {**found, "tests": program_rules.tests_of(found)}


async def _policy_of(
    reader: Reader, actor: Actor, policy_id: UUID | None
) -> Mapping[str, Any] | None:
    if policy_id is None:
        return None
    return await programs.get_part(reader, MatchPolicy, actor=actor, part_id=policy_id)


async def _trial(
    reader: Reader,
    actor: Actor,
    resources: Resources,
    body: PolicySimulation,
    *,
    track: Mapping[str, Any],
    policies: tuple[Mapping[str, Any], Mapping[str, Any] | None],
    now: datetime,
) -> Trial:
    policy, present = policies
    if body.synthetic is None:
        task = await _live(reader, actor, resources, track, policy, now=now)
        tried: Mapping[str, Any] = task.problem
    else:
        tried = rules.invented(
            await pools.terms(reader, organization_id=actor.organization_id, track_id=track["id"]),
            mentors=body.synthetic.mentors,
            mentees=body.synthetic.mentees,
            # Both policies find the same people, whichever columns either of them reads.
            attributes=rules.attributes_of(policy, present),
            policy=policy,
            seed=body.synthetic.seed,
        )
    if present is None:
        return Trial(tried, None)
    usual = pool_rules.policy_of(present, synonyms=tried["policy"]["synonyms"])
    return Trial(tried, {**tried, "policy": usual, "seed": present["seed"]})


async def _solved(
    trial: Trial, actor: Actor, resources: Resources
) -> tuple[SolutionLine, SolutionLine | None]:
    client = matching.required(resources.matching)

    async def solve(problem: Mapping[str, Any]) -> SolutionLine:
        return await matching.solve(
            client,
            organization_id=actor.organization_id,
            problem=problem,
            on_progress=_take_no_note,
        )

    try:
        async with asyncio.timeout(rules.SECONDS):
            if trial.present is None:
                return await solve(trial.tried), None
            if trial.present == trial.tried:
                found = await solve(trial.tried)
                return found, found
            # One after the other: of what one organization may have worked on at once, runs and
            # questions of others need a share too.
            return await solve(trial.tried), await solve(trial.present)
    except TimeoutError:
        raise rules.took_too_long() from None


async def _take_no_note(_line: ProgressLine) -> None:
    return


def _left(solution: Solution) -> list[LeftView]:
    counted = Counter((one.role, one.reason.rule, one.reason.key) for one in solution.unmatched)
    return [
        LeftView(role=role.value, rule=rule, key=key, count=count)  # type: ignore[typeddict-item]  # the same words
        for (role, rule, key), count in sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    ]


def _scores(solution: Solution) -> ScoresView:
    scores = rules.scores_of(solution.matches)
    return ScoresView(
        minimum=solution.fairness.minimum,
        fifth_percentile=solution.fairness.fifth_percentile,
        median=round(statistics.median(scores), 2) if scores else None,
        mean=solution.totals.mean,
        gini=solution.fairness.gini,
    )


def _certificate(line: SolutionLine) -> CertificateView:
    found, versions = line.solution.certificate, line.solution.versions
    return CertificateView(
        kind=found.kind.value,
        objective=found.objective.value,
        primal=found.primal,
        dual=found.dual,
        gap=found.gap,
        method=found.method,
        engine=versions.engine,
        text_model=versions.text_model,
        digest=line.digest,
    )


def _present(tried: Solution, present: Solution, track: Mapping[str, Any]) -> PresentView:
    difference = pool_rules.difference(
        rules.pairs_of(present.matches),
        rules.pairs_of(tried.matches),
        is_peer=track["format"] == "peer",
    )
    return PresentView(
        policy_id=ids.format_id("match_policy", track["policy_id"]),
        matched=present.totals.matched,
        scores=_scores(present),
        pairs=PairCountsView(
            kept=len(difference.kept),
            changed=len(difference.changed),
            lost=len(difference.lost),
            new=len(difference.new),
        ),
    )
