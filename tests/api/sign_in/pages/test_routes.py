"""Signing in on our pages: every step, every wrong turn, and who tries to take a wrong one."""

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import select
from sqlmodel import col

from services.api.access import codes
from services.api.access.rules import CredentialKind, new_credential
from services.api.sign_in.pages import schemas
from services.api.sign_in.pages.rules import ONE_MAIL_WITHIN
from services.api.sign_in.requests import rules as cookies
from services.api.sign_in.requests.rules import LIFETIME, REPEATED_WITHIN, Held
from services.api.sign_in.requests.tables import SignIn
from shared import ids, words
from shared.web.limits import Buckets, Lane
from tests.support.apps import World, api_settings, client, found_world, running_api
from tests.support.database import Databases
from tests.support.email_codes import REDIRECT, App, add_app
from tests.support.pages import STATE, Browser, Page, authorize, register, sent_to

ISSUER = "http://127.0.0.1:8000"
EMAIL, CODE, CANCEL = (f"/oauth/sign-in/{name}" for name in ("email", "code", "cancel"))


@pytest.fixture
async def app(world: World) -> App:
    """Return an app of a fresh organization."""
    return await add_app(world)


@pytest.fixture
def browser(world: World) -> Browser:
    """Return a browser that has been nowhere."""
    return Browser(world.app)


async def newest(app: App) -> SignIn:
    """Return the sign-in that was begun last."""
    mine = col(SignIn.organization_id) == app.organization_id
    async with app.open() as session:
        found: SignIn = (
            await session.execute(select(SignIn).where(mine).order_by(col(SignIn.id).desc()))
        ).scalars().first() or pytest.fail("no sign-in")
    return found


async def code_of(app: App) -> str:
    """Return the code that the last mail of the newest sign-in holds."""
    return codes_of(app, await newest(app))


def another(code: str) -> str:
    """Return a wrong code."""
    return f"{(int(code) + 1) % 10**codes.DIGITS:08}"


async def asked_for_code(browser: Browser, app: App, email: str) -> Page:
    """Go through the first page and return the second."""
    first = await browser.open(authorize(app))
    return await browser.submit(first, EMAIL, email=email)


def held_by(browser: Browser) -> Held:
    """Return what a browser holds of its newest sign-in, once that is kept."""
    return Held(cookies.entry_of(browser.cookie) or pytest.fail("no sign-in"))


async def kept(browser: Browser, app: App) -> Held:
    """Send one form that says nothing, so that the sign-in is kept; return what the browser has."""
    await asked_for_code(browser, app, "no address")
    return held_by(browser)


def is_over(page: Page) -> bool:
    """Tell whether a page says that there is nothing to go on with."""
    return page.answer.status_code == 400 and page.title == "This sign-in is over"


# The way through.


async def test_a_person_signs_in_and_the_app_redeems_the_code(browser: Browser, app: App) -> None:
    person = await app.world.add_person()

    first = await browser.open(authorize(app))
    assert first.title == "Sign in"
    assert "Example Works" in first.text
    assert "You are signing in to An app." in first.text
    second = await browser.submit(first, EMAIL, email=f" {person['email']} ")
    assert second.title == "Enter your code"
    assert person["email"] in second.text
    code = await code_of(app)
    done = await browser.submit(second, CODE, code=f"{code[:4]} {code[4:]}")

    place, answer = sent_to(done)
    assert place == REDIRECT
    assert (answer["state"], answer["iss"]) == (STATE, ISSUER)
    assert "; Max-Age=30;" in done.answer.headers["Set-Cookie"]
    form = {
        "grant_type": "authorization_code",
        "client_id": app.client_id,
        "redirect_uri": REDIRECT,
        "code": answer["code"],
        "code_verifier": app.verifier,
    }
    tokens = await app.caller.post("/oauth/token", data=form)
    assert tokens.status_code == 200, tokens.text
    assert tokens.json()["scope"] == "people:read"
    me = await client(app.world.app, tokens.json()["access_token"]).get("/v1/me")
    assert me.json()["person"]["id"] == person["id"]


async def test_an_address_that_is_nobodys_looks_the_same(browser: Browser, app: App) -> None:
    person = await app.world.add_person(email="somebody@example.org")
    known = await asked_for_code(browser, app, person["email"])
    unknown = await asked_for_code(Browser(app.world.app), app, "whatever@example.org")

    def shape(page: Page, email: str) -> str:
        text = page.answer.text.replace(email, "ADDRESS")
        return re.sub(r"[0-9a-z]{26}(\.[0-9a-f]{64})?", "ID", text)

    assert shape(unknown, "whatever@example.org") == shape(known, person["email"])
    assert unknown.answer.status_code == known.answer.status_code == 200


async def test_a_code_for_an_address_that_is_nobodys_never_fits(browser: Browser, app: App) -> None:
    second = await asked_for_code(browser, app, "nobody@example.org")

    page = await browser.submit(second, CODE, code=await code_of(app))

    assert page.answer.status_code == 400
    assert "This code does not fit." in page.text


async def test_somebody_does_not_want_to_after_all(browser: Browser, app: App) -> None:
    for page in (
        await browser.open(authorize(app)),
        await asked_for_code(browser, app, "somebody@example.org"),
    ):
        place, answer = sent_to(await browser.submit(page, CANCEL))
        assert place == REDIRECT
        assert answer == {"error": "access_denied", "state": STATE, "iss": ISSUER}
        assert is_over(await browser.submit(page, EMAIL, email="somebody@example.org"))


