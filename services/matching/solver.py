"""From a problem to its solution: pure, exact where it says so, the same every time."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from services.matching import assignment, explanations, inputs, text, weighing
from services.matching.board import Step, weight_sum
from services.matching.explanations import Outcome
from services.matching.weighing import Weighed
from shared.errors import InvalidError, Violation
from shared.schemas.matching import (
    Certificate,
    CertificateKind,
    CheckedTest,
    Churn,
    Explanation,
    ExplanationsAnswer,
    ExplanationsRequest,
    Fairness,
    Fault,
    Format,
    Mark,
    Match,
    Objective,
    Pairs,
    PairScore,
    PolicyCheckAnswer,
    PolicyCheckRequest,
    PolicyTest,
    Price,
    Problem,
    Reason,
    RuleEffect,
    ScoredPair,
    ScoresAnswer,
    ScoresRequest,
    Solution,
    Totals,
    Versions,
    WhatIf,
)

ENGINE = "exact-1"

type Matrix = npt.NDArray[np.int64]
type Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Market:
    """What is left to decide once locks were honored: who is open, and what each pair is worth.

    `values` are scores with the bonus for current pairs; `wishes` say whom each would rather have.
    """

    allowed: Mask
    scores: Matrix
    values: Matrix
    first: Matrix
    second: Matrix
    wish_first: Matrix
    wish_second: Matrix
    floor: int
    is_peer: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """Who was chosen, how good that is, and the prices that say so."""

    chosen: Mask
    certificate: Certificate
    weights: Matrix | None = None
    prices: assignment.Prices | None = None
    closed: Mask | None = None


def ready(problem: Problem, *, max_cells: int) -> Problem:
    """Return the canonical form of a problem; one with faults is an `InvalidError`."""
    faults = inputs.faults_of(problem, max_cells=max_cells)
    if faults:
        raise InvalidError(errors=faults[:100])
    return inputs.canonical(problem)


def weigh(problem: Problem, *, step: Step) -> Weighed:
    """Return the matrices of a problem after making sure that its locks are possible."""
    weighed = weighing.weigh(problem, step=step)
    _check_locks(weighed)
    return weighed


def solve(weighed: Weighed, *, step: Step) -> tuple[Decision, Outcome]:
    """Return the best choice for the objective of the policy."""
    locked = _named(weighed, weighed.problem.locks, is_ordered=not weighed.is_peer)
    current = _named(weighed, weighed.problem.current_pairs, is_ordered=False)
    market = _market(weighed, locked, current)
    step("solve", 0, 1)
    decision = _with_minimums(weighed, market, locked)
    step("solve", 1, 1)
    closed = decision.closed
    outcome = Outcome(
        chosen=decision.chosen | locked,
        locked=locked,
        current=current,
        closed=np.zeros(len(weighed.first.ids), dtype=bool) if closed is None else closed,
        slack=_slack(decision),
    )
    return decision, outcome


def describe(weighed: Weighed, decision: Decision, outcome: Outcome, *, step: Step) -> Solution:
    """Return the whole answer to a problem, reasons included."""
    matches = _matches(weighed, outcome, step)
    return Solution(
        input_hash=weighed.input_hash,
        versions=_versions(weighed.problem),
        seed=weighed.seed,
        certificate=decision.certificate,
        totals=_totals(weighed, outcome, len(matches)),
        fairness=_fairness(weighed, outcome),
        blocking_pairs=_blocking_pairs(weighed, outcome),
        churn=_churn(weighed, outcome),
        matches=matches,
        unmatched=explanations.unmatched_of(weighed, outcome),
        prices=_prices(weighed, decision),
        warnings=[*_doubts(weighed.problem), *_pool_doubts(weighed)],
    )


def digest_of(solution: Solution) -> str:
    """Return the SHA-256 of a solution's JSON."""
    return "sha256:" + hashlib.sha256(solution.model_dump_json().encode()).hexdigest()


def _versions(problem: Problem) -> Versions:
    return Versions(engine=ENGINE, text_model=text.name_of(problem.policy.text_model))


# Locks.


def _check_locks(weighed: Weighed) -> None:
    problem = weighed.problem
    pairs = list(zip(problem.locks.first, problem.locks.second, strict=True))
    faults = [
        fault for place, pair in enumerate(pairs) for fault in _lock_faults(weighed, place, pair)
    ]
    faults += _overfull(weighed, pairs)
    if faults:
        raise InvalidError(
            "Locks are impossible; each is listed with the rule that forbids it.", errors=faults
        )


