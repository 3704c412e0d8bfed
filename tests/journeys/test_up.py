"""Starting and stopping the product as a newcomer does, and what is left when it is killed."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from services.local import postgres
from tests.support.stack import Stack

pytestmark = pytest.mark.stack


def test_one_stack_starts_survives_its_supervisor_and_goes_down(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "state")
    try:
        start_twice_at_once(stack)
        state = said(stack)
        again = stack.run("up", "--detach", "--no-demo")
        people = directory(stack)
        roles = roles_of_coordinator(stack)
        kill_the_supervisor(stack)
        restarted = stack.run("up", "--detach", "--no-demo")
        people_left = directory(stack)
        roles_left = roles_of_coordinator(stack)
        processes = stack.processes()
    finally:
        down = stack.run("down")
        after = stack.run("status", "--json")
        postgres.discard(stack.folder / "postgres")

    assert state["api_url"].endswith("/v1")
    assert set(state["pids"]) == {
        *("postgres", "captured mail", "api", "matching", "notifications"),
        *("api worker", "notifications worker"),
    }
    assert again.returncode == 0
    assert "already running" in again.stderr
    assert restarted.returncode == 0, restarted.stderr
    assert people_left == people != []
    assert roles_left == roles
    assert [one["role"] for one in roles] == ["coordinator"]
    assert down.returncode == 0
    assert [one for one in processes if one.is_running()] == []
    assert after.returncode == 3


def start_twice_at_once(stack: Stack) -> None:
    """Start the product by two commands, both of which succeed."""
    for one in [stack.start("up", "--detach", "--no-demo") for _ in range(2)]:
        _output, errors = one.communicate(timeout=120)
        assert one.returncode == 0, errors


def said(stack: Stack) -> dict[str, Any]:
    """Return what `status` says."""
    told = stack.run("status", "--json")
    assert told.returncode == 0
    state: dict[str, Any] = json.loads(told.stdout)
    return state


def directory(stack: Stack) -> list[dict[str, Any]]:
    """Return the people of the organization that the product starts with."""
    people: list[dict[str, Any]] = read(stack, "org_admin", "/people")["items"]
    return people


def roles_of_coordinator(stack: Stack) -> list[dict[str, Any]]:
    """Return what the coordinator of that organization is granted."""
    granted: list[dict[str, Any]] = read(stack, "coordinator", "/me")["granted"]
    return granted


def read(stack: Stack, role: str, path: str) -> dict[str, Any]:
    """Return what the api answers to somebody of the development organization."""
    token = stack.run("token", role).stdout.strip()
    answer = httpx.get(
        f"{stack.state['api_url']}{path}",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def kill_the_supervisor(stack: Stack) -> None:
    """Kill whoever keeps the processes running, which takes all of them along."""
    supervisor, *children = stack.processes()
    os.kill(supervisor.pid, signal.SIGKILL)
    _gone, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
