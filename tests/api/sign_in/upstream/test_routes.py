"""Signing in at the organization's provider: who gets in, and every wrong answer it may give."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from joserfc.jwk import ECKey
from sqlalchemy import text

from shared import ids
from tests.api.sign_in.upstream.conftest import CANCEL, Desk, connect, local
from tests.support.apps import World, client, found_world
from tests.support.email_codes import REDIRECT
from tests.support.identity_provider import IdentityProvider, providing
from tests.support.pages import STATE, Browser, Page, authorize, sent_to

ISSUER = "http://127.0.0.1:8000"
PATCH = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}
WELL_KNOWN = "/.well-known/openid-configuration"


async def signed_in(desk: Desk, page: Page) -> httpx.AsyncClient:
    """Redeem the code that an app was given, and return a client with its token."""
    place, answer = sent_to(page)
    assert place == REDIRECT
    assert (answer["state"], answer["iss"]) == (STATE, ISSUER)
    form = {
        "grant_type": "authorization_code",
        "client_id": desk.app.client_id,
        "redirect_uri": REDIRECT,
        "code": answer["code"],
        "code_verifier": desk.app.verifier,
    }
    tokens = await desk.app.caller.post("/oauth/token", data=form)
    assert tokens.status_code == 200, tokens.text
    return client(desk.world.app, tokens.json()["access_token"])


async def redeemed(desk: Desk, page: Page) -> dict[str, Any]:
    """Redeem the code that an app was given, and return who its token is."""
    me = await (await signed_in(desk, page)).get("/v1/me")
    person: dict[str, Any] = me.json()["person"]
    return person


def notice(page: Page) -> str | None:
    """Return why somebody was led back to the first page."""
    if page.answer.status_code != 200:
        return None
    return parse_qs(page.answer.request.url.query.decode()).get("notice", [None])[0]


async def facts(desk: Desk) -> Counter[str]:
    """Return how often what has happened."""
    items = (await desk.world.org_admin.get("/v1/events?limit=200")).json()["items"]
    return Counter(one["type"] for one in items)


async def kept(desk: Desk, sql: str) -> Any:
    """Return one value of the organization's rows."""
    async with desk.app.open() as session:
        return (await session.execute(text(sql))).scalar_one_or_none()


# Who gets in.


async def test_a_declared_id_links_once_and_the_account_counts_from_then_on(
    desk: Desk, provider: IdentityProvider
) -> None:
    person = await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    assert (await redeemed(desk, await desk.sign_in(provider)))["id"] == person["id"]

    provider.claims = {"employee_id": "somebody else's by now", "email": "new@example.org"}
    assert (await redeemed(desk, await desk.sign_in(provider)))["id"] == person["id"]

    assert (await facts(desk))["identity_link.created"] == 1
    written = await kept(desk, "SELECT json_agg(o)::text FROM outbox_message o")
    assert "subject-1" not in written


async def test_a_token_says_when_the_provider_saw_who_somebody_is(
    desk: Desk, provider: IdentityProvider
) -> None:
    await desk.employ("10026")
    this_morning = int(time.time()) - 4 * 3600
    provider.claims = {"employee_id": "10026", "auth_time": this_morning}

    caller = await signed_in(desk, await desk.sign_in(provider))

    seen = (await caller.get("/v1/me/token")).json()["authenticated_at"]
    assert datetime.fromisoformat(seen).timestamp() == this_morning


async def test_an_id_of_another_source_counts_where_the_connection_says_so(
    world: World, provider: IdentityProvider
) -> None:
    hr = (await world.org_admin.post("/v1/connections", json={"label": "HR"})).json()
    desk = await connect(world, provider.issuer, people_connection_id=hr["id"])
    known = {"source": hr["source"], "external_id": "7"}
    person = await world.add_person(external_ids=[known])
    provider.claims = {"employee_id": 7}

    assert (await redeemed(desk, await desk.sign_in(provider)))["id"] == person["id"]


async def test_the_same_id_of_another_source_or_organization_means_nobody(
    desk: Desk, provider: IdentityProvider, lenient_api: FastAPI
) -> None:
    other = await connect(await found_world(lenient_api), provider.issuer)
    await other.employ("10026")
    await desk.world.add_person(external_ids=[{"source": "payroll", "external_id": "10026"}])
    provider.claims = {"employee_id": "10026"}

    assert notice(await desk.sign_in(provider)) == "not_provisioned"


