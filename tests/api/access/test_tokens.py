"""Forged, foreign, stale and broken credentials: each is refused, and none learns why."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from fastapi import FastAPI
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from services.api.access import keys
from services.api.access.rules import EVERY_SCOPE
from services.api.access.tables import ApiKey
from services.api.access.tokens import Issuer
from shared import ids
from shared.errors import UnauthenticatedError
from shared.security import ServiceSigner
from tests.support.apps import World, client, found_world
from tests.support.issuer import organization_id, working
from tests.support.served import served

ISSUER = "http://127.0.0.1:8000"
AUDIENCE = "http://127.0.0.1:8000/v1"
START = datetime(2026, 1, 1, tzinfo=UTC)
STRANGER = ECKey.generate_key("P-256", private=True)


def encoded(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signature(text: str, key: ECKey) -> bytes:
    """Return the ES256 signature of a text."""
    private: Any = key.private_key
    pair = decode_dss_signature(private.sign(text.encode(), ECDSA(hashes.SHA256())))
    return b"".join(number.to_bytes(32, "big") for number in pair)


@dataclass(frozen=True, slots=True)
class Forge:
    """Everything a forger might hold: true claims, the public key, even the private one."""

    key: ECKey
    kid: str
    claims: Mapping[str, Any]

    def sign(
        self,
        *,
        header: Mapping[str, Any] | None = None,
        key: ECKey | None = None,
        without: str | None = None,
        **claims: Any,
    ) -> str:
        """Return a token signed with the issuer's own key unless another is given."""
        head = {"alg": "ES256", "typ": "at+jwt", "kid": self.kid} | dict(header or {})
        body = {**self.claims, **claims}
        if without is not None:
            del body[without]
        return self.seal(head, json.dumps(body).encode(), key or self.key)

    def seal(self, header: Mapping[str, Any], body: bytes, key: ECKey) -> str:
        """Return header, body and an ES256 signature over both."""
        text = f"{encoded(json.dumps(header).encode())}.{encoded(body)}"
        return f"{text}.{encoded(signature(text, key))}"

    def public_pem(self) -> bytes:
        """Return what HS256 confusion uses as its secret."""
        return self.key.as_pem(private=False)


def forge_of(world: World) -> Forge:
    """Return the forge for a world's org admin."""
    issuer: Issuer = world.app.state.resources.issuer
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": world.org_admin_id,
        "client_id": world.org_admin_id,
        "org": world.organization_id,
        "scope": " ".join(sorted(EVERY_SCOPE)),
        "ver": 1,
        "iat": now,
        "auth_time": now,
        "exp": now + 300,
        "jti": ids.encode(ids.new_id()),
    }
    key = issuer.signing_key(datetime.now(UTC))
    return Forge(key.key, key.kid, claims)


def unsigned(forge: Forge, algorithm: str) -> str:
    header = {"alg": algorithm, "typ": "at+jwt", "kid": forge.kid}
    body = json.dumps(dict(forge.claims)).encode()
    return f"{encoded(json.dumps(header).encode())}.{encoded(body)}."


def confused(forge: Forge, secret: bytes) -> str:
    header = {"alg": "HS256", "typ": "at+jwt", "kid": forge.kid}
    text = (
        f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(dict(forge.claims)).encode())}"
    )
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def tampered(forge: Forge) -> str:
    header, _body, seal = forge.sign().split(".")
    richer = json.dumps({**forge.claims, "scope": "admin", "ver": 2}).encode()
    return f"{header}.{encoded(richer)}.{seal}"


def mangled(forge: Forge) -> str:
    token = forge.sign()
    return token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB")


def without_header(forge: Forge, name: str) -> str:
    header = {"alg": "ES256", "typ": "at+jwt", "kid": forge.kid}
    del header[name]
    return forge.seal(header, json.dumps(dict(forge.claims)).encode(), forge.key)


def twice(forge: Forge, name: str, value: str) -> str:
    """Return a token in which a claim comes twice: a reader may take either."""
    body = json.dumps({name: value})[:-1] + ", " + json.dumps(dict(forge.claims))[1:]
    return forge.seal({"alg": "ES256", "typ": "at+jwt", "kid": forge.kid}, body.encode(), forge.key)


