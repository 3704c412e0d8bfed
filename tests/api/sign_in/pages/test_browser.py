"""Signing in with a real browser: by keyboard, on a phone, in the dark, and without any script."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from fastapi import FastAPI, Response
from playwright.async_api import Browser, Page, async_playwright
from pytest_iam import Server, iam_configuration, iam_server, iam_server_port

from services.api.access import codes
from services.api.feed.jobs import Relay, relay
from services.api.resources import WorkerResources
from services.api.sign_in.requests.rules import COOKIE
from services.notifications.deliveries import jobs as deliveries
from shared.clock import system_clock
from tests.api.sign_in.upstream.conftest import connect
from tests.support.apps import World, api_settings, client, found_world, running_api
from tests.support.canaille import account, issuer_of, register_at
from tests.support.chromium import CHROMIUM, FLAGS, is_there
from tests.support.database import Databases
from tests.support.email_codes import App, add_app, codes_in
from tests.support.notifications import (
    client_of,
    notifications_settings,
    running_notifications,
    running_postbox,
)
from tests.support.pages import STATE, authorize, register
from tests.support.served import served
from tests.support.work import bench

__all__ = ["iam_configuration", "iam_server", "iam_server_port"]

PATIENCE = 5_000
APPS_PAGE = "<!doctype html><title>Back</title><link rel=icon href=data:,><h1>Back</h1>"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
# As text: no function of ours runs in the pages, so these are asked by the test alone.
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SMALLEST = (
    "Math.min(...[...document.querySelectorAll('button, input:not([type=hidden]), a')].map("
    "one => one.getBoundingClientRect().height))"
)
OUTLINE = "getComputedStyle(document.activeElement).outlineStyle"
GROUND = "getComputedStyle(document.body).backgroundColor"
FOCUSED = "document.activeElement.id || document.activeElement.textContent.trim()"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not is_there(), reason=f"no browser at {CHROMIUM}"),
]


@dataclass(slots=True)
class Place:
    """The api on a port of this machine, and an app that listens on another."""

    app: App
    root: str
    listening: str

    @property
    def redirect_uri(self) -> str:
        """Return where the app gets its answers."""
        return f"{self.listening}/in"

    def authorize(self, **changes: str | None) -> str:
        """Return where the app sends a browser."""
        return self.root + authorize(self.app, redirect_uri=self.redirect_uri, **changes)


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """Start the browser once."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def place(world: World) -> AsyncIterator[Place]:
    """Return a fresh organization that is served."""
    async with placed(world) as one:
        yield one


@asynccontextmanager
async def placed(world: World) -> AsyncIterator[Place]:
    """Serve an organization with an app on the person's own machine."""
    listener = FastAPI()

    @listener.get("/in")
    async def come_in() -> Response:
        return Response(APPS_PAGE, media_type="text/html")

    app = await add_app(world)
    # The port is not known before the app listens; any port of the loopback will do.
    await register(app, "http://127.0.0.1/in")
    async with served(world.app) as root, served(listener) as listening:
        yield Place(app, root, listening)


@asynccontextmanager
async def opened(chromium: Browser, **options: Any) -> AsyncIterator[tuple[Page, list[str]]]:
    """Open a page with an empty jar; the second half gathers what the browser complains about."""
    context = await chromium.new_context(locale="en", **options)
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda one: complaints.append(f"{one.text} {one.location['url']}"))
    page.on("pageerror", lambda one: complaints.append(str(one)))
    try:
        yield page, complaints
    finally:
        await context.close()


async def code_of(place: Place) -> str:
    """Return the code of the newest mail."""
    async with place.app.open() as session:
        connection = await session.connection()
        found = await connection.exec_driver_sql(
            "SELECT id FROM email_code WHERE organization_id = $1 ORDER BY id DESC LIMIT 1",
            (place.app.organization_id,),
        )
        challenge_id = found.scalar_one()
    return codes.code_of(
        place.app.resources.pepper,
        organization_id=place.app.organization_id,
        challenge_id=challenge_id,
    )


async def at_code(page: Page, place: Place, email: str) -> None:
    """Go through the first page."""
    await page.goto(place.authorize())
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_role("button", name="Send me a code").click()
    await page.get_by_role("heading", name="Enter your code").wait_for()


async def violations(page: Page) -> list[str]:
    """Return what axe finds wrong."""
    found = await Axe().run(page, options=RULES)
    return [
        f"{one['id']}: {node['html']}"
        for one in found.response["violations"]
        for node in one["nodes"]
    ]