async def test_another_address_may_be_used(browser: Browser, app: App) -> None:
    person = await app.world.add_person()
    second = await asked_for_code(browser, app, "typo@example.org")

    link = next(held["href"] for tag, held in second.tags if tag == "a")
    first = await browser.open(link)
    assert first.element("email")["value"] == "typo@example.org"
    second = await browser.submit(first, EMAIL, email=person["email"])
    done = await browser.submit(second, CODE, code=await code_of(app))

    assert "code" in sent_to(done)[1]


async def test_a_new_code_replaces_the_old_one(browser: Browser, app: App) -> None:
    person = await app.world.add_person()
    second = await asked_for_code(browser, app, person["email"])
    old = await code_of(app)
    await shift(app, "email_code", ONE_MAIL_WITHIN, "created_at")
    second = await browser.submit(second, EMAIL)

    assert "This code does not fit." in (await browser.submit(second, CODE, code=old)).text
    done = await browser.submit(second, CODE, code=await code_of(app))
    assert "code" in sent_to(done)[1]


# Wrong codes, wrong addresses.


async def test_a_wrong_code_is_said_and_five_of_them_end_it(browser: Browser, app: App) -> None:
    person = await app.world.add_person()
    page = await asked_for_code(browser, app, person["email"])
    code = await code_of(app)
    for _ in range(4):
        page = await browser.submit(page, CODE, code=another(code))
        assert page.answer.status_code == 400
        assert "This code does not fit." in page.text
        assert page.element("code")["aria-invalid"] == "true"
        assert "code-error" in page.element("code")["aria-describedby"]

    first = await browser.submit(page, CODE, code=another(code))
    late = await browser.submit(page, CODE, code=code)

    assert (first.answer.status_code, first.title) == (200, "Sign in")
    assert "too many wrong codes" in first.text
    assert "too many wrong codes" in late.text
    assert first.element("email")["value"] == person["email"]
    again = await browser.submit(first, EMAIL, email=person["email"])
    assert "code" in sent_to(await browser.submit(again, CODE, code=await code_of(app)))[1]


async def test_something_that_is_no_code_is_no_attempt(browser: Browser, app: App) -> None:
    person = await app.world.add_person()
    page = await asked_for_code(browser, app, person["email"])
    for typed in ("", "1234", "abcdefgh", "1" * 5000, "<b>1</b>", "\x00" * 8, "ü" * 8):
        page = await browser.submit(page, CODE, code=typed)
        assert page.answer.status_code == 400
        assert "A code has eight digits." in page.text

    assert "code" in sent_to(await browser.submit(page, CODE, code=await code_of(app)))[1]


async def test_a_code_that_is_too_old_leads_back_to_the_start(browser: Browser, app: App) -> None:
    person = await app.world.add_person()
    page = await asked_for_code(browser, app, person["email"])
    code = await code_of(app)
    await shift(app, "email_code", codes.LIFETIME)

    first = await browser.submit(page, CODE, code=code)

    assert (first.answer.status_code, first.title) == (200, "Sign in")
    assert "This code works no longer." in first.text


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "somebody",
        "a b@example.org",
        "a@example.org\nb@example.org",
        "\x00@example.org",
        "x" * 300 + "@example.org",
        '"><script>alert(1)</script>@example.org',
        "ü" * 2000,
    ],
)
async def test_what_is_no_address_is_said_and_kept(browser: Browser, app: App, typed: str) -> None:
    page = await browser.submit(await browser.open(authorize(app)), EMAIL, email=typed)

    assert page.answer.status_code == 400
    assert page.title == "Sign in"
    assert page.element("email-error")["class"] == "error"
    assert page.element("email")["aria-invalid"] == "true"
    assert page.element("email")["aria-describedby"] == "email-error email-hint"
    assert "Error: Sign in" in page.answer.text
    assert "script" not in {tag for tag, _held in page.tags}
    if typed.isprintable():
        assert page.element("email")["value"] == typed[:254]


async def shift(app: App, table: str, by: timedelta, column: str = "expires_at") -> None:
    """Let rows of the organization be older than they are."""
    statement = f"UPDATE {table} SET {column} = {column} - $1::interval WHERE organization_id = $2"  # noqa: S608
    async with app.open() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(statement, (by, app.organization_id))


# Reloading, going back, several tabs, old pages.


async def test_loading_the_second_page_again_sends_no_second_mail(
    browser: Browser, app: App
) -> None:
    second = await asked_for_code(browser, app, "somebody@example.org")
    again = await browser.open(str(second.answer.url))

    assert again.text == second.text
    assert (await app.written()).count('"email_code_id"') == 0
    assert await count(app, "email_code") == 1


async def test_going_back_and_forth_loses_nothing(browser: Browser, app: App) -> None:
    person = await app.world.add_person()
    first = await browser.open(authorize(app))
    second = await browser.submit(first, EMAIL, email=person["email"])
    code = await code_of(app)
    # Back: the browser asks for the first page anew, which is another sign-in beside this one.
    await browser.open(str(first.answer.url))

    done = await browser.submit(second, CODE, code=code)

    assert "code" in sent_to(done)[1]


async def test_two_tabs_sign_in_beside_each_other(browser: Browser, app: App) -> None:
    person = await app.world.add_person()
    left = await browser.open(authorize(app, state="left"))
    right = await browser.open(authorize(app, state="right"))
    left = await browser.submit(left, EMAIL, email=person["email"])
    left_code = codes_of(app, await sign_in_of(app, "left"))
    right = await browser.submit(right, EMAIL, email=person["email"])
    right_code = codes_of(app, await sign_in_of(app, "right"))

    assert "does not fit" in (await browser.submit(left, CODE, code=right_code)).text
    done_left = sent_to(await browser.submit(left, CODE, code=left_code))[1]
    done_right = sent_to(await browser.submit(right, CODE, code=right_code))[1]

    assert (done_left["state"], done_right["state"]) == ("left", "right")


