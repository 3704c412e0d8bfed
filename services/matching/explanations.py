"""Why people are together, why they are not, and who else it could have been."""

from collections.abc import Mapping, Sequence

import numpy as np

from services.matching import candidates, constraints, scoring
from services.matching.blocks import points
from services.matching.board import Board, Side, Step, weight_sum
from services.matching.decision import Decision
from services.matching.measures import Mask, Places
from services.matching.taken import Taken
from shared.schemas.matching import (
    POINTS,
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

STEP = 100
"""So many pairs are explained between two words on progress."""


# Pairs.


def scored_pairs(board: Board, first: Places, second: Places) -> list[ScoredPair]:
    """Return pairs with their scores and the reasons for them."""
    scores = board.scores(first, second).tolist()
    parts = _parts(board, first, second)
    return [
        ScoredPair(
            first=board.first.ids[one],
            second=board.second.ids[other],
            score=score / 100,
            parts=said,
            notes=_notes(board, one, other),
        )
        for one, other, score, said in zip(
            first.tolist(), second.tolist(), scores, parts, strict=True
        )
    ]


def _parts(board: Board, first: Places, second: Places) -> list[list[Part]]:
    """Return what each criterion gave each pair, and why."""
    problem, total = board.problem, weight_sum(board.problem)
    rows = [
        (board.first.rows[one], board.second.rows[other])
        for one, other in zip(first.tolist(), second.tolist(), strict=True)
    ]
    found: list[list[Part]] = [[] for _ in rows]
    for one in board.soft:
        rule, values = one.rule, one.values(first, second)
        given = points(values, rule.weight, total)
        criterion = scoring.CRITERIA[rule.rule]
        for parts, pair, value, gain in zip(
            found, rows, values.tolist(), given.tolist(), strict=True
        ):
            parts.append(
                Part(
                    rule=rule.rule,
                    key=f"because.{rule.rule}",
                    params=dict(criterion.facts(problem, *pair, rule.params)),
                    points=gain / 100,
                    weight=rule.weight,
                    value=value / POINTS,
                )
            )
    return found


def pair_scores(board: Board, first: Places, second: Places) -> list[PairScore]:
    """Return pairs with their scores, and the rules that keep them apart."""
    found = []
    for scored, one, other in zip(
        scored_pairs(board, first, second), first.tolist(), second.tolist(), strict=True
    ):
        broken = broken_of(board, one, other)
        found.append(PairScore(**dict(scored), allowed=not broken, broken=broken))
    return found


def broken_of(
    board: Board, first: int, second: int, *, whatever_the_policy: bool = False
) -> list[Reason]:
    """Return every hard rule a pair breaks, each with its explanation.

    With `whatever_the_policy` only of those that hold in every policy.
    """
    rows = board.first.rows[first], board.second.rows[second]
    pair = np.array([first]), np.array([second])
    return [
        Reason(
            rule=one.rule,
            key=f"apart.{one.rule}",
            params=dict(constraints.RULES[one.rule].facts(board.problem, *rows, one.params)),
        )
        for one in board.hard
        if one.is_always_on or not whatever_the_policy
        if one.apart.pairs(*pair)[0]
    ]


def _notes(board: Board, first: int, second: int) -> list[Reason]:
    """Return what was left out of account because it is not known."""
    judged = [one for one in board.hard if one.rule == "seniority"]
    ranks = board.problem.participants.grade_rank
    rows = board.first.rows[first], board.second.rows[second]
    if not judged or (ranks and all(ranks[row] is not None for row in rows)):
        return []
    return [Reason(rule="seniority", key="note.grade_unknown")]


# Matches.


def by_id(board: Board, taken: Taken) -> tuple[Places, Places]:
    """Return pairs in the order of ids, of equals each once with the lower id first."""
    first, second = board.first.ids, board.second.ids
    pairs = (
        [(one, other) for one, other in taken if first[one] < second[other]]
        if board.is_peer
        else list(taken)
    )
    pairs.sort(key=lambda pair: (first[pair[0]], second[pair[1]]))
    places = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1]


