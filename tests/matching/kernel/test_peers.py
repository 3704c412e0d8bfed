"""Pairs among equals: against trying everything, against all pairs at once, and the proof."""

from collections.abc import Iterator

import numpy as np
import pytest
import rustworkx
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching.kernel import peers
from services.matching.kernel.compiling import Ints
from services.matching.kernel.terms import ImpossibleLockError, Kind, Why

small = settings(max_examples=120, deadline=None, derandomize=True)
SEEDS = st.integers(0, 100_000)


def some_weights(seed: int, people: int, allowed: float = 0.7, best: int = 30) -> Ints:
    chance = np.random.default_rng(seed)
    weights = chance.integers(1, best, (people, people))
    weights[chance.random((people, people)) >= allowed] = -1
    weights = np.triu(weights, 1)
    weights += weights.T
    np.fill_diagonal(weights, -1)
    return weights


def popular(seed: int, people: int) -> tuple[Ints, np.ndarray]:
    """Return scores of a pool where some are liked by everybody, and who is allowed."""
    chance = np.random.default_rng(seed)
    liked = chance.integers(0, 5000, people)
    scores = chance.integers(0, 4000, (people, people)) + liked
    scores = scores + scores.T
    return scores, ~np.eye(people, dtype=bool)


def every_pairing(people: list[int]) -> Iterator[list[tuple[int, int]]]:
    if not people:
        yield []
        return
    one, *others = people
    yield from every_pairing(others)
    for other in others:
        for more in every_pairing([left for left in others if left != other]):
            yield [(one, other), *more]


def best_of_all(weights: Ints) -> int:
    allowed = (
        pairing
        for pairing in every_pairing(list(range(len(weights))))
        if all(weights[two] > 0 for two in pairing)
    )
    return max(int(sum(weights[two] for two in pairing)) for pairing in allowed)


def best_at_once(weights: Ints) -> int:
    rows, columns = np.nonzero(np.triu(weights > 0, 1))
    graph = rustworkx.PyGraph(multigraph=False)
    graph.add_nodes_from(range(len(weights)))
    graph.add_edges_from(
        list(zip(rows.tolist(), columns.tolist(), weights[rows, columns].tolist(), strict=True))
    )
    found = rustworkx.max_weight_matching(graph, weight_fn=int)
    return int(sum(weights[two] for two in found))


@small
@given(seed=SEEDS, people=st.integers(0, 7), allowed=st.floats(0.2, 1))
def test_equals_trying_everything(seed: int, people: int, allowed: float) -> None:
    weights = some_weights(seed, people, allowed)

    found = peers.pair(weights)

    assert found.total == best_of_all(weights)
    assert found.total == weights[found.pairs[:, 0], found.pairs[:, 1]].sum()
    assert (found.kind, found.bound, found.gap) == (Kind.OPTIMAL, found.total, 0.0)
    assert (weights[found.pairs[:, 0], found.pairs[:, 1]] > 0).all()
    assert len(np.unique(found.pairs)) == found.pairs.size
    assert ((found.why == Why.PLACED) == np.isin(np.arange(people), found.pairs)).all()


@small
@given(seed=SEEDS, people=st.integers(1, 9), allowed=st.floats(0.2, 1))
def test_the_prices_never_prove_less_than_there_is(seed: int, people: int, allowed: float) -> None:
    weights = some_weights(seed, people, allowed)
    graph = peers._graph_of(weights, np.ones(people, dtype=bool))

    prices = peers._prices(graph, peers._components(graph), lambda _done, _total: None)

    assert prices.slack.min(initial=0) >= 0
    assert prices.bound >= 2 * best_of_all(weights)


@pytest.mark.parametrize("seed", range(12))
def test_few_candidates_are_proven_to_be_enough(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "CANDIDATES", 4)
    monkeypatch.setattr(peers, "_NEAREST", (2, 4))
    scores, allowed = popular(seed, 50 + seed % 2)
    make = (peers.weights_for_most_pairs, peers.weights_for_best_total)[seed % 3 == 0]
    weights = make(scores, allowed)

    found = peers.pair(weights)

    assert found.kind is Kind.OPTIMAL
    assert found.total == best_at_once(weights)
    assert len(found.pairs) == 25