async def test_the_name_at_the_provider_links_where_no_claim_is_declared(
    world: World, provider: IdentityProvider
) -> None:
    desk = await connect(world, provider.issuer, external_id_claim=None)
    person = await desk.employ("ada")
    provider.claims = {"preferred_username": "ada"}
    assert (await redeemed(desk, await desk.sign_in(provider)))["id"] == person["id"]

    provider.claims = {"preferred_username": "ada", "sub": "the next one called ada"}
    assert notice(await desk.sign_in(provider)) == "not_provisioned"


async def test_an_address_links_nobody_even_if_the_provider_vouches_for_it(
    desk: Desk, provider: IdentityProvider
) -> None:
    person = await desk.employ("10026")
    for provisioning in ("off", "pending"):
        await desk.world.org_admin.patch(
            f"/v1/connections/{desk.connection['id']}",
            json={"oidc": {"provisioning": provisioning}},
            headers=PATCH,
        )
        for is_verified in (False, True):
            provider.claims = {
                "email": person["email"],
                "email_verified": is_verified,
                "given_name": "Ada",
                "family_name": "Lovelace",
            }
            assert notice(await desk.sign_in(provider)) == "not_provisioned"


async def test_somebody_new_waits_until_an_org_admin_lets_them_in(
    world: World, provider: IdentityProvider
) -> None:
    desk = await connect(world, provider.issuer, provisioning="pending")
    provider.claims = {
        "employee_id": "77",
        "email": "ada@example.org",
        "email_verified": True,
        "given_name": "Ada",
        "family_name": "Lovelace",
    }
    for _ in range(2):
        assert notice(await desk.sign_in(provider)) == "not_provisioned"

    people = (await world.org_admin.get("/v1/people?status=pending")).json()["items"]
    assert [(one["email"], one["given_name"]) for one in people] == [("ada@example.org", "Ada")]
    await world.org_admin.post(f"/v1/people/{people[0]['id']}/activate", headers={"If-Match": "*"})
    assert (await redeemed(desk, await desk.sign_in(provider)))["id"] == people[0]["id"]
    assert (await facts(desk))["person.activated"] == 1


@pytest.mark.parametrize(
    "missing",
    [
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": "true"},
        {"email": None},
        {"email": "no address"},
        {"family_name": None},
        {"given_name": "a\u0000b"},
        {"given_name": ["Ada"]},
        {"given_name": "x" * 121},
    ],
)
async def test_nobody_comes_in_half_described(
    world: World, provider: IdentityProvider, missing: dict[str, Any]
) -> None:
    desk = await connect(world, provider.issuer, provisioning="pending")
    provider.claims = {
        "email": "ada@example.org",
        "email_verified": True,
        "given_name": "Ada",
        "family_name": "Lovelace",
        **missing,
    }

    assert notice(await desk.sign_in(provider)) == "not_provisioned"
    assert (await world.org_admin.get("/v1/people?status=pending")).json()["items"] == []


async def test_whoever_left_stays_outside_whatever_the_provider_says(
    desk: Desk, provider: IdentityProvider
) -> None:
    person = await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    await redeemed(desk, await desk.sign_in(provider))

    path = f"/v1/people/{person['id']}/deactivate"
    await desk.world.org_admin.post(path, json={}, headers={"If-Match": "*"})

    assert notice(await desk.sign_in(provider)) == "not_provisioned"
    other = await desk.employ("10027")
    await desk.world.org_admin.post(
        f"/v1/people/{other['id']}/deactivate", json={}, headers={"If-Match": "*"}
    )
    provider.claims = {"employee_id": "10027", "sub": "subject-2"}
    assert notice(await desk.sign_in(provider)) == "not_provisioned"
    assert await kept(desk, "SELECT count(*) FROM identity_link") == 1


async def test_two_browsers_at_once_link_one_account_once(
    desk: Desk, provider: IdentityProvider
) -> None:
    person = await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}

    pages = await asyncio.gather(*(desk.sign_in(provider) for _ in range(4)))

    assert [(await redeemed(desk, page))["id"] for page in pages] == [person["id"]] * 4
    assert (await facts(desk))["identity_link.created"] == 1


async def test_what_is_asked_of_the_provider_is_tied_to_the_sign_in(
    desk: Desk, provider: IdentityProvider
) -> None:
    asked = [await desk.leave(Browser(desk.world.app)) for _ in range(2)]

    first, second = [parse_qs(urlsplit(one).query) for one in asked]
    assert urlsplit(asked[0])._replace(query="").geturl() == f"{provider.issuer}/authorize"
    assert first["redirect_uri"] == [f"{ISSUER}/oauth/callback"]
    assert first["scope"] == ["openid email profile"]
    assert (first["response_type"], first["code_challenge_method"]) == (["code"], ["S256"])
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]


