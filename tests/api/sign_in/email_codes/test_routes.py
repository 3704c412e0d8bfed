"""Signing in by mail through the public doors: the same answer for everybody, and no way around."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from services.api.access import codes
from services.api.sign_in.email_codes import rules
from services.api.sign_in.email_codes.rules import Challenge
from shared import ids
from shared.clock import system_clock
from shared.web.limits import Buckets, Lane
from tests.support.apps import World, api_settings, client, found_world, running_api
from tests.support.database import Databases
from tests.support.email_codes import App, add_app
from tests.support.processes import API, environment, running


@pytest.fixture
async def app(world: World) -> App:
    """Return an app of a fresh organization."""
    return await add_app(world)


def refused(answer: httpx.Response) -> dict[str, Any]:
    """Expect the one refusal there is, and return it without what names the request."""
    assert answer.status_code == 400, answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == "code_invalid"
    assert answer.headers["Content-Type"] == "application/problem+json"
    return {name: one for name, one in problem.items() if name not in {"request_id", "instance"}}


def broken(answer: httpx.Response) -> set[tuple[str, str]]:
    """Return where a refused request is wrong, and how."""
    assert answer.status_code == 400, answer.text
    return {(one["pointer"], one["code"]) for one in answer.json()["errors"]}


async def test_a_code_is_traded_for_an_authorization_code(app: App) -> None:
    person = await app.world.add_person()
    challenge_id = await app.ask(person["email"])

    answer = await app.answer(challenge_id, app.code(challenge_id))

    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["code"].startswith("ac_")
    assert answer.json()["expires_in"] == 60


async def test_the_app_redeems_it_with_its_verifier(app: App) -> None:
    person = await app.world.add_person()
    challenge_id = await app.ask(person["email"])
    code = (await app.answer(challenge_id, app.code(challenge_id))).json()["code"]

    form = {
        "grant_type": "authorization_code",
        "client_id": app.client_id,
        "code": code,
        "code_verifier": app.verifier,
    }
    tokens = await app.caller.post("/oauth/token", data=form)
    assert tokens.status_code == 200, tokens.text
    me = await client(app.world.app, tokens.json()["access_token"]).get("/v1/me")
    assert me.json()["person"]["id"] == person["id"]


async def test_the_answer_is_the_same_whether_anybody_has_the_address(app: App) -> None:
    person = await app.world.add_person()
    answers = [
        await app.caller.post("/v1/auth/email-codes", json=app.wanted(email))
        for email in (person["email"], "nobody@example.org")
    ]

    for answer in answers:
        assert answer.status_code == 202
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.json().keys() == {"challenge_id", "expires_in"}
        assert answer.json()["expires_in"] == 600
    known, unknown = ({*answer.headers} for answer in answers)
    assert known == unknown
    assert len({len(answer.content) for answer in answers}) == 1


async def test_every_refusal_of_a_code_reads_the_same(app: App) -> None:
    person = await app.world.add_person()
    used, wrong, nobodys = [
        await app.ask(email) for email in (person["email"], person["email"], "nobody@example.org")
    ]
    assert (await app.answer(used, app.code(used))).status_code == 200
    invented = str(Challenge(app.organization_id, ids.new_id(), system_clock()))
    homeless = str(Challenge(ids.new_id(), ids.new_id(), system_clock()))

    answers = [
        refused(await app.answer(used, app.code(used))),
        refused(await app.answer(wrong, app.wrong(wrong))),
        refused(await app.answer(nobodys, app.code(nobodys))),
        refused(await app.answer(invented, app.code(invented))),
        refused(await app.answer(homeless, app.code(homeless))),
    ]

    assert [one for one in answers if one != answers[0]] == []


async def moved(app: App, person: dict[str, Any], email: str) -> None:
    """Let an org admin correct somebody's address."""
    headers = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}
    answer = await app.world.org_admin.patch(
        f"/v1/people/{person['id']}", json={"email": email}, headers=headers
    )
    assert answer.status_code == 200, answer.text


