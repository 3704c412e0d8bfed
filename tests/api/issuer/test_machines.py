"""Machines that show one of two secrets, or sign: forgeries, replays and rotation."""

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from authlib.oauth2.rfc7523 import private_key_jwt_sign
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from services.api.access import rules as access
from services.api.access.rules import ClientKind
from tests.support.apps import World, client, found_world
from tests.support.issuer import (
    Signer,
    add_client,
    add_signer,
    stored,
)
from tests.support.work import MovableClock

EC = ECKey.generate_key("P-256", {"kid": "first"}, private=True)
OTHER_EC = ECKey.generate_key("P-256", {"kid": "first"}, private=True)
RSA = RSAKey.generate_key(2048, {"kid": "rsa"}, private=True)
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"}, private=True)


@pytest.fixture
async def signer(world: World) -> Signer:
    """Return a machine that signs with P-256."""
    return await add_signer(world, EC)


def refused(answer: httpx.Response) -> bool:
    """Tell whether a client is unknown, in the one way unknown clients are answered."""
    assert answer.status_code == 401, answer.text
    return bool(answer.json()["error"] == "invalid_client")


async def show(world: World, client_id: Any, secret: str) -> int:
    """Ask for a token with a secret and return the status."""
    form = {"grant_type": "client_credentials", "client_secret": secret}
    name = access.client_name(client_id[0], client_id[1])
    answer = await client(world.app).post("/oauth/token", data=form | {"client_id": name})
    return answer.status_code


async def test_both_secrets_work_until_the_older_one_ends(
    world: World, clock: MovableClock
) -> None:
    row = await add_client(
        world,
        secret_digest=access.secret_digest("new"),
        previous_secret_digest=access.secret_digest("old"),
        previous_secret_expires_at=clock() + timedelta(hours=1),
    )
    place = (row.organization_id, row.id)

    assert [await show(world, place, one) for one in ("new", "old", "", "x")] == [
        *(200, 200, 401, 401)
    ]
    clock.pass_time(3601)
    assert [await show(world, place, one) for one in ("new", "old")] == [200, 401]


@pytest.mark.parametrize(
    ("key", "algorithm"), [(EC, "ES256"), (RSA, "RS256"), (ED, "EdDSA"), (ED, "Ed25519")]
)
async def test_a_machine_signs_with_the_key_it_registered(
    world: World, key: Key, algorithm: str
) -> None:
    machine = await add_signer(world, key, algorithm)

    answer = await machine.ask(machine.sign())

    assert answer.status_code == 200, answer.text
    people = await client(world.app, answer.json()["access_token"]).get("/v1/people")
    assert people.status_code == 200
    assert "refresh_token" not in answer.json()


async def test_an_assertion_is_understood_in_each_honest_form(world: World, signer: Signer) -> None:
    issuer = world.app.state.resources.settings.issuer
    honest = [
        signer.sign(aud=issuer),
        signer.sign(aud=[issuer]),
        signer.sign(header={"typ": "JWT"}),
        signer.sign(header={"typ": "client-authentication+jwt"}),
        signer.sign(header={"kid": None}),
        signer.sign(iat=None),
        signer.sign(exp=signer.claims()["exp"] + 0.5),
    ]

    for assertion in honest:
        answer = await signer.ask(assertion, client_id=signer.name)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("key", "algorithm"), [(EC, "ES256"), (RSA, "RS256")])
async def test_what_another_library_signs_is_understood(
    world: World, clock: MovableClock, key: Key, algorithm: str
) -> None:
    machine = await add_signer(world, key, algorithm)
    address = machine.claims()["aud"]
    soon = int(clock().timestamp()) + 300
    five_minutes, an_hour = [
        private_key_jwt_sign(key, machine.name, address, alg=algorithm, claims=claims)
        for claims in ({"exp": soon}, None)
    ]

    assert (await machine.ask(five_minutes)).status_code == 200
    answer = await machine.ask(an_hour)
    assert refused(answer)
    assert "five minutes" in answer.json()["error_description"]


async def test_an_assertion_works_once(world: World, signer: Signer) -> None:
    assertion = signer.sign()

    answers = await asyncio.gather(*(signer.ask(assertion) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    assert len(await stored(world, "SELECT 1 FROM client_assertion")) == 1


async def test_an_assertion_whose_request_was_refused_is_spent_all_the_same(
    world: World, signer: Signer
) -> None:
    assertion = signer.sign()
    answer = await signer.ask(assertion, scope="admin")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")

    assert refused(await signer.ask(assertion))
    assert len(await stored(world, "SELECT 1 FROM client_assertion")) == 1


async def test_two_machines_may_name_their_assertions_alike(world: World, signer: Signer) -> None:
    other = await add_signer(world, EC)

    for one in (signer, other):
        assert (await one.ask(one.sign(jti="1"))).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": None},
        {"aud": "https://evil.example/oauth/token"},
        {"aud": "http://127.0.0.1:8000/oauth/token/"},
        {"aud": "http://127.0.0.1:8000/v1"},
        {"aud": []},
        {"aud": ["http://127.0.0.1:8000", "https://evil.example"]},
        {"aud": {"http://127.0.0.1:8000": 1}},
        {"iss": None},
        {"iss": "https://evil.example"},
        {"jti": None},
        {"jti": ""},
        {"jti": "a" * 256},
        {"jti": 1},
        {"exp": None},
        {"exp": 0},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": 10**12},
        {"exp": -1},
        {"iat": 10**10},
        {"nbf": 4_000_000_000},
        {"nbf": "now"},
    ],
    ids=str,
)
async def test_an_assertion_that_says_something_else_is_refused(
    signer: Signer, changes: dict[str, Any]
) -> None:
    assert refused(await signer.ask(signer.sign(**changes), client_id=signer.name))