async def test_a_page_that_was_left_open_too_long_says_so(browser: Browser, app: App) -> None:
    second = await asked_for_code(browser, app, "somebody@example.org")
    await shift(app, "sign_in", LIFETIME)

    for page in (
        await browser.submit(second, CODE, code="12345678"),
        await browser.submit(second, EMAIL),
        await browser.submit(second, CANCEL),
        await browser.open(str(second.answer.url)),
    ):
        assert is_over(page)


async def test_the_second_page_without_an_address_is_the_first(browser: Browser, app: App) -> None:
    page = await browser.open(cookies.page(cookies.CODE_PAGE, await kept(browser, app)))

    assert page.title == "Sign in"


async def test_a_form_that_is_sent_twice_is_answered_twice(browser: Browser, app: App) -> None:
    """Of a double click, the browser takes the second answer."""
    person = await app.world.add_person()
    second = await asked_for_code(browser, app, person["email"])
    code = await code_of(app)
    first_answer = sent_to(await browser.submit(second, CODE, code=code))[1]
    second_answer = sent_to(await browser.submit(second, CODE, code=code))[1]

    assert first_answer["code"] != second_answer["code"]
    assert (second_answer["state"], second_answer["iss"]) == (STATE, ISSUER)
    form = {
        "grant_type": "authorization_code",
        "client_id": app.client_id,
        "redirect_uri": REDIRECT,
        "code": second_answer["code"],
        "code_verifier": app.verifier,
    }
    tokens = await app.caller.post("/oauth/token", data=form)
    assert tokens.status_code == 200, tokens.text


async def test_a_finished_sign_in_is_answered_again_for_a_moment_only(
    browser: Browser, app: App
) -> None:
    person = await app.world.add_person()
    second = await asked_for_code(browser, app, person["email"])
    code = await code_of(app)
    await browser.submit(second, CODE, code=code)

    for typed in (another(code), "", "12"):
        assert is_over(await browser.submit(second, CODE, code=typed))
    assert is_over(await browser.submit(second, EMAIL))
    assert is_over(await Browser(app.world.app).submit(second, CODE, code=code))
    await shift(app, "sign_in", REPEATED_WITHIN, "finished_at")
    assert is_over(await browser.submit(second, CODE, code=code))
    assert is_over(await browser.submit(second, CANCEL))


async def test_a_sign_in_that_was_called_off_is_not_finished(browser: Browser, app: App) -> None:
    person = await app.world.add_person()
    second = await asked_for_code(browser, app, person["email"])
    code = await code_of(app)
    left = sent_to(await browser.submit(second, CANCEL))

    assert is_over(await browser.submit(second, CODE, code=code))
    assert sent_to(await browser.submit(second, CANCEL)) == left


async def test_a_double_click_sends_one_mail(browser: Browser, app: App) -> None:
    first = await browser.open(authorize(app))
    for _ in range(2):
        await browser.submit(first, EMAIL, email="somebody@example.org")
    assert await count(app, "email_code") == 1

    await browser.submit(first, EMAIL, email="somebody.else@example.org")
    assert await count(app, "email_code") == 2


async def test_an_app_that_was_withdrawn_meanwhile_gets_no_code(browser: Browser, app: App) -> None:
    person = await app.world.add_person()
    second = await asked_for_code(browser, app, person["email"])
    code = await code_of(app)
    revoked = await app.world.org_admin.post(
        f"/v1/oauth-clients/{ids.format_id('oauth_client', app.id)}/revoke"
    )
    assert revoked.status_code == 200, revoked.text

    assert is_over(await browser.submit(second, CODE, code=code))


