"""Sparse assignment problems that look like real ones, and other ways to solve them."""

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

from services.matching.kernel.compiling import Ints
from services.matching.kernel.problem import Problem

type Pairs = tuple[Ints, Ints, Ints]

BLOCK = 2_000


def problem_of(pairs: Pairs, first: Ints, second: Ints) -> Problem:
    """Return the problem of pairs (rows, columns, weights), of which the first of each counts."""
    rows, columns, weights = pairs
    order = np.lexsort((columns, rows))
    rows, columns, weights = rows[order], columns[order], weights[order]
    is_new = np.ones(len(rows), dtype=bool)
    is_new[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
    starts = np.zeros(len(first) + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows[is_new], minlength=len(first)), out=starts[1:])
    return Problem(
        starts=starts,
        columns=columns[is_new].astype(np.int32),
        weights=weights[is_new].astype(np.int64),
        first=first,
        second=second,
    )


def rooms(count: int, least: int, most: int, *, seed: int) -> Ints:
    """Return how many each of so many people have room for."""
    return np.random.default_rng([seed, count]).integers(least, most + 1, count)


def uniform(rows: int, columns: int, *, degree: int, most: int, seed: int) -> Pairs:
    """Return random pairs of random weights, where nobody is like anybody."""
    chance = np.random.default_rng(seed)
    return (
        np.repeat(np.arange(rows), degree),
        chance.integers(0, columns, rows * degree),
        chance.integers(1, most + 1, rows * degree),
    )


def alike(rows: int, columns: int, *, degree: int, seed: int, favor: float = 0.3) -> Pairs:
    """Return everybody's best pairs by features in eight dimensions, scores of 1 to 10,000.

    Some columns are in demand with all rows; each column brings its own eight best rows too.
    """
    chance = np.random.default_rng(seed)
    ours, theirs = (_directions(chance, count) for count in (rows, columns))
    demand = favor * chance.normal(size=columns).astype(np.float32)
    found: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]] = []
    kept = np.full((8, columns), -9, dtype=np.float32)
    keepers = np.zeros((8, columns), dtype=np.intp)
    for low in range(0, rows, BLOCK):
        scores = ours[low : low + BLOCK] @ theirs.T + demand
        best = np.argpartition(-scores, degree, axis=1)[:, :degree]
        places = np.repeat(np.arange(low, low + len(scores)), degree)
        found.append((places, best.ravel(), np.take_along_axis(scores, best, 1).ravel()))
        wanted = np.argpartition(-scores, 8, axis=0)[:8]
        both = np.concatenate([kept, np.take_along_axis(scores, wanted, 0)])
        choice = np.argpartition(-both, 8, axis=0)[:8]
        kept = np.take_along_axis(both, choice, 0)
        keepers = np.take_along_axis(np.concatenate([keepers, wanted + low]), choice, 0)
    found.append((keepers.ravel(), np.tile(np.arange(columns), 8), kept.ravel()))
    first, second, score = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return first, second, np.clip(np.round((score + 2) * 2_500), 1, 10_000).astype(np.int64)


