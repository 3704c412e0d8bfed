"""What `./dev test` runs: the same steps in the same order for a newcomer and for CI."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Step:
    """One check: its name, and the command that makes it."""

    name: str
    command: tuple[str, ...]


STEPS = (
    Step("formatting", ("ruff", "format", "--check", ".")),
    Step("lint", ("ruff", "check", ".")),
    Step("types", ("mypy",)),
    Step("import contracts", ("lint-imports",)),
    Step("documents", ("python", "-m", "services.documents", "--check")),
    # A file is one worker's, which then starts what the file shares once.
    Step("tests", ("pytest", "-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")),
)


def narrowed(paths: Sequence[str]) -> tuple[Step, ...]:
    """Return the steps for some paths only."""
    return (
        Step("formatting", ("ruff", "format", "--check", *paths)),
        Step("lint", ("ruff", "check", *paths)),
        Step("tests", ("pytest", *paths)),
    )


def run(paths: Sequence[str]) -> int:
    """Run every step, all of them even when one fails; return how many failed."""
    console = Console()
    failed: list[str] = []
    for step in narrowed(paths) if paths else STEPS:
        console.rule(step.name)
        started = time.monotonic()
        program, *arguments = step.command
        done = subprocess.run(  # noqa: S603 - commands listed above
            [BIN / program, *arguments], cwd=ROOT, check=False
        )
        seconds = time.monotonic() - started
        verdict = "failed" if done.returncode else "passed"
        console.print(f"{step.name}: {verdict} in {seconds:.1f} s")
        if done.returncode:
            failed.append(step.name)
    if failed:
        console.print(f"Not passed: {', '.join(failed)}")
    return len(failed)