async def withdraw_address(app: App) -> None:
    """Let the app be answered somewhere else only."""
    moved = await app.world.org_admin.patch(
        f"/v1/oauth-clients/{ids.format_id('oauth_client', app.id)}",
        json={"redirect_uris": ["https://moved.example.org/in"]},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    assert moved.status_code == 200, moved.text


@pytest.mark.parametrize("form", [CODE, CANCEL])
async def test_an_address_that_was_taken_back_meanwhile_gets_no_answer(
    browser: Browser, app: App, form: str
) -> None:
    person = await app.world.add_person()
    second = await asked_for_code(browser, app, person["email"])
    code = await code_of(app)
    await withdraw_address(app)

    assert is_over(await browser.submit(second, form, code=code))


async def test_a_form_that_comes_again_leads_to_no_address_that_was_taken_back(
    browser: Browser, app: App
) -> None:
    person = await app.world.add_person()
    second = await asked_for_code(browser, app, person["email"])
    code = await code_of(app)
    assert "code" in sent_to(await browser.submit(second, CODE, code=code))[1]
    await withdraw_address(app)

    assert is_over(await browser.submit(second, CODE, code=code))


async def test_a_person_who_was_deactivated_meanwhile_is_not_let_in(
    browser: Browser, app: App
) -> None:
    person = await app.world.add_person()
    second = await asked_for_code(browser, app, person["email"])
    ended = await app.world.org_admin.post(
        f"/v1/people/{person['id']}/deactivate", json={"reason": "left"}
    )
    assert ended.status_code == 200, ended.text

    page = await browser.submit(second, CODE, code=await code_of(app))

    assert page.answer.status_code in {200, 400}
    assert page.title in {"Sign in", "Enter your code"}


@pytest.mark.parametrize("when", ["before it was typed", "before it was sent again"])
async def test_a_code_ends_with_the_address_it_was_sent_to(
    browser: Browser, app: App, when: str
) -> None:
    is_finished = when == "before it was sent again"
    person = await app.world.add_person()
    second = await asked_for_code(browser, app, person["email"])
    code = await code_of(app)
    if is_finished:
        sent_to(await browser.submit(second, CODE, code=code))
    moved = await app.world.org_admin.patch(
        f"/v1/people/{person['id']}",
        json={"email": f"right-{person['email']}"},
        headers={"Content-Type": "application/merge-patch+json", "If-Match": "*"},
    )
    assert moved.status_code == 200, moved.text

    page = await browser.submit(second, CODE, code=code)

    if is_finished:
        assert is_over(page)
    else:
        assert page.title in {"Sign in", "Enter your code"}


# Whose browser it is.


async def test_the_cookie_is_for_us_alone(browser: Browser, app: App) -> None:
    answer = (await browser.open(authorize(app))).answer

    name, *rest = answer.headers["Set-Cookie"].split("; ")
    assert name.startswith("__Host-mentoring-sign-in=si_")
    assert sorted(rest) == ["HttpOnly", "Max-Age=600", "Path=/", "SameSite=lax", "Secure"]


async def test_without_its_cookie_a_form_is_worth_nothing(browser: Browser, app: App) -> None:
    second = await asked_for_code(browser, app, "somebody@example.org")
    stranger = Browser(app.world.app)

    for action in (EMAIL, CODE, CANCEL):
        assert is_over(await stranger.submit(second, action))
    assert is_over(await stranger.open(str(second.answer.url)))


async def test_an_attackers_form_is_not_taken_from_a_victims_browser(app: App) -> None:
    """Login CSRF: the victim would be signed in as the attacker, and work in their account."""
    attacker, victim = Browser(app.world.app), Browser(app.world.app)
    person = await app.world.add_person()
    theirs = await asked_for_code(attacker, app, person["email"])
    code = await code_of(app)
    await victim.open(authorize(app))

    assert is_over(await victim.submit(theirs, CODE, code=code))
    assert is_over(await victim.submit(theirs, EMAIL))


async def test_a_victims_form_is_not_taken_from_an_attackers_browser(app: App) -> None:
    attacker, victim = Browser(app.world.app), Browser(app.world.app)
    person = await app.world.add_person()
    second = await asked_for_code(victim, app, person["email"])
    code = await code_of(app)
    await attacker.open(authorize(app))

    assert is_over(await attacker.submit(second, CODE, code=code))


@pytest.mark.parametrize("token", [None, "", "x", "a.b", "\x00", "0" * 26 + "." + "0" * 64])
async def test_a_form_without_its_token_is_refused(
    browser: Browser, app: App, token: str | None
) -> None:
    second = await asked_for_code(browser, app, "somebody@example.org")
    fields = second.form(CODE).fields | {"code": "12345678"}
    if token is None:
        del fields["form_token"]
    else:
        fields["form_token"] = token

    for action in (EMAIL, CODE, CANCEL):
        assert is_over(await browser.send(action, fields))


async def test_a_code_asked_for_elsewhere_does_not_fit_here(browser: Browser, app: App) -> None:
    """The codes of forms that front ends draw themselves are redeemed there only."""
    person = await app.world.add_person()
    second = await asked_for_code(browser, app, person["email"])
    challenge_id = await app.ask(person["email"])

    page = await browser.submit(second, CODE, code=app.code(challenge_id))

    assert "This code does not fit." in page.text


# Apps that are not what they say, and where their answers may go.


@pytest.mark.parametrize(
    "redirect_uri",
    [
        None,
        "",
        "//evil.example/signed-in",
        "https://evil.example/signed-in",
        "https://app.example.org",
        "https://app.example.org/",
        "https://app.example.org/signed-in/",
        "https://app.example.org/signed-in/../evil",
        "https://app.example.org/signed-in?a=1",
        "https://app.example.org/signed-in#a",
        "https://app.example.org/SIGNED-IN",
        "https://app.example.org/%73igned-in",
        "https://APP.example.org/signed-in",
        "https://app.example.org:8443/signed-in",
        "http://app.example.org/signed-in",
        "https://app.example.org@evil.example/signed-in",
        "https://evil.example\\@app.example.org/signed-in",
        "https://app.example.org\\.evil.example/signed-in",
        "https://app.example.org%2f.evil.example/signed-in",
        "https://app.example.org.evil.example/signed-in",
        "https://evil.example/?https://app.example.org/signed-in",
        "javascript:alert(1)//https://app.example.org/signed-in",
        "data:text/html,hello",
        " https://app.example.org/signed-in",
        "https://app.example.org/signed-in\r\nSet-Cookie: a=b",
        "https://app.example.org/signed-in\x00",
    ],
)
async def test_nobody_is_sent_where_the_app_did_not_register(
    browser: Browser, app: App, redirect_uri: str | None
) -> None:
    page = await browser.open(authorize(app, redirect_uri=redirect_uri))

    assert (page.answer.status_code, page.title) == (400, "This link does not work")
    assert "Location" not in page.answer.headers
    assert "Set-Cookie" not in page.answer.headers
    assert "evil" not in page.answer.text


async def test_unknown_apps_of_every_kind_look_the_same(browser: Browser, app: App) -> None:
    other = await add_app(await found_world(app.world.app))
    machine = await app.world.org_admin.post(
        "/v1/oauth-clients", json={"label": "a machine", "scopes": ["people:read"]}
    )
    revoked = await add_app(app.world)
    ended = await app.world.org_admin.post(
        f"/v1/oauth-clients/{ids.format_id('oauth_client', revoked.id)}/revoke"
    )
    assert ended.status_code == 200, ended.text
    mixed = f"{app.client_id.partition('-')[0]}-{other.client_id.partition('-')[2]}"

    pages = [
        await browser.open(authorize(app, client_id=name))
        for name in (None, "", "x", "a-b", mixed, machine.json()["client_id"], revoked.client_id)
    ]

    assert {page.answer.status_code for page in pages} == {400}
    assert len({page.answer.text for page in pages}) == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"scope": "people:read people:read:all"}, "invalid_scope"),
        ({"scope": "<script>"}, "invalid_scope"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"request_uri": "https://evil.example/"}, "request_uri_not_supported"),
    ],
)
async def test_an_app_is_told_what_is_wrong_with_its_request(
    browser: Browser, app: App, changes: dict[str, str | None], error: str
) -> None:
    page = await browser.open(authorize(app, **changes))

    place, answer = sent_to(page)
    assert place == REDIRECT
    assert (answer["error"], answer["state"], answer["iss"]) == (error, STATE, ISSUER)
    assert answer["error_description"]
    assert "Set-Cookie" not in page.answer.headers
    assert await count(app, "sign_in") == 0


