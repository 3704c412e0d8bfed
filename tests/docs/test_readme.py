"""The README's commands, run as a newcomer types them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.stack import ROOT, Stack

pytestmark = pytest.mark.stack


def commands() -> list[str]:
    """Return every line of the README that a newcomer is asked to type."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [
        line.removeprefix("$ ")
        for block in blocks
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


def test_every_command_works_in_the_order_it_is_given(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "state")
    script = "\n".join(["set -euo pipefail", *commands()])
    try:
        done = subprocess.run(  # noqa: S603 - the README's own commands
            ["/bin/bash", "-c", script],
            cwd=ROOT,
            env=dict(stack.environment),
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

        assert done.returncode == 0, done.stderr
        assert '"items"' in done.stdout
        assert '"given_name":"Grace"' in done.stdout
        told = dict(re.findall(r"^ +([a-z ]+?)  (\d+)$", done.stdout, re.MULTILINE))
        assert (told["rows read"], told["rows refused"]) == ("240", "0")
        assert told["managers resolved"] == "235"
        assert int(told["mentorships"]) > 40
        assert told["meetings"] == told["mentorships"]
    finally:
        stack.run("down")


def test_no_command_needs_more_than_python_and_curl() -> None:
    programs = {
        word.split("=")[-1].lstrip("$(") for line in commands() for word in line.split()[:1]
    }

    assert programs <= {"./dev", "curl"}
    assert os.access(ROOT / "dev", os.X_OK)
