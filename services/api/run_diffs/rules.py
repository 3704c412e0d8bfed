"""What changed between two runs, pair by pair and person by person."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from services.api.match_runs.rules import RunStatus
from services.api.pools import rules as pools
from services.api.pools.rules import There
from services.api.programs.rules import TrackRole
from shared import ids
from shared.errors import ConflictError, InvalidError, Violation

HAS_FOUND = frozenset(
    {RunStatus.REVIEW, RunStatus.SIMULATED, RunStatus.PUBLISHED, RunStatus.DISCARDED}
)
MOST_EXPLAINED = 20
"""Pairs that matching is asked about; the parts of scores are told of all."""

type Pair = tuple[str, str]


class Change(StrEnum):
    """What became of somebody from one run to the other."""

    CHANGED = "changed"
    LOST = "lost"
    NEW = "new"
    LEFT_POOL = "left_pool"
    JOINED_POOL = "joined_pool"


@dataclass(frozen=True, slots=True)
class Found:
    """What one run proposed: each pair, the mentor side first, with its score and parts."""

    pairs: Mapping[Pair, Mapping[str, Any]]
    pool: Collection[str]
    partners: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody for whom something changed: with whom they were, and with whom they are."""

    participant_id: str
    change: Change
    before: frozenset[str]
    after: frozenset[str]


def found(
    proposals: Sequence[Mapping[str, Any]], pool: Collection[UUID], there: Iterable[There] = ()
) -> Found:
    """Return what a run proposed, from its proposals as they stand.

    Who joins a mentorship that was there is a pair with whoever leads it.
    """
    leads = {one.mentorship_id: one.participant_id for one in there if one.leads}
    pairs: dict[Pair, Mapping[str, Any]] = {}
    partners: dict[str, set[str]] = {}
    for one in proposals:
        members = [(str(who), TrackRole(role)) for who, role in one["members"]]
        if one["mentorship_id"] in leads:
            members.append((str(leads[one["mentorship_id"]]), TrackRole.MENTOR))
        for first, second in pools.mentor_first(members):
            pairs[first, second] = one
            partners.setdefault(first, set()).add(second)
            partners.setdefault(second, set()).add(first)
    return Found(
        MappingProxyType(pairs),
        frozenset(map(str, pool)),
        {name: frozenset(others) for name, others in partners.items()},
    )


def people_changed(base: Found, other: Found) -> list[Person]:
    """Return everybody whose partners are not the same, or who is in one pool only."""
    people = []
    for name in sorted({*base.pool, *other.pool, *base.partners, *other.partners}):
        before = base.partners.get(name, frozenset())
        after = other.partners.get(name, frozenset())
        change = _change(name, before, after, base, other)
        if change is not None:
            people.append(Person(name, change, before, after))
    return people


def _change(
    name: str, before: frozenset[str], after: frozenset[str], base: Found, other: Found
) -> Change | None:
    if name in base.pool and name not in other.pool:
        return Change.LEFT_POOL
    if name in other.pool and name not in base.pool:
        return Change.JOINED_POOL
    if before == after:
        return None
    if not after:
        return Change.LOST
    return Change.CHANGED if before else Change.NEW


def pairs_to_explain(
    people: Sequence[Person], base: Found, other: Found
) -> tuple[list[Pair], list[Pair]]:
    """Return pairs of the base that the other run has not, and pairs of the other run alone.

    The first are explained by the other run, the second, of people who had nobody, by the base;
    only where both people were in the pool of the run that is to explain.
    """
    newly = {one.participant_id for one in people if one.change is Change.NEW}
    gone = [
        pair for pair in sorted(base.pairs) if pair not in other.pairs and {*pair} <= {*other.pool}
    ]
    come = [
        pair
        for pair in sorted(other.pairs)
        if pair not in base.pairs and {*pair} <= {*base.pool} and newly & {*pair}
    ]
    return gone[:MOST_EXPLAINED], come[:MOST_EXPLAINED]


def reasons_for(
    person: Person,
    base: Found,
    other: Found,
    explained: Mapping[Pair, Sequence[Mapping[str, Any]]],
) -> list[dict[str, Any]]:
    """Return why somebody is no longer with whom they were, or was not with whom they are."""
    if person.change is Change.LEFT_POOL:
        return [_gone(person.participant_id)]
    told = []
    pairs, pool = (
        (other.pairs, base.pool) if person.change is Change.NEW else (base.pairs, other.pool)
    )
    beside = person.after if person.change is Change.NEW else person.before - person.after
    for partner in sorted(beside):
        pair = (person.participant_id, partner)
        pair = pair if pair in pairs else (partner, person.participant_id)
        if partner not in pool:
            told.append(_gone(partner))
        told += [dict(one) for one in explained.get(pair, ())]
    return told


def _gone(name: str) -> dict[str, Any]:
    who = ids.format_id("participant", UUID(name))
    return {"rule": "pool", "key": "diff.not_in_pool", "params": {"who": who}}


def parts_changed(person: Person, base: Found, other: Found) -> dict[str, tuple[float, float]]:
    """Return the points each criterion gave before and after, where they differ."""
    before, after = _points(person, person.before, base), _points(person, person.after, other)
    return {
        rule: (before.get(rule, 0.0), after.get(rule, 0.0))
        for rule in sorted({*before, *after})
        if before.get(rule) != after.get(rule)
    }


def _points(person: Person, partners: frozenset[str], run: Found) -> dict[str, float]:
    """Return the mean points of each criterion over somebody's pairs."""
    sums: dict[str, float] = {}
    for proposal in proposals_of(person, partners, run):
        for part in proposal["parts"]:
            sums[part["rule"]] = sums.get(part["rule"], 0.0) + part["points"]
    return {rule: round(value / len(partners), 2) for rule, value in sums.items()}


def proposals_of(person: Person, partners: Collection[str], run: Found) -> list[Mapping[str, Any]]:
    """Return the proposals that put somebody together with these."""
    return [
        run.pairs.get((person.participant_id, partner)) or run.pairs[partner, person.participant_id]
        for partner in sorted(partners)
    ]


def require_comparable(base: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse runs of different tracks, and runs that have found nothing yet."""
    if base["id"] == other["id"]:
        detail = "Name another run."
        raise InvalidError(errors=[Violation("#/other_run_id", "not_unique", detail)])
    if base["track_id"] != other["track_id"]:
        detail = "Both are to be runs of one track."
        raise InvalidError(errors=[Violation("#/other_run_id", "another_track", detail)])
    for name, run in (("base_run_id", base), ("other_run_id", other)):
        if run["status"] not in HAS_FOUND or not run["stats"]:
            detail = "This run has not found anything."
            raise ConflictError(
                detail, code="not_ready", errors=[Violation(f"#/{name}", "nothing_found", detail)]
            )