async def test_a_parameter_that_comes_twice_is_told_to_the_app(browser: Browser, app: App) -> None:
    place, answer = sent_to(await browser.open(authorize(app) + "&scope=admin"))

    assert (place, answer["error"], answer["state"]) == (REDIRECT, "invalid_request", STATE)
    page = await browser.open(authorize(app) + "&redirect_uri=https://evil.example/")
    assert page.title == "This link does not work"


@pytest.mark.parametrize(
    "state", ["<script>alert(1)</script>", "a b&error=none#x", "\"'>;--", "%0d"]
)
async def test_a_state_comes_back_as_it_was_sent(browser: Browser, app: App, state: str) -> None:
    first = await browser.open(authorize(app, state=state))

    assert state not in first.answer.text
    assert sent_to(await browser.submit(first, CANCEL))[1]["state"] == state


async def test_an_app_on_the_persons_machine_is_answered_at_its_port(
    browser: Browser, world: World
) -> None:
    app = await add_app(world)
    await register(app, "http://127.0.0.1/in")
    uri = "http://127.0.0.1:51004/in"

    first = await browser.open(authorize(app, redirect_uri=uri))

    assert sent_to(await browser.submit(first, CANCEL))[0] == uri
    assert "form-action 'self' http:;" in first.answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "client_id",
        "client_id=%00",
        "client_id=%ff&redirect_uri=%ff",
        "a=" + "b" * 4000,
        "&".join(f"a{one}=1" for one in range(300)),
        "ui_locales=%F0%9F%8E%88+../../x&client_id=x",
    ],
)
async def test_a_hostile_query_gets_a_page(browser: Browser, query: str) -> None:
    answer = (await browser.open(f"/oauth/authorize?{query}")).answer

    assert answer.status_code in {400, 414, 431}


async def test_the_address_of_the_authorize_step_takes_no_forms(browser: Browser, app: App) -> None:
    assert (await browser.send(authorize(app), {})).answer.status_code == 405
    assert (await browser.open(EMAIL)).answer.status_code == 405


# What a browser is told about the pages.


async def every_page(browser: Browser, app: App) -> list[Page]:
    """Return one page of each kind."""
    first = await browser.open(authorize(app))
    second = await browser.submit(first, EMAIL, email="somebody@example.org")
    return [
        first,
        second,
        await browser.submit(first, EMAIL, email="nothing"),
        await browser.submit(second, CODE, code="nothing"),
        await browser.open("/oauth/authorize"),
        await browser.open("/oauth/sign-in"),
    ]


async def test_no_page_can_be_framed_kept_or_made_to_run_anything(
    browser: Browser, app: App
) -> None:
    for page in await every_page(browser, app):
        headers = page.answer.headers
        policy = headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
        assert f"style-src 'sha256-{schemas.style_digest()}'" in policy
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert not {"script", "img", "iframe", "link", "object"} & {tag for tag, _ in page.tags}


async def test_the_way_back_to_the_app_is_not_kept_either(browser: Browser, app: App) -> None:
    answer = (await browser.submit(await browser.open(authorize(app)), CANCEL)).answer

    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_every_page_is_whole_for_those_who_do_not_see_it(browser: Browser, app: App) -> None:
    for page in await every_page(browser, app):
        (root,) = (held for tag, held in page.tags if tag == "html")
        assert root == {"lang": "en", "dir": "ltr"}
        names = [tag for tag, _held in page.tags]
        assert (names.count("h1"), names.count("main"), names.count("title")) == (1, 1, 1)
        labelled = {held["for"] for tag, held in page.tags if tag == "label"}
        shown = [h for tag, h in page.tags if tag == "input" and h.get("type") != "hidden"]
        every_id = [held["id"] for _tag, held in page.tags if "id" in held]
        assert len(every_id) == len(set(every_id))
        for held in shown:
            assert held["id"] in labelled
            assert set(held["aria-describedby"].split()) <= set(every_id)
        assert sum("autofocus" in held for held in shown) <= 1


