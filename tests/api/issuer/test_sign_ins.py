"""Codes and refresh tokens under attack: what a refusal ends is ended in the database too."""

import asyncio
import base64
import json
from itertools import chain, product, repeat
from typing import Any

import httpx
import pytest
from starlette import types as asgi

from services.api.access import operations as access
from services.api.access.rules import Scope
from shared import ids
from shared.clock import system_clock
from tests.support.apps import World, client, found_world
from tests.support.issuer import (
    REDIRECT,
    App,
    add_app,
    add_client,
    challenge_of,
    families,
    organization_id,
    reuse_events,
    stored,
    working,
)
from tests.support.work import MovableClock

DAY = 24 * 3600.0


@pytest.fixture
async def app(world: World) -> App:
    """Return an app that people sign in at."""
    return await add_app(world)


def error_of(answer: httpx.Response) -> str:
    """Return what the protocol calls a refusal."""
    assert answer.status_code in {400, 401}, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    error: str = answer.json()["error"]
    return error


async def ends(world: World) -> list[str | None]:
    """Return why each sign-in of the organization has ended, None for one that goes on."""
    return [one["revoked_because"] for one in await families(world)]


async def read_self(world: World, tokens: dict[str, Any]) -> httpx.Response:
    """Ask the api who a token belongs to."""
    return await client(world.app, tokens["access_token"]).get("/v1/me")


# Codes.


async def test_a_code_is_traded_for_tokens_of_the_person_who_signed_in(
    world: World, app: App
) -> None:
    person = await world.add_person()
    tokens = await app.sign_in(person["id"])

    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 600
    assert tokens["scope"] == "content:self meetings:read people:read"
    assert tokens["refresh_token"].startswith("rt_")
    assert (await read_self(world, tokens)).json()["person"]["id"] == person["id"]
    (family,) = await families(world)
    assert (family["expires_at"] - family["created_at"]).days == 90
    assert (family["idle_expires_at"] - family["created_at"]).days == 30


async def test_no_secret_is_stored(world: World, app: App) -> None:
    person = await world.add_person()
    code = await app.code(person["id"])
    tokens = (await app.redeem(code)).json()
    tables = ("authorization_code", "refresh_token", "refresh_family")

    rows = str([await stored(world, f"SELECT * FROM {table}") for table in tables])  # noqa: S608

    for text in (code, tokens["refresh_token"]):
        assert text.rpartition("_")[2] not in rows


async def test_a_second_use_of_a_code_ends_what_the_first_produced(world: World, app: App) -> None:
    code = await app.code(world.org_admin_id)
    tokens = (await app.redeem(code)).json()

    assert error_of(await app.redeem(code)) == "invalid_grant"

    assert await ends(world) == ["code_reused"]
    assert error_of(await app.refresh(tokens["refresh_token"])) == "invalid_grant"


async def test_of_two_uses_of_a_code_at_once_one_wins_and_its_sign_in_ends(
    world: World, app: App
) -> None:
    code = await app.code(world.org_admin_id)

    answers = await asyncio.gather(app.redeem(code), app.redeem(code))

    assert sorted(answer.status_code for answer in answers) == [200, 400]
    assert await ends(world) == ["code_reused"]


async def test_a_code_is_over_after_a_minute(world: World, app: App, clock: MovableClock) -> None:
    first, second = [await app.code(world.org_admin_id) for _ in range(2)]
    clock.pass_time(59)
    assert (await app.redeem(first)).status_code == 200
    clock.pass_time(1)
    assert error_of(await app.redeem(second)) == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code": None}, "invalid_request"),
        ({"code": "ac_x"}, "invalid_grant"),
        ({"code": "\x00"}, "invalid_grant"),
        ({"code_verifier": None}, "invalid_grant"),
        ({"code_verifier": "a" * 43}, "invalid_grant"),
        ({"code_verifier": "a" * 42}, "invalid_grant"),
        ({"code_verifier": "a" * 129}, "invalid_grant"),
        ({"redirect_uri": REDIRECT + "/"}, "invalid_grant"),
        ({"redirect_uri": "https://evil.example/"}, "invalid_grant"),
        ({"client_id": None}, "invalid_client"),
        ({"client_secret": "guess"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unauthorized_client"),
        ({"grant_type": None}, "invalid_request"),
    ],
)
async def test_a_wrong_guess_gives_nothing_and_leaves_the_code_to_its_app(
    world: World, app: App, changes: dict[str, str | None], error: str
) -> None:
    code = await app.code(world.org_admin_id)

    assert error_of(await app.redeem(code, **changes)) == error

    assert await ends(world) == []
    assert (await app.redeem(code)).status_code == 200


