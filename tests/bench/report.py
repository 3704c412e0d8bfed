"""How a bench tells its figures: a table for people, JSON for scripts, and the machine in both."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol


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
        report = {"machine": machine(), **about, "rows": [asdict(row) for row in rows]}
        print(json.dumps(report, indent=2))  # noqa: T201 - for scripts
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


def all_met(rows: Sequence[Row]) -> bool:
    """Tell whether every bar was met."""
    return all(row.met for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "-".join(map(str, value))
    return "" if value is None else str(value)


def _spelt(about: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in about.items())