async def test_no_transaction_is_open_while_the_provider_is_asked(
    desk: Desk, provider: IdentityProvider
) -> None:
    await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    browser = Browser(desk.world.app)
    location = local(provider.answer_to(await desk.leave(browser)))
    pool: Any = desk.app.resources.engine.pool
    used: list[int] = []
    provider.on_asked = lambda: used.append(pool.checkedout())

    assert "code" in sent_to(await browser.open(location))[1]
    assert used == [0, 0]


# Wrong states, cookies and forms.


async def test_an_answer_counts_once(desk: Desk, provider: IdentityProvider) -> None:
    await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    browser = Browser(desk.world.app)
    location = local(provider.answer_to(await desk.leave(browser)))

    assert "code" in sent_to(await browser.open(location))[1]
    again = await browser.open(location)
    assert again.answer.status_code == 400
    assert provider.times("/token") == 1


async def test_an_answer_for_another_browser_is_not_taken(
    desk: Desk, provider: IdentityProvider
) -> None:
    mine, theirs = Browser(desk.world.app), Browser(desk.world.app)
    stranger = Browser(desk.world.app)
    location = local(provider.answer_to(await desk.leave(mine)))
    await desk.leave(theirs)

    for browser in (theirs, stranger):
        assert (await browser.open(location)).answer.status_code == 400
    assert provider.times("/token") == 0


@pytest.mark.parametrize("state", [None, "", "x", "0" * 26, "0" * 26 + ".x", "ü" * 40, "\x00"])
async def test_a_state_that_is_not_ours_is_refused(
    desk: Desk, provider: IdentityProvider, state: str | None
) -> None:
    page = await desk.sign_in(provider, state=state)

    assert page.answer.status_code == 400
    assert provider.times("/token") == 0


async def test_a_guessed_state_is_refused_and_does_not_end_the_sign_in(
    desk: Desk, provider: IdentityProvider
) -> None:
    await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    browser = Browser(desk.world.app)
    location = await desk.leave(browser)
    honest = parse_qs(urlsplit(location).query)["state"][0]

    guessed = local(provider.answer_to(location, state=honest[:-2] + "zz"))
    assert notice(await browser.open(guessed)) == "provider_failed"
    assert "code" in sent_to(await browser.open(local(provider.answer_to(location))))[1]


async def test_a_second_way_out_replaces_the_first(desk: Desk, provider: IdentityProvider) -> None:
    browser = Browser(desk.world.app)
    first = await browser.open(authorize(desk.app))
    ways = [await browser.send(desk.action, first.form(CANCEL).fields) for _ in range(2)]

    old = local(provider.answer_to(ways[0].answer.headers["Location"]))

    assert notice(await browser.open(old)) == "provider_failed"
    assert provider.times("/token") == 0


