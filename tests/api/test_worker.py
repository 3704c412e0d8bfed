"""The worker as a process: ready when its heartbeat is there, gone soon after it was told to."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.apps import KEY_ENCRYPTION_KEY
from tests.support.database import ROOT, Databases
from tests.support.stack import wait_until

PATIENCE_SECONDS = 60


def environment(databases: Databases, heartbeat: Path, **changes: str) -> Mapping[str, str]:
    """Return what a worker is told."""
    return {
        **os.environ,
        "MENTORING_ENV": "development",
        "MENTORING_API_DATABASE_URL": databases.url("app_api", "api"),
        "MENTORING_API_JOBS_DATABASE_URL": databases.url("app_jobs", "api"),
        "MENTORING_API_WORKER_DATABASE_URL": databases.url("worker_system", "api"),
        "MENTORING_KEY_ENCRYPTION_KEY": KEY_ENCRYPTION_KEY,
        "MENTORING_HEARTBEAT_FILE": str(heartbeat),
        **changes,
    }


def start(variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a worker."""
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "worker", "api"],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def test_a_worker_beats_until_it_is_told_to_stop(
    databases: Databases, tmp_path: Path
) -> None:
    heartbeat = tmp_path / "heartbeat"
    with start(environment(databases, heartbeat)) as worker:
        wait_until(heartbeat.exists, seconds=PATIENCE_SECONDS)

        worker.send_signal(signal.SIGTERM)
        said, _nothing = worker.communicate(timeout=PATIENCE_SECONDS)

    assert worker.returncode == 0, said.decode()


async def test_a_worker_refuses_a_role_that_sees_everything(
    databases: Databases, tmp_path: Path
) -> None:
    heartbeat = tmp_path / "heartbeat"
    unsafe = databases.url("postgres", "api")

    with start(environment(databases, heartbeat, MENTORING_API_JOBS_DATABASE_URL=unsafe)) as worker:
        said, _nothing = worker.communicate(timeout=PATIENCE_SECONDS)

    assert worker.returncode != 0
    assert b"UnsafeDatabaseError" in said
    assert not heartbeat.exists()
