"""A bounded part of `./dev fuzz`: the document's own examples, against a real server."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.stack
def test_no_example_of_the_document_breaks_the_server() -> None:
    mentoring = Path(sys.executable).parent / "mentoring"
    arguments = ("fuzz", "--phases", "examples", "--examples", "1", "--seed", "1")
    done = subprocess.run(  # noqa: S603 - our own command
        [mentoring, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