@pytest.mark.parametrize("seed", range(6))
def test_a_bound_is_told_where_the_proof_would_take_too_many_pairs(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_NEAREST", (1,))
    monkeypatch.setattr(peers, "_AT_MOST", 0)
    monkeypatch.setattr(peers, "_ALL_PAIRS", 0)
    scores, allowed = popular(seed, 31)
    weights = peers.weights_for_best_total(scores, allowed)

    found = peers.pair(weights)

    assert found.total <= best_at_once(weights) <= found.bound
    assert found.gap == round((found.bound - found.total) / found.bound, 9)
    assert found.kind is (Kind.BOUND if found.gap else Kind.OPTIMAL)


def test_prices_hold_when_pricing_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "CANDIDATES", 2)
    monkeypatch.setattr(peers, "_PRICINGS", 1)
    scores, allowed = popular(3, 40)
    weights = peers.weights_for_most_pairs(scores, allowed)

    found = peers.pair(weights)

    assert found.total == best_at_once(weights) <= found.bound


@pytest.mark.parametrize("seed", range(5))
def test_order_does_not_change_the_total(seed: int) -> None:
    weights = some_weights(seed, 40, allowed=0.2)
    order = np.random.default_rng(seed).permutation(40)

    found, mixed = peers.pair(weights), peers.pair(weights[np.ix_(order, order)])

    assert found.total == mixed.total
    assert np.array_equal(found.pairs, peers.pair(weights).pairs)


def test_pairs_given_one_by_one_are_the_same() -> None:
    weights = some_weights(4, 60, allowed=0.1)
    edges = np.argwhere(np.triu(weights > 0))

    found = peers.pair_edges(edges, weights[edges[:, 0], edges[:, 1]], np.ones(60, dtype=bool))

    assert np.array_equal(found.pairs, peers.pair(weights).pairs)


def test_most_pairs_are_worth_more_than_any_total() -> None:
    scores = np.array([[0, 1, 0, 0], [1, 0, 100, 0], [0, 100, 0, 1], [0, 0, 1, 0]])

    most = peers.pair(peers.weights_for_most_pairs(scores, scores > 0))
    best = peers.pair(peers.weights_for_best_total(scores, scores > 0))

    assert most.pairs.tolist() == [[0, 1], [2, 3]]
    assert best.pairs.tolist() == [[1, 2]]


def test_locks_are_kept_and_everybody_left_out_is_told_why() -> None:
    weights = np.full((7, 7), 5) - 6 * np.eye(7, dtype=np.int64)
    weights[5, :] = weights[:, 5] = -1
    is_open = np.array([True, True, True, True, True, True, False])

    found = peers.pair(weights, is_open=is_open, locks=np.array([[3, 0]]))

    assert [3, 0] in found.pairs.tolist()
    assert len(found.pairs) == 2
    assert sorted(found.why.tolist()) == [
        *[Why.PLACED] * 4,
        Why.NO_CAPACITY,
        Why.NOBODY_ALLOWED,
        Why.ODD_ONE_OUT,
    ]


@pytest.mark.parametrize(
    ("locks", "rule", "row"),
    [([[0, 1], [1, 2]], "capacity", 1), ([[2, 3]], "not_blocked", 0), ([[1, 1]], "not_blocked", 0)],
)
def test_an_impossible_lock_names_its_rule(locks: list[list[int]], rule: str, row: int) -> None:
    weights = np.full((4, 4), 5) - 6 * np.eye(4, dtype=np.int64)
    weights[2, 3] = weights[3, 2] = -1

    with pytest.raises(ImpossibleLockError) as refused:
        peers.pair(weights, locks=np.array(locks))

    assert (refused.value.rule, refused.value.row) == (rule, row)


def test_the_work_can_be_cancelled() -> None:
    def out_of_time(_done: int, _total: int) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        peers.pair(some_weights(1, 30), step=out_of_time)
