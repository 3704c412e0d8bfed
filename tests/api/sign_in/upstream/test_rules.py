"""What of an ID token is believed: every claim, every algorithm, every forged header."""

import base64
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey
from pydantic_core import from_json

from services.api.clients.identity_providers import ProviderKey, read_keys
from services.api.sign_in.upstream import rules
from services.api.sign_in.upstream.rules import Claims, Expected, IdTokenError
from tests.support.identity_provider import CLIENT_ID, IdentityProvider, Key

ISSUER, KID, NONCE, ACCESS = "https://login.example.org", "key-1", "n-0S6_WzA2Mj", "an access token"
NOW = int(time.time())
EXPECTED = Expected(ISSUER, CLIENT_ID, NONCE, ACCESS)


def honest(key: Key | None = None, algorithm: str = "ES256") -> IdentityProvider:
    """Return a provider that nobody calls."""
    made = key or ECKey.generate_key("P-256", private=True)
    return IdentityProvider(issuer=ISSUER, keys={KID: made}, algorithm=algorithm)


def believed(provider: IdentityProvider, token: str | None = None) -> Claims:
    """Return what is believed of a token of this provider."""
    given = provider.id_token(NONCE, ACCESS) if token is None else token
    published = read_keys(from_json(provider.key_set()))
    kid = rules.key_name(given)
    found: ProviderKey | None = next((one for one in published if kid in {None, one.kid}), None)
    if found is None:
        raise IdTokenError("unknown key")
    return rules.verify(
        given,
        key=found.key,
        algorithm=found.algorithm,
        expected=EXPECTED,
        now=datetime.now(UTC),
    )


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://elsewhere.example.org"},
        {"iss": None},
        {"aud": "another client"},
        {"aud": [CLIENT_ID, "another client"]},
        {"aud": [CLIENT_ID, "another client"], "azp": "another client"},
        {"aud": CLIENT_ID, "azp": "another client"},
        {"aud": None},
        {"aud": []},
        {"aud": {CLIENT_ID: 1}},
        {"exp": NOW - 3600},
        {"exp": None},
        {"exp": str(NOW + 3600)},
        {"exp": True},
        {"iat": NOW + 3600},
        {"iat": None},
        {"nbf": NOW + 3600},
        {"nonce": None},
        {"nonce": "replayed from another sign-in"},
        {"nonce": ["a"]},
        {"at_hash": "bm90IHRoaXMgdG9rZW4ncw"},
        {"at_hash": "ü"},
        {"at_hash": 7},
        {"auth_time": NOW + 3600},
        {"auth_time": "yesterday"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "a\u0000b"},
    ],
)
def test_an_id_token_that_says_something_wrong_is_not_believed(claims: dict[str, Any]) -> None:
    provider = honest()
    provider.claims = claims

    with pytest.raises(IdTokenError):
        believed(provider)


def unsigned(header: dict[str, Any]) -> str:
    """Return a token of somebody who has no key."""
    claims = {"iss": "x", "sub": "subject-1", "aud": CLIENT_ID, "exp": NOW + 300, "iat": NOW}
    parts = (json.dumps(one).encode() for one in (header, claims))
    return ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts) + "."


@pytest.mark.parametrize(
    "forged",
    [
        *("", "a", "a.b.c", "....", "ü.ü.ü", "e30.e30.e30", "x" * 20_000),
        unsigned({"alg": "none"}),
        unsigned({"alg": "none", "kid": None}),
        unsigned({"alg": "None"}) + "e30",
        unsigned({"alg": "HS256"}) + "AAAA",
        unsigned({"alg": "ES256", "kid": ["a"]}) + "AAAA",
        unsigned({"alg": "ES256", "crit": ["exp"]}) + "AAAA",
        unsigned({"alg": "ES256", "kid": "unknown"}) + "AAAA",
        base64.urlsafe_b64encode(b"[" * 9000).decode().rstrip("=") + ".e30.AAAA",
    ],
)
def test_a_forged_id_token_is_not_believed(forged: str) -> None:
    with pytest.raises(IdTokenError):
        believed(honest(), forged)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", RSAKey.generate_key(2048, private=True)),
        ("ES256", ECKey.generate_key("P-256", private=True)),
        ("Ed25519", OKPKey.generate_key("Ed25519", private=True)),
    ],
)
def test_an_honest_token_is_believed_with_every_kind_of_key(algorithm: str, key: Key) -> None:
    provider = honest(key, algorithm)

    claims = believed(provider)

    assert (claims.issuer, claims.subject) == (ISSUER, "subject-1")