def _lock_faults(weighed: Weighed, place: int, pair: tuple[str, str]) -> list[Violation]:
    first, second = weighed.first.place.get(pair[0]), weighed.second.place.get(pair[1])
    pointer = f"#/locks/first/{place}"
    if first is None or second is None:
        detail = "The first is not on the mentor side or the second not on the mentee side."
        return [Violation(pointer, "lock_without_place", detail)]
    return [
        Violation(pointer, "lock_breaks_rule", f"The rule {reason.rule} keeps these two apart.")
        for reason in weighing.broken_of(weighed, first, second)
    ]


def _overfull(weighed: Weighed, pairs: Sequence[tuple[str, str]]) -> list[Violation]:
    found = []
    for name, side, taken in (
        ("first", weighed.first, [pair[0] for pair in pairs]),
        ("second", weighed.second, [pair[1] for pair in pairs]),
    ):
        ids = [one for pair in pairs for one in pair] if weighed.is_peer else taken
        for place, one in enumerate(taken):
            if one in side.place and ids.count(one) > side.capacity[side.place[one]]:
                detail = "The rule capacity forbids it: more locks than places."
                found.append(Violation(f"#/locks/{name}/{place}", "lock_exceeds_capacity", detail))
    return found


def _named(weighed: Weighed, pairs: Pairs, *, is_ordered: bool) -> Mask:
    """Return where two people were named together; in one direction where sides matter."""
    named = np.zeros(weighed.allowed.shape, dtype=bool)
    first, second = weighed.first.place, weighed.second.place
    for one, other in zip(pairs.first, pairs.second, strict=True):
        for left, right in ((one, other),) if is_ordered else ((one, other), (other, one)):
            if left in first and right in second:
                named[first[left], second[right]] = True
    return named


# Deciding.


def _market(weighed: Weighed, locked: Mask, current: Mask) -> Market:
    policy = weighed.problem.policy
    bonus = current.astype(np.int64) * (policy.stay_bonus * 100)
    first = weighed.first.capacity - locked.sum(axis=1)
    second = weighed.second.capacity - locked.sum(axis=0)
    open_pairs = np.logical_and.outer(first > 0, second > 0)
    values = weighed.scores + bonus
    wish_first, wish_second = _wishes(weighed, values)
    return Market(
        allowed=weighed.allowed & ~locked & open_pairs,
        scores=weighed.scores,
        values=values,
        first=first,
        second=second,
        wish_first=wish_first,
        wish_second=wish_second,
        floor=policy.floor * 100,
        is_peer=weighed.is_peer,
    )


RANKED, MARKED = 10**9, {Mark.FAVORITE: 10**8, Mark.YES: 10**8, Mark.MAYBE: 0}


def _wishes(weighed: Weighed, values: Matrix) -> tuple[Matrix, Matrix]:
    """Return whom each side would rather have: ranked first, then marked, then by score."""
    said = weighed.problem.preferences
    first, second = values.copy(), values.copy()
    ranks = said.rank or [None] * len(said.by)
    for by, about, mark, rank in zip(said.by, said.about, said.mark, ranks, strict=True):
        extra = MARKED.get(mark, 0) + (RANKED * (1001 - rank) if rank and mark in MARKED else 0)
        if by in weighed.first.place and about in weighed.second.place:
            first[weighed.first.place[by], weighed.second.place[about]] += extra
        if about in weighed.first.place and by in weighed.second.place:
            second[weighed.first.place[about], weighed.second.place[by]] += extra
    return first, second


def _with_minimums(weighed: Weighed, market: Market, locked: Mask) -> Decision:
    """Decide, then close the groups that stayed too small, smallest first, until none is."""
    minimum = weighed.first.minimum
    fixed = locked.sum(axis=1)
    closed = np.zeros(len(minimum), dtype=bool)
    decision = whole = _decide(market, weighed.objective)
    while True:
        sizes = decision.chosen.sum(axis=1) + fixed
        short = np.flatnonzero((sizes > 0) & (sizes < minimum) & (fixed == 0))
        if not len(short):
            break
        worth = (decision.chosen * market.scores).sum(axis=1)
        smallest = min(short.tolist(), key=lambda one: (int(sizes[one]), int(worth[one]), one))
        closed[smallest] = True
        remaining = replace(
            market,
            allowed=market.allowed & ~closed[:, None],
            first=np.where(closed, 0, market.first),
        )
        decision = _decide(remaining, weighed.objective)
    return decision if not closed.any() else _bounded(decision, whole, closed)