async def test_a_person_signs_in_with_the_code_of_a_real_mail(
    chromium: Browser, place: Place, databases: Databases, worker: WorkerResources
) -> None:
    person = await place.app.world.add_person(locale="en")
    async with opened(chromium, java_script_enabled=False) as (page, complaints):
        await at_code(page, place, person["email"])
        code = await mailed(place, databases, worker, person["email"])
        await page.get_by_label("Code").fill(code)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("heading", name="Back").wait_for()
        answer = {name: one[0] for name, one in parse_qs(urlsplit(page.url).query).items()}

    assert complaints == []
    assert answer["state"] == STATE
    token = await traded(place.app.caller, place, answer["code"])
    me = await client(place.app.world.app, token).get("/v1/me")
    assert me.json()["person"]["id"] == person["id"]


async def mailed(place: Place, databases: Databases, worker: WorkerResources, email: str) -> str:
    """Send what waits through the relay, notifications and a mail server; return the code."""
    async with (
        running_postbox() as postbox,
        running_notifications(notifications_settings(databases, smtp_port=postbox.port)) as beside,
    ):
        at_work = bench(worker, place.app.world)
        far = client_of(beside)
        work = Relay(at_work.resources.database, far, at_work.resources.pepper)
        while await relay(work, organization_id=at_work.organization_id):
            pass
        await far.close()
        await deliveries.run_until(
            beside.state.resources, organization_id=at_work.organization_id, until=system_clock()
        )
        (mail,) = postbox.to(email)
    body = mail.get_body(("plain",))
    assert body is not None
    (code,) = codes_in(body.get_content())
    return code


async def test_the_keyboard_is_enough(chromium: Browser, place: Place) -> None:
    person = await place.app.world.add_person()
    async with opened(chromium) as (page, complaints):
        await page.goto(place.authorize())
        seen = [await page.evaluate(FOCUSED)]
        for _ in range(2):
            await page.keyboard.press("Tab")
            seen.append(await page.evaluate(FOCUSED))
            assert await page.evaluate(OUTLINE) == "solid"
        assert seen == ["email", "Send me a code", "Cancel and return to An app"]

        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.type("nothing")
        await page.keyboard.press("Enter")
        await page.get_by_text("Enter a whole e-mail address").wait_for()
        assert await page.evaluate(FOCUSED) == "email"
        await page.keyboard.press("Control+A")
        await page.keyboard.type(person["email"])
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Enter your code").wait_for()

        code = await code_of(place)
        assert await page.evaluate(FOCUSED) == "code"
        await page.keyboard.type(f"{(int(code) + 1) % 10**8:08}")
        await page.keyboard.press("Enter")
        await page.get_by_text("This code does not fit").wait_for()
        assert await page.evaluate(FOCUSED) == "code"
        await page.keyboard.type(f"{code[:4]} {code[4:]}")
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Back").wait_for()

    assert [one for one in complaints if "status of 400" not in one] == []


async def test_a_double_click_signs_in_once(chromium: Browser, place: Place) -> None:
    person = await place.app.world.add_person()
    async with opened(chromium) as (page, _complaints):
        await page.goto(place.authorize())
        await page.get_by_label("E-mail address").fill(person["email"])
        await page.get_by_role("button", name="Send me a code").dblclick()
        await page.get_by_role("heading", name="Enter your code").wait_for()
        await page.get_by_label("Code").fill(await code_of(place))
        await page.get_by_role("button", name="Sign in").dblclick()
        await page.get_by_role("heading", name="Back").wait_for()

        assert "code=ac_" in page.url


async def test_loading_again_and_going_back_lose_nothing(chromium: Browser, place: Place) -> None:
    person = await place.app.world.add_person()
    async with opened(chromium) as (page, _complaints):
        await at_code(page, place, person["email"])
        code = await code_of(place)
        await page.reload()
        await page.go_back()
        await page.get_by_role("heading", name="Sign in").wait_for()
        await page.go_forward()
        await page.get_by_role("heading", name="Enter your code").wait_for()
        await page.get_by_label("Code").fill(code)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("heading", name="Back").wait_for()

        await page.go_back()
        await page.get_by_role("heading", name="This sign-in is over").wait_for()


async def test_a_secure_cookie_is_kept_on_this_machine_and_out_of_scripts_reach(
    chromium: Browser, place: Place
) -> None:
    async with opened(chromium) as (page, _complaints):
        await page.goto(place.authorize())
        (held,) = await page.context.cookies(place.root)
        seen = await page.evaluate("document.cookie")

    assert (held["name"], held["path"], held["sameSite"]) == (COOKIE, "/", "Lax")
    assert held["secure"]
    assert held["httpOnly"]
    assert seen == ""