def written_in(forge: Forge, encoding: str) -> str:
    """Return a token whose body is JSON in another encoding than UTF-8."""
    body = json.dumps(dict(forge.claims)).encode(encoding)
    return forge.seal({"alg": "ES256", "typ": "at+jwt", "kid": forge.kid}, body, forge.key)


def twice_in_header(forge: Forge) -> str:
    head = json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": forge.kid})
    text = (
        encoded(('{"alg": "none", ' + head[1:]).encode())
        + "."
        + encoded(json.dumps(dict(forge.claims)).encode())
    )
    return f"{text}.{encoded(signature(text, forge.key))}"


def inside_another(forge: Forge) -> str:
    """Return a true token as the payload of a true token."""
    header = {"alg": "ES256", "typ": "at+jwt", "kid": forge.kid, "cty": "JWT"}
    return forge.seal(header, forge.sign().encode(), forge.key)


def as_json(forge: Forge, *, is_flat: bool) -> str:
    head, body, seal = forge.sign().split(".")
    signed = {"protected": head, "signature": seal}
    rest = signed if is_flat else {"signatures": [signed]}
    return json.dumps({"payload": body} | rest)


def padded(forge: Forge) -> str:
    return ".".join(part + "=" * (-len(part) % 4) for part in forge.sign().split("."))


def in_plain_base64(forge: Forge) -> str:
    """Return a true token in the alphabet of e-mail, which has `+` and `/`."""
    for _ in range(50):
        token = forge.sign(jti=secrets.token_urlsafe(16)).replace("-", "+").replace("_", "/")
        if "+" in token or "/" in token:
            return token
    raise AssertionError("no token has a character that differs")


def sealed_by(forge: Forge, signed: Callable[[str], bytes], algorithm: str) -> str:
    header = {"alg": algorithm, "typ": "at+jwt", "kid": forge.kid}
    text = (
        f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(dict(forge.claims)).encode())}"
    )
    return f"{text}.{encoded(signed(text))}"


def nested(forge: Forge) -> str:
    deep = b'{"a":' * 400 + b"1" + b"}" * 400
    return forge.seal({"alg": "ES256", "typ": "at+jwt", "kid": forge.kid}, deep, forge.key)


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def signed_rs256(text: str) -> bytes:
    return RSA.sign(text.encode(), PKCS1v15(), hashes.SHA256())


def in_der(forge: Forge) -> str:
    """Return a token whose true signature is written as certificates write it."""

    def signed(text: str) -> bytes:
        private: Any = forge.key.private_key
        found: bytes = private.sign(text.encode(), ECDSA(hashes.SHA256()))
        return found

    return sealed_by(forge, signed, "ES256")


def stranger_jwk() -> dict[str, Any]:
    return dict(STRANGER.as_dict(private=False))


def text_like(prefix: str, forge: Forge) -> str:
    """Return what credentials that are no JWT look like, with a secret nobody was given."""
    organization = str(forge.claims["org"]).partition("_")[2]
    return f"{prefix}_{organization}_{ids.encode(ids.new_id())}_{secrets.token_urlsafe(32)}"


