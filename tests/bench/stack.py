"""What the whole product costs on one machine: time until healthy, memory at rest.

Run by `./dev bench stack`. The first start makes a database; the bar is on the second.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from tests.bench import report
from tests.support.stack import Stack

SERVED = ("api", "matching", "notifications", "api worker", "notifications worker")
STARTS = 3
REST_SECONDS = 10
MIB = 1024 * 1024

UP_BAR = 10.0
MEMORY_BAR = 900.0


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `bar` is None where the figure is only told."""

    work: str
    ours: float
    unit: str
    bar: float | None
    met: bool


def row(work: str, ours: float, unit: str, bar: float | None = None) -> Row:
    """Hold one figure against its bar."""
    return Row(work, round(ours, 2), unit, bar, bar is None or ours <= bar)


def seconds(stack: Stack, *arguments: str) -> float:
    """Return how long one command took; it must succeed."""
    started = time.perf_counter()
    stack.run(*arguments).check_returncode()
    return time.perf_counter() - started


def memory(stack: Stack) -> Iterator[Row]:
    """Tell the share of each process in the machine's memory (PSS), and of all together."""
    pids = stack.state["pids"]
    shares = {name: psutil.Process(pids[name]).memory_full_info().pss / MIB for name in SERVED}
    for name, share in shares.items():
        yield row(f"memory of {name}", share, "MiB")
    yield row("memory of services and workers", sum(shares.values()), "MiB", MEMORY_BAR)


def measure(folder: Path) -> Iterator[Row]:
    """Start the product, let it rest, and stop it again, several times."""
    stack = Stack(folder)
    up = ("up", "--detach", "--no-demo")
    ups, downs = [], []
    for start in range(STARTS + 1):
        ups.append(seconds(stack, *up))
        if start == STARTS:
            time.sleep(REST_SECONDS)
            yield from memory(stack)
        downs.append(seconds(stack, "down"))
    yield row("first up, with a new database", ups[0], "s")
    yield row("up, median of those after it", median(ups[1:]), "s", UP_BAR)
    yield row("down, median", median(downs), "s")


def main(*, as_json: bool) -> int:
    """Run the bench; the exit code says whether every bar was met."""
    with tempfile.TemporaryDirectory() as name:
        rows = list(measure(Path(name)))
    report.show(rows, as_json=as_json, starts=STARTS + 1, rest_seconds=REST_SECONDS)
    return 0 if report.all_met(rows) else 1


if __name__ == "__main__":
    sys.exit(main(as_json="--json" in sys.argv[1:]))