async def test_the_challenge_is_no_verifier_as_it_would_be_with_the_plain_method(
    world: World, app: App
) -> None:
    code = await app.code(world.org_admin_id)
    challenge = challenge_of(app.verifier)

    for method in (None, "plain"):
        answer = await app.redeem(code, code_verifier=challenge, code_challenge_method=method)
        assert error_of(answer) == "invalid_grant"


async def test_a_code_with_another_secret_is_unknown(world: World, app: App) -> None:
    code = await app.code(world.org_admin_id)

    assert error_of(await app.redeem(code[:-1] + ("0" if code[-1] != "0" else "1"))) == (
        "invalid_grant"
    )


async def test_a_code_of_another_app_or_organization_is_unknown(world: World, app: App) -> None:
    elsewhere = await found_world(world.app)
    others = [await add_app(world), await add_app(elsewhere)]
    code = await app.code(world.org_admin_id)

    for other in others:
        other.verifier = app.verifier
        assert error_of(await other.redeem(code)) == "invalid_grant"

    assert await ends(world) == []
    assert (await app.redeem(code)).status_code == 200


@pytest.mark.parametrize("sent_to", [REDIRECT, None])
async def test_whoever_has_the_verifier_need_not_say_where_the_code_was_sent(
    world: World, app: App, sent_to: str | None
) -> None:
    code = await app.code(world.org_admin_id, redirect_uri=sent_to)

    assert (await app.redeem(code, redirect_uri=None)).status_code == 200


async def test_machines_redeem_no_codes(world: World, app: App) -> None:
    made = await world.org_admin.post(
        "/v1/oauth-clients", json={"label": "a machine", "scopes": ["people:read"]}
    )
    answer = await app.redeem(
        await app.code(world.org_admin_id),
        client_id=made.json()["client_id"],
        client_secret=made.json()["client_secret"],
    )

    assert error_of(answer) == "unauthorized_client"


async def test_signing_out_everywhere_ends_codes_too(world: World, app: App) -> None:
    code = await app.code(world.org_admin_id)
    await sign_out_everywhere(world)

    assert error_of(await app.redeem(code)) == "invalid_grant"


async def test_a_person_who_left_redeems_no_code(world: World, app: App) -> None:
    person = await world.add_person()
    code = await app.code(person["id"])
    await leave(world, person["id"])

    assert error_of(await app.redeem(code)) == "invalid_grant"


async def test_a_token_says_when_the_person_signed_in(
    world: World, app: App, clock: MovableClock
) -> None:
    signed_in_at = clock()
    clock.pass_time(40)
    code = await app.code(world.org_admin_id, signed_in_at=signed_in_at)
    tokens = (await app.redeem(code)).json()
    clock.pass_time(600)
    answer = (await app.refresh(tokens["refresh_token"])).json()

    assert claims_of(answer["access_token"])["auth_time"] == int(signed_in_at.timestamp())
    assert claims_of(answer["access_token"])["client_id"] == ids.format_id("oauth_client", app.id)


# Refresh tokens.


async def test_a_refresh_token_rotates_and_the_next_one_works(world: World, app: App) -> None:
    tokens = await app.sign_in(world.org_admin_id)

    for _ in range(3):
        answer = await app.refresh(tokens["refresh_token"])
        assert answer.status_code == 200, answer.text
        assert answer.json()["refresh_token"] != tokens["refresh_token"]
        tokens = answer.json()

    assert (await read_self(world, tokens)).status_code == 200
    assert await ends(world) == [None]


