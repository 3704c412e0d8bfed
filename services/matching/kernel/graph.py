"""The allowed pairs as each side sees them: rows and columns are alike from here on."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from services.matching.kernel.compiling import Ints, Places, compiled
from services.matching.kernel.problem import Problem
from services.matching.kernel.terms import Step

SLOTS_PER_STEP = 5_000_000


class Adjacency(NamedTuple):
    """The edges of one side's people: those of person i are at slots `starts[i]:ends[i]`.

    `starts`, `ends` and `limits` are int64[n]; `limits` is where the next person's slots begin.
    `others` int32, `edges` int32 and `weights` int64 say per slot who is at the other end, which
    edge it is and what it weighs; others ascend. `tail` int64[1] is the first slot never used.
    """

    starts: Ints
    ends: Ints
    limits: Ints
    others: Places
    edges: Places
    weights: Ints
    tail: Ints


def by_rows(problem: Problem, weights: Ints) -> Adjacency:
    """Return the edges as rows see them; the slot of an edge is its number."""
    starts, ends = problem.starts[:-1], problem.starts[1:]
    edges = np.arange(len(weights), dtype=np.int32)
    tail = np.array([len(weights)])
    return Adjacency(starts, ends, ends, problem.columns, edges, weights, tail)


def by_columns(rows: Adjacency, columns: int, step: Step) -> Adjacency:
    """Return the edges as columns see them."""
    bounds = np.zeros(columns + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows.others, minlength=columns), out=bounds[1:])
    others, edges = np.empty_like(rows.others), np.empty_like(rows.edges)
    weights = np.empty_like(rows.weights)
    starts, ends = bounds[:-1], bounds[1:]
    turned = Adjacency(starts, ends, ends, others, edges, weights, rows.tail)
    free = starts.copy()
    for low, high in chunks(rows.ends):
        _turn(rows, turned, free, low, high)
        step(high, len(rows.starts))
    return turned


def owners(rows: Adjacency) -> Places:
    """Return the row of each edge, int32[e]."""
    return np.repeat(np.arange(len(rows.starts), dtype=np.int32), rows.ends - rows.starts)


def chunks(ends: Ints) -> list[tuple[int, int]]:
    """Return ranges of people with a bounded number of slots each, so that steps are short."""
    slots = int(ends[-1]) if len(ends) else 0
    bounds = np.searchsorted(ends, np.arange(0, slots, SLOTS_PER_STEP), side="left")
    cuts = sorted({0, len(ends), *bounds.tolist()})
    return list(pairwise(cuts))


@compiled
def _turn(rows: Adjacency, turned: Adjacency, free: Ints, low: int, high: int) -> None:
    for row in range(low, high):
        for slot in range(rows.starts[row], rows.ends[row]):
            column = rows.others[slot]
            place = free[column]
            turned.others[place] = row
            turned.edges[place] = rows.edges[slot]
            turned.weights[place] = rows.weights[slot]
            free[column] = place + 1