def matches_of(decision: Decision, *, step: Step) -> list[Match]:
    """Return every pair that was made as a match."""
    board = decision.board
    first, second = by_id(board, decision.taken)
    locked = decision.open.locked.holds(first, second).tolist()
    current = decision.open.current.holds(first, second).tolist()
    found = []
    for start in range(0, len(first), STEP):
        step("explain", start, len(first))
        some = slice(start, start + STEP)
        scored = scored_pairs(board, first[some], second[some])
        for pair, one, other, is_locked, is_current in zip(
            scored,
            first[some].tolist(),
            second[some].tolist(),
            locked[some],
            current[some],
            strict=True,
        ):
            found.append(
                Match(
                    members=[member_of(board.first, one), member_of(board.second, other)],
                    score=pair.score,
                    parts=pair.parts,
                    notes=pair.notes,
                    is_locked=is_locked,
                    is_current=is_current,
                    # No other pair breaks any.
                    broken=broken_of(board, one, other) if is_locked else [],
                )
            )
    return found


def groups_of(decision: Decision, *, step: Step) -> list[Match]:
    """Return everybody of the first side with all they were given as one match each."""
    board, taken = decision.board, decision.taken
    hosts = sorted(set(taken.first.tolist()), key=board.first.ids.__getitem__)
    found = []
    for done, host in enumerate(hosts):
        step("explain", done, len(hosts))
        found.append(_group(decision, host, taken.of_first(host)))
    return found


def _group(decision: Decision, host: int, guests: Places) -> Match:
    board, first = decision.board, np.full(len(guests), host)
    locked = decision.open.locked.holds(first, guests)
    return group_of(board, host, guests).model_copy(
        update={
            "is_locked": bool(locked.all()),
            "is_current": bool(decision.open.current.holds(first, guests).all()),
            "broken": [
                reason
                for guest in guests[locked].tolist()
                for reason in broken_of(board, host, guest)
            ],
        }
    )


def group_of(board: Board, host: int, guests: Places) -> Match:
    """Return somebody of the first side with some of the second as one match."""
    order = sorted(guests.tolist(), key=board.second.ids.__getitem__)
    first, second = np.full(len(order), host), np.array(order, dtype=np.int64)
    pairs = scored_pairs(board, first, second)
    return Match(
        members=[member_of(board.first, host), *(member_of(board.second, one) for one in order)],
        score=mean_of([pair.score for pair in pairs], 2),
        parts=[mean_part(parts) for parts in zip(*(pair.parts for pair in pairs), strict=True)],
        pairs=pairs,
    )


def member_of(side: Side, place: int) -> Member:
    """Return somebody as a member of a match."""
    return Member(id=side.ids[place], role=side.roles[place])


def mean_part(parts: Sequence[Part]) -> Part:
    """Return what one criterion gave several pairs, on average; which column it compares stays."""
    column = {name: one for name, one in parts[0].params.items() if name == "attribute"}
    return Part(
        rule=parts[0].rule,
        key=f"{parts[0].key}.group",
        params={"pairs": len(parts), **column},
        points=mean_of([part.points for part in parts], 2),
        weight=parts[0].weight,
        value=mean_of([part.value for part in parts], 4),
    )


def mean_of(values: Sequence[float], digits: int) -> float:
    """Return the mean, rounded."""
    return round(sum(values) / len(values), digits)


# Those who stay alone.


def unmatched_of(decision: Decision, *, step: Step) -> list[Unmatched]:
    """Return everybody who got nobody, each with the one reason that decided it."""
    board = decision.board
    step("reasons", 0, 2)
    found = [*_alone(decision, is_first=True), *_facilitators(board)]
    if not board.is_peer:
        step("reasons", 1, 2)
        found += _alone(decision, is_first=False)
    return sorted(found, key=lambda one: (one.id, one.role))


def _alone(decision: Decision, *, is_first: bool) -> list[Unmatched]:
    board = decision.board
    side = board.first if is_first else board.second
    sizes = decision.taken.sizes[0 if is_first else 1]
    alone = np.flatnonzero(sizes == 0)
    reasons = _why_alone(decision, alone, is_first=is_first)
    return [
        Unmatched(
            id=side.ids[place], role=side.roles[place], free=int(side.capacity[place]), reason=why
        )
        for place, why in zip(alone.tolist(), reasons, strict=True)
    ]