async def test_a_superseded_token_ends_the_sign_in_and_the_person_is_told(
    world: World, app: App, clock: MovableClock
) -> None:
    first = (await app.sign_in(world.org_admin_id))["refresh_token"]
    second = (await app.refresh(first)).json()["refresh_token"]
    clock.pass_time(31)

    assert error_of(await app.refresh(first)) == "invalid_grant"

    assert await ends(world) == ["token_reused"]
    (event,) = await reuse_events(world)
    person = str(ids.parse_id("person", world.org_admin_id))
    assert event["data"]["ids"] == {"person_id": person, "client_id": str(app.id)}
    assert event["data"]["recipients"] == {"person": [person]}
    assert error_of(await app.refresh(second)) == "invalid_grant"
    assert len(await reuse_events(world)) == 1


async def test_the_security_event_is_in_the_feed(world: World, app: App) -> None:
    first = (await app.sign_in(world.org_admin_id))["refresh_token"]
    second = (await app.refresh(first)).json()["refresh_token"]
    for token in (second, first):
        await app.refresh(token)

    page = await world.org_admin.get("/v1/events", params={"type": "refresh_token.reused"})

    (event,) = page.json()["items"]
    assert event["data"]["ids"]["client_id"] == ids.format_id("oauth_client", app.id)
    assert event["data"]["url"].endswith(f"/people/{world.org_admin_id}")


async def test_a_lost_reply_is_asked_for_again_and_its_token_dies(
    world: World, app: App, clock: MovableClock
) -> None:
    first = (await app.sign_in(world.org_admin_id))["refresh_token"]
    lost = (await app.refresh(first)).json()["refresh_token"]
    clock.pass_time(29)

    again = await app.refresh(first)

    assert again.status_code == 200, again.text
    assert await ends(world) == [None]
    assert (await app.refresh(again.json()["refresh_token"])).status_code == 200
    # Whoever caught the lost answer shows with it that there are two.
    assert error_of(await app.refresh(lost)) == "invalid_grant"
    assert await ends(world) == ["token_reused"]


async def test_a_reply_may_be_lost_again_and_again(world: World, app: App) -> None:
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]

    for _ in range(3):
        await app.refresh(token)
        token = (await app.refresh(token)).json()["refresh_token"]

    assert await ends(world) == [None]


async def lost(app: App, token: str, times: int) -> list[str]:
    """Show one token several times and return what each answer gave in its place."""
    answers = [await app.refresh(token) for _ in range(times)]
    assert [one.status_code for one in answers] == [200] * times
    return [one.json()["refresh_token"] for one in answers]


async def test_several_answers_to_one_token_may_be_lost(world: World, app: App) -> None:
    first = (await app.sign_in(world.org_admin_id))["refresh_token"]

    *_, newest = await lost(app, first, 4)

    assert await ends(world) == [None]
    assert (await app.refresh(newest)).status_code == 200
    assert await ends(world) == [None]
    assert await reuse_events(world) == []


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("is_newest_used", [False, True])
async def test_every_answer_but_the_last_to_one_token_is_dead(
    world: World, app: App, place: int, *, is_newest_used: bool
) -> None:
    first = (await app.sign_in(world.org_admin_id))["refresh_token"]
    answers = await lost(app, first, 3)
    if is_newest_used:
        assert (await app.refresh(answers[-1])).status_code == 200

    assert error_of(await app.refresh(answers[place])) == "invalid_grant"
    assert await ends(world) == ["token_reused"]
    assert error_of(await app.refresh(answers[-1])) == "invalid_grant"


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_once_a_successor_was_used_no_reply_was_lost(
    world: World, app: App, times: int
) -> None:
    first = (await app.sign_in(world.org_admin_id))["refresh_token"]
    newest = (await lost(app, first, times))[-1]
    assert (await app.refresh(newest)).status_code == 200

    assert error_of(await app.refresh(first)) == "invalid_grant"
    assert await ends(world) == ["token_reused"]