NOW = int(time.time())
FORGERIES: Mapping[str, Callable[[Forge], str]] = {
    "no algorithm": lambda forge: unsigned(forge, "none"),
    "no algorithm in capitals": lambda forge: unsigned(forge, "NONE"),
    "no signature": lambda forge: unsigned(forge, "ES256"),
    "public key as HMAC secret": lambda forge: confused(forge, forge.public_pem()),
    "public JWK as HMAC secret": lambda forge: confused(
        forge, json.dumps(forge.key.as_dict(private=False)).encode()
    ),
    "empty HMAC secret": lambda forge: confused(forge, b""),
    "no algorithm in mixed case": lambda forge: unsigned(forge, "nOnE"),
    "no algorithm, a signature all the same": lambda forge: forge.sign(header={"alg": "none"}),
    "a signature of nothing but zeros": lambda forge: sealed_by(
        forge, lambda _text: bytes(64), "ES256"
    ),
    "another algorithm's name": lambda forge: forge.sign(header={"alg": "ES384"}),
    "the algorithm's name in small letters": lambda forge: forge.sign(header={"alg": "es256"}),
    "the algorithm as a list": lambda forge: forge.sign(header={"alg": ["ES256"]}),
    "no algorithm's name": lambda forge: without_header(forge, "alg"),
    "RSA": lambda forge: sealed_by(forge, signed_rs256, "RS256"),
    "RSA under our algorithm's name": lambda forge: sealed_by(forge, signed_rs256, "ES256"),
    "a signature as in certificates": in_der,
    "a key of one's own": lambda forge: forge.sign(key=STRANGER),
    "a key of one's own in the header": lambda forge: forge.sign(
        key=STRANGER, header={"jwk": stranger_jwk()}
    ),
    "the true key in the header": lambda forge: forge.sign(
        header={"jwk": forge.key.as_dict(private=False)}
    ),
    "a key set to fetch": lambda forge: forge.sign(header={"jku": "https://evil.test/jwks.json"}),
    "a certificate to fetch": lambda forge: forge.sign(header={"x5u": "https://evil.test/c.pem"}),
    "a certificate chain": lambda forge: forge.sign(header={"x5c": ["MIIB"]}),
    "a critical extension": lambda forge: forge.sign(header={"crit": ["exp"], "exp": 1}),
    "an unencoded payload": lambda forge: forge.sign(header={"b64": False, "crit": ["b64"]}),
    "an unknown key id": lambda forge: forge.sign(header={"kid": ids.encode(ids.new_id())}),
    "a path as key id": lambda forge: forge.sign(header={"kid": "../../dev/null"}),
    "SQL as key id": lambda forge: forge.sign(header={"kid": "' OR 1=1 --"}),
    "the name of a secret as key id": lambda forge: forge.sign(
        header={"kid": "/run/secrets/mentoring_key_encryption_key"}
    ),
    "an address as key id": lambda forge: forge.sign(
        key=STRANGER, header={"kid": "https://evil.test/key.json"}
    ),
    "our key id in capitals": lambda forge: forge.sign(header={"kid": forge.kid.upper()}),
    "our key id and a zero byte": lambda forge: forge.sign(header={"kid": forge.kid + "\x00"}),
    "a number as key id": lambda forge: forge.sign(header={"kid": 1}),
    "an object as key id": lambda forge: forge.sign(header={"kid": {"kid": forge.kid}}),
    "a list as key id": lambda forge: forge.sign(header={"kid": [forge.kid]}),
    "no key id": lambda forge: forge.sign(header={"kid": None}),
    "no place for a key id": lambda forge: without_header(forge, "kid"),
    "a certificate's fingerprint": lambda forge: forge.sign(header={"x5t#S256": "AAAA"}),
    "a compressed payload": lambda forge: forge.sign(header={"zip": "DEF"}),
    "a type of content": lambda forge: forge.sign(header={"cty": "JWT"}),
    "an unknown word in the header": lambda forge: forge.sign(header={"role": "admin"}),
    "no type": lambda forge: without_header(forge, "typ"),
    "a plain JWT": lambda forge: forge.sign(header={"typ": "JWT"}),
    "a service token's type": lambda forge: forge.sign(header={"typ": "svc+jwt"}),
    "a sign-out token": lambda forge: forge.sign(header={"typ": "logout+jwt"}),
    "the long name of the type": lambda forge: forge.sign(header={"typ": "application/at+jwt"}),
    "an id token": lambda forge: forge.sign(header={"typ": "id+jwt"}),
    "another issuer": lambda forge: forge.sign(iss="https://login.evil.test"),
    "another issuer's path": lambda forge: forge.sign(iss=f"{ISSUER}/"),
    "another audience": lambda forge: forge.sign(aud="service:matching"),
    "several audiences": lambda forge: forge.sign(aud=[AUDIENCE, "service:matching"]),
    "our audience in a list": lambda forge: forge.sign(aud=[AUDIENCE]),
    "an audience that begins like ours": lambda forge: forge.sign(aud=f"{AUDIENCE}.evil.test"),
    "no issuer": lambda forge: forge.sign(without="iss"),
    "the issuer in a list": lambda forge: forge.sign(iss=[ISSUER]),
    "no audience": lambda forge: forge.sign(without="aud"),
    "no end": lambda forge: forge.sign(without="exp"),
    "no beginning": lambda forge: forge.sign(without="iat"),
    "no organization": lambda forge: forge.sign(without="org"),
    "no subject": lambda forge: forge.sign(without="sub"),
    "no access version": lambda forge: forge.sign(without="ver"),
    "no scope": lambda forge: forge.sign(without="scope"),
    "no client": lambda forge: forge.sign(without="client_id"),
    "no name of its own": lambda forge: forge.sign(without="jti"),
    "no time of sign-in": lambda forge: forge.sign(without="auth_time"),
    "no claims at all": lambda forge: forge.seal(
        {"alg": "ES256", "typ": "at+jwt", "kid": forge.kid}, b"{}", forge.key
    ),
    "scopes in a list": lambda forge: forge.sign(scope=["admin"]),
    "scopes in an object": lambda forge: forge.sign(scope={"admin": True}),
    "a client that is no id": lambda forge: forge.sign(client_id="mobile"),
    "another person as client": lambda forge: forge.sign(
        client_id=ids.format_id("person", ids.new_id())
    ),
    "another client's own token": lambda forge: forge.sign(
        sub=ids.format_id("oauth_client", ids.new_id()),
        client_id=ids.format_id("oauth_client", ids.new_id()),
    ),
    "not valid yet": lambda forge: forge.sign(iat=NOW + 3600, exp=NOW + 3900),
    "not before an hour": lambda forge: forge.sign(nbf=NOW + 3600),
    "signed in in an hour": lambda forge: forge.sign(auth_time=NOW + 3600),
    "a beginning before which it is not valid in words": lambda forge: forge.sign(nbf="now"),
    "a beginning with a fraction": lambda forge: forge.sign(iat=NOW + 0.5),
    "a beginning in words": lambda forge: forge.sign(iat=str(NOW)),
    "a beginning that is true": lambda forge: forge.sign(iat=True),
    "an end with a fraction": lambda forge: forge.sign(exp=NOW + 300.0),
    "an end in words": lambda forge: forge.sign(exp=str(NOW + 300)),
    "an end that is null": lambda forge: forge.sign(exp=None),
    "an end that is a list": lambda forge: forge.sign(exp=[NOW + 300]),
    "an end before the beginning": lambda forge: forge.sign(iat=NOW, exp=NOW - 30),
    "an end at Infinity": lambda forge: forge.sign(exp=float("inf")),
    "an end that is no number at all": lambda forge: forge.sign(exp=float("nan")),
    "a second longer than allowed": lambda forge: forge.sign(iat=NOW, exp=NOW + 601),
    "an access version in words": lambda forge: forge.sign(ver="1"),
    "an access version that is true": lambda forge: forge.sign(ver=True),
    "an access version with a fraction": lambda forge: forge.sign(ver=1.0),
    "an end in a year": lambda forge: forge.sign(exp=NOW + 365 * 24 * 3600),
    "an end that is no number": lambda forge: forge.sign(exp="never"),
    "an endless end": lambda forge: forge.sign(exp=10**400),
    "a stale access version": lambda forge: forge.sign(ver=0),
    "a future access version": lambda forge: forge.sign(ver=2),
    "a subject of another kind": lambda forge: forge.sign(
        sub="prg_" + forge.claims["sub"].removeprefix("per_")
    ),
    "a person as a client": lambda forge: forge.sign(
        sub="ocl_" + forge.claims["sub"].removeprefix("per_")
    ),
    "a subject that is no id": lambda forge: forge.sign(sub="admin"),
    "a subject that is a list": lambda forge: forge.sign(sub=[forge.claims["sub"]]),
    "an organization of no kind": lambda forge: forge.sign(org="*"),
    "an organization without this person": lambda forge: forge.sign(
        org=ids.format_id("organization", ids.new_id())
    ),
    "a person nobody knows": lambda forge: forge.sign(sub=ids.format_id("person", ids.new_id())),
    "a changed payload": tampered,
    "a changed signature": mangled,
    "a deeply nested payload": nested,
    "a payload that is a list": lambda forge: forge.seal(
        {"alg": "ES256", "typ": "at+jwt", "kid": forge.kid}, b"[]", forge.key
    ),
    "a payload that is no JSON": lambda forge: forge.seal(
        {"alg": "ES256", "typ": "at+jwt", "kid": forge.kid}, b"\xff\x00", forge.key
    ),
    "a subject that comes twice": lambda forge: twice(
        forge, "sub", ids.format_id("person", ids.new_id())
    ),
    "an organization that comes twice": lambda forge: twice(
        forge, "org", ids.format_id("organization", ids.new_id())
    ),
    "an algorithm that comes twice": twice_in_header,
    "claims in UTF-16": lambda forge: written_in(forge, "utf-16"),
    "claims behind a byte-order mark": lambda forge: written_in(forge, "utf-8-sig"),
    "a token in a token": inside_another,
    "a JSON serialisation": lambda forge: as_json(forge, is_flat=False),
    "a flat JSON serialisation": lambda forge: as_json(forge, is_flat=True),
    "padding": padded,
    "the alphabet of e-mail": in_plain_base64,
    "a space within": lambda forge: forge.sign().replace(".", ". "),
    "a tab within": lambda forge: forge.sign().replace(".", "\t."),
    "a space before": lambda forge: " " + forge.sign(),
    "two tokens": lambda forge: f"{forge.sign()},{forge.sign()}",
    "a token in quotation marks": lambda forge: f'"{forge.sign()}"',
    "a token and a semicolon": lambda forge: forge.sign() + ";",
    "five parts": lambda forge: forge.sign() + ".AAAA.AAAA",
    "two parts": lambda forge: forge.sign().rpartition(".")[0],
    "one part": lambda _forge: "AAAA",
    "two dots": lambda _forge: "..",
    "an empty payload": lambda forge: forge.seal(
        {"alg": "ES256", "typ": "at+jwt", "kid": forge.kid}, b"", forge.key
    ),
    "a very long token": lambda _forge: "A" * 8_000,
    "a long token of three parts": lambda forge: forge.sign(jti="A" * 4_000),
    "a refresh token": lambda forge: text_like("rt", forge),
    "an authorization code": lambda forge: text_like("ac", forge),
    "text that is no token": lambda _forge: "admin",
    "an API key nobody made": lambda forge: text_like("mk", forge),
}


