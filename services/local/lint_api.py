"""What outside linters say about the published document.

Node tools come from npm at fixed versions into a cache beside the state; nothing of them is
committed. All of them run without a network once they are installed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

DOCUMENT = "docs/openapi/api.json"
TOOLS: Mapping[str, str] = {
    "@stoplight/spectral-cli": "6.16.3",
    "@redocly/cli": "2.77.0",
    "@baloise/spectral-rules": "1.5.0",
    "@stoplight/spectral-owasp-ruleset": "2.0.1",
}
RULESETS = """extends:
  - ["spectral:oas", all]
  - "./node_modules/@baloise/spectral-rules/zalando.yml"
  - "@stoplight/spectral-owasp-ruleset"
overrides:
  # A field of a captured mail, which the rule takes for the headers of an answer.
  - files: ["**#/components/schemas/MessageView/properties/headers"]
    rules:
      "owasp:api8:2023-define-cors-origin": "off"
  # The doors that sign people in: nobody holds a credential yet.
  - files:
      - "**#/paths/~1auth~1email-codes/post"
      - "**#/paths/~1auth~1email-codes~1%7Bchallenge_id%7D~1verify/post"
    rules:
      "owasp:api2:2023-write-restricted": "off"
"""
INSTALL_SECONDS = 300
SPECTRAL = ("--fail-severity=error", "--display-only-failures", "--quiet")
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


def run(root: Path) -> int:
    """Run every linter; return how many found an error."""
    console = Console()
    document = root / DOCUMENT
    failed = _validate(document, console)
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        console.print("[yellow]skipped: Spectral and Redocly, because Node or npm is absent[/]")
        return failed
    folder = _installed(root, npm, console)
    if folder is None:
        return failed + 1
    for name, command in _linters(document):
        failed += _lint(folder, name, command, console)
    return failed


def _validate(document: Path, console: Console) -> int:
    console.rule("openapi-spec-validator")
    validator = Path(sys.executable).parent / "openapi-spec-validator"
    return _verdict("openapi-spec-validator", [str(validator), str(document)], Path.cwd(), console)


def _installed(root: Path, npm: str, console: Console) -> Path | None:
    wanted = sorted(f"{name}@{version}" for name, version in TOOLS.items())
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:12]
    folder = root / ".mentoring" / f"lint-api-{digest}"
    ready = folder / "ready"
    if not ready.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        console.print("lint-api: installing Spectral and Redocly")
        flags = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent")
        done = subprocess.run(  # noqa: S603 - npm with the packages listed above
            [npm, "install", *flags, *wanted], cwd=folder, check=False, timeout=INSTALL_SECONDS
        )
        if done.returncode:
            console.print("[red]lint-api: npm could not install the linters[/]")
            return None
        ready.touch()
    (folder / ".spectral.yaml").write_text(RULESETS)
    return folder


def _linters(document: Path) -> Sequence[tuple[str, list[str]]]:
    return (
        (
            "Spectral: oas, OWASP, Zalando",
            ["spectral", "lint", str(document), "-r", ".spectral.yaml", *SPECTRAL],
        ),
        (
            "Redocly: recommended-strict",
            ["redocly", "lint", str(document), "--extends=recommended-strict", "--format=stylish"],
        ),
    )


def _lint(folder: Path, name: str, command: Sequence[str], console: Console) -> int:
    console.rule(name)
    program, *arguments = command
    binary = folder / "node_modules" / ".bin" / program
    return _verdict(name, [str(binary), *arguments], folder, console)


def _verdict(name: str, command: Sequence[str], folder: Path, console: Console) -> int:
    done = subprocess.run(  # noqa: S603 - a fixed command
        command, cwd=folder, check=False, env=os.environ | QUIET
    )
    console.print(f"{name}: {'failed' if done.returncode else 'passed'}")
    return int(done.returncode != 0)
