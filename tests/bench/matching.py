"""Matching against what others offer for the same work: `./dev bench matching`.

Names of parts leave the others out; all of them take about half an hour. Each row is printed once
it is measured, with `--json` on the error stream. Both sides of a row use one thread and do
identical work, and their totals are held against each other. Seconds are of the processor, but for
those over HTTP, which are by the clock. A peer that is not installed is named as skipped; the
dependency group `bench` holds them.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from tests.bench import (
    forms,
    kernel,
    matching_drill,
    matching_http,
    matching_pools,
    matching_scores,
    report,
)
from tests.bench.report import Figure

ROUNDS = 3


def kernel_rows() -> Iterator[Figure]:
    """Yield the exact solver's own rows."""
    return map(_as_figure, kernel.rows())


def _skip(peer: str) -> None:
    print(f"skipped: {peer} is not installed", file=sys.stderr, flush=True)  # noqa: T201 - for people


def _as_figure(one: kernel.Row) -> Figure:
    spread = "-".join(map(str, one.spread))
    return Figure(f"{one.work} [{spread}]", one.ours, one.peer, one.ratio, one.bar, one.met)


PARTS: Mapping[str, Callable[[], Iterable[Figure]]] = MappingProxyType(
    {
        "scores": matching_scores.rows,
        "pools": partial(matching_pools.rows, _skip),
        "http": matching_http.rows,
        "drill": matching_drill.rows,
        "forms": partial(forms.rows, _skip),
        "kernel": kernel_rows,
    }
)


def main() -> int:
    """Print the figures; the exit code says whether every bar was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    rows = (row for name in options.parts or PARTS for row in PARTS[name]())
    told = report.tell(rows, as_json=options.as_json, rounds=ROUNDS, numpy=np.__version__)
    return 0 if report.all_met(told) else 1


if __name__ == "__main__":
    sys.exit(main())