async def refusal_of(app: FastAPI, credential: str) -> dict[str, Any]:
    """Present a credential and return the refusal."""
    answer = await client(app, credential).get("/v1/me/token")
    assert answer.status_code == 401, answer.text
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    return problem


async def test_the_forge_makes_good_tokens_when_nothing_is_forged(world: World) -> None:
    answer = await client(world.app, forge_of(world).sign()).get("/v1/me/token")

    assert answer.status_code == 200
    assert answer.json()["person_id"] == world.org_admin_id


DOORS = (
    ("GET", "/v1/me/token"),
    ("POST", "/v1/people"),
    ("DELETE", "/v1/role-assignments/rol_01kajv7v1cefh8ws6q1fyv4m2z"),
    ("GET", "/v1/inbox-items"),
)
SAID = {"type", "title", "status", "detail", "instance", "code", "request_id"}


@pytest.fixture(scope="module")
async def address(api: FastAPI) -> AsyncIterator[str]:
    """Serve the application on a socket."""
    async with served(api) as url:
        yield url


@pytest.fixture(scope="module")
async def forge(api: FastAPI) -> Forge:
    """Return the forge of one organization; no forgery leaves anything behind there."""
    return forge_of(await found_world(api))


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_token_is_refused_at_every_kind_of_door_without_a_reason(
    forge: Forge, address: str, forgery: str
) -> None:
    headers = {"Authorization": f"Bearer {FORGERIES[forgery](forge)}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, trust_env=False) as forger:
        for method, path in DOORS:
            answer = await forger.request(method, path)

            assert answer.status_code == 401, answer.text
            assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
            assert answer.headers["Content-Type"] == "application/problem+json"
            problem = answer.json()
            assert problem["code"] == "token_invalid"
            assert problem["detail"] in {
                "A valid credential is needed.",
                "This token has been withdrawn.",
            }
            assert problem.keys() == SAID


@pytest.mark.parametrize("said", ["", "Bearer", "Basic AAAA", "Token AAAA", "AAAA"])
async def test_whoever_shows_no_token_is_told_that_one_is_needed(address: str, said: str) -> None:
    async with httpx.AsyncClient(base_url=address, trust_env=False) as stranger:
        answer = await stranger.get("/v1/me/token", headers={"Authorization": said})

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_two_credentials_are_none(world: World, address: str) -> None:
    """A proxy may have judged by the other one."""
    honest = world.org_admin.headers["Authorization"]
    async with httpx.AsyncClient(base_url=address, trust_env=False) as caller:
        for pair in ((honest, "Bearer e30.e30.e30"), (honest, honest)):
            both = [("Authorization", one) for one in pair]
            answer = await caller.get("/v1/me/token", headers=both)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_headers_without_end_are_refused_before_anybody_reads_the_token(
    forge: Forge, address: str
) -> None:
    async with httpx.AsyncClient(base_url=address, trust_env=False) as forger:
        forger.headers["Authorization"] = f"Bearer {forge.sign(jti='A' * 40_000)}"
        answer = await forger.get("/v1/me/token")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_a_token_of_one_organization_opens_nothing_in_another(
    world: World, api: FastAPI, address: str
) -> None:
    """The person is ours and the organization is real, but they are not of each other."""
    other = await found_world(api)
    token = forge_of(world).sign(org=other.organization_id)

    async with httpx.AsyncClient(base_url=address, trust_env=False) as forger:
        forger.headers["Authorization"] = f"Bearer {token}"
        answer = await forger.get("/v1/me/token")

    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


async def test_an_expired_token_says_so_to_its_holder_only(world: World) -> None:
    forge = forge_of(world)
    past: dict[str, Any] = {"iat": NOW - 700, "exp": NOW - 400}

    assert (await refusal_of(world.app, forge.sign(**past)))["code"] == "token_expired"
    assert (await refusal_of(world.app, forge.sign(key=STRANGER, **past)))[
        "code"
    ] == "token_invalid"


async def test_a_token_counts_a_minute_longer_for_clocks_that_differ(world: World) -> None:
    now = int(time.time())
    answer = await client(world.app, forge_of(world).sign(iat=now - 500, exp=now - 20)).get(
        "/v1/me/token"
    )

    assert answer.status_code == 200


async def test_a_service_token_opens_no_public_door(world: World) -> None:
    settings = world.app.state.resources.settings
    key = settings.service_key.get_secret_value()
    signer = ServiceSigner(service="service:api", key=key, clock=lambda: datetime.now(UTC))
    token = signer.sign(
        audience=AUDIENCE,
        method="GET",
        path="/v1/me/token",
        body=b"",
        organization_id=world.id,
        subject=world.org_admin_id,
    )

    assert (await refusal_of(world.app, token))["code"] == "token_invalid"


async def test_a_deactivated_person_is_refused_on_the_next_request(world: World) -> None:
    person = await world.add_person()
    holder = await world.as_person(person["id"])
    assert (await holder.get("/v1/me/token")).status_code == 200

    answer = await world.org_admin.post(f"/v1/people/{person['id']}/deactivate", json={})
    assert answer.status_code == 200, answer.text

    refused = await holder.get("/v1/me/token")
    assert (refused.status_code, refused.json()["code"]) == (401, "token_invalid")


async def test_a_lost_role_ends_the_tokens_that_carried_it(world: World) -> None:
    person = await world.add_person()
    granted = await world.org_admin.post(
        "/v1/role-assignments", json={"person_id": person["id"], "role": "org_admin"}
    )
    holder = await world.as_person(person["id"])
    assert (await holder.get("/v1/organization")).status_code == 200

    taken = await world.org_admin.delete(
        f"/v1/role-assignments/{granted.json()['id']}", headers={"If-Match": '"1"'}
    )
    assert taken.status_code == 204, taken.text

    assert (await holder.get("/v1/organization")).status_code == 401
    again = await world.as_person(person["id"])
    assert (await again.get("/v1/organization")).status_code == 403


async def new_key(world: World, **values: Any) -> tuple[str, dict[str, Any]]:
    """Return the text of a new API key and its resource."""
    body = {"label": "a machine", "scopes": ["people:read"]}
    answer = await world.org_admin.post("/v1/api-keys", json=body | values)
    assert answer.status_code == 201, answer.text
    return answer.json()["key"], answer.json()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _key: "mk_",
        lambda _key: "mk_a_b_c",
        lambda key: key[:-1],
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: key.upper().replace("MK_", "mk_"),
        lambda key: key + "_0",
        lambda key: key.replace(key.split("_")[1], ids.encode(ids.new_id())),
        lambda key: key.replace(key.split("_")[2], ids.encode(ids.new_id())),
        lambda key: "mk_" + "_".join(key.split("_")[1:3]) + "_",
        lambda key: "mk_" + "8" * 26 + key[29:],
    ],
)
async def test_a_spoiled_key_is_refused_without_a_reason(
    world: World, spoil: Callable[[str], str]
) -> None:
    key, _ = await new_key(world)
    problem = await refusal_of(world.app, spoil(key))

    assert problem["code"] == "token_invalid"
    assert problem["detail"] == "A valid credential is needed."


