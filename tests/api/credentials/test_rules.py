"""Where apps may be answered, what keys a machine may register, and how long keys live."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from services.api.access.roles import Role
from services.api.access.rules import ClientKind, Scope
from services.api.credentials import rules
from services.api.issuer.rules import matches_redirect
from shared import ids
from shared.errors import InvalidError

NOW = datetime(2026, 11, 25, tzinfo=UTC)
GOOD_REDIRECTS = (
    "https://app.example.org",
    "https://app.example.org/",
    "https://app.example.org/signed-in",
    "https://app.example.org/signed-in?tenant=works",
    "https://app.example.org:8443/a/b",
    "https://app.example.org:65535/",
    "https://xn--bcher-kva.example/a%20b",
    "https://single-label/",
    "http://127.0.0.1/",
    "http://127.0.0.1:5173/callback",
    "http://[::1]/callback",
    "http://[::1]:80",
)
BAD_REDIRECTS = (
    "",
    "app.example.org/signed-in",
    "//app.example.org/",
    "http://app.example.org/",
    "http://localhost/",
    "http://localhost:5173/",
    "http://127.0.0.2/",
    "http://127.0.0.1.example.org/",
    "http://127.0.0.1:5173.example.org/",
    "http://[::2]/",
    "http://[::1",
    "https://*.example.org/",
    "https://app.example.org/*",
    "https://app.example.org/signed-in#here",
    "https://app.example.org#",
    "https://somebody@app.example.org/",
    "https://somebody:secret@app.example.org/",
    "https://app.example.org@evil.example/",
    "https://app.example.org\\@evil.example/",
    "https://app.example.org\\signed-in",
    "https://app.example.org /",
    " https://app.example.org/",
    "https://app.example.org/\n",
    "https://app.example.org/\x00",
    "https://app.example.org/%zz",
    "https://app.example.org:0/",
    "https://app.example.org:65536/",
    "https://app.example.org:/",
    "https://-app.example.org/",
    "https://app..example.org/",
    "https://.example.org/",
    "https://APP.example.org/",
    "HTTPS://app.example.org/",
    "https:///signed-in",
    "https:app.example.org",
    "https://bücher.example/",
    "https://[::1]/",
    "com.example.app:/signed-in",
    "com.example.app://signed-in",
    "myapp://signed-in",
    "urn:ietf:wg:oauth:2.0:oob",
    "javascript:alert(1)",
    "data:text/html,hello",
    "file:///etc/passwd",
    "ftp://app.example.org/",
)


@pytest.mark.parametrize("uri", GOOD_REDIRECTS)
def test_an_app_may_be_answered_at_one_address_of_its_own(uri: str) -> None:
    assert re.search(rules.REDIRECT, uri)
    assert matches_redirect([uri], uri)


@pytest.mark.parametrize("uri", BAD_REDIRECTS)
def test_nobody_is_answered_at_what_others_can_claim(uri: str) -> None:
    # As a JSON Schema reads it, `$` is the end and nothing before it.
    assert re.fullmatch(rules.REDIRECT.removesuffix("$"), uri) is None


def public(key: Any) -> dict[str, Any]:
    """Return the public half of a key."""
    return dict(key.as_dict(private=False))


EC = public(ECKey.generate_key("P-256"))
RSA = public(RSAKey.generate_key(2048))
ED = public(OKPKey.generate_key("Ed25519"))


@pytest.mark.parametrize("key", [EC, RSA, ED, EC | {"alg": "ES256"}, ED | {"alg": "EdDSA"}])
def test_a_machine_registers_public_keys_it_can_sign_with(key: dict[str, Any]) -> None:
    rules.check_client(ClientKind.SERVICE, {"jwks": {"keys": [key]}})


@pytest.mark.parametrize(
    "key",
    [
        EC | {"x": "A" * 43},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "EC", "crv": "Ed25519", "x": ED["x"]},
        EC | {"alg": "RS256"},
        RSA | {"alg": "ES256"},
        {"kty": "RSA", "n": RSA["n"]},
        RSA | {"e": "AA"},
        {"kty": "OKP", "crv": "P-256", "x": ED["x"]},
    ],
)
def test_what_no_signature_can_be_checked_with_is_no_key(key: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as refused:
        rules.check_client(ClientKind.SERVICE, {"jwks": {"keys": [EC, key]}})

    assert [(one.pointer, one.code) for one in refused.value.errors] == [
        ("#/jwks/keys/1", "malformed")
    ]


@pytest.mark.parametrize(
    ("kind", "sent", "pointer", "code"),
    [
        (ClientKind.APP, {"jwks": {"keys": [EC]}}, "#/jwks", "unexpected"),
        (ClientKind.APP, {"expires_at": NOW}, "#/expires_at", "unexpected"),
        (ClientKind.SERVICE, {"redirect_uris": ["x"]}, "#/redirect_uris", "unexpected"),
        (ClientKind.SERVICE, {"scopes": [Scope.CONTENT_SELF]}, "#/scopes/0", "not_grantable"),
    ],
)
def test_each_kind_of_client_has_what_is_its_own(
    kind: ClientKind, sent: dict[str, Any], pointer: str, code: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        rules.check_client(kind, sent)

    assert [(one.pointer, one.code) for one in refused.value.errors] == [(pointer, code)]


def test_an_app_may_be_trusted_with_what_people_confide() -> None:
    rules.check_client(
        ClientKind.APP,
        {"scopes": [Scope.CONTENT_SELF, Scope.ADMIN], "redirect_uris": ["https://a.example/"]},
    )


def test_a_key_that_takes_over_lives_as_long_as_the_one_before_was_to() -> None:
    made, later = NOW, NOW + timedelta(days=80)

    assert rules.next_expiry(created_at=made, expires_at=None, now=later) is None
    assert rules.next_expiry(
        created_at=made, expires_at=made + timedelta(days=90), now=later
    ) == later + timedelta(days=90)


def test_a_grace_never_lets_a_key_live_longer() -> None:
    soon, late = NOW, NOW + timedelta(days=1)

    assert rules.sooner(None, late) == late
    assert rules.sooner(soon, late) == soon
    assert rules.sooner(late, soon) == soon


@pytest.mark.parametrize(
    ("role", "has_program", "code"),
    [
        (Role.MEMBER, False, "not_grantable"),
        (Role.COORDINATOR, False, "missing"),
        (Role.ANALYST, False, "missing"),
        (Role.ORG_ADMIN, True, "unexpected"),
        (Role.SAFEGUARDING, True, "unexpected"),
    ],
)
def test_a_role_is_granted_where_it_belongs(role: Role, *, has_program: bool, code: str) -> None:
    with pytest.raises(InvalidError) as refused:
        rules.check_grant(role, ids.new_id() if has_program else None)

    assert [one.code for one in refused.value.errors] == [code]
