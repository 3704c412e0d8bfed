"""What is compiled at start is all there is to compile."""

import subprocess
import sys

import numpy as np
from numba.core.dispatcher import Dispatcher

from services.matching import blocks, candidates, measures, pricing, text
from services.matching.blocks import HIGHEST
from services.matching.candidates import Ints
from tests.support.pools import board_of, quiet, varied

MODULES = (measures, blocks, candidates, pricing)


def compiled() -> dict[str, int]:
    """Return in how many versions everything is compiled."""
    return {
        f"{module.__name__}.{name}": len(one.signatures)
        for module in MODULES
        for name, one in vars(module).items()
        if isinstance(one, Dispatcher)
    }


def work() -> None:
    """Let a pool go through everything that is compiled."""
    for model in text.names():
        values = varied(8, 9)
        words = ("offers_wants", "path_fit", "shared_values", "style_fit", "shortlisted")
        values["policy"] = {
            "soft": [{"rule": word, "weight": 1} for word in words],
            "hard": [{"rule": "shared_language"}],
            "text_model": model,
        }
        board = board_of(values)
        everybody = np.arange(8)
        named = everybody, everybody, board.scores(everybody, everybody)
        made = candidates.find(board.blocks(), 2, named, step=quiet)
        sizes: list[Ints] = [np.ones(count, dtype=np.int64) for count in (8, 9, 8, 9)]
        solved = pricing.Solved(np.arange(HIGHEST + 1), *sizes)
        pricing.paying(board.blocks(), made, solved, most=2, margin=1, step=quiet)


def test_nothing_is_left_to_compile_for_the_first_problem() -> None:
    program = (
        "from tests.matching import test_warming as own; "
        "[module.warm() for module in own.MODULES]; before = own.compiled(); "
        "own.work(); assert own.compiled() == before, (before, own.compiled())"
    )

    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - our own words
