"""What a running stack tells others: addresses, development credentials, process ids."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

FOLDER = ".mentoring"
FILE = "state.json"
NAMED = "MENTORING_STATE"


class State(BaseModel):
    """Contents of `state.json` in the state folder, readable by its owner only."""

    api_url: str
    matching_url: str
    notifications_url: str
    mail_url: str
    database_url: str
    tokens: dict[str, str] = Field(default_factory=dict)
    organization: str
    supervisor_pid: int
    pids: dict[str, int] = Field(default_factory=dict)


def folder(root: Path) -> Path:
    """Return the state folder of a checkout, or the one that is named, for its owner alone."""
    path = Path(os.environ.get(NAMED) or root / FOLDER)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write(path: Path, state: State) -> None:
    """Replace the state file in one step, so that no reader sees half of it."""
    private_file(path / FILE, state.model_dump_json(indent=2))


def read(path: Path) -> State | None:
    """Return the state of the running stack, or None if none is running."""
    try:
        state = State.model_validate_json((path / FILE).read_bytes())
    except FileNotFoundError:
        return None
    return state if is_alive(state.supervisor_pid) else None


def forget(path: Path) -> None:
    """Remove the state file: its tokens and addresses are of no use any more."""
    (path / FILE).unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def private_file(file: Path, content: str) -> None:
    """Write a file that only its owner may read, in one step."""
    temporary = file.with_suffix(f".{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(content)
    temporary.replace(file)


def load_or_make(file: Path, make: Any) -> Any:
    """Return what a private JSON file holds, made the first time."""
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        made = make()
        private_file(file, json.dumps(made))
        return made
