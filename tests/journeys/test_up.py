"""Starting and stopping the product as a newcomer does, and what is left when it is killed."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.stack import Stack, running

pytestmark = pytest.mark.stack


def test_two_ups_at_once_start_one_stack_which_says_where_it_is_and_goes_down(
    tmp_path: Path,
) -> None:
    stack = Stack(tmp_path / "state")
    both = [stack.start("up", "--detach", "--no-demo") for _ in range(2)]
    try:
        for one in both:
            _output, errors = one.communicate(timeout=120)
            assert one.returncode == 0, errors
        said = stack.run("status", "--json")
        again = stack.run("up", "--detach", "--no-demo")
        processes = stack.processes()

        state = json.loads(said.stdout)
        assert said.returncode == 0
        assert state["api_url"].endswith("/v1")
        assert set(state["pids"]) == {
            *("postgres", "captured mail", "api", "matching", "notifications"),
            *("api worker", "notifications worker"),
        }
        assert again.returncode == 0
        assert "already running" in again.stderr
    finally:
        down = stack.run("down")
    assert down.returncode == 0
    assert [one for one in processes if one.is_running()] == []
    assert stack.run("status", "--json").returncode == 3


def test_a_killed_supervisor_leaves_no_process_and_no_lost_row(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with running(folder) as stack:
        supervisor, *children = stack.processes()
        organization = stack.state["tokens"]["org_admin"]

        os.kill(supervisor.pid, signal.SIGKILL)
        _gone, alive = psutil.wait_procs(children, timeout=20)

        assert alive == []
    with running(folder) as stack:
        assert stack.run("token", "org_admin").stdout.strip()
        assert organization