def _bounded(decision: Decision, whole: Decision, closed: Mask) -> Decision:
    """Say how far a solution with closed groups can be from the best: the open one is a bound."""
    if whole.weights is None or whole.certificate.dual is None:
        certificate = decision.certificate.model_copy(
            update={"kind": CertificateKind.HEURISTIC, "gap": None}
        )
        return replace(decision, certificate=certificate, closed=closed)
    primal = int(whole.weights[decision.chosen].sum())
    certificate = _certificate(
        whole.certificate.objective,
        primal,
        whole.certificate.dual,
        "closing groups below their minimum",
    )
    return replace(decision, certificate=certificate, closed=closed, prices=None)


def _decide(market: Market, objective: Objective) -> Decision:
    if market.is_peer:
        return _decide_peers(market, objective)
    if objective is Objective.STABLE:
        return _defer(market)
    allowed = market.allowed
    if objective is Objective.FAIR_FLOOR:
        floor = assignment.best_floor(market.scores, allowed, market.first, market.second)
        allowed = allowed & (market.scores >= floor)
    weights = _weights(market, allowed, objective)
    chosen = assignment.assign(weights, market.first, market.second)
    prices = assignment.prices(weights, chosen, market.first, market.second)
    primal = int(weights[chosen].sum())
    certificate = _certificate(objective, primal, prices.dual, "exact assignment, dual prices")
    return Decision(chosen, certificate, weights, prices)


def _weights(market: Market, allowed: Mask, objective: Objective) -> Matrix:
    """Return one integer per pair whose sum orders solutions as the objective does.

    Levels are nested: a unit of a higher one outweighs everything the lower ones can add up to.
    """
    most = int(min(market.first.sum(), market.second.sum()))
    if objective is Objective.BEST_TOTAL:
        # Of equal totals, the one with more pairs.
        weights = market.values * (most + 1) + 1
    else:
        values = market.values
        if objective is Objective.MOST_MATCHED and market.floor:
            reaches = market.scores >= market.floor
            values = values + reaches * (most * int(values.max(initial=0)) + 1)
        weights = values + most * int(values.max(initial=0)) + 1
    return np.where(allowed, weights, assignment.FORBIDDEN)


def _certificate(objective: Objective, primal: int, dual: int, method: str) -> Certificate:
    is_optimal = primal == dual
    return Certificate(
        kind=CertificateKind.OPTIMAL if is_optimal else CertificateKind.BOUND,
        objective=objective,
        primal=primal,
        dual=dual,
        gap=0.0 if is_optimal else round((dual - primal) / dual, 9),
        method=method,
    )


def _defer(market: Market) -> Decision:
    chosen = assignment.defer(
        market.allowed, market.wish_first, market.wish_second, market.first, market.second
    )
    return Decision(chosen, _stability(market, chosen, "deferred acceptance"))


def _stability(market: Market, chosen: Mask, method: str) -> Certificate:
    """Say that nobody would rather change, or that some would."""
    is_stable = not _blocking(market, chosen).any()
    return Certificate(
        kind=CertificateKind.OPTIMAL if is_stable else CertificateKind.HEURISTIC,
        objective=Objective.STABLE,
        primal=int(market.values[np.triu(chosen) if market.is_peer else chosen].sum()),
        dual=None,
        gap=None,
        method=method,
    )


def _decide_peers(market: Market, objective: Objective) -> Decision:
    if objective is Objective.STABLE:
        chosen = assignment.greedy_peers(market.allowed, market.wish_first)
        return Decision(chosen, _stability(market, chosen, "most wanted pairs first"))
    allowed = market.allowed
    if objective is Objective.FAIR_FLOOR:
        allowed = allowed & (market.scores >= assignment.best_peer_floor(market.scores, allowed))
    weights = _weights(market, allowed, objective)
    chosen, bound = assignment.pair_peers(weights)
    primal = int(weights[np.triu(chosen)].sum())
    return Decision(chosen, _certificate(objective, primal, bound, "general matching"), weights)


def _slack(decision: Decision) -> Matrix | None:
    """Return what each pair not taken would cost: both prices less what it brings."""
    prices = decision.prices
    if prices is None or decision.weights is None:
        return None
    slack: Matrix = prices.first[:, None] + prices.second[None, :] - decision.weights
    return slack