async def test_a_revoked_key_says_so_to_its_holder_only(world: World) -> None:
    key, made = await new_key(world)
    revoked = await world.org_admin.post(f"/v1/api-keys/{made['id']}/revoke")
    assert revoked.status_code == 200, revoked.text

    assert (await refusal_of(world.app, key))["code"] == "key_revoked"
    wrong = key[:-4] + ("0000" if key[-4:] != "0000" else "1111")
    assert (await refusal_of(world.app, wrong))["code"] == "token_invalid"


async def test_an_expired_key_opens_nothing(world: World) -> None:
    key, made = await new_key(world)
    async with working(world) as session:
        place = (organization_id(world), ids.parse_id("api_key", made["id"]))
        row = await session.get_one(ApiKey, place)
        row.expires_at = datetime.now(UTC) - timedelta(minutes=5)

    assert (await refusal_of(world.app, key))["code"] == "key_revoked"


async def test_the_use_of_a_key_is_remembered_once_a_minute(world: World) -> None:
    key, made = await new_key(world, scopes=["people:read", "people:write"])
    machine = client(world.app, key)

    async def last_use() -> str | None:
        keys = (await world.org_admin.get("/v1/api-keys")).json()["items"]
        used: str | None = next(one["last_used_at"] for one in keys if one["id"] == made["id"])
        return used

    assert await last_use() is None
    assert (await machine.get("/v1/people")).status_code == 200
    first = await last_use()
    assert first is not None
    assert (await machine.get("/v1/people")).status_code == 200
    assert await last_use() == first


