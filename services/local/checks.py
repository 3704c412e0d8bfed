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
    """One check: its name, the command that makes it, and whether it runs beside the others."""

    name: str
    command: tuple[str, ...]
    is_beside: bool = False


STEPS = (
    Step("formatting", ("ruff", "format", "--check", ".")),
    Step("lint", ("ruff", "check", ".")),
    # Half a minute in a fresh clone, for which the others need not wait.
    Step("types", ("mypy",), is_beside=True),
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
    steps = narrowed(paths) if paths else STEPS
    beside = {step: _start(step, output=subprocess.PIPE) for step in steps if step.is_beside}
    failed: list[str] = []
    for step in (one for one in steps if not one.is_beside):
        console.rule(step.name)
        started = time.monotonic()
        _finish(step, _start(step), console, failed)
        console.print(f"It took {time.monotonic() - started:.1f} s.")
        for known in [one for one, process in beside.items() if process.poll() is not None]:
            console.rule(known.name)
            _finish(known, beside.pop(known), console, failed)
    for step, process in beside.items():
        console.rule(step.name)
        _finish(step, process, console, failed)
    if failed:
        console.print(f"Not passed: {', '.join(failed)}")
    return len(failed)


def _start(step: Step, *, output: int | None = None) -> subprocess.Popen[str]:
    program, *arguments = step.command
    command = [str(BIN / program), *arguments]
    if step.is_beside:
        command = ["nice", "-n", "19", *command]
    return subprocess.Popen(  # noqa: S603 - commands listed above
        command, cwd=ROOT, stdout=output, stderr=output and subprocess.STDOUT, text=True
    )


def _finish(
    step: Step, process: subprocess.Popen[str], console: Console, failed: list[str]
) -> None:
    output, _ = process.communicate()
    sys.stdout.write(output or "")
    console.print(f"{step.name}: {'failed' if process.returncode else 'passed'}")
    if process.returncode:
        failed.append(step.name)