@pytest.mark.parametrize(
    ("width", "scheme"), [(320, "light"), (360, "dark"), (1280, "light"), (1280, "dark")]
)
async def test_pages_fit_and_can_be_read_by_everybody(
    chromium: Browser, place: Place, scheme: Any, width: int
) -> None:
    size = {"width": width, "height": 740}
    async with opened(chromium, viewport=size, color_scheme=scheme) as (page, _complaints):
        await page.goto(place.authorize())
        await judge(page)
        await page.get_by_label("E-mail address").fill("x" * 60 + "@a.rather.long.example.org")
        await page.get_by_role("button", name="Send me a code").click()
        await page.get_by_role("heading", name="Enter your code").wait_for()
        await judge(page)
        await page.get_by_label("Code").fill("1")
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_text("A code has eight digits").wait_for()
        await judge(page)
        ground = await page.evaluate(GROUND)
        await page.goto(f"{place.root}/oauth/authorize")
        await judge(page)

    shade = sum(map(int, re.findall(r"\d+", ground))) / 3
    assert shade < 64 if scheme == "dark" else shade > 192


async def judge(page: Page) -> None:
    """Expect no page that is wider than the window, too small to touch, or hard to read."""
    assert await page.evaluate(SIDEWAYS) == 0
    assert await page.evaluate(SMALLEST) >= 44
    assert await violations(page) == []


async def test_what_is_read_aloud_makes_sense(chromium: Browser, place: Place) -> None:
    async with opened(chromium) as (page, _complaints):
        await at_code(page, place, "somebody@example.org")
        await page.get_by_label("Code").fill("12")
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_text("A code has eight digits").wait_for()
        told = await page.locator("#code").evaluate(
            "one => one.getAttribute('aria-describedby').split(' ')"
            ".map(id => document.getElementById(id).textContent)"
        )
        title, tree = await page.title(), await page.locator("main").aria_snapshot()

    assert title == "Error: Enter your code \u2013 Example Works"
    assert told == [
        "A code has eight digits. You find it in the newest message.",
        "The eight digits in the message",
    ]
    assert '- heading "Enter your code" [level=1]' in tree
    assert '- textbox "Code" [active] [invalid]' in tree or '- textbox "Code"' in tree
    for name in ("Sign in", "Send a new code", "Cancel and return to An app"):
        assert f'- button "{name}"' in tree
    assert '- link "Use another address"' in tree


async def test_the_organizations_own_sign_in_leads_back_to_the_app(
    chromium: Browser, databases: Databases, iam_server: Server
) -> None:
    """Browsers hold every redirect behind a form against the policy of its page."""
    async with (
        running_api(api_settings(databases, egress_allow=["localhost"])) as api,
        placed(await found_world(api)) as place,
        httpx.AsyncClient(base_url=place.root, trust_env=False) as outside,
    ):
        resources = place.app.resources
        resources.settings = resources.settings.model_copy(update={"issuer": place.root})
        at_provider = register_at(iam_server, f"{place.root}/oauth/callback")
        desk = await connect(place.app.world, issuer_of(iam_server), **at_provider)
        who = account(iam_server)
        person = await desk.employ(who.user_name)
        iam_server.login(who)
        iam_server.consent(who)
        async with opened(chromium, java_script_enabled=False) as (page, complaints):
            await page.goto(place.authorize())
            await page.get_by_role("button", name="Continue with Works login").click()
            await page.get_by_role("heading", name="Back").wait_for()
            answer = {name: one[0] for name, one in parse_qs(urlsplit(page.url).query).items()}
        iam_server.logout()
        token = await traded(outside, place, answer["code"])
        me = await outside.get("/v1/me", headers={"Authorization": f"Bearer {token}"})

    assert complaints == []
    assert (answer["state"], answer["iss"]) == (STATE, place.root)
    assert me.json()["person"]["id"] == person["id"]


async def traded(caller: httpx.AsyncClient, place: Place, code: str) -> str:
    """Trade a code for tokens as the app does, and return its access token."""
    form = {
        "grant_type": "authorization_code",
        "client_id": place.app.client_id,
        "redirect_uri": place.redirect_uri,
        "code": code,
        "code_verifier": place.app.verifier,
    }
    tokens = await caller.post("/oauth/token", data=form)
    assert tokens.status_code == 200, tokens.text
    access_token: str = tokens.json()["access_token"]
    return access_token


async def test_no_other_page_can_put_ours_into_a_frame(chromium: Browser, place: Place) -> None:
    async with opened(chromium) as (page, complaints):
        await page.goto(place.redirect_uri)
        await page.evaluate(
            "url => { const f = document.createElement('iframe'); f.src = url;"
            " document.body.append(f); return new Promise(done => f.onload = done) }",
            place.authorize(),
        )
        framed = page.frames[1]
        shown = await framed.locator("form").count()

    assert shown == 0
    assert any("frame-ancestors" in one for one in complaints)