async def test_a_refused_request_counts_as_a_use_of_the_key(world: World) -> None:
    key, made = await new_key(world)

    refused = await client(world.app, key).get("/v1/role-assignments")

    assert refused.status_code == 403
    keys = (await world.org_admin.get("/v1/api-keys")).json()["items"]
    assert next(one["last_used_at"] for one in keys if one["id"] == made["id"]) is not None


def issuer_of(*, ceiling: int) -> Issuer:
    """Return an issuer with a key of its own."""
    key = keys.generate(UUID(int=1), signs_from=START)
    return Issuer(name=ISSUER, audience=AUDIENCE, keys=[key], ceiling=ceiling)


def test_a_token_that_lives_longer_than_this_installation_allows_is_refused() -> None:
    key = keys.generate(UUID(int=1), signs_from=START)
    demo = Issuer(name=ISSUER, audience=AUDIENCE, keys=[key], ceiling=30 * 24 * 3600)
    production = Issuer(name=ISSUER, audience=AUDIENCE, keys=[key], ceiling=600)
    now = datetime.now(UTC)
    token = demo.issue(
        organization_id=ids.new_id(),
        subject=ids.new_id(),
        is_person=True,
        access_version=1,
        scopes=EVERY_SCOPE,
        now=now,
        lifetime_seconds=30 * 24 * 3600,
    )

    assert demo.verify(token, now=now).is_person
    with pytest.raises(UnauthenticatedError):
        production.verify(token, now=now)


def test_an_issuer_believes_no_token_of_another_key_under_the_same_id() -> None:
    now = datetime.now(UTC)
    token = issuer_of(ceiling=600).issue(
        organization_id=ids.new_id(),
        subject=ids.new_id(),
        is_person=True,
        access_version=1,
        scopes=EVERY_SCOPE,
        now=now,
    )

    with pytest.raises(UnauthenticatedError):
        issuer_of(ceiling=600).verify(token, now=now)


def test_a_key_survives_its_encryption_and_no_other_secret_opens_it() -> None:
    secret, other = (encoded(secrets.token_bytes(32)) for _ in range(2))
    key = keys.generate(UUID(int=1), signs_from=START)
    text = keys.encrypt(key, secret)

    assert keys.decrypt(text, secret).as_dict(private=True) == key.key.as_dict(private=True)
    assert "d" not in key.public_jwk()
    with pytest.raises(JoseError):
        keys.decrypt(text, other)
