"""How a bench tells its figures: in lines for people, JSON for scripts, and the machine in both."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

WORK_WIDTH, WIDTH = 84, 12


class Row(Protocol):
    """One figure with its bar; a dataclass whose fields are the columns."""

    @property
    def met(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Figure:
    """What one piece of work came to: the figure of ours, that of a peer, and their ratio."""

    work: str
    ours: float
    peer: float | None
    ratio: float | None
    bar: str
    met: bool


def machine() -> str:
    """Return on what the figures were taken."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def show(rows: Sequence[Any], *, as_json: bool, **about: Any) -> None:
    """Print the figures, and on what and how they were taken."""
    if as_json:
        print(_document(rows, about))  # noqa: T201 - for scripts
        return
    # Only here: processes whose memory is a figure load this module too.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(*(field.name.replace("_", " ") for field in fields(rows[0])))
    for row in rows:
        table.add_row(*map(_cell, asdict(row).values()))
    console = Console()
    console.print(table)
    console.print(f"{machine()}; {_spelt(about)}")


def tell[Told: Row](rows: Iterable[Told], *, as_json: bool, **about: Any) -> list[Told]:
    """Print each figure as soon as it is measured, and return all of them.

    Scripts read JSON at the end; who waits for it sees the lines on the other stream.
    """
    told = list[Told]()
    out = sys.stderr if as_json else sys.stdout
    for row in rows:
        cells: Mapping[str, Any] = asdict(row)  # type: ignore[call-overload]  # each is a dataclass
        if not told:
            print(_line(name.replace("_", " ") for name in cells), file=out)
        # One waits for minutes, and a pipe would keep the line until the next.
        print(_line(map(_cell, cells.values())), file=out, flush=True)
        told.append(row)
    # Said last, as what is told beside them may come about while they are measured.
    print(_document(told, about) if as_json else f"{machine()}; {_spelt(about)}")  # noqa: T201 - for both
    return told


def all_met(rows: Sequence[Row]) -> bool:
    """Tell whether every bar was met."""
    return all(row.met for row in rows)


def _document(rows: Sequence[Any], about: Mapping[str, Any]) -> str:
    report = {"machine": machine(), **about, "rows": [asdict(row) for row in rows]}
    return json.dumps(report, indent=2)


def _line(cells: Iterable[str]) -> str:
    work, *others = cells
    return " ".join([work.ljust(WORK_WIDTH), *(one.rjust(WIDTH) for one in others)])


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "-".join(map(str, value))
    return "" if value is None else str(value)


def _spelt(about: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in about.items())