async def hang_up(app: App, token: str) -> int:
    """Show a token and hang up before the answer; return what the log says of it."""

    async def impatient(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        body = [await receive()]
        while body[-1]["more_body"]:
            body.append(await receive())
        messages = chain(body, repeat({"type": "http.disconnect"}))

        async def heard() -> asgi.Message:
            return next(messages)

        await app.world.app(scope, heard, send)

    transport = httpx.ASGITransport(app=impatient)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as phone:
        form = {"grant_type": "refresh_token", "client_id": app.name, "refresh_token": token}
        return (await phone.post("/oauth/token", data=form)).status_code


async def test_whoever_hangs_up_has_not_used_the_token(
    world: World, app: App, clock: MovableClock
) -> None:
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]

    assert await hang_up(app, token) == 499

    clock.pass_time(60)
    assert (await app.refresh(token)).status_code == 200
    assert await ends(world) == [None]


@pytest.mark.parametrize("is_newest_used", [False, True])
async def test_a_phone_that_hung_up_and_asked_again_is_not_signed_out_by_its_first_request(
    world: World, app: App, *, is_newest_used: bool
) -> None:
    """Both wait while the service starts anew, and the first one may come last."""
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]
    newest = (await app.refresh(token)).json()["refresh_token"]
    if is_newest_used:
        newest = (await app.refresh(newest)).json()["refresh_token"]

    assert await hang_up(app, token) == 499

    assert await ends(world) == [None]
    assert (await app.refresh(newest)).status_code == 200


async def test_asking_again_gives_no_more_time(world: World, app: App, clock: MovableClock) -> None:
    first = (await app.sign_in(world.org_admin_id))["refresh_token"]
    await app.refresh(first)
    clock.pass_time(20)
    assert (await app.refresh(first)).status_code == 200
    clock.pass_time(11)

    assert error_of(await app.refresh(first)) == "invalid_grant"
    assert await ends(world) == ["token_reused"]


ORDERS = [one for one in product(("phone", "thief"), repeat=4) if len(set(one)) > 1]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("pause", [0.0, 60.0])
async def test_thief_and_phone_never_both_go_on(
    world: World, app: App, clock: MovableClock, order: tuple[str, ...], pause: float
) -> None:
    stolen = (await app.sign_in(world.org_admin_id))["refresh_token"]
    held = {"phone": stolen, "thief": stolen}

    for who in (*order, "phone", "thief"):
        answer = await app.refresh(held[who])
        held[who] = answer.json().get("refresh_token", held[who])
        clock.pass_time(pause)

    assert await ends(world) == ["token_reused"]
    for token in held.values():
        assert error_of(await app.refresh(token)) == "invalid_grant"


async def test_of_ten_callers_with_one_token_one_could_go_on_and_the_next_ends_the_sign_in(
    world: World, app: App
) -> None:
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]

    answers = await asyncio.gather(*(app.refresh(token) for _ in range(10)))

    assert [answer.status_code for answer in answers] == [200] * 10
    open_ones = await stored(
        world, "SELECT id FROM refresh_token WHERE used_at IS NULL AND dead_at IS NULL"
    )
    assert len(open_ones) == 1
    given = [answer.json()["refresh_token"] for answer in answers]
    after = await asyncio.gather(*(app.refresh(one) for one in given))
    assert [answer.status_code for answer in after].count(200) <= 1
    assert await ends(world) == ["token_reused"]
    assert len(await reuse_events(world)) == 1


async def test_scopes_narrow_for_one_answer_and_never_widen(world: World, app: App) -> None:
    code = await app.code(world.org_admin_id, scopes=[Scope.PEOPLE_READ, Scope.MEETINGS_READ])
    token = (await app.redeem(code)).json()["refresh_token"]

    for scope in ("content:self", "people:read admin", "people:read  meetings:read", "?"):
        assert error_of(await app.refresh(token, scope=scope)) == "invalid_scope"
    narrow = (await app.refresh(token, scope="people:read")).json()
    whole = (await app.refresh(narrow["refresh_token"])).json()

    assert narrow["scope"] == "people:read"
    assert whole["scope"] == "meetings:read people:read"


