"""How kernels are compiled, and the arrays they work on: by Numba, kept on disk, typed as written.

Numba keeps compiled code in `__pycache__` beside the source, or in `NUMBA_CACHE_DIR`, and renews it
when that file changes, not when a function of another file that was compiled into it does (Numba
0.68, "Notes on Caching"). Compiled functions therefore call those of their own file, and nothing
else; one that must not keep to this (`edits` calls `repair.drop`) is compiled anew by removing the
cache.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from numba import njit

type Ints = npt.NDArray[np.int64]
type Places = npt.NDArray[np.int32]
type Flags = npt.NDArray[np.uint8]
type Mask = npt.NDArray[np.bool_]

# Numba's decorators are untyped (0.68); nothing of that leaves this file.
_njit: Any = njit


def compiled[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function at its first call; `warm.warm` makes that call."""
    return cast("Callable[P, R]", _njit(cache=True)(function))


def inner[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Compile what only compiled functions call: without a door for Python, which takes longest."""
    return cast("Callable[P, R]", _njit(cache=True, no_cpython_wrapper=True)(function))


def inlined[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function into those that call it, where a call would cost more than its work."""
    return cast("Callable[P, R]", _njit(inline="always")(function))
