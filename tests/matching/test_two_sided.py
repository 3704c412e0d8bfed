"""Candidates and prices against whole matrices, where candidates alone would not do."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import linear_sum_assignment

from services.matching import solver, two_sided
from services.matching.board import Board
from services.matching.decision import Decision
from shared.schemas.matching import CertificateKind, Problem
from tests.support import markets
from tests.support.pools import MAX_CELLS, Weighed, quiet, varied, weigh

FEW = {"limits": {"max_candidates": 2}}
OBJECTIVES = ("most_matched", "best_total", "fair_floor")


def pool(size: int, seed: int, **policy: Any) -> Weighed:
    """Return a pool of which everybody's two best are looked at first."""
    values = varied(size, size, seed=seed)
    return weigh({**values, "policy": {**values["policy"], **FEW, **policy}})


def decided(weighed: Weighed) -> Decision:
    """Return what the solver decides."""
    return solver.solve(weighed.board, step=quiet)


def worth(found: Decision, weighed: Weighed) -> npt.NDArray[np.int64]:
    """Return what every pair counts in the objective, 0 where it must not be."""
    assert found.prices is not None
    first, second = (one.ravel() for one in np.indices(weighed.board.shape))
    values = found.prices.levels.of_pairs(found.open, first, second)
    return np.where(weighed.allowed, values.reshape(weighed.board.shape), 0)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_few_candidates_is_the_best_of_all_pairs(objective: str, seed: int) -> None:
    weighed = pool(60, seed, objective=objective)
    found = decided(weighed)

    gains = worth(found, weighed)
    best = gains[linear_sum_assignment(gains, maximize=True)].sum()
    assert found.certificate.primal == best
    assert found.certificate.kind == CertificateKind.OPTIMAL
    assert found.certificate.primal == found.certificate.dual
    assert found.found is not None
    assert len(found.found.columns) < weighed.allowed.sum()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(3))
def test_with_capacities_it_is_what_another_solver_finds(objective: str, seed: int) -> None:
    weighed = pool(40, seed, objective=objective)
    board = weighed.board
    chance = np.random.default_rng(seed)
    board.first.capacity[:] = chance.integers(0, 4, 40)
    board.second.capacity[:] = chance.integers(0, 3, 40)
    found = decided(weighed)

    problem = markets.from_dense(worth(found, weighed), board.first.capacity, board.second.capacity)
    assert found.certificate.primal == markets.by_flow(problem)
    assert found.certificate.kind == CertificateKind.OPTIMAL


def test_every_price_holds_for_every_pair() -> None:
    weighed = pool(50, 7)
    found = decided(weighed)
    assert found.prices is not None

    gains = worth(found, weighed)
    slack = found.prices.first[:, None] + found.prices.second[None, :] - gains
    is_taken = np.zeros(gains.shape, dtype=bool)
    is_taken[found.taken.first, found.taken.second] = True

    assert slack[weighed.allowed & ~is_taken].min() >= 0
    assert slack[is_taken].max() <= 0


def test_who_are_together_are_looked_at_however_badly_they_fit() -> None:
    values = varied(30, 30, seed=3)
    plain = decided(pool(30, 3))
    board = plain.board
    weighed = pool(30, 3)
    worst = min(
        zip(*np.nonzero(weighed.allowed), strict=True), key=lambda pair: weighed.scores[pair]
    )
    current = {"first": [board.first.ids[worst[0]]], "second": [board.second.ids[worst[1]]]}
    stay = {**values["policy"], **FEW, "stay_bonus": 100}

    found = decided(weigh({**values, "policy": stay, "current_pairs": current}))

    assert found.taken.has(*(int(one) for one in worst))
    assert found.certificate.kind == CertificateKind.OPTIMAL


def test_when_rounds_run_out_the_gap_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    best = decided(pool(60, 1)).certificate
    monkeypatch.setattr(two_sided, "ROUNDS", 1)

    found = decided(pool(60, 1)).certificate

    assert found.kind == CertificateKind.BOUND
    assert found.dual is not None
    assert found.primal <= best.primal <= found.dual
    assert found.gap is not None
    assert 0 < found.gap < 1


def test_the_order_of_people_changes_nothing() -> None:
    values = varied(40, 40, seed=5)
    values["policy"] |= FEW
    order = np.random.default_rng(5).permutation(80)
    moved = {int(row): place for place, row in enumerate(order)}
    people = values["participants"]

    def reordered(column: list[Any]) -> list[Any]:
        return [column[row] for row in order]

    turned = {
        **values,
        "participants": {
            **{name: reordered(people[name]) for name in people if name != "attributes"},
            "attributes": {name: reordered(one) for name, one in people["attributes"].items()},
        },
        "places": {
            **values["places"],
            "participant": [moved[row] for row in values["places"]["participant"]],
        },
    }

    digests = {digest(one) for one in (values, turned, values)}

    assert len(digests) == 1


def digest(values: dict[str, Any]) -> str:
    """Return the digest of the whole answer."""
    board: Board = solver.lay_out(Problem.model_validate(values), max_cells=MAX_CELLS, step=quiet)
    return solver.digest_of(solver.describe(solver.solve(board, step=quiet), step=quiet))
