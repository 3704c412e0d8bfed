"""The worker as a process: ready when its heartbeat is there, gone soon after it was told to."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.api import worker
from services.local import postgres
from shared.persistence.catalogue import UnsafeDatabaseError
from tests.support.apps import KEY_ENCRYPTION_KEY, api_settings
from tests.support.database import ROOT, Databases
from tests.support.stack import wait_until

PATIENCE_SECONDS = 60


def environment(databases: Databases, heartbeat: Path) -> Mapping[str, str]:
    """Return what a worker is told."""
    return {
        **os.environ,
        "MENTORING_ENV": "development",
        "MENTORING_API_DATABASE_URL": databases.url("app_api", "api"),
        "MENTORING_API_JOBS_DATABASE_URL": databases.url("app_jobs", "api"),
        "MENTORING_API_WORKER_DATABASE_URL": databases.url("worker_system", "api"),
        "MENTORING_KEY_ENCRYPTION_KEY": KEY_ENCRYPTION_KEY,
        "MENTORING_HEARTBEAT_FILE": str(heartbeat),
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
    with start(environment(databases, heartbeat)) as process:
        wait_until(heartbeat.exists, seconds=PATIENCE_SECONDS)

        process.send_signal(signal.SIGTERM)
        said, _nothing = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 0, said.decode()


@pytest.mark.parametrize("url", ["api_jobs_database_url", "api_worker_database_url"])
async def test_a_worker_refuses_a_role_that_sees_everything(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    heartbeat = tmp_path / "heartbeat"
    monkeypatch.setenv("MENTORING_HEARTBEAT_FILE", str(heartbeat))
    # Signals are this run's own.
    monkeypatch.setattr(worker, "stop_on_signals", asyncio.Event)
    settings = api_settings(databases, **{url: databases.url(postgres.SUPERUSER, "api")})

    with pytest.raises(UnsafeDatabaseError):
        await asyncio.wait_for(worker._run(settings), PATIENCE_SECONDS)

    assert not heartbeat.exists()