async def test_a_code_ends_with_the_address_it_was_sent_to(app: App) -> None:
    person = await app.world.add_person()
    sent, wrong = [await app.ask(person["email"]) for _ in range(2)]

    await moved(app, person, f"right-{person['email']}")

    ended = refused(await app.answer(sent, app.code(sent)))
    assert ended == refused(await app.answer(wrong, app.wrong(wrong)))
    challenge_id = await app.ask(f"right-{person['email']}")
    assert (await app.answer(challenge_id, app.code(challenge_id))).status_code == 200


async def test_an_address_that_is_only_spelt_anew_ends_nothing(app: App) -> None:
    person = await app.world.add_person()
    tokens = await signed_in(app, person["email"])
    sent = await app.ask(person["email"])

    await moved(app, person, person["email"].capitalize())

    assert (await app.answer(sent, app.code(sent))).status_code == 200
    me = await client(app.world.app, tokens["access_token"]).get("/v1/me")
    assert me.status_code == 200


async def test_who_signed_in_with_a_wrong_address_is_signed_out_when_it_is_put_right(
    app: App,
) -> None:
    person = await app.world.add_person()
    tokens = await signed_in(app, person["email"])
    in_hand = await app.ask(person["email"])
    code = (await app.answer(in_hand, app.code(in_hand))).json()["code"]

    await moved(app, person, f"right-{person['email']}")

    refused_now = await client(app.world.app, tokens["access_token"]).get("/v1/me")
    assert (refused_now.status_code, refused_now.json()["code"]) == (401, "token_invalid")
    forms = (
        {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
        {"grant_type": "authorization_code", "code": code, "code_verifier": app.verifier},
    )
    for form in forms:
        answer = await app.caller.post("/oauth/token", data=form | {"client_id": app.client_id})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_who_changes_their_own_address_stays_signed_in(app: App) -> None:
    """They may have mistyped it: signed out, nobody but the operator could put it right."""
    world = app.world
    itself = await world.org_admin.get(f"/v1/people/{world.org_admin_id}")

    await moved(app, itself.json(), f"new-{itself.json()['email']}")

    assert (await world.org_admin.get("/v1/me")).status_code == 200


async def signed_in(app: App, email: str) -> dict[str, Any]:
    """Sign in with a code and return the tokens."""
    challenge_id = await app.ask(email)
    code = (await app.answer(challenge_id, app.code(challenge_id))).json()["code"]
    form = {
        "grant_type": "authorization_code",
        "client_id": app.client_id,
        "code": code,
        "code_verifier": app.verifier,
    }
    answer = await app.caller.post("/oauth/token", data=form)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def off(answer: httpx.Response) -> dict[str, Any]:
    """Expect that codes are not taken here, and return it without what names the request."""
    assert answer.status_code == 403, answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == "email_codes_off"
    return {name: one for name, one in problem.items() if name not in {"request_id", "instance"}}


async def test_a_provider_shuts_the_way_around_it_for_every_address(app: App) -> None:
    person = await app.world.add_person()
    await app.add_provider()

    known, unknown = [
        off(await app.caller.post("/v1/auth/email-codes", json=app.wanted(email)))
        for email in (person["email"], "nobody@example.org")
    ]

    assert known == unknown


async def test_a_provider_shuts_it_for_codes_on_their_way_too(app: App) -> None:
    person = await app.world.add_person()
    begun = [await app.ask(email) for email in (person["email"], "nobody@example.org")]
    invented = str(Challenge(app.organization_id, ids.new_id(), system_clock()))
    await app.add_provider()

    answers = [off(await app.answer(one, app.code(one))) for one in (*begun, invented)]

    assert [one for one in answers if one != answers[0]] == []
    await app.take_codes("on")
    assert (await app.answer(begun[0], app.code(begun[0]))).status_code == 200


@pytest.mark.parametrize(
    ("setting", "status"), [("automatic", "paused"), ("on", "active"), ("on", "paused")]
)
async def test_codes_go_on_beside_a_provider(app: App, setting: str, status: str) -> None:
    person = await app.world.add_person()
    await app.take_codes(setting)
    await app.add_provider(status=status)

    challenge_id = await app.ask(person["email"])

    assert (await app.answer(challenge_id, app.code(challenge_id))).status_code == 200


async def test_a_source_of_files_and_the_provider_of_others_shut_nothing(
    app: App, api: FastAPI
) -> None:
    await (await add_app(await found_world(api))).add_provider()
    made = await app.world.org_admin.post("/v1/connections", json={"label": "HR", "kind": "file"})
    assert made.status_code == 201, made.text

    await app.ask("nobody@example.org")


async def test_pausing_the_provider_opens_codes_again(app: App) -> None:
    connection_id = await app.add_provider()
    body = app.wanted("nobody@example.org")
    off(await app.caller.post("/v1/auth/email-codes", json=body))

    await app.pause(connection_id)

    await app.ask("nobody@example.org")


async def test_the_counted_attempt_survives_the_refusal(app: App) -> None:
    person = await app.world.add_person()
    challenge_id = await app.ask(person["email"])
    for _ in range(codes.MAX_ATTEMPTS):
        refused(await app.answer(challenge_id, app.wrong(challenge_id)))

    refused(await app.answer(challenge_id, app.code(challenge_id)))


async def test_of_many_guesses_at_once_five_are_compared(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`./dev bench sign-in` does the same with 10,000 guesses."""
    seen: list[str] = []
    compare = codes.is_code

    def watched(secret: bytes, given: str, **named: Any) -> bool:
        seen.append(given)
        return compare(secret, given, **named)

    monkeypatch.setattr(codes, "is_code", watched)
    person = await app.world.add_person()
    challenge_id = await app.ask(person["email"])
    right = app.code(challenge_id)
    guesses = [f"{number:08}" for number in range(150) if f"{number:08}" != right]

    async def guess(some: list[str]) -> None:
        for one in some:
            refused(await app.answer(challenge_id, one))

    await asyncio.gather(*(guess(guesses[start::50]) for start in range(50)))

    assert len(seen) == codes.MAX_ATTEMPTS
    refused(await app.answer(challenge_id, right))


async def test_a_challenge_of_another_organization_opens_nothing(app: App, api: FastAPI) -> None:
    other = await add_app(await found_world(api))
    person = await other.world.add_person()
    theirs = await other.ask(person["email"])
    _organization, named = rules.parse_challenge(theirs)
    forged = str(Challenge(app.organization_id, named, system_clock()))

    refused(await app.answer(forged, other.code(theirs)))
    assert (await other.answer(theirs, other.code(theirs))).status_code == 200


async def test_an_unknown_organization_or_app_is_told(app: App, api: FastAPI) -> None:
    other = await add_app(await found_world(api))
    machine = await app.world.org_admin.post(
        "/v1/oauth-clients", json={"label": "A machine", "scopes": ["people:read"]}
    )
    wrong = {
        "organization": ({"organization": "nobody-there"},),
        "client_id": (
            {"client_id": other.client_id},
            {"client_id": App(app.world, ids.new_id()).client_id},
            {"client_id": machine.json()["client_id"]},
        ),
    }
    for name, cases in wrong.items():
        for changes in cases:
            body = app.wanted("ada@example.org", **changes)
            answer = await app.caller.post("/v1/auth/email-codes", json=body)
            assert broken(answer) == {(f"#/{name}", "unknown_reference")}


async def test_an_app_asks_for_no_more_than_it_may_have(app: App) -> None:
    person = await app.world.add_person()
    await app.ask(person["email"], scope="people:read content:self")

    for scope in ("people:write", "people:read admin", "surely_unknown"):
        body = app.wanted(person["email"], scope=scope)
        answer = await app.caller.post("/v1/auth/email-codes", json=body)
        assert broken(answer) == {("#/scope", "inconsistent")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", "no address"),
        ("email", "ada@example.org\x00"),
        ("organization", "No Slug"),
        ("client_id", "ocl_01kajv7v1cefh8ws6q1fyv4m2z"),
        ("code_challenge", "short"),
        ("code_challenge", "=" * 43),
        ("scope", " "),
        ("scope", "people:read  people:read"),
    ],
)
async def test_a_malformed_question_is_refused(app: App, name: str, value: str) -> None:
    body = app.wanted(**{"email": "ada@example.org", name: value})
    answer = await app.caller.post("/v1/auth/email-codes", json=body)

    assert {pointer for pointer, _code in broken(answer)} == {f"#/{name}"}


@pytest.mark.parametrize("code", ["", "1234567", "123456789", "1234567a", "１２３４５６７８"])  # noqa: RUF001 - other digits
async def test_what_cannot_be_a_code_takes_no_attempt(app: App, code: str) -> None:
    person = await app.world.add_person()
    challenge_id = await app.ask(person["email"])
    for _ in range(codes.MAX_ATTEMPTS + 1):
        answer = await app.answer(challenge_id, code)
        assert {pointer for pointer, _code in broken(answer)} == {"#/code"}

    assert (await app.answer(challenge_id, app.code(challenge_id))).status_code == 200


async def test_a_malformed_challenge_is_an_invalid_id(app: App) -> None:
    for wrong in ("emc_1", "per_01kajv7v1cefh8ws6q1fyv4m2z", "emc_" + "0" * 53, "%00"):
        answer = await app.answer(wrong, "12345678")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_id")


async def test_one_network_knocks_so_often_a_minute(
    app: App, api: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.state.resources, "strangers", Buckets(3, monotonic=lambda: 0.0))
    for _ in range(2):
        await app.ask("nobody@example.org")
    challenge_id = await app.ask("nobody@example.org")

    for answer in (
        await app.caller.post("/v1/auth/email-codes", json=app.wanted("nobody@example.org")),
        await app.answer(challenge_id, "12345678"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert answer.headers["Retry-After"] == "20"
    elsewhere = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=api, client=("192.0.2.1", 1)), base_url="http://api.test"
    )
    body = app.wanted("nobody@example.org")
    assert (await elsewhere.post("/v1/auth/email-codes", json=body)).status_code == 202
    # Whoever has a credential is not asked who else knocks.
    assert (await app.world.org_admin.get("/v1/me")).status_code == 200


async def test_a_crowd_of_strangers_holds_up_nobody_who_is_signed_in(
    app: App, api: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = Lane(width=1, room=0)
    monkeypatch.setattr(api.state.resources, "sign_in_lane", lane)
    body = app.wanted("nobody@example.org")
    async with lane.passage("somebody"):
        answer = await app.caller.post("/v1/auth/email-codes", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert int(answer.headers["Retry-After"]) >= 1
        assert (await app.world.org_admin.get("/v1/me")).status_code == 200

    assert (await app.caller.post("/v1/auth/email-codes", json=body)).status_code == 202


async def test_one_organization_asks_for_so_many_codes_a_minute(databases: Databases) -> None:
    settings = api_settings(databases, sign_in_organization_rate_limit=2)
    async with running_api(settings) as api:
        app = await add_app(await found_world(api))
        other = await add_app(await found_world(api))
        for number in range(2):
            await app.ask(f"nobody-{number}@example.org")

        body = app.wanted("nobody@example.org")
        answer = await app.caller.post("/v1/auth/email-codes", json=body)
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert int(answer.headers["Retry-After"]) in range(20, 31)
        await other.ask("nobody@example.org")


async def test_what_another_process_took_of_the_quota_counts_too(databases: Databases) -> None:
    settings = api_settings(databases, sign_in_organization_rate_limit=2)
    async with running_api(settings) as one, running_api(settings) as another:
        app = await add_app(await found_world(one))
        for _ in range(2):
            await app.ask("nobody@example.org")

        body = app.wanted("nobody@example.org")
        answer = await client(another).post("/v1/auth/email-codes", json=body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")


async def test_one_organization_answers_so_many_challenges_a_minute(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.resources, "code_answers", Buckets(2, monotonic=lambda: 0.0))
    challenge_id = await app.ask("nobody@example.org")
    for _ in range(2):
        refused(await app.answer(challenge_id, app.wrong(challenge_id)))

    answer = await app.answer(challenge_id, app.wrong(challenge_id))

    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    # What was not compared is no attempt.
    async with app.open() as session:
        _organization, named = rules.parse_challenge(challenge_id)
        attempts = text("SELECT attempts FROM email_code WHERE id = :id")
        assert (await session.execute(attempts, {"id": named})).scalar_one() == 2


async def test_what_only_names_an_organization_takes_nothing_from_its_people(
    app: App, api: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every client id shows which organization it is of, and so anybody can make one up."""
    for door in ("code_requests", "code_answers"):
        monkeypatch.setattr(app.resources, door, Buckets(1, monotonic=lambda: 0.0))
    other = await add_app(await found_world(api))
    made_up = App(app.world, ids.new_id()).client_id
    for changes in (
        {"client_id": made_up},
        {"client_id": made_up, "organization": "nobody-there"},
        {"organization": "nobody-there"},
        {"organization": other.world.slug},
        {"client_id": other.client_id},
        {"scope": "people:write"},
        {"email": "no address"},
    ):
        body = app.wanted("nobody@example.org") | changes
        answer = await app.caller.post("/v1/auth/email-codes", json=body)
        assert answer.status_code == 400, answer.text
    for _ in range(2):
        invented = str(Challenge(app.organization_id, ids.new_id(), system_clock()))
        refused(await app.answer(invented, "12345678"))

    challenge_id = await app.ask("nobody@example.org")

    refused(await app.answer(challenge_id, app.wrong(challenge_id)))
    late = await app.caller.post("/v1/auth/email-codes", json=app.wanted("nobody@example.org"))
    assert late.status_code == 429


async def test_the_feed_knows_nothing_of_it(app: App) -> None:
    cursor = (await app.world.org_admin.get("/v1/event-cursor")).json()["cursor"]
    person = await app.world.add_person()
    challenge_id = await app.ask(person["email"])

    reader = app.world.org_admin
    told = await reader.get("/v1/events", params={"cursor": cursor})
    assert {one["type"] for one in told.json()["items"]} <= {"person.created"}
    assert app.code(challenge_id) not in told.text
    _organization, named = rules.parse_challenge(challenge_id)
    assert ids.encode(named) not in told.text
    narrowed = await reader.get("/v1/events", params={"type": codes.REQUESTED})
    assert narrowed.status_code == 400
    types = await reader.get("/v1/event-types")
    assert codes.REQUESTED not in types.text


async def test_a_fact_that_is_for_notifications_alone_is_not_there(app: App) -> None:
    person = await app.world.add_person()
    await app.ask(person["email"])
    event_id = await app.last_fact()

    answer = await app.world.org_admin.get(f"/v1/events/{ids.format_id('event', event_id)}")

    assert answer.status_code == 404


async def test_no_log_line_and_no_row_holds_a_code_or_an_address(app: App, tmp_path: Path) -> None:
    person = await app.world.add_person()
    told = environment(app.resources.settings) | {"MENTORING_LOG_LEVEL": "debug"}
    with (tmp_path / "log").open("wb") as log:
        async with (
            running(API, told, log=log) as server,
            httpx.AsyncClient(base_url=server.url, trust_env=False) as caller,
        ):
            for organization in (app.world.slug, "nobody-there"):
                body = app.wanted(email=person["email"], organization=organization)
                asked = await caller.post("/v1/auth/email-codes", json=body)
                if asked.status_code == 202:
                    challenge_id = asked.json()["challenge_id"]
            code = app.code(challenge_id)
            await app.answer(challenge_id, app.wrong(challenge_id), caller=caller)
            answer = await app.answer(challenge_id, code, caller=caller)
            assert answer.status_code == 200, answer.text
    logged, rows = (tmp_path / "log").read_text(), await app.written()

    assert logged.count("ask_for_email_code") == 2
    assert logged.count("verify_email_code") == 2
    for secret in (code, person["email"], answer.json()["code"]):
        assert secret not in logged
        assert secret not in rows