@pytest.mark.parametrize(("seconds", "is_welcome"), [(-31, False), (-20, True), (331, False)])
async def test_an_assertion_lives_for_minutes(
    signer: Signer, *, seconds: int, is_welcome: bool
) -> None:
    exp = signer.claims()["iat"] + seconds

    answer = await signer.ask(signer.sign(exp=exp, iat=None))

    assert answer.status_code == (200 if is_welcome else 401)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "RS256"},
        {"alg": "ES384"},
        {"alg": "EdDSA"},
        {"alg": None},
        {"alg": ["ES256"]},
        {"kid": "second"},
        {"kid": ["first"]},
        {"typ": "at+jwt"},
        {"jwk": EC.as_dict(private=False)},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/keys"},
        {"x5c": []},
        {"crit": ["b64"], "b64": False},
    ],
    # Keys differ from worker to worker, and names of tests must not.
    ids=lambda header: (
        ",".join(f"{name}={one}" for name, one in header.items() if name != "jwk") or "jwk"
    ),
)
async def test_a_header_that_says_more_or_else_is_refused(
    signer: Signer, header: dict[str, Any]
) -> None:
    honest = signer.sign()
    segments = honest.split(".")
    names = {"alg": "ES256", "kid": "first"} | header
    segments[0] = encoded({name: one for name, one in names.items() if one is not None})
    kept, resigned = ".".join(segments), signed_anyway(names, signer)

    for forged in (kept, resigned):
        assert refused(await signer.ask(forged, client_id=signer.name))


async def test_forged_signatures_are_refused(world: World, signer: Signer) -> None:
    other = await add_signer(world, OTHER_EC)
    elsewhere = await add_signer(await found_world(world.app), EC)
    head, body, signature = signer.sign().split(".")
    none = encoded({"alg": "none", "kid": "first"})
    public = json.dumps(EC.as_dict(private=False)).encode()
    forged = [
        signer.sign(key=OTHER_EC),
        other.sign(key=OTHER_EC, sub=signer.name, iss=signer.name),
        elsewhere.sign(),
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-8]}",
        f"{head}.{encoded(signer.claims(jti='another'))}.{signature}",
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        hs256({"alg": "HS256", "kid": "first"}, signer.claims(), public),
        f"{head}.{body}.{signature}.{signature}",
        "a.b.c",
        "",
        ".",
        "ü.ü.ü",
        head + "." + base64.urlsafe_b64encode(b"[" * 5000).decode() + "." + signature,
        encoded({"alg": "ES256"}) + "." + base64.urlsafe_b64encode(b"[1]").decode() + ".AAAA",
        "a" * 9000,
    ]

    answers = [await signer.ask(one, client_id=signer.name) for one in forged if one]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert await stored(world, "SELECT 1 FROM client_assertion") == []


async def test_an_assertion_is_no_word_for_another_client(world: World, signer: Signer) -> None:
    other = await add_signer(world, OTHER_EC)

    assert refused(await signer.ask(signer.sign(), client_id=other.name))
    assert refused(await signer.ask(signer.sign(sub=other.name, iss=other.name)))


async def test_a_machine_shows_who_it_is_in_one_way(signer: Signer) -> None:
    for changes in ({"client_secret": "x", "client_id": signer.name}, {"client_assertion": None}):
        answer = await signer.ask(signer.sign(), **changes)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    answer = await signer.ask(signer.sign(), client_assertion_type="jwt")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_name_is_not_enough_for_a_machine(world: World, signer: Signer) -> None:
    answer = await signer.ask("", client_assertion=None, client_assertion_type=None)
    assert refused(answer)
    named = await signer.ask(
        "", client_assertion=None, client_assertion_type=None, client_id=signer.name
    )
    assert refused(named)
    row = await add_client(world, secret_digest=access.secret_digest("s"), kind=ClientKind.SERVICE)
    assert await show(world, (row.organization_id, row.id), "") == 401


async def test_a_machine_that_ended_signs_in_vain(
    world: World, signer: Signer, clock: MovableClock
) -> None:
    await stored(
        world,
        "UPDATE oauth_client SET expires_at = :at WHERE id = :id RETURNING id",
        at=clock(),
        id=signer.id,
    )

    assert refused(await signer.ask(signer.sign()))


def encoded(content: object) -> str:
    """Return a segment of a signed text."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def signed_anyway(header: dict[str, Any], signer: Signer) -> str:
    """Sign a strange header with the honest key."""
    text = f"{encoded(header)}.{encoded(signer.claims())}"
    signature = JWSRegistry.algorithms["ES256"].sign(text.encode(), signer.key)
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def hs256(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """Sign with a public key as if it were a shared secret."""
    text = f"{encoded(header)}.{encoded(claims)}"
    digest = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
