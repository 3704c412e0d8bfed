"""The demo from people file to first meetings, on the whole product as processes."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.demo import company, play
from tests.support.stack import ROOT, Stack, running, wait_until

pytestmark = pytest.mark.stack

HR_FILE = ROOT.parent / "shared" / "data" / "hr-export-v14.csv"
HR_MAPPING = ROOT / "examples" / "hr-export" / "mapping.json"
# The README's commands play the whole company, and the whole real file is imported in tests/api.
SOME_ROWS = 70
PATIENCE_SECONDS = 400


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run the product for the tests of this module."""
    with running(tmp_path_factory.mktemp("stack") / "state") as started:
        yield started


@pytest.fixture(scope="module")
def some_people(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Return the options of a demo with a part of the fictional company."""
    part = beginning(company.people_file(), SOME_ROWS)
    return people(tmp_path_factory.mktemp("company") / "people.csv", part, play.COMPANY_MAPPING)


def beginning(content: bytes, rows: int) -> bytes:
    """Return the header of a people file and its first rows."""
    return b"".join(content.splitlines(keepends=True)[: 1 + rows])


def people(file: Path, content: bytes, mapping: Path) -> tuple[str, ...]:
    """Write a people file, and return the options of a demo that plays it."""
    file.write_bytes(content)
    return ("--people", str(file), "--mapping", str(mapping))


def played(stack: Stack, *arguments: str) -> dict[str, Any]:
    """Play the demo and return its report."""
    done = stack.run("demo", "--json", *arguments, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What the first demo with some people reported, and the rows it left."""

    report: dict[str, Any]
    rows: dict[str, int]


@pytest.fixture(scope="module")
async def undisturbed(stack: Stack, some_people: tuple[str, ...]) -> Undisturbed:
    """Play the demo once, with nothing in its way."""
    report = await asyncio.to_thread(played, stack, *some_people)
    return Undisturbed(report, await stack.row_counts())


@pytest.fixture(scope="module")
def report(undisturbed: Undisturbed) -> dict[str, Any]:
    """Return the report of the first demo with some people."""
    return undisturbed.report


def test_plays_a_program_from_people_to_meetings(report: dict[str, Any]) -> None:
    assert report["rows_read"] == SOME_ROWS
    assert report["rows_refused"] == []
    assert report["managers_resolved"] == SOME_ROWS - 1  # the director among them has none
    assert report["mentorships"] > 9
    assert report["meetings"] == report["mentorships"]
    # Two attendees each, and both again for the meeting that moved and the one called off.
    assert report["mails_with_calendar"] == 2 * report["meetings"] + 4
    assert report["proposals"]["rejected"] == 1
    assert report["proposals"]["swapped"] == 2
    assert report["certificate"]["kind"] == "optimal"
    assert report["events_in_order_without_gap"] is True


async def test_a_second_demo_adds_nothing(
    stack: Stack, some_people: tuple[str, ...], report: dict[str, Any]
) -> None:
    before = await stack.row_counts()

    again = played(stack, *some_people)

    assert again == report
    assert await stack.row_counts() == before


def test_tokens_of_the_state_file_open_the_api(stack: Stack) -> None:
    state = stack.state
    for role in ("org_admin", "coordinator", "mentor", "mentee", "integration"):
        answer = httpx.get(
            f"{state['api_url']}/people",
            headers={"Authorization": f"Bearer {state['tokens'][role]}"},
            trust_env=False,
            timeout=60,
        )
        assert answer.status_code == 200, role
        assert answer.headers["Mentoring-Mode"] == "demo"


@pytest.mark.skipif(not HR_FILE.exists(), reason="the real people file lies outside the project")
def test_plays_on_real_people(stack: Stack, report: dict[str, Any], tmp_path: Path) -> None:
    part = beginning(HR_FILE.read_bytes(), SOME_ROWS)

    real = played(stack, *people(tmp_path / "people.csv", part, HR_MAPPING))

    assert real["organization_id"] != report["organization_id"]
    assert real["rows_read"] == SOME_ROWS
    assert [one["line"] for one in real["rows_refused"]] == [2, 3, 4, 5, 6, 10, 24]
    assert all(one["errors"] for one in real["rows_refused"])
    assert real["people_applied"] == SOME_ROWS - 7
    assert real["managers_resolved"] > 0
    assert real["mentorships"] > 5
    assert real["events_in_order_without_gap"] is True


async def test_a_demo_with_every_process_killed_comes_to_the_same(
    tmp_path: Path, some_people: tuple[str, ...], undisturbed: Undisturbed
) -> None:
    with running(tmp_path / "state") as disturbed:
        every_process = set(disturbed.state["pids"])
        demo = disturbed.start("demo", "--json", *some_people)
        killed = await asyncio.to_thread(kill_each, disturbed, demo)
        output, errors = demo.communicate(timeout=PATIENCE_SECONDS)

        assert demo.returncode == 0, errors
        assert killed == every_process
        report = json.loads(output)
        assert comparable(report) == comparable(undisturbed.report)
        assert len(message_ids(disturbed)) == report["mails_with_calendar"]
        assert await disturbed.row_counts() == undisturbed.rows


def kill_each(stack: Stack, demo: subprocess.Popen[str]) -> set[str]:
    """Kill every child once, the next one as soon as the last one is back."""
    killed = set()
    for name, pid in stack.state["pids"].items():
        if demo.poll() is None:
            os.kill(pid, signal.SIGKILL)
            killed.add(name)
            wait_until(partial(is_replaced, stack, name, pid))
    return killed


def is_replaced(stack: Stack, name: str, pid: int) -> bool:
    """Tell whether the supervisor has started a process again."""
    return bool(stack.state["pids"].get(name, pid) != pid)


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a report, without the ids that differ between installations."""
    figures = {name: value for name, value in report.items() if not name.endswith(("_id", "_ids"))}
    certificate = {name: value for name, value in report["certificate"].items() if name != "digest"}
    return figures | {"certificate": certificate}


def message_ids(stack: Stack) -> set[str]:
    """Return the distinct Message-IDs of all captured mails with a calendar part."""
    found, after = set(), ""
    with httpx.Client(base_url=stack.state["mail_url"], trust_env=False, timeout=60) as http:
        while mails := http.get("/messages", params={"after": after}).json()["items"]:
            after = mails[-1]["id"]
            found |= {
                one["message_id"]
                for one in mails
                if any(part["content_type"] == "text/calendar" for part in one["parts"])
            }
    return found