def _why_alone(decision: Decision, alone: Places, *, is_first: bool) -> list[Reason]:
    board = decision.board
    side, others = (board.first, board.second) if is_first else (board.second, board.first)
    # The only one of equals with a place has nobody either.
    if (others.capacity > 0).sum() <= board.is_peer:
        return [
            Reason(rule="capacity", key="unmatched.nobody_there")
            if side.capacity[place]
            else Reason(rule="capacity", key="unmatched.no_place")
            for place in alone.tolist()
        ]
    allowed = _count_allowed(board, alone, is_first=is_first)
    kept = np.flatnonzero(allowed == 0)
    apart = candidates.kept_apart(board, alone[kept], is_first=is_first)
    rules = {int(at): apart[:, column] for column, at in enumerate(kept)}
    closed = _closed_minimum(decision, alone, is_first=is_first)
    reasons = []
    for at, place in enumerate(alone.tolist()):
        if not side.capacity[place]:
            reasons.append(Reason(rule="capacity", key="unmatched.no_place"))
        elif at in rules:
            reasons.append(_kept_apart(board, rules[at]))
        elif closed[at]:
            params = {"minimum": int(closed[at])}
            reasons.append(Reason(rule="minimum", key="unmatched.group_too_small", params=params))
        else:
            params = {"allowed": int(allowed[at])}
            reasons.append(Reason(rule="capacity", key="unmatched.places_taken", params=params))
    return reasons


def _closed_minimum(decision: Decision, alone: Places, *, is_first: bool) -> Places:
    """Return for each who stays alone the size that their group did not reach; 0 for all others.

    Who seeks a group is told so only where every group they might have joined was closed: while
    one is held, its places are what they lack.
    """
    board, closed = decision.board, decision.closed
    minimum = board.first.minimum
    if is_first:
        return np.where(closed[alone], minimum[alone], 0)
    found = np.zeros(len(alone), dtype=np.int64)
    if not closed.any() or not len(alone):
        return found
    blocks = board.blocks().take(np.arange(board.shape[0]), alone)

    def allowed(some: Mask) -> Mask:
        return candidates.count_allowed(blocks, some, is_first=False) > 0

    is_held = allowed((board.first.capacity > 0) & ~closed)
    # The smallest is what it would have taken, so it is written last.
    for size in np.unique(minimum[closed])[::-1].tolist():
        found[allowed(closed & (minimum == size)) & ~is_held] = size
    return found


def _count_allowed(board: Board, places: Places, *, is_first: bool) -> Places:
    """Count for each of some people those with room whom no rule keeps from them."""
    others = board.second if is_first else board.first
    everybody = np.arange(len(others.ids))
    has_room = others.capacity > 0
    blocks = board.blocks()
    blocks = blocks.take(places, everybody) if is_first else blocks.take(everybody, places)
    return candidates.count_allowed(blocks, has_room, is_first=is_first)


def _kept_apart(board: Board, counts: Places) -> Reason:
    """Name the rules that keep somebody from everybody, the most frequent first."""
    return apart_by(told_of(board, counts))


def told_of(board: Board, counts: Places) -> dict[str, int]:
    """Return how many each rule keeps from somebody, rules that keep nobody left out."""
    told: dict[str, int] = {}
    for one, count in zip(board.hard, counts.tolist(), strict=True):
        if count:
            told[one.rule] = told.get(one.rule, 0) + count
    if len(told) > 1:
        # That nobody meets themselves is a reason only while there is nobody else.
        told.pop("not_oneself", None)
    return told


def apart_by(told: Mapping[str, int]) -> Reason:
    """Say that rules keep somebody from so many others each; there is one at least."""
    told = dict(sorted(told.items()))
    # The first of the most frequent: one rule is told, the figures of all are there.
    worst = max(told, key=lambda rule: told[rule])
    return Reason(rule=worst, key="unmatched.kept_apart", params={"pairs": told})