def _blocking(market: Market, chosen: Mask) -> Mask:
    return assignment.blocking(
        allowed=market.allowed,
        chosen=chosen,
        wish_first=market.wish_first,
        # Among peers each row is one person's wish, whichever side they stand on.
        wish_second=market.wish_first.T if market.is_peer else market.wish_second,
        first=market.first,
        second=market.second,
    )


# Describing what was decided.


def _matches(weighed: Weighed, outcome: Outcome, step: Step) -> list[Match]:
    pairs = explanations.pairs_of(weighed, outcome.chosen)
    if weighed.problem.format is Format.GROUP:
        return _groups(weighed, outcome, pairs)
    found = []
    for done, pair in enumerate(pairs):
        if not done % 100:
            step("explain", done, len(pairs))
        found.append(explanations.match_of(weighed, outcome, pair))
    return found


def _groups(weighed: Weighed, outcome: Outcome, pairs: Sequence[tuple[int, int]]) -> list[Match]:
    groups: dict[int, list[int]] = {}
    for first, second in pairs:
        groups.setdefault(first, []).append(second)
    return [
        explanations.group_of(weighed, outcome, first, seconds) for first, seconds in groups.items()
    ]


def _scores(weighed: Weighed, outcome: Outcome) -> list[int]:
    """Return the scores of the pairs taken."""
    return [int(weighed.scores[pair]) for pair in explanations.pairs_of(weighed, outcome.chosen)]


def _totals(weighed: Weighed, outcome: Outcome, matches: int) -> Totals:
    pairs = explanations.pairs_of(weighed, outcome.chosen)
    scores = _scores(weighed, outcome)
    people = {*weighed.first.ids, *weighed.second.ids}
    matched = {weighed.first.ids[one] for one, _ in pairs} | {
        weighed.second.ids[other] for _, other in pairs
    }
    return Totals(
        people=len(people),
        matched=len(matched),
        matches=matches,
        pairs=len(pairs),
        total=sum(scores) / 100,
        mean=round(sum(scores) / len(scores) / 100, 4) if scores else None,
        criteria=_criteria(weighed, pairs),
    )


