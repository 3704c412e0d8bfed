"""Why people are together, why they are not, and who else it could have been."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.matching.weighing import Weighed, broken_of, notes_of, parts_of
from shared.schemas.matching import (
    Alternative,
    Match,
    Member,
    PairScore,
    Part,
    Reason,
    Role,
    ScoredPair,
    Unmatched,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided about a problem, in the order of its sides.

    `slack` is what each pair not taken would cost the objective, None where no prices exist.
    """

    chosen: npt.NDArray[np.bool_]
    locked: npt.NDArray[np.bool_]
    current: npt.NDArray[np.bool_]
    closed: npt.NDArray[np.bool_]
    slack: npt.NDArray[np.int64] | None


def pairs_of(weighed: Weighed, chosen: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the pairs taken, each once, in the order of ids."""
    rows, columns = np.nonzero(np.triu(chosen) if weighed.is_peer else chosen)
    return sorted(
        (
            _by_id(weighed, one, other)
            for one, other in zip(rows.tolist(), columns.tolist(), strict=True)
        ),
        key=lambda pair: (weighed.first.ids[pair[0]], weighed.second.ids[pair[1]]),
    )


def _by_id(weighed: Weighed, first: int, second: int) -> tuple[int, int]:
    """Return a pair of peers lower id first; where sides differ nothing is to be decided."""
    if weighed.is_peer and weighed.first.ids[first] > weighed.second.ids[second]:
        return second, first
    return first, second


def scored_pair(weighed: Weighed, first: int, second: int) -> ScoredPair:
    """Return two people with their score and its reasons."""
    return ScoredPair(
        first=weighed.first.ids[first],
        second=weighed.second.ids[second],
        score=int(weighed.scores[first, second]) / 100,
        parts=parts_of(weighed, first, second),
        notes=notes_of(weighed, first, second),
    )


def pair_score(weighed: Weighed, first: int, second: int) -> PairScore:
    """Return two people with their score, and the rules that keep them apart."""
    return PairScore(
        **dict(scored_pair(weighed, first, second)),
        allowed=bool(weighed.allowed[first, second]),
        broken=broken_of(weighed, first, second),
    )


def match_of(weighed: Weighed, outcome: Outcome, pair: tuple[int, int]) -> Match:
    """Return two people as a match."""
    first, second = pair
    scored = scored_pair(weighed, first, second)
    return Match(
        members=[
            Member(id=scored.first, role=weighed.first.roles[first]),
            Member(id=scored.second, role=weighed.second.roles[second]),
        ],
        score=scored.score,
        parts=scored.parts,
        notes=scored.notes,
        is_locked=bool(outcome.locked[pair]),
        is_current=bool(outcome.current[pair]),
    )


def group_of(weighed: Weighed, outcome: Outcome, first: int, seconds: Sequence[int]) -> Match:
    """Return one person of the first side with everybody they were given."""
    pairs = [scored_pair(weighed, first, second) for second in seconds]
    return Match(
        members=[
            Member(id=weighed.first.ids[first], role=weighed.first.roles[first]),
            *(
                Member(id=weighed.second.ids[second], role=weighed.second.roles[second])
                for second in seconds
            ),
        ],
        score=_mean([pair.score for pair in pairs], 2),
        parts=[_mean_part(parts) for parts in zip(*(pair.parts for pair in pairs), strict=True)],
        is_locked=bool(outcome.locked[first, seconds].all()),
        is_current=bool(outcome.current[first, seconds].all()),
        pairs=pairs,
    )


def _mean_part(parts: Sequence[Part]) -> Part:
    return Part(
        rule=parts[0].rule,
        key=f"{parts[0].key}.group",
        params={"pairs": len(parts)},
        points=_mean([part.points for part in parts], 2),
        weight=parts[0].weight,
        value=_mean([part.value for part in parts], 4),
    )


def _mean(values: Sequence[float], digits: int) -> float:
    return round(sum(values) / len(values), digits)


# Those who stay alone.


def unmatched_of(weighed: Weighed, outcome: Outcome) -> list[Unmatched]:
    """Return everybody who got nobody, each with the one reason that decided it."""
    found = []
    for side, axis in ((weighed.first, 1), (weighed.second, 0)):
        alone = np.flatnonzero(~outcome.chosen.any(axis=axis))
        for place in alone.tolist():
            reason = _why_alone(weighed, outcome, place, is_first=axis == 1)
            free = int(side.capacity[place])
            one = Unmatched(id=side.ids[place], role=side.roles[place], free=free, reason=reason)
            found.append(one)
        if weighed.is_peer:
            break
    return sorted([*found, *_facilitators(weighed)], key=lambda one: (one.id, one.role))


def _why_alone(weighed: Weighed, outcome: Outcome, place: int, *, is_first: bool) -> Reason:
    side, others = (weighed.first, weighed.second) if is_first else (weighed.second, weighed.first)
    allowed = weighed.allowed[place] if is_first else weighed.allowed[:, place]
    if not side.capacity[place]:
        return Reason(rule="capacity", key="unmatched.no_place")
    if not (others.capacity > 0).any() or (weighed.is_peer and len(side.ids) == 1):
        return Reason(rule="capacity", key="unmatched.nobody_there")
    if not allowed.any():
        return _kept_apart(weighed, place, is_first=is_first)
    if is_first and outcome.closed[place]:
        minimum = int(side.minimum[place])
        return Reason(rule="minimum", key="unmatched.group_too_small", params={"minimum": minimum})
    params = {"allowed": int((allowed & (others.capacity > 0)).sum())}
    return Reason(rule="capacity", key="unmatched.places_taken", params=params)


def _kept_apart(weighed: Weighed, place: int, *, is_first: bool) -> Reason:
    """Name the rules that keep somebody from everybody, the most frequent first."""
    counts: Counter[str] = Counter()
    for one in weighed.hard:
        apart = one.apart[place] if is_first else one.apart[:, place]
        counts[one.rule] += int(apart.sum())
    told = {rule: count for rule, count in sorted(counts.items()) if count}
    # The first of the most frequent: one rule is told, the figures of all are there.
    worst = max(told, key=lambda rule: told[rule])
    return Reason(rule=worst, key="unmatched.kept_apart", params={"pairs": told})


def _facilitators(weighed: Weighed) -> list[Unmatched]:
    places, ids = weighed.problem.places, weighed.problem.participants.id
    reason = Reason(rule="role", key="unmatched.role_not_matched")
    return [
        Unmatched(id=ids[row], role=role, free=capacity, reason=reason)
        for row, role, capacity in zip(
            places.participant, places.role, places.capacity, strict=True
        )
        if role is Role.FACILITATOR
    ]


# A pair that is not there.


def why_not(weighed: Weighed, outcome: Outcome, first: int, second: int) -> list[Reason]:
    """Return why two people are not together: the rules, or who was placed instead."""
    if outcome.chosen[first, second]:
        return []
    broken = broken_of(weighed, first, second)
    if broken:
        return broken
    found = [
        *_placed_instead(weighed, outcome, first, second, is_first=True),
        *_placed_instead(weighed, outcome, first, second, is_first=False),
    ]
    return found or [Reason(rule="objective", key="why_not.objective")]


def _placed_instead(
    weighed: Weighed, outcome: Outcome, first: int, second: int, *, is_first: bool
) -> list[Reason]:
    side, others = (weighed.first, weighed.second) if is_first else (weighed.second, weighed.first)
    place = first if is_first else second
    held = np.flatnonzero(outcome.chosen[first] if is_first else outcome.chosen[:, second])
    if len(held) < side.capacity[place]:
        return []
    if not len(held):
        return [Reason(rule="capacity", key="why_not.no_place", params={"who": side.ids[place]})]
    scores = weighed.scores[first] if is_first else weighed.scores[:, second]
    worst = min(held.tolist(), key=lambda one: (int(scores[one]), others.ids[one]))
    params = {
        "who": side.ids[place],
        "instead": others.ids[worst],
        "points": int(scores[worst] - weighed.scores[first, second]) / 100,
    }
    return [Reason(rule="capacity", key="why_not.placed_instead", params=params)]


def alternatives_of(
    weighed: Weighed, outcome: Outcome, second: int, *, limit: int
) -> list[Alternative]:
    """Return whom else somebody of the second side could have, by what it would cost."""
    slack = outcome.slack
    if slack is None:
        return []
    open_pairs = np.flatnonzero(weighed.allowed[:, second] & ~outcome.chosen[:, second])
    ranked = sorted(
        open_pairs.tolist(),
        key=lambda first: (int(slack[first, second]), weighed.first.ids[first]),
    )
    return [
        Alternative(
            first=weighed.first.ids[first],
            second=weighed.second.ids[second],
            score=int(weighed.scores[first, second]) / 100,
            cost=int(slack[first, second]),
        )
        for first in ranked[:limit]
    ]