def _facilitators(board: Board) -> list[Unmatched]:
    places, ids = board.problem.places, board.problem.participants.id
    reason = Reason(rule="role", key="unmatched.role_not_matched")
    return [
        Unmatched(id=ids[row], role=role, free=capacity, reason=reason)
        for row, role, capacity in zip(
            places.participant, places.role, places.capacity, strict=True
        )
        if role is Role.FACILITATOR
    ]


# A pair that is not there.


def why_not(decision: Decision, first: int, second: int) -> list[Reason]:
    """Return why two people are not together: it cannot be, or who was placed instead."""
    if decision.taken.has(first, second):
        return []
    found = why_impossible(decision, first, second) or [
        *_placed_instead(decision, first, second, is_first=True),
        *_placed_instead(decision, first, second, is_first=False),
    ]
    return found or [Reason(rule="objective", key="why_not.objective")]


def why_impossible(decision: Decision, first: int, second: int) -> list[Reason]:
    """Return why two people cannot be together whatever else gives way: rules, places, locks.

    Nor can they where the group never reaches its size, whoever joins.
    """
    board, left = decision.board, decision.open
    if broken := broken_of(board, first, second):
        return broken
    found = []
    for side, free, place in (
        (board.first, left.first, first),
        (board.second, left.second, second),
    ):
        if not side.capacity[place]:
            found.append(_of_places("why_not.no_place", side, place))
        elif free[place] <= 0 and side is board.first and left.needed[place]:
            found.append(too_small(board, place))
        elif free[place] <= 0:
            found.append(_of_places("why_not.places_locked", side, place))
    return found


def _of_places(key: str, side: Side, place: int) -> Reason:
    return Reason(rule="capacity", key=key, params={"who": side.ids[place]})


def too_small(board: Board, host: int) -> Reason:
    """Say that the group of somebody would stay below its smallest size."""
    params = {"who": board.first.ids[host], "minimum": int(board.first.minimum[host])}
    return Reason(rule="minimum", key="why_not.group_too_small", params=params)


def _placed_instead(decision: Decision, first: int, second: int, *, is_first: bool) -> list[Reason]:
    """Say whom somebody has instead who would be the first to give way, where all places are taken.

    Who is locked with them gives way to nobody.
    """
    board, taken = decision.board, decision.taken.without(decision.open.locked)
    side, others = (board.first, board.second) if is_first else (board.second, board.first)
    free = decision.open.first if is_first else decision.open.second
    place = first if is_first else second
    held = taken.of_first(first) if is_first else taken.of_second(second)
    if len(held) < free[place]:
        return []
    same = np.full(len(held), place)
    scores = board.scores(*((same, held) if is_first else (held, same)))
    order = sorted(
        zip(scores.tolist(), held.tolist(), strict=True),
        key=lambda pair: (pair[0], others.ids[pair[1]]),
    )
    score, worst = order[0]
    own = int(board.scores(np.array([first]), np.array([second]))[0])
    # Below zero where the objective gave points up here for more of them, or a pair, elsewhere.
    params = {"who": side.ids[place], "instead": others.ids[worst], "points": (score - own) / 100}
    return [Reason(rule="capacity", key="why_not.placed_instead", params=params)]


def alternatives_of(decision: Decision, second: int, *, limit: int) -> list[Alternative]:
    """Return whom else somebody of the second side could have, by what it would cost at least.

    That is nobody while all places of either of the two are locked, or none.
    """
    board = decision.board
    first = np.arange(board.shape[0])
    same = np.full(len(first), second)
    is_open = board.allowed(first, same) & ~decision.taken.holds(first, same)
    is_open &= decision.open.has_room(first, same)
    first, same = first[is_open], same[is_open]
    costs = decision.costs(first, same)
    if costs is None:
        return []
    scores = board.scores(first, same).tolist()
    ranked = sorted(
        zip(costs.tolist(), scores, first.tolist(), strict=True),
        key=lambda one: (one[0], board.first.ids[one[2]]),
    )
    return [
        Alternative(
            first=board.first.ids[one],
            second=board.second.ids[second],
            score=score / 100,
            costs_at_least=decision.in_points(cost),
        )
        for cost, score, one in ranked[:limit]
    ]
