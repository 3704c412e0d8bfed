"""Pairs among equals: one side only, everybody in one pair at most."""

from collections.abc import Callable

import numpy as np

from services.matching import candidates, stability
from services.matching.blocks import APART
from services.matching.board import Step
from services.matching.candidates import Ints
from services.matching.decision import Decision, Levels, Open, certificate
from services.matching.kernel import peers
from services.matching.kernel.peers import Peers
from services.matching.measures import Mask
from services.matching.stability import Wishes
from services.matching.taken import Taken
from shared.schemas.matching import Certificate, CertificateKind, Objective

WHOLE = 3_000
"""All pairs of a pool of at most so many people are in memory, some dozens of bytes each."""

METHOD = "general matching, proven over all pairs"
NEAREST = "general matching of everybody's best"


def decide(open_: Open, objective: Objective, *, step: Step) -> Decision:
    """Return the best pairs of equals."""
    pairs, scores = _pairs(open_, step)
    if objective is Objective.STABLE:
        return _greedy(open_, pairs, scores, step)
    least = 0
    if objective is Objective.FAIR_FLOOR:
        least = _best_floor(open_, pairs, scores, step)
    levels = Levels.of(open_, objective, least=least)
    weights = levels.worth[scores]
    staying = open_.current.holds(pairs[:, 0], pairs[:, 1])
    weights = np.where(weights > 0, weights + staying * (levels.unit * open_.bonus), 0)
    found = _paired(open_, pairs, weights, step)
    return _decided(open_, found.pairs, _certified(open_, objective, found))


def _pairs(open_: Open, step: Step) -> tuple[Ints, Ints]:
    """Return the pairs that are looked at, each once, with their scores."""
    count = open_.board.shape[0]
    if count <= WHOLE:
        scores = open_.blocks.block(slice(0, count), slice(0, count))
        first, second = np.nonzero(np.triu(scores != APART, 1))
        return np.stack([first, second], axis=1), scores[first, second].astype(np.int64)
    most = candidates.how_many(open_.board)
    found = candidates.find(open_.blocks, most, open_.staying(), step=step)
    looked_at = Taken(found.rows, found.columns.astype(np.int64), open_.board.shape)
    is_once = looked_at.first < looked_at.second
    pairs = np.stack([looked_at.first, looked_at.second], axis=1)
    return pairs[is_once], found.scores[is_once].astype(np.int64)


def _paired(open_: Open, pairs: Ints, weights: Ints, step: Step) -> Peers:
    def told(done: int, total: int) -> None:
        step("solve", done, total)

    return peers.pair_edges(pairs, weights, open_.first > 0, step=told)


def _certified(open_: Open, objective: Objective, found: Peers) -> Certificate:
    if open_.board.shape[0] <= WHOLE:
        return certificate(objective, primal=found.total, dual=found.bound, method=METHOD)
    said = certificate(objective, primal=found.total, dual=found.bound, method=NEAREST)
    # The bound is one of the pairs that were looked at.
    return said.model_copy(update={"kind": CertificateKind.HEURISTIC, "dual": None, "gap": None})


def _best_floor(open_: Open, pairs: Ints, scores: Ints, step: Step) -> int:
    """Return the highest score that every pair can reach while as many people are in one."""

    def reached(least: int) -> int:
        return len(_paired(open_, pairs, (scores >= least).astype(np.int64), step).pairs)

    wanted = reached(0)
    return _highest(np.unique(scores), lambda least: reached(least) == wanted) if wanted else 0


def _highest(levels: Ints, is_reached: Callable[[int], bool]) -> int:
    """Return the highest level that is reached, the lowest of which is."""
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if is_reached(int(levels[middle])) else (low, middle - 1)
    return int(levels[low])


def _greedy(open_: Open, pairs: Ints, scores: Ints, step: Step) -> Decision:
    """Make pairs from the most wanted down: stable where wishes agree."""
    wishes = Wishes.of(open_)
    there, back = wishes.of_pairs(pairs[:, 0], pairs[:, 1], scores)
    left: Mask = open_.first > 0
    left = left.copy()
    made = []
    for row in np.argsort(-(there + back), kind="stable").tolist():
        one, other = pairs[row].tolist()
        if left[one] and left[other]:
            left[[one, other]] = False
            made.append((one, other))
    found = np.array(made, dtype=np.int64).reshape(-1, 2)
    taken = Taken.of(found[:, 0], found[:, 1], open_.board.shape).twice()
    blocking = stability.blocking_pairs(open_, wishes, taken, None, step=step)
    said = stability.certificate(open_, taken, method=stability.GREEDY, blocking=len(blocking))
    return _decided(open_, found, said)


def _decided(open_: Open, found: Ints, said: Certificate) -> Decision:
    taken = Taken.of(found[:, 0], found[:, 1], open_.board.shape).twice()
    return Decision.of(open_, taken, said, None)
