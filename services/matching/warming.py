"""Compile all there is, where Numba keeps it, so that no request waits for it.

`python -m services.matching.warming` does so once after an installation, on two processors at once;
whoever imports the same code later loads what was compiled. Nothing fails without it: what was
not compiled before is when it is first called.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

from services.matching import blocks, candidates, measures, pricing
from services.matching.kernel import circles, flash, market, peers, stable


def _scores() -> None:
    for module in (measures, blocks, candidates, pricing, flash, stable):
        module.warm()


def _forms() -> None:
    for kernel in (circles, peers):
        kernel.warm()


PARTS: Mapping[str, Callable[[], None]] = MappingProxyType(
    {"market": market.warm, "scores": _scores, "forms": _forms}
)


def warm() -> None:
    """Compile everything in this process, or load what was compiled before."""
    for part in PARTS.values():
        part()


def main(named: list[str]) -> int:
    """Compile the named parts here, or all of them, each in a process of its own."""
    for name in named:
        PARTS[name]()
    if named:
        return 0
    working = [
        subprocess.Popen([sys.executable, "-m", __spec__.name, name])  # noqa: S603 - our own words
        for name in PARTS
    ]
    return max(process.wait() for process in working)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