async def test_only_a_form_of_this_browsers_sign_in_leads_to_the_provider(
    desk: Desk, provider: IdentityProvider
) -> None:
    browser, foreign = Browser(desk.world.app), Browser(desk.world.app)
    fields = (await browser.open(authorize(desk.app))).form(CANCEL).fields
    await foreign.open(authorize(desk.app))

    for one, sent in ((foreign, fields), (browser, {}), (browser, {"form_token": "0" * 26 + ".x"})):
        assert (await one.send(desk.action, sent)).answer.status_code == 400
    twice = urlencode([*fields.items(), *fields.items()])
    answer = await browser.http.post(
        desk.action, content=twice, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.headers["Location"] == "/oauth/sign-in"
    plain = await browser.http.post(desk.action, json=fields)
    assert plain.headers["Location"] == "/oauth/sign-in"
    assert provider.asked == []


async def test_a_connection_that_is_paused_foreign_or_none_leads_nowhere(
    desk: Desk, provider: IdentityProvider
) -> None:
    browser = Browser(desk.world.app)
    fields = (await browser.open(authorize(desk.app))).form(CANCEL).fields
    files = (await desk.world.org_admin.post("/v1/connections", json={"label": "HR"})).json()
    await desk.world.org_admin.patch(
        f"/v1/connections/{desk.connection['id']}", json={"status": "paused"}, headers=PATCH
    )

    for named in (desk.connection["id"], files["id"], "con_" + "0" * 26, "nonsense"):
        page = await browser.send(f"/oauth/upstream/{named}", fields)
        assert notice(page) == "provider_failed"
    assert provider.asked == []


async def test_a_connection_paused_meanwhile_lets_nobody_in(
    desk: Desk, provider: IdentityProvider
) -> None:
    await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    browser = Browser(desk.world.app)
    location = local(provider.answer_to(await desk.leave(browser)))
    await desk.world.org_admin.patch(
        f"/v1/connections/{desk.connection['id']}", json={"status": "paused"}, headers=PATCH
    )

    assert notice(await browser.open(location)) == "provider_failed"


async def test_an_app_whose_address_was_taken_back_meanwhile_gets_no_code(
    desk: Desk, provider: IdentityProvider
) -> None:
    await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    browser = Browser(desk.world.app)
    location = local(provider.answer_to(await desk.leave(browser)))
    moved = await desk.world.org_admin.patch(
        f"/v1/oauth-clients/{ids.format_id('oauth_client', desk.app.id)}",
        json={"redirect_uris": ["https://moved.example.org/in"]},
        headers=PATCH,
    )
    assert moved.status_code == 200, moved.text

    page = await browser.open(location)

    assert (page.answer.status_code, page.title) == (400, "This sign-in is over")
    assert await kept(desk, "SELECT count(*) FROM authorization_code") == 0


# Wrong answers of a provider, or of another one.


async def test_somebody_says_no_at_the_provider(desk: Desk, provider: IdentityProvider) -> None:
    page = await desk.sign_in(provider, code=None, error="access_denied")

    assert notice(page) == "provider_refused"


async def test_a_code_of_another_provider_is_not_redeemed(
    desk: Desk, provider: IdentityProvider
) -> None:
    async with providing() as attacker:
        for iss in (attacker.issuer, None, ISSUER, ""):
            page = await desk.sign_in(provider, iss=iss)
            assert notice(page) == "provider_failed"
        assert attacker.asked == []
    assert provider.times("/token") == 0


async def test_a_provider_that_does_not_name_itself_may_leave_that_out(
    desk: Desk, provider: IdentityProvider
) -> None:
    await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    provider.metadata = {"authorization_response_iss_parameter_supported": None}

    assert notice(await desk.sign_in(provider, iss="https://elsewhere.example.org")) is not None
    assert "code" in sent_to(await desk.sign_in(provider, iss=None))[1]


async def test_a_provider_that_takes_the_secret_in_the_form_gets_it_there(
    desk: Desk, provider: IdentityProvider
) -> None:
    await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}

    assert "code" in sent_to(await desk.sign_in(provider))[1]


@pytest.mark.parametrize(
    "claims", [{"nonce": "replayed"}, {"aud": "another"}, {"iss": "https://other.example.org"}]
)
async def test_an_id_token_that_says_something_wrong_lets_nobody_in(
    desk: Desk, provider: IdentityProvider, claims: dict[str, Any]
) -> None:
    await desk.employ("10026")
    provider.claims = {"employee_id": "10026", **claims}

    assert notice(await desk.sign_in(provider)) == "provider_failed"


@pytest.mark.parametrize("forged", ["a.b.c", "eyJhbGciOiJub25lIn0.e30.", "x" * 20_000])
async def test_a_forged_id_token_lets_nobody_in(
    desk: Desk, provider: IdentityProvider, forged: str
) -> None:
    provider.forged = forged

    assert notice(await desk.sign_in(provider)) == "provider_failed"


async def test_a_token_signed_with_another_key_is_not_believed(
    desk: Desk, provider: IdentityProvider
) -> None:
    await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    kid, _key = provider.signing
    provider.published = provider.key_set()
    provider.keys[kid] = ECKey.generate_key("P-256", private=True)

    assert notice(await desk.sign_in(provider)) == "provider_failed"


@pytest.mark.parametrize("header", ["jku", "x5u"])
async def test_a_link_to_keys_in_a_token_is_never_followed(
    desk: Desk, provider: IdentityProvider, header: str
) -> None:
    async with providing() as attacker:
        provider.published = provider.key_set()
        provider.keys["theirs"] = attacker.signing[1]
        provider.header = {header: f"{attacker.issuer}/keys"}
        assert notice(await desk.sign_in(provider)) == "provider_failed"
        assert attacker.asked == []


# A provider that is away, slow, or changes.