async def test_the_code_is_easy_to_type(browser: Browser, app: App) -> None:
    second = await asked_for_code(browser, app, "somebody@example.org")

    held = second.element("code")
    assert (held["inputmode"], held["autocomplete"]) == ("numeric", "one-time-code")


async def test_names_are_shown_as_text_whatever_they_are(browser: Browser, world: World) -> None:
    name = '"><img src=x onerror=alert(1)>{{ 7*7 }}{0}'
    app = await add_app(world)
    async with app.open() as session:
        connection = await session.connection()
        for table, column in (("oauth_client", "label"), ("organization", "name")):
            statement = f"UPDATE {table} SET {column} = $1 WHERE organization_id = $2"  # noqa: S608
            await connection.exec_driver_sql(statement, (name, app.organization_id))

    for page in (
        await browser.open(authorize(app)),
        await asked_for_code(browser, app, "o'neil+<b>@example.org"),
        await asked_for_code(browser, app, "o'neil+{{7*7}}@example.org"),
    ):
        assert not {"img", "b"} & {tag for tag, _held in page.tags}
        assert name in page.text
        assert "49" not in page.text


# The organization's own identity providers.


async def test_every_identity_provider_that_is_active_has_a_button(
    browser: Browser, app: App
) -> None:
    labels = {"Our directory": "active", "<b>Theirs</b>": "active", "Old one": "paused"}
    for label, status in labels.items():
        await app.add_provider(label, status=status)
    await app.take_codes("on")

    first = await browser.open(authorize(app))

    assert "Continue with Our directory" in first.text
    assert "Continue with <b>Theirs</b>" in first.text
    assert "Old one" not in first.text
    ways = [h["action"] for tag, h in first.tags if tag == "form" and "upstream" in h["action"]]
    assert all(way.startswith("/oauth/upstream/con_") for way in ways)
    assert len(ways) == 2
    assert "form_token" in first.form(ways[0]).fields
    # An identity provider sends people on to hosts that nobody here knows.
    assert "form-action 'self' http: https:" in first.answer.headers["Content-Security-Policy"]
    assert "autofocus" not in first.element("email")


def has_email_form(page: Page) -> bool:
    """Tell whether a page asks for an address or offers to send a code."""
    actions = {held["action"] for tag, held in page.tags if tag == "form"}
    fields = {held["name"] for tag, held in page.tags if tag == "input"}
    return bool(actions & {EMAIL, CODE}) or bool(fields & {"email", "code"})


async def test_one_provider_and_no_codes_leave_one_button(browser: Browser, app: App) -> None:
    connection_id = await app.add_provider()

    page = await browser.open(authorize(app))

    assert page.answer.status_code == 200
    assert not has_email_form(page)
    assert "or" not in {held.get("class") for _tag, held in page.tags}
    buttons = [held["class"] for tag, held in page.tags if tag == "button"]
    assert buttons == ["main", "quiet"]
    assert "form_token" in page.form(f"/oauth/upstream/{connection_id}").fields
    assert "Continue with Our directory" in page.text
    assert "Cancel and return to An app" in page.text


@pytest.mark.parametrize(
    ("setting", "status"), [("automatic", "paused"), ("on", "active"), ("on", "paused")]
)
async def test_the_page_asks_for_an_address_beside_a_provider(
    browser: Browser, app: App, setting: str, status: str
) -> None:
    person = await app.world.add_person()
    await app.take_codes(setting)
    await app.add_provider(status=status)

    second = await asked_for_code(browser, app, person["email"])

    assert "code" in sent_to(await browser.submit(second, CODE, code=await code_of(app)))[1]


async def test_pages_of_before_send_no_code_and_take_none(browser: Browser, app: App) -> None:
    person = await app.world.add_person()
    first = await browser.open(authorize(app))
    second = await browser.submit(first, EMAIL, email=person["email"])
    code = await code_of(app)
    await app.add_provider()

    for page in (
        await browser.submit(first, EMAIL, email="somebody.else@example.org"),
        await browser.submit(first, EMAIL, email="no address"),
        await browser.submit(second, EMAIL),
        await browser.submit(second, CODE, code="nothing"),
        await browser.submit(second, CODE, code=code),
        await browser.open(str(second.answer.url)),
    ):
        assert (page.answer.status_code, page.title) == (403, "Sign in")
        assert "Codes by mail are not in use here." in page.text
        assert page.element("notice")["role"] == "alert"
        assert "Continue with Our directory" in page.text
        assert not has_email_form(page)
    assert await count(app, "email_code") == 1

    await app.take_codes("on")
    assert "code" in sent_to(await browser.submit(second, CODE, code=code))[1]


@pytest.mark.parametrize("notice", list(cookies.Notice))
async def test_the_first_page_says_what_happened(
    browser: Browser, app: App, notice: cookies.Notice
) -> None:
    held = await kept(browser, app)

    page = await browser.open(cookies.page(cookies.FIRST_PAGE, held, notice))

    assert words.of("en")["pages"]["notices"][notice] in page.text
    assert page.element("notice")["role"] == "alert"
    assert "notice" in page.element("email")["aria-describedby"]


async def test_the_first_page_repeats_nothing_that_an_address_says(
    browser: Browser, app: App
) -> None:
    address = cookies.page(cookies.FIRST_PAGE, await kept(browser, app))

    plain = await browser.open(address)
    for said in ("<script>", "wrong", "BUSY", "%00"):
        assert (await browser.open(f"{address}&notice={said}")).answer.text == plain.answer.text


# Visits.


