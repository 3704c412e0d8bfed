"""Compile everything, so that no request waits for it: at image build and when a worker starts."""

import numpy as np

from services.matching.kernel import circles, flash, peers, stable
from services.matching.kernel.market import Join, Leave, Market, Resize, Side, Weigh
from services.matching.kernel.problem import Problem


def warm() -> None:
    """Compile all kernels, or load them from where Numba keeps them, by tiny pieces of work.

    Roulette draws with the kernels of peers and circles, and has none of its own.
    """
    _warm_market()
    for kernel in (circles, flash, peers, stable):
        kernel.warm()


def _warm_market() -> None:
    problem = Problem(
        starts=np.array([0, 2, 4, 5], dtype=np.int64),
        columns=np.array([0, 1, 0, 1, 1], dtype=np.int32),
        weights=np.array([5, 3, 4, 3, 2], dtype=np.int64),
        first=np.array([2, 1, 1], dtype=np.int64),
        second=np.array([1, 1], dtype=np.int64),
    )
    market = Market(problem)
    market.apply(Join(Side.ROWS, 1, [0, 1], [6, 1]), Weigh(2, 0, 3), Weigh(2, 0, 9))
    market.apply(Weigh(2, 0, 0), Resize(Side.COLUMNS, 1, 2), Leave(Side.ROWS, 1))
    # A pair that moves others, so that undoing it is compiled too.
    market.what_if(3, 1)
    market.check()
