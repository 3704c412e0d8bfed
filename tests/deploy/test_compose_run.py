"""The containers themselves, where an engine is at hand and somebody asked for it."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.support.stack import ROOT, wait_until

COMPOSE = shutil.which("podman-compose") or ""
pytestmark = [
    pytest.mark.compose,
    pytest.mark.skipif(not COMPOSE, reason="podman-compose is not installed"),
    pytest.mark.skipif(
        os.environ.get("MENTORING_COMPOSE") != "1",
        reason="takes minutes and pulls images: set MENTORING_COMPOSE=1",
    ),
]
READY = "http://127.0.0.1:8000/readyz"


def compose(*arguments: str) -> None:
    """Run one command of the engine."""
    subprocess.run([COMPOSE, *arguments], cwd=ROOT, check=True)  # noqa: S603 - a fixed command


@pytest.fixture
def containers() -> Iterator[None]:
    """Build and run everything, and take it all down again."""
    mentoring = ROOT / ".venv" / "bin" / "mentoring"
    subprocess.run([mentoring, "secrets", "deploy/secrets"], cwd=ROOT, check=True)  # noqa: S603 - our own command
    compose("up", "--build", "--detach")
    yield
    compose("down", "--volumes")


@pytest.mark.usefixtures("containers")
def test_everything_comes_up_and_answers() -> None:
    def is_ready() -> bool:
        try:
            return httpx.get(READY, trust_env=False).is_success
        except httpx.TransportError:
            return False

    wait_until(is_ready, seconds=300)