def test_a_key_verifies_with_the_algorithm_it_declares_and_no_other() -> None:
    provider = honest(RSAKey.generate_key(2048, private=True), "PS256")
    with pytest.raises(IdTokenError):
        believed(provider)

    document = from_json(provider.key_set())
    document["keys"][0]["alg"] = "PS256"
    provider.published = json.dumps(document).encode()
    assert believed(provider).subject == "subject-1"


def test_a_public_key_is_no_shared_secret() -> None:
    provider = honest()
    key = provider.signing[1]
    head, said = (
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode()
        for one in ({"alg": "HS256", "kid": KID}, {"iss": ISSUER, "sub": "subject-1"})
    )
    mac = hmac.digest(key.as_pem(private=False), f"{head}.{said}".encode(), "sha256")
    forged = f"{head}.{said}." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    with pytest.raises(IdTokenError):
        believed(provider, forged)


def test_headers_of_real_providers_do_no_harm() -> None:
    provider = honest()
    provider.header = {"x5t": "AAAA", "jku": "https://elsewhere.example.org", "nonce": "x"}

    assert believed(provider).subject == "subject-1"


def test_only_what_is_asked_for_is_compared_with_the_access_token() -> None:
    provider = honest()
    provider.claims = {"at_hash": None}

    assert believed(provider).subject == "subject-1"


def test_clocks_may_differ_by_a_minute() -> None:
    provider = honest()
    now = int(time.time())
    provider.claims = {"iat": now + 30, "nbf": now + 30, "exp": now - 30, "auth_time": now + 30}

    assert believed(provider).subject == "subject-1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(("10026", "10026"), (7, "7"), (True, None), (None, None), (1.5, None), ("", None)),
        *((["10026"], None), ({}, None), ("a\x00b", None), ("x" * 201, None)),
    ],
)
def test_a_claim_that_identifies_is_text(value: object, text: str | None) -> None:
    assert Claims(ISSUER, "subject-1", {"employee_id": value}).text("employee_id") == text


@pytest.mark.parametrize(
    "document",
    [
        *({}, {"keys": None}, {"keys": {}}, {"keys": [None, 1, "x", [], {}]}),
        {"keys": [{"kty": "oct", "k": "AAAA"}]},
        {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]},
        {"keys": [{"kty": ["RSA"]}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}]},
        {"keys": [{"kty": "EC", "crv": ["P-256"]}]},
        {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": 7}]},
    ],
)
def test_a_key_of_no_use_is_passed_over(document: dict[str, Any]) -> None:
    assert read_keys(document) == ()


def test_small_encrypting_and_misdeclared_keys_are_passed_over() -> None:
    good = RSAKey.generate_key(2048, private=True).as_dict(private=False)
    small = good | {"n": good["n"][:171]}
    keys = [
        *(small, good | {"use": "enc"}, good | {"alg": "HS256"}, good | {"alg": "none"}),
        *(good | {"alg": "ES256"}, good | {"kid": 7}, good | {"kid": "good"}),
    ]

    assert [(one.kid, one.algorithm) for one in read_keys({"keys": keys})] == [("good", "RS256")]


@pytest.mark.parametrize(
    ("given", "names_itself", "is_taken"),
    [
        (ISSUER, True, True),
        (ISSUER, False, True),
        (None, False, True),
        (None, True, False),
        ("https://elsewhere.example.org", False, False),
        ("https://elsewhere.example.org", True, False),
        (ISSUER + "/", True, False),
    ],
)
def test_an_answer_is_of_the_issuer_that_was_asked(
    given: str | None, *, names_itself: bool, is_taken: bool
) -> None:
    assert rules.is_of_issuer(given, ISSUER, names_itself=names_itself) is is_taken


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        (None, 1_800_000_000),
        (1_799_990_000, 1_799_990_000),
        (1_799_990_000.5, 1_799_990_000.5),
        (1_800_000_020, 1_800_000_000),
        (0, 1_800_000_000),
        (-7200, 1_800_000_000),
        (float("nan"), 1_800_000_000),
        (float("-inf"), 1_800_000_000),
    ],
)
def test_when_somebody_showed_who_they_are_is_what_the_provider_says(
    said: float | None, counts: float
) -> None:
    claims = Claims(ISSUER, "subject-1", {} if said is None else {"auth_time": said})
    now = datetime.fromtimestamp(1_800_000_000, UTC)

    assert claims.authenticated_at(now).timestamp() == counts