async def test_an_app_that_lost_a_scope_gets_it_no_more(world: World, app: App) -> None:
    tokens = await app.sign_in(world.org_admin_id)
    caller = client(world.app, tokens["access_token"])
    assert (await caller.get("/v1/people")).status_code == 200
    await stored(
        world,
        "UPDATE oauth_client SET scopes = '{meetings:read,admin}' WHERE id = :id RETURNING id",
        id=app.id,
    )

    refused = await caller.get("/v1/people")
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert (await app.refresh(tokens["refresh_token"])).json()["scope"] == "meetings:read"


@pytest.mark.parametrize(("days", "is_welcome"), [(29.9, True), (30.0, False)])
async def test_a_sign_in_that_rests_for_a_month_is_over(
    world: World, app: App, clock: MovableClock, *, days: float, is_welcome: bool
) -> None:
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]
    clock.pass_time(days * DAY)

    assert (await app.refresh(token)).status_code == (200 if is_welcome else 400)
    assert await reuse_events(world) == []


async def test_a_sign_in_is_over_after_ninety_days_however_it_is_used(
    world: World, app: App, clock: MovableClock
) -> None:
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]
    for _ in range(4):
        clock.pass_time(22 * DAY)
        token = (await app.refresh(token)).json()["refresh_token"]
    clock.pass_time(2 * DAY)

    assert error_of(await app.refresh(token)) == "invalid_grant"


async def test_a_token_of_another_app_or_organization_is_unknown(world: World, app: App) -> None:
    elsewhere = await found_world(world.app)
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]

    for other in (await add_app(world), await add_app(elsewhere)):
        assert error_of(await other.refresh(token)) == "invalid_grant"
        assert (await other.revoke(token)).status_code == 200

    assert await ends(world) == [None]
    assert (await app.refresh(token)).status_code == 200


async def test_a_made_up_token_ends_nobodys_sign_in(world: World, app: App) -> None:
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]
    name = token.rpartition("_")[0]
    made_up = [
        f"{name}_{'0' * 64}",
        f"{name}_",
        f"rt_{ids.encode(organization_id(world))}_{ids.encode(ids.new_id())}_{'0' * 64}",
        token.replace("rt_", "ac_"),
        token.replace("rt_", "mk_"),
        token + "0",
        "rt_",
        "ü",
        "\x00",
    ]

    for text in made_up:
        assert error_of(await app.refresh(text)) == "invalid_grant"

    assert (await app.refresh(token)).status_code == 200


async def test_a_person_who_left_is_signed_out(world: World, app: App) -> None:
    person = await world.add_person()
    tokens = await app.sign_in(person["id"])
    await leave(world, person["id"])

    assert error_of(await app.refresh(tokens["refresh_token"])) == "invalid_grant"
    assert (await read_self(world, tokens)).status_code == 401


async def test_signing_out_everywhere_ends_every_sign_in_of_the_person_alone(
    world: World, app: App
) -> None:
    other = await world.add_person()
    mine = [await app.sign_in(world.org_admin_id) for _ in range(2)]
    theirs = await app.sign_in(other["id"])
    await sign_out_everywhere(world)

    for tokens in mine:
        assert error_of(await app.refresh(tokens["refresh_token"])) == "invalid_grant"
        assert (await read_self(world, tokens)).status_code == 401
    assert await ends(world) == ["access_changed", "access_changed", None]
    assert (await app.refresh(theirs["refresh_token"])).status_code == 200


async def test_a_lost_role_ends_the_sign_in(world: World, app: App) -> None:
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]
    async with working(world) as session:
        await access.end_tokens(
            session,
            organization_id=organization_id(world),
            person_id=ids.parse_id("person", world.org_admin_id),
        )

    assert error_of(await app.refresh(token)) == "invalid_grant"