async def test_a_visit_writes_nothing_until_a_form_is_sent(browser: Browser, app: App) -> None:
    first = await browser.open(authorize(app))
    assert await count(app, "sign_in") == 0

    pages = await asyncio.gather(
        *(browser.submit(first, EMAIL, email="somebody@example.org") for _ in range(3))
    )

    assert {page.title for page in pages} == {"Enter your code"}
    assert await count(app, "sign_in") == 1


async def test_what_one_browser_began_another_cannot_go_on_with(app: App) -> None:
    theirs, mine = Browser(app.world.app), Browser(app.world.app)
    first = await theirs.open(authorize(app))
    await mine.open(authorize(app))
    token = first.form(EMAIL).fields["form_token"]
    sealed = token.split(".", 2)[2]

    assert is_over(await mine.send(EMAIL, {"form_token": token, "email": "a@example.org"}))
    named = cookies.page(cookies.FIRST_PAGE, Held(held_by(theirs).entry, sealed))
    assert is_over(await mine.open(named))
    assert is_over(
        await mine.open(cookies.page(cookies.FIRST_PAGE, Held(held_by(mine).entry, sealed)))
    )
    assert await count(app, "sign_in") == 0


async def test_whoever_has_what_was_sealed_but_not_the_cookie_cannot_go_on(
    browser: Browser, app: App
) -> None:
    """Whoever could would be signed in, as themselves, in the app of somebody else's browser."""
    first = await browser.open(authorize(app))
    mine = held_by(browser)
    sealed = first.form(EMAIL).fields["form_token"].split(".", 2)[2]
    made_up = replace(mine.entry, secret="0" * len(mine.entry.secret))
    thief = Browser(app.world.app)
    thief.http.cookies.set(cookies.COOKIE, str(made_up))

    assert is_over(await thief.open(cookies.page(cookies.FIRST_PAGE, Held(made_up, sealed))))
    forged = cookies.form_token(Held(made_up, sealed))
    assert is_over(await thief.send(EMAIL, {"form_token": forged, "email": "a@example.org"}))
    assert (await browser.submit(first, EMAIL, email="a@example.org")).title == "Enter your code"


@pytest.mark.parametrize(
    "sealed",
    [
        "eyJhbGciOiJkaXIiLCJlbmMiOlsiQSJdfQ..a.b.c",
        "e30.e30",
        "W10.",
        ".",
        "=.=",
        "\x00",
        "a" * 9000,
    ],
)
async def test_what_was_not_sealed_here_is_over(browser: Browser, app: App, sealed: str) -> None:
    first = await browser.open(authorize(app))
    digest = ".".join(first.form(EMAIL).fields["form_token"].split(".")[:2])
    forged = {"form_token": f"{digest}.{sealed}", "email": "a@example.org"}

    assert is_over(
        await browser.open(cookies.page(cookies.FIRST_PAGE, Held(held_by(browser).entry, sealed)))
    )
    for action in (EMAIL, CODE, CANCEL):
        assert is_over(await browser.send(action, forged))


async def test_no_address_of_ours_repeats_the_host_of_a_request(app: App) -> None:
    answer = await app.caller.get(
        "/oauth/authorize/?a=1", headers={"Host": "evil.example"}, follow_redirects=False
    )

    assert answer.status_code == 404


# Languages.


@pytest.mark.parametrize(
    ("ui_locales", "accept", "title"),
    [
        (None, None, "Sign in"),
        (None, "de-AT,en;q=0.5", "Anmelden"),
        ("en", "de", "Sign in"),
        ("xx de-CH", "en", "Anmelden"),
        (None, "fr", "Sign in"),
    ],
)
async def test_a_page_speaks_the_readers_language(
    browser: Browser, app: App, ui_locales: str | None, accept: str | None, title: str
) -> None:
    headers = {"Accept-Language": accept} if accept else {}
    page = await browser.open(authorize(app, ui_locales=ui_locales), **headers)

    assert page.title == title
    lang = next(held["lang"] for tag, held in page.tags if tag == "html")
    assert page.answer.headers["Content-Language"] == lang


async def test_without_a_wish_it_is_the_organizations_and_it_stays(
    browser: Browser, app: App
) -> None:
    async with app.open() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(
            "UPDATE organization SET default_locale = 'de-DE' WHERE organization_id = $1",
            (app.organization_id,),
        )

    second = await asked_for_code(browser, app, "somebody@example.org")

    assert second.title == "Code eingeben"
    wrong = await browser.submit(second, CODE, code="1")
    assert "Ein Code hat acht Ziffern." in wrong.text


def test_every_language_has_every_word_of_the_pages() -> None:
    def shape(texts: Any) -> Any:
        if isinstance(texts, str):
            return sorted(re.findall(r"\{\w+\}", texts))
        return {key: shape(value) for key, value in texts.items()}

    english = shape(words.of("en")["pages"])
    for locale in words.available():
        assert shape(words.of(locale)["pages"]) == english
    assert set(english["notices"]) == set(cookies.Notice)


# Floods and faults.


async def test_a_network_that_tries_too_often_waits(browser: Browser, app: App) -> None:
    resources, many = app.resources, app.resources.strangers
    first = await browser.open(authorize(app))
    resources.strangers = Buckets(1)
    try:
        second = await browser.submit(first, EMAIL, email="somebody@example.org")
        page = await browser.submit(second, CODE, code="12345678")
    finally:
        resources.strangers = many

    assert (page.answer.status_code, page.title) == (429, "One moment, please")
    assert int(page.answer.headers["Retry-After"]) >= 1