@pytest.mark.parametrize("path", [WELL_KNOWN, "/token", "/keys"])
@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_provider_that_fails_is_said_and_nobody_waits(
    desk: Desk, provider: IdentityProvider, path: str, status: int
) -> None:
    provider.statuses[path] = status
    browser = Browser(desk.world.app)
    first = await browser.open(authorize(desk.app))
    page = await browser.send(desk.action, first.form(CANCEL).fields)
    if path != WELL_KNOWN:
        page = await browser.open(local(provider.answer_to(page.answer.headers["Location"])))

    assert notice(page) == "provider_failed"
    assert "/elsewhere" not in provider.asked


async def test_a_provider_of_five_seconds_costs_three(
    desk: Desk, provider: IdentityProvider
) -> None:
    provider.delays[WELL_KNOWN] = 5
    browser = Browser(desk.world.app)
    first = await browser.open(authorize(desk.app))

    begun = time.monotonic()
    page = await browser.send(desk.action, first.form(CANCEL).fields)

    assert notice(page) == "provider_failed"
    assert time.monotonic() - begun < 4.8


async def test_keys_rotate_under_load_without_a_refusal(
    desk: Desk, provider: IdentityProvider
) -> None:
    await desk.employ("10026")
    provider.claims = {"employee_id": "10026"}
    await desk.sign_in(provider)

    async def some() -> list[Page]:
        return await asyncio.gather(*(desk.sign_in(provider) for _ in range(5)))

    before = asyncio.create_task(some())
    provider.rotate()
    pages = [*await before, *await some()]

    assert all("code" in sent_to(page)[1] for page in pages)
    assert provider.times("/keys") == 2


# The test that an org_admin makes.


async def tested(desk: Desk) -> dict[str, Any]:
    answer = await desk.world.org_admin.post(f"/v1/connections/{desk.connection['id']}/test")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


class Wrong(NamedTuple):
    """One thing that is wrong with a provider, and what is said of it."""

    metadata: Mapping[str, Any]
    published: bytes | None
    statuses: Mapping[str, int]
    problem: str
    words: str


async def test_a_test_says_that_all_is_well(desk: Desk) -> None:
    found = await tested(desk)

    assert (found["is_working"], found["problem"], found["detail"]) == (True, None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong(
            {"issuer": "https://other.example.org"}, None, {}, "issuer_differs", "must be exactly"
        ),
        Wrong({"token_endpoint": None}, None, {}, "endpoint_missing", "names no token_endpoint"),
        Wrong({"jwks_uri": 7}, None, {}, "endpoint_missing", "names no jwks_uri"),
        Wrong({"jwks_uri": "https://10.0.0.1/k"}, None, {}, "endpoint_refused", "jwks_uri: "),
        Wrong({"token_endpoint": "file:///x"}, None, {}, "endpoint_refused", "token_endpoint: "),
        Wrong(
            {"authorization_endpoint": "https://login.example.org/€"},
            *(None, {}, "endpoint_refused", "authorization_endpoint: "),
        ),
        Wrong(
            {"id_token_signing_alg_values_supported": ["HS256", "none"]},
            None,
            {},
            "no_usable_key",
            "signs with none of",
        ),
        Wrong({}, b"{}", {}, "no_usable_key", "no signing key"),
        Wrong({}, b"[" * 60_000, {}, "no_json", "no JSON"),
        Wrong({}, b"x" * 1_000_000, {}, "provider_unreachable", "64 KiB"),
        Wrong(
            {}, b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', {}, "no_usable_key", "no signing key"
        ),
        Wrong({}, None, {WELL_KNOWN: 404}, "discovery_failed", "status 404"),
        Wrong({}, None, {WELL_KNOWN: 302}, "provider_unreachable", "redirect"),
        Wrong({}, None, {"/keys": 500}, "keys_failed", "status 500"),
    ],
)
async def test_a_test_says_in_words_what_is_wrong(
    desk: Desk, provider: IdentityProvider, wrong: Wrong
) -> None:
    provider.metadata, provider.published = dict(wrong.metadata), wrong.published
    provider.statuses = dict(wrong.statuses)

    found = await tested(desk)

    assert (found["is_working"], found["problem"]) == (False, wrong.problem)
    assert wrong.words in found["detail"]


async def test_ten_tests_a_minute_are_enough(desk: Desk, provider: IdentityProvider) -> None:
    for _ in range(10):
        await tested(desk)
    answer = await desk.world.org_admin.post(f"/v1/connections/{desk.connection['id']}/test")

    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert provider.times("/keys") == 10