def _criteria(weighed: Weighed, pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
    if not pairs:
        return {}
    return {
        rule.rule: round(sum(int(values[pair]) for pair in pairs) / len(pairs) / 10_000, 4)
        for rule, values in weighed.soft
    }


def _fairness(weighed: Weighed, outcome: Outcome) -> Fairness:
    scores = sorted(_scores(weighed, outcome))
    if not scores:
        return Fairness(minimum=None, fifth_percentile=None, gini=None)
    unevenness = assignment.gini(scores)
    return Fairness(
        minimum=scores[0] / 100,
        fifth_percentile=scores[(len(scores) - 1) // 20] / 100,
        gini=None if unevenness is None else round(unevenness, 6),
    )


def _blocking_pairs(weighed: Weighed, outcome: Outcome) -> int:
    """Count the pairs that would rather have each other; what is locked is not in question."""
    market = _market(weighed, outcome.locked, outcome.current)
    blocking = _blocking(market, outcome.chosen & ~outcome.locked)
    return int(np.triu(blocking).sum() if weighed.is_peer else blocking.sum())


def _churn(weighed: Weighed, outcome: Outcome) -> Churn:
    before = set(explanations.pairs_of(weighed, outcome.current))
    after = set(explanations.pairs_of(weighed, outcome.chosen))
    return Churn(kept=len(before & after), lost=len(before - after), made=len(after - before))


def _prices(weighed: Weighed, decision: Decision) -> list[Price]:
    if decision.prices is None:
        return []
    sides = ((weighed.first, decision.prices.first), (weighed.second, decision.prices.second))
    found = [
        Price(id=one, role=role, price=int(price))
        for side, values in sides
        for one, role, price in zip(side.ids, side.roles, values, strict=True)
    ]
    return sorted(found, key=lambda price: (price.id, price.role))


# What a policy says that may not be meant.


def _doubts(problem: Problem) -> list[Reason]:
    """Return what is doubtful in a policy by itself."""
    policy = problem.policy
    found = []
    if not weight_sum(problem):
        found.append(Reason(rule="weights", key="doubt.no_weight"))
    equal = {one.params.get("attribute") for one in policy.hard if one.rule == "attribute_equal"}
    found += [
        Reason(rule=one.rule, key="doubt.contradiction", params=dict(one.params))
        for one in policy.hard
        if one.rule == "attribute_different" and one.params.get("attribute") in equal
    ]
    return found


def _pool_doubts(weighed: Weighed) -> list[Reason]:
    """Return what of a policy has no effect on this pool, or the effect of forbidding all."""
    found = [
        Reason(rule=one.rule, key="doubt.forbids_everything")
        for one in weighed.hard
        if one.apart.size and one.index is not None and one.apart.all()
    ]
    found += [
        Reason(rule=rule.rule, key="doubt.same_for_everybody", params={"weight": rule.weight})
        for rule, values in weighed.soft
        if rule.weight and values.size > 1 and values.min() == values.max()
    ]
    places = weighed.problem.places
    if weighed.is_peer and any(capacity > 1 for capacity in places.capacity):
        found.append(Reason(rule="capacity", key="doubt.one_peer_each"))
    return found


# Other questions about a problem.


def scores_of(request: ScoresRequest, weighed: Weighed) -> ScoresAnswer:
    """Return the scores of named pairs, or somebody's best ones."""
    pairs = _asked(weighed, request.pairs)
    found = [explanations.pair_score(weighed, *pair) for pair in pairs]
    if request.about is not None:
        found += _best_of(weighed, request.about, request.limit)
    return ScoresAnswer(
        input_hash=weighed.input_hash, versions=_versions(weighed.problem), pairs=found
    )


def _best_of(weighed: Weighed, about: str, limit: int) -> list[PairScore]:
    first, second = weighed.first.place.get(about), weighed.second.place.get(about)
    if first is None and second is None:
        raise _unknown("#/about")
    pairs = []
    if first is not None:
        pairs += [(first, int(one)) for one in np.flatnonzero(weighed.allowed[first])]
    if second is not None and not weighed.is_peer:
        pairs += [(int(one), second) for one in np.flatnonzero(weighed.allowed[:, second])]
    ranked = sorted(pairs, key=lambda pair: (-int(weighed.scores[pair]), *pair))
    return [explanations.pair_score(weighed, *pair) for pair in ranked[:limit]]


def _asked(weighed: Weighed, pairs: Pairs) -> list[tuple[int, int]]:
    """Return the places of named pairs, the mentor side first however they were named."""
    if len(pairs.first) != len(pairs.second):
        raise InvalidError(
            errors=[Violation("#/pairs/second", "wrong_length", "Both columns are of one length.")]
        )
    found = []
    for row, pair in enumerate(zip(pairs.first, pairs.second, strict=True)):
        place = _place_of(weighed, *pair) or _place_of(weighed, *reversed(pair))
        if place is None:
            raise _unknown(f"#/pairs/first/{row}")
        found.append(place)
    return found


def _place_of(weighed: Weighed, first: str, second: str) -> tuple[int, int] | None:
    if first in weighed.first.place and second in weighed.second.place:
        return weighed.first.place[first], weighed.second.place[second]
    return None


def _unknown(pointer: str) -> InvalidError:
    detail = "This refers to nobody with a place in the problem."
    return InvalidError(errors=[Violation(pointer, "unknown_reference", detail)])


def explanations_of(
    request: ExplanationsRequest, weighed: Weighed, *, step: Step
) -> ExplanationsAnswer:
    """Return why the named pairs are there or are not, and what forcing them would do."""
    pairs = _asked(weighed, request.pairs)
    _, outcome = solve(weighed, step=step)
    found = []
    for done, pair in enumerate(pairs):
        step("explain", done, len(pairs))
        what_if = _what_if(weighed, outcome, pair, step) if request.with_what_if else None
        found.append(_explanation(weighed, outcome, pair, request.alternatives, what_if))
    return ExplanationsAnswer(
        input_hash=weighed.input_hash, versions=_versions(weighed.problem), explanations=found
    )


def _explanation(
    weighed: Weighed, outcome: Outcome, pair: tuple[int, int], limit: int, what_if: WhatIf | None
) -> Explanation:
    is_open = outcome.slack is not None and weighed.allowed[pair] and not outcome.chosen[pair]
    return Explanation(
        **dict(explanations.pair_score(weighed, *pair)),
        matched=bool(outcome.chosen[pair]),
        why_not=explanations.why_not(weighed, outcome, *pair),
        cost=int(outcome.slack[pair]) if is_open and outcome.slack is not None else None,
        alternatives=explanations.alternatives_of(weighed, outcome, pair[1], limit=limit),
        what_if=what_if,
    )


def _what_if(weighed: Weighed, outcome: Outcome, pair: tuple[int, int], step: Step) -> WhatIf:
    """Solve again with the pair locked, and say what that changes."""
    locks = weighed.problem.locks
    forced = Pairs(
        first=[*locks.first, weighed.first.ids[pair[0]]],
        second=[*locks.second, weighed.second.ids[pair[1]]],
    )
    if outcome.chosen[pair]:
        return WhatIf(possible=True, change=0.0)
    problem = weighed.problem.model_copy(update={"locks": forced})
    other = replace(weighed, problem=problem)
    try:
        _check_locks(other)
    except InvalidError:
        return WhatIf(possible=False)
    _, instead = solve(other, step=step)
    change = sum(_scores(weighed, instead)) - sum(_scores(weighed, outcome))
    return WhatIf(
        possible=True,
        change=change / 100,
        gained=_only(weighed, instead, outcome),
        lost=_only(weighed, outcome, instead),
    )


def _only(weighed: Weighed, one: Outcome, other: Outcome) -> list[ScoredPair]:
    pairs = explanations.pairs_of(weighed, one.chosen & ~other.chosen)
    return [explanations.scored_pair(weighed, *pair) for pair in pairs]


def check_policy(request: PolicyCheckRequest, *, max_cells: int, step: Step) -> PolicyCheckAnswer:
    """Return what is wrong or doubtful in a policy, and on a pool what it does to it."""
    people = request.problem.participants if request.problem else None
    faults = inputs.policy_faults(request.policy, people)
    if faults or request.problem is None:
        return PolicyCheckAnswer(
            valid=not faults,
            faults=[Fault(pointer=f.pointer, code=f.code, detail=f.detail) for f in faults],
            warnings=[] if faults else _doubts_alone(request),
        )
    problem = request.problem.model_copy(update={"policy": request.policy})
    weighed = weigh(ready(problem, max_cells=max_cells), step=step)
    _, outcome = solve(weighed, step=step)
    return PolicyCheckAnswer(
        valid=True,
        faults=[],
        warnings=[*_doubts(problem), *_pool_doubts(weighed)],
        pairs=int(weighed.allowed.size),
        allowed_pairs=int(weighed.allowed.sum()),
        effects=_effects(weighed),
        tests=[_tested(weighed, outcome, test) for test in request.policy.tests],
    )


def _doubts_alone(request: PolicyCheckRequest) -> list[Reason]:
    empty: dict[str, Any] = {
        "format": Format.ONE_TO_ONE,
        "policy": request.policy,
        "participants": {"id": []},
        "places": {"participant": [], "role": [], "capacity": []},
    }
    return _doubts(Problem.model_validate(empty))


def _effects(weighed: Weighed) -> list[RuleEffect]:
    forbidding = sum(
        (one.apart.astype(np.int16) for one in weighed.hard),
        start=np.zeros(weighed.allowed.shape, dtype=np.int16),
    )
    return [
        RuleEffect(
            rule=one.rule,
            index=one.index,
            pairs=int(one.apart.sum()),
            only=int((one.apart & (forbidding == 1)).sum()),
        )
        for one in weighed.hard
    ]


_CHECKS: dict[str, Callable[[Any, Any], bool]] = {
    "allowed": lambda expected, found: expected == found["allowed"],
    "matched": lambda expected, found: expected == found["matched"],
    "score_at_least": lambda expected, found: found["score"] >= expected,
    "score_at_most": lambda expected, found: found["score"] <= expected,
}


def _tested(weighed: Weighed, outcome: Outcome, test: PolicyTest) -> CheckedTest:
    one, other = test.people
    place = _place_of(weighed, one, other) or _place_of(weighed, other, one)
    if place is None:
        return CheckedTest(name=test.name, passed=False, found={"problem": "unknown_reference"})
    found = {
        "allowed": bool(weighed.allowed[place]),
        "matched": bool(outcome.chosen[place]),
        "score": int(weighed.scores[place]) / 100,
    }
    unknown = sorted(test.expect.keys() - _CHECKS.keys())
    if unknown:
        return CheckedTest(name=test.name, passed=False, found={"problem": "unknown_expectation"})
    passed = all(_holds(name, expected, found) for name, expected in test.expect.items())
    return CheckedTest(name=test.name, passed=passed, found=found)


def _holds(name: str, expected: Any, found: dict[str, Any]) -> bool:
    is_number = isinstance(expected, int | float) and not isinstance(expected, bool)
    wants_number = name.startswith("score")
    return is_number is wants_number and _CHECKS[name](expected, found)
