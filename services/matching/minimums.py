"""Groups of a smallest size: those that stay below it are closed, and how far that is from best."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from services.matching.decision import Decision, Open, certificate
from services.matching.measures import Mask
from shared.schemas.matching import CertificateKind

METHOD = "closing groups below their minimum"


def keep(open_: Open, decide: Callable[[Open], Decision]) -> Decision:
    """Decide, then close the groups that stayed too small, smallest first, until none is.

    What was best with all groups open is a bound of what is best with any of them closed.
    """
    board = open_.board
    minimum, fixed = board.first.minimum, open_.locked.sizes[0]
    closed = np.zeros(len(minimum), dtype=bool)
    decided = whole = decide(open_)
    while True:
        sizes = decided.taken.sizes[0]
        short = np.flatnonzero((sizes > 0) & (sizes < minimum) & (fixed == 0))
        if not len(short):
            break
        taken = decided.taken
        scores = board.scores(taken.first, taken.second)
        worth = np.bincount(taken.first, weights=scores, minlength=len(minimum))
        smallest = min(short.tolist(), key=lambda one: (int(sizes[one]), int(worth[one]), one))
        closed[smallest] = True
        decided = decide(replace(open_, first=np.where(closed, 0, open_.first)))
    return _bounded(decided, whole, closed) if closed.any() else decided


def _bounded(decided: Decision, whole: Decision, closed: Mask) -> Decision:
    primal, dual = whole.value_of(decided.taken), whole.certificate.dual
    if primal is None or dual is None or whole.certificate.kind is CertificateKind.HEURISTIC:
        said = decided.certificate.model_copy(
            update={"kind": CertificateKind.HEURISTIC, "gap": None}
        )
    else:
        objective = whole.certificate.objective
        said = certificate(objective, primal=primal, dual=dual, method=METHOD)
    return Decision(decided.taken, whole.open, said, decided.found, None, closed)