async def test_a_revoked_app_gets_nothing_more(world: World, app: App) -> None:
    tokens = await app.sign_in(world.org_admin_id)
    token = tokens["refresh_token"]
    code = await app.code(world.org_admin_id)
    revoked = ids.format_id("oauth_client", app.id)
    ended = await world.org_admin.post(f"/v1/oauth-clients/{revoked}/revoke")
    assert ended.status_code == 200, ended.text

    assert error_of(await app.refresh(token)) == "invalid_client"
    assert error_of(await app.redeem(code)) == "invalid_client"
    refused = await read_self(world, tokens)
    assert (refused.status_code, refused.json()["code"]) == (401, "key_revoked")


async def test_a_closed_app_gets_nothing_more(world: World, app: App, clock: MovableClock) -> None:
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]
    await stored(
        world,
        "UPDATE oauth_client SET expires_at = :at WHERE id = :id RETURNING id",
        at=clock(),
        id=app.id,
    )

    assert error_of(await app.refresh(token)) == "invalid_client"


# Signing out.


async def test_signing_out_ends_the_sign_in(world: World, app: App) -> None:
    tokens = await app.sign_in(world.org_admin_id)

    answer = await app.revoke(tokens["refresh_token"], token_type_hint="access_token")

    assert (answer.status_code, answer.content) == (200, b"")
    assert await ends(world) == ["signed_out"]
    assert error_of(await app.refresh(tokens["refresh_token"])) == "invalid_grant"
    assert await reuse_events(world) == []


async def test_an_old_token_signs_out_as_well(world: World, app: App) -> None:
    first = (await app.sign_in(world.org_admin_id))["refresh_token"]
    await app.refresh(first)

    assert (await app.revoke(first)).status_code == 200
    assert await ends(world) == ["signed_out"]


@pytest.mark.parametrize("token", ["rt_x", "ac_x_y_z", "anything", "\x00"])
async def test_what_nobody_knows_is_revoked_already(app: App, token: str) -> None:
    assert (await app.revoke(token)).status_code == 200


async def test_an_access_token_is_not_promised_to_end(world: World, app: App) -> None:
    tokens = await app.sign_in(world.org_admin_id)

    assert error_of(await app.revoke(tokens["access_token"])) == "unsupported_token_type"
    assert await ends(world) == [None]


async def test_who_revokes_shows_who_it_is(world: World, app: App) -> None:
    machine = await add_client(world, secret_digest=bytes(32))
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]
    machine_name = App(world, machine.id).name

    for changes in ({"client_id": None}, {"client_id": machine_name}, {"client_secret": "x"}):
        assert error_of(await app.revoke(token, **changes)) == "invalid_client"
    assert error_of(await app.revoke("", token=None)) == "invalid_request"
    assert await ends(world) == [None]


# Forms.


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke"])
async def test_only_a_form_in_a_post_is_read(world: World, app: App, path: str) -> None:
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]
    fields = {
        "client_id": app.name,
        "grant_type": "refresh_token",
        "refresh_token": token,
        "token": token,
    }
    caller = client(world.app)
    twice = httpx.QueryParams([*fields.items(), ("client_id", app.name)])
    refused = [
        await caller.post(path, json=fields),
        await caller.post(path, params=fields),
        await caller.post(path, files={name: (None, one) for name, one in fields.items()}),
        await caller.post(
            path,
            content=str(twice),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        ),
    ]

    assert {error_of(answer) for answer in refused} == {"invalid_request"}
    for method in ("GET", "PUT", "DELETE"):
        answer = await caller.request(method, path, params=fields)
        assert answer.status_code == 405
    assert await ends(world) == [None]
    assert (await app.refresh(token)).status_code == 200


def claims_of(token: str) -> dict[str, Any]:
    """Return what an access token says, without asking whether it may."""
    segment = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=="))
    return claims


async def sign_out_everywhere(world: World) -> None:
    """End every session of the org_admin."""
    async with working(world) as session:
        await access.end_sessions(
            session,
            organization_id=organization_id(world),
            person_id=ids.parse_id("person", world.org_admin_id),
            now=system_clock(),
        )


async def leave(world: World, person_id: str) -> None:
    """Let a person leave."""
    answer = await world.org_admin.post(f"/v1/people/{person_id}/deactivate", json={})
    assert answer.status_code == 200, answer.text