async def test_a_network_that_begins_too_many_sign_ins_waits(
    browser: Browser, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.resources, "begun_sign_ins", Buckets(1, monotonic=lambda: 0.0))
    first = await browser.open(authorize(app))
    page = await browser.open(authorize(app))

    assert (page.answer.status_code, page.title) == (429, "One moment, please")
    assert page.answer.headers["Retry-After"] == "60"
    # Whoever has begun goes on.
    second = await browser.submit(first, EMAIL, email="somebody@example.org")
    assert second.answer.status_code == 200


@pytest.mark.parametrize("door", ["code_requests", "code_answers"])
async def test_pages_and_forms_of_front_ends_share_what_an_organization_may_ask(
    browser: Browser, app: App, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    buckets = Buckets(1, monotonic=lambda: 0.0)
    second = await browser.submit(
        await browser.open(authorize(app)), EMAIL, email="somebody@example.org"
    )
    monkeypatch.setattr(app.resources, door, buckets)
    buckets.spend(str(app.organization_id))

    if door == "code_requests":
        page = await browser.submit(second, EMAIL, email="somebody@example.org")
    else:
        page = await browser.submit(second, CODE, code="12345678")

    assert (page.answer.status_code, page.title) == (429, "One moment, please")


async def test_a_form_of_no_sign_in_takes_nothing_from_an_organizations_people(
    browser: Browser, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await browser.open(authorize(app))
    for door in ("code_requests", "code_answers"):
        monkeypatch.setattr(app.resources, door, Buckets(1, monotonic=lambda: 0.0))
    made_up = Browser(app.world.app)
    entry = new_credential(CredentialKind.SIGN_IN, app.organization_id, ids.new_id())
    made_up.http.cookies.set(cookies.COOKIE, str(entry))
    for action in (EMAIL, CODE):
        fields = {
            "form_token": cookies.form_token(Held(entry)),
            "email": "a@example.org",
            "code": "12345678",
        }
        assert is_over(await made_up.send(action, fields))
    wrong = await browser.submit(first, EMAIL, email="no address")
    assert wrong.answer.status_code == 400

    second = await browser.submit(first, EMAIL, email="somebody@example.org")

    assert second.title == "Enter your code"
    page = await browser.submit(second, CODE, code="12345678")
    assert (page.answer.status_code, page.title) == (400, "Enter your code")


async def test_in_a_crowd_of_strangers_a_page_asks_to_come_back(browser: Browser, app: App) -> None:
    resources, wide = app.resources, app.resources.sign_in_lane
    resources.sign_in_lane = Lane(width=1, room=0)
    try:
        async with resources.sign_in_lane.passage("somebody"):
            page = await browser.open(authorize(app))
    finally:
        resources.sign_in_lane = wide

    assert page.answer.status_code == 503
    assert (await browser.open(authorize(app))).answer.status_code == 200


async def test_an_organization_that_asks_for_too_many_codes_waits(databases: Databases) -> None:
    async with running_api(api_settings(databases, sign_in_organization_rate_limit=1)) as api:
        app = await add_app(await found_world(api))
        await asked_for_code(Browser(api), app, "somebody@example.org")
        # As another process would, which knows of the first code from the database only.
        app.resources.code_requests = Buckets(1)
        page = await asked_for_code(Browser(api), app, "somebody.else@example.org")

    assert (page.answer.status_code, page.title) == (429, "Sign in")
    assert "Many people are signing in just now." in page.text
    assert page.element("email")["value"] == "somebody.else@example.org"


async def test_a_database_that_is_away_is_a_page_too(databases: Databases) -> None:
    gone = "postgresql://app_api@127.0.0.1:1/nowhere"
    async with running_api(api_settings(databases, api_database_url=gone)) as api:
        query = urlencode({"client_id": f"{ids.encode(ids.new_id())}-{ids.encode(ids.new_id())}"})
        page = await Browser(api).open(f"/oauth/authorize?{query}")

    assert (page.answer.status_code, page.title) == (503, "Not available right now")
    assert page.answer.headers["Retry-After"] == "1"


async def test_no_other_page_reads_ours(databases: Databases) -> None:
    origin = "https://front.example.org"
    async with running_api(api_settings(databases, cors_origins=[origin])) as api:
        app = await add_app(await found_world(api))
        answer = (await Browser(api).open(authorize(app), Origin=origin)).answer

    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_what_was_typed_is_forgotten(browser: Browser, app: App) -> None:
    await asked_for_code(browser, app, "somebody@example.org")
    assert (await newest(app)).address == "somebody@example.org"

    first = await browser.open(cookies.page(cookies.FIRST_PAGE, held_by(browser)))
    await browser.submit(first, CANCEL)

    assert (await newest(app)).address is None


async def count(app: App, table: str) -> int:
    """Count the organization's rows of a table."""
    statement = f"SELECT count(*) FROM {table} WHERE organization_id = $1"  # noqa: S608
    async with app.open() as session:
        connection = await session.connection()
        found: int = (
            await connection.exec_driver_sql(statement, (app.organization_id,))
        ).scalar_one()
    return found


async def sign_in_of(app: App, state: str) -> SignIn:
    """Return the sign-in with this state."""
    mine = (col(SignIn.organization_id) == app.organization_id, col(SignIn.state) == state)
    async with app.open() as session:
        return (await session.execute(select(SignIn).where(*mine))).scalar_one()


def codes_of(app: App, sign_in: SignIn) -> str:
    """Return the code that the last mail of a sign-in holds."""
    assert sign_in.email_code_id is not None
    return codes.code_of(
        app.resources.pepper,
        organization_id=app.organization_id,
        challenge_id=sign_in.email_code_id,
    )
