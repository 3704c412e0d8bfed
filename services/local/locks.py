"""Lock files: every package at one version with its hashes, and no address of any registry."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ("api", "matching", "notifications")
WHOLE = ROOT / "requirements.lock"


def write() -> None:
    """Resolve all groups, then each service's own at the same versions."""
    _compile(WHOLE, "dev")
    for service in SERVICES:
        _compile(ROOT / "deploy" / "locks" / f"{service}.lock", service, "-c", str(WHOLE))


def _compile(target: Path, group: str, *options: str) -> None:
    uv = Path(sys.executable).parent / "uv"
    command = [
        *(str(uv), "pip", "compile", "pyproject.toml", "--group", group, "--universal"),
        *("--generate-hashes", "--no-header", "--no-annotate", "--quiet"),
        *("--python-version", "3.12", "-o", str(target), *options),
    ]
    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - a fixed command