def _directions(chance: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    found = chance.normal(size=(count, 8)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def by_flow(problem: Problem) -> int:
    """Return the highest total weight as OR-Tools finds it."""
    first, second = problem.first, problem.second
    rows = np.repeat(np.arange(len(first)), problem.degrees)
    source, sink = len(first) + len(second), len(first) + len(second) + 1
    flow = SimpleMinCostFlow()
    places = len(first) + np.arange(len(second))
    most = np.array([min(int(first.sum()), int(second.sum()))])
    for nodes, ends, sizes, costs in (
        (rows, len(first) + problem.columns, np.ones_like(problem.weights), -problem.weights),
        (np.full(len(first), source), np.arange(len(first)), first, np.zeros_like(first)),
        (places, np.full(len(second), sink), second, np.zeros_like(second)),
        (np.array([source]), np.array([sink]), most, np.zeros_like(most)),
    ):
        flow.add_arcs_with_capacity_and_unit_cost(nodes, ends, sizes, costs)
    flow.set_nodes_supplies(np.array([source, sink]), np.concatenate([most, -most]))
    assert flow.solve() == flow.OPTIMAL
    return -int(flow.optimal_cost())


def by_trying(problem: Problem) -> int:
    """Return the highest total weight of all choices; for at most 16 pairs."""
    count = len(problem.weights)
    choices = np.array(list(itertools.product((0, 1), repeat=count)), dtype=np.int64)
    rows = np.repeat(np.arange(len(problem.first)), problem.degrees)
    ends = ((rows, problem.first), (problem.columns, problem.second))
    is_possible = np.ones(len(choices), dtype=bool)
    for places, room in ends:
        taken = choices @ (places[:, None] == np.arange(len(room)))
        is_possible &= (taken <= room).all(axis=1)
    return int((choices[is_possible] @ problem.weights).max(initial=0))


def weight_of(problem: Problem, row: int, column: int) -> int | None:
    """Return what an allowed pair weighs."""
    slots = slice(problem.starts[row], problem.starts[row + 1])
    found = np.flatnonzero(problem.columns[slots] == column)
    return int(problem.weights[slots][found[0]]) if len(found) else None


def dense(problem: Problem) -> Ints:
    """Return weights as a matrix, with 0 for pairs that are not allowed."""
    matrix = np.zeros((len(problem.first), len(problem.second)), dtype=np.int64)
    matrix[np.repeat(np.arange(len(problem.first)), problem.degrees), problem.columns] = (
        problem.weights
    )
    return matrix


def from_dense(matrix: Ints, first: Ints, second: Ints) -> Problem:
    """Return the problem of a matrix of weights, where 0 is no pair."""
    rows, columns = np.nonzero(matrix)
    return problem_of((rows, columns, matrix[rows, columns]), first, second)


def permuted(problem: Problem, *, seed: int) -> Problem:
    """Return the same problem with its rows and columns in another order."""
    chance = np.random.default_rng(seed)
    rows = chance.permutation(len(problem.first))
    columns = chance.permutation(len(problem.second))
    matrix = dense(problem)[np.ix_(rows, columns)]
    return from_dense(matrix, problem.first[rows], problem.second[columns])


type Generator = Callable[[int], Problem]


def _room(count: int, most: int, seed: int) -> Ints:
    return rooms(count, 1, most, seed=seed)


# What pools look like, from small to large; the number is how many rows there are.
SHAPES: dict[str, Generator] = {
    "random, one to one": lambda n: problem_of(
        uniform(n, n, degree=64, most=1_000_000, seed=1), _room(n, 1, 1), _room(n, 1, 1)
    ),
    "alike, one to one, tight": lambda n: problem_of(
        alike(n, n, degree=64, seed=2), _room(n, 1, 2), _room(n, 1, 2)
    ),
    "alike, one to one, slack": lambda n: problem_of(
        alike(n, n * 5 // 4, degree=64, seed=3), _room(n, 1, 3), _room(n * 5 // 4, 1, 3)
    ),
    "equal weights, one to one": lambda n: problem_of(
        uniform(n, n, degree=64, most=100, seed=4), _room(n, 1, 4), _room(n, 1, 4)
    ),
    "alike, room 1-5, slack": lambda n: problem_of(
        alike(n, n // 2, degree=64, seed=8), _room(n, 1, 8), _room(n // 2, 5, 8)
    ),
    "alike, room 1-5, tight": lambda n: problem_of(
        alike(n, n // 3, degree=64, seed=9), _room(n, 1, 9), _room(n // 3, 5, 9)
    ),
    "alike, room 1-5, too little": lambda n: problem_of(
        alike(n, n // 4, degree=64, seed=10), _room(n, 1, 10), _room(n // 4, 5, 10)
    ),
    "alike, room 1-3 on both sides": lambda n: problem_of(
        alike(n // 2, n // 2, degree=64, seed=11), _room(n // 2, 3, 11), _room(n // 2, 3, 12)
    ),
    "equal weights, room 1-5, tight": lambda n: problem_of(
        uniform(n, n // 3, degree=64, most=50, seed=16), _room(n, 1, 16), _room(n // 3, 5, 16)
    ),
}
