"""The examples of signing in, run as they stand against the product as it is started."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.chromium import CHROMIUM, FLAGS, is_there
from tests.support.ports import free_port
from tests.support.stack import ROOT, Stack, running, wait_until

pytestmark = pytest.mark.stack

EXAMPLES = ROOT / "examples" / "sign-in"
MENTOR = "mentor@example.org"


@pytest.fixture(scope="module")
def page_port() -> int:
    """Return the port that the example's page is served on."""
    return free_port()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, page_port: int) -> Iterator[Stack]:
    """Run the product, open to the example's page."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MENTORING_CORS_ORIGINS", f"http://127.0.0.1:{page_port}")
        with running(tmp_path_factory.mktemp("stack") / "state") as started:
            yield started


def register(stack: Stack, **wanted: Any) -> dict[str, Any]:
    """Make an OAuth client as the guide says."""
    answer = httpx.post(
        f"{stack.state['api_url']}/oauth-clients",
        json={"label": "Example", **wanted},
        headers={"Authorization": f"Bearer {stack.state['tokens']['org_admin']}"},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def environment(stack: Stack, **told: str) -> Mapping[str, str]:
    """Return what an example is told."""
    return {**os.environ, "API_URL": stack.state["api_url"], **told}


def code_of(stack: Stack, *, after: str) -> str:
    """Return the digits of the newest code that was mailed to the mentor."""
    found: list[str] = []

    def look() -> bool:
        for mail in mails(stack, after=after):
            if any(MENTOR in one for one in mail["to"]):
                text = next(part["text"] for part in mail["parts"])
                found.extend("".join(one) for one in re.findall(r"\b(\d{4})\s?(\d{4})\b", text))
        return bool(found)

    wait_until(look)
    return found[-1]


def mails(stack: Stack, *, after: str = "") -> list[dict[str, Any]]:
    """Return what the mail sink kept after one mail."""
    http = partial(httpx.get, f"{stack.state['mail_url']}/messages", trust_env=False, timeout=60)
    items: list[dict[str, Any]] = []
    while found := http(params={"after": items[-1]["id"] if items else after}).json()["items"]:
        items += found
    return items


def newest(stack: Stack) -> str:
    """Return the last mail there is."""
    found = mails(stack)
    return str(found[-1]["id"]) if found else ""


def test_the_nightly_script_reads_everybody_until_its_client_is_revoked(stack: Stack) -> None:
    made = register(stack, kind="service", scopes=["people:read"])
    run = partial(
        subprocess.run,
        [sys.executable, EXAMPLES / "nightly-script" / "nightly.py"],
        env=environment(stack, CLIENT_ID=made["client_id"], CLIENT_SECRET=made["client_secret"]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    ended = run()
    httpx.post(
        f"{stack.state['api_url']}/oauth-clients/{made['id']}/revoke",
        headers={"Authorization": f"Bearer {stack.state['tokens']['org_admin']}"},
        trust_env=False,
        timeout=60,
    ).raise_for_status()
    refused = run()

    people = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, ended.stderr
    assert len({one["id"] for one in people}) == len(people) > 3
    assert refused.returncode == 1
    assert "invalid_client" in refused.stderr


class Phone:
    """The example's phone, with a key store of its own."""

    def __init__(self, stack: Stack, folder: Path, client_id: str) -> None:
        """Take where it keeps what it must not lose."""
        self.kept = folder / "phone.json"
        self._environment = environment(
            stack, CLIENT_ID=client_id, ORGANIZATION="demo", KEPT=str(self.kept)
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Do one thing with it."""
        return subprocess.Popen(  # noqa: S603 - our own example
            [sys.executable, EXAMPLES / "phone-app" / "phone.py", *arguments],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Do one thing with it, to its end."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def test_the_phone_signs_in_by_mail_stays_signed_in_and_signs_out(
    stack: Stack, tmp_path: Path
) -> None:
    made = register(stack, kind="app", scopes=["mentorships:read", "meetings:read"])
    phone = Phone(stack, tmp_path, made["client_id"])
    before = newest(stack)

    signing_in = phone.start("sign-in", MENTOR)
    _output, errors = signing_in.communicate(code_of(stack, after=before) + "\n", timeout=60)
    assert signing_in.returncode == 0, errors

    home = phone.run("home")
    assert home.returncode == 0, home.stderr
    assert json.loads(home.stdout)

    kept = json.loads(phone.kept.read_text())
    phone.kept.write_text(json.dumps(kept | {"good_until": 0}))
    assert phone.run("home").returncode == 0
    renewed = json.loads(phone.kept.read_text())
    assert renewed["refresh_token"] != kept["refresh_token"]
    assert phone.kept.stat().st_mode & 0o077 == 0

    assert phone.run("sign-out").returncode == 0
    assert "nobody is signed in" in phone.run("home").stderr
    phone.kept.write_text(json.dumps(renewed | {"good_until": 0}))
    assert "signed out: invalid_grant" in phone.run("home").stderr


class Quiet(SimpleHTTPRequestHandler):
    """Serves the example's page and says nothing about it."""

    def log_message(self, *_arguments: Any) -> None:
        """Keep the tests' output short."""


@pytest.fixture
def page_address(stack: Stack, page_port: int, tmp_path: Path) -> Iterator[str]:
    """Serve the example's page, set up for an app of its own."""
    address = f"http://127.0.0.1:{page_port}/"
    made = register(
        stack,
        kind="app",
        scopes=["mentorships:read", "meetings:read"],
        redirect_uris=["http://127.0.0.1/"],
    )
    for file in (EXAMPLES / "single-page-app").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.js").write_text(
        f'export const API = "{stack.state["api_url"]}";\n'
        f'export const CLIENT_ID = "{made["client_id"]}";\n'
    )
    server = ThreadingHTTPServer(("127.0.0.1", page_port), partial(Quiet, directory=tmp_path))
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield address
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def page() -> Iterator[Page]:
    """Open a real browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page()
        browser.close()


@pytest.mark.browser
@pytest.mark.skipif(not is_there(), reason=f"no browser at {CHROMIUM}")
def test_the_page_signs_somebody_in_and_out(stack: Stack, page_address: str, page: Page) -> None:
    before = newest(stack)
    page.goto(page_address)
    expect(page.get_by_role("status")).to_have_text("You are not signed in.")

    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("textbox").fill(MENTOR)
    page.get_by_role("textbox").press("Enter")
    expect(page).to_have_url(re.compile("/oauth/sign-in"))
    page.get_by_role("textbox").fill(code_of(stack, after=before))
    page.get_by_role("textbox").press("Enter")

    expect(page.get_by_role("status")).to_have_text("You are signed in.")
    assert "code=" not in page.url
    expect(page.locator("#home")).not_to_be_empty()
    assert json.loads(page.locator("#home").inner_text())
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_have_text("You are not signed in.")
