"""Authorization requests, read as RFC 6749, 7636 and 9700 want them; where answers may go."""

import base64
import hashlib
from collections.abc import Mapping

import pytest

from services.api.access.rules import client_name
from services.api.issuer import rules
from services.api.issuer.rules import TokenRefusal
from shared import ids

ORGANIZATION, CLIENT = ids.derived_id("organization"), ids.derived_id("client")
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
# The example of RFC 7636, appendix B.
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
QUERY = {
    "response_type": "code",
    "client_id": client_name(ORGANIZATION, CLIENT),
    "redirect_uri": "https://app.example.org/signed-in",
    "scope": "people:read content:self",
    "state": "af0ifjsldkj",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


def error_of(query: Mapping[str, str]) -> str:
    """Return the protocol's name of what is wrong."""
    with pytest.raises(TokenRefusal) as caught:
        rules.parse_authorization(query)
    return caught.value.error


def test_a_whole_request_is_understood() -> None:
    request = rules.parse_authorization(QUERY)

    assert (request.organization_id, request.client_id) == (ORGANIZATION, CLIENT)
    assert request.redirect_uri == "https://app.example.org/signed-in"
    assert (request.scope, request.state) == ("people:read content:self", "af0ifjsldkj")
    assert request.code_challenge == CHALLENGE


@pytest.mark.parametrize("name", ["scope", "state"])
def test_scope_and_state_may_be_left_out(name: str) -> None:
    query = {key: value for key, value in QUERY.items() if key != name}

    assert getattr(rules.parse_authorization(query), name) is None


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("client_id", "", "invalid_request"),
        ("client_id", "admin", "invalid_request"),
        ("redirect_uri", "", "invalid_request"),
        ("redirect_uri", "https://a.example/" + "a" * 2000, "invalid_request"),
        ("response_type", "", "unsupported_response_type"),
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "code id_token", "unsupported_response_type"),
        ("response_mode", "fragment", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", VERIFIER + "a", "invalid_request"),
        ("code_challenge", CHALLENGE[:-1] + "=", "invalid_request"),
        ("code_challenge", CHALLENGE[:-1] + "\n", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "s256", "invalid_request"),
        ("state", "a" * 501, "invalid_request"),
        ("state", "a\r\nSet-Cookie: b", "invalid_request"),
        ("state", "ü", "invalid_request"),
        ("request", "eyJ", "request_not_supported"),
        ("request_uri", "https://evil.example/", "request_uri_not_supported"),
    ],
)
def test_a_wrong_request_is_named_as_the_protocol_names_it(
    name: str, value: str, error: str
) -> None:
    assert error_of(QUERY | {name: value}) == error


def test_a_parameter_that_comes_twice_is_refused_and_an_empty_one_left_out() -> None:
    assert rules.single([("a", "1"), ("b", "")]) == {"a": "1"}
    for second in ("2", "1", ""):
        with pytest.raises(TokenRefusal):
            rules.single([("a", "1"), ("a", second)])


def test_the_verifier_is_the_one_whose_digest_was_sent() -> None:
    assert rules.is_challenge_met(VERIFIER, CHALLENGE)
    for other in (None, "", CHALLENGE, VERIFIER[:-1], VERIFIER + "a", VERIFIER.lower()):
        assert not rules.is_challenge_met(other, CHALLENGE)


@pytest.mark.parametrize("length", [42, 129])
def test_a_verifier_of_the_wrong_length_is_refused_though_its_digest_is_right(length: int) -> None:
    verifier = "a" * length
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())

    assert not rules.is_challenge_met(verifier, digest.rstrip(b"=").decode())


@pytest.mark.parametrize(
    ("registered", "given"),
    [
        ("https://app.example.org/in", "https://app.example.org/in"),
        ("https://app.example.org/in?a=1", "https://app.example.org/in?a=1"),
        ("http://127.0.0.1/in", "http://127.0.0.1/in"),
        ("http://127.0.0.1/in", "http://127.0.0.1:51004/in"),
        ("http://127.0.0.1:8080/in", "http://127.0.0.1:51004/in"),
        ("http://[::1]/in", "http://[::1]:51004/in"),
        ("http://[::1]:1/in", "http://[::1]/in"),
    ],
)
def test_an_app_is_answered_where_it_registered(registered: str, given: str) -> None:
    assert rules.matches_redirect(["https://other.example.org/", registered], given)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "https://app.example.org",
        "https://app.example.org/",
        "https://app.example.org/in/",
        "https://app.example.org/in/../in",
        "https://app.example.org/in?",
        "https://app.example.org/in?a=1",
        "https://app.example.org/in#",
        "https://app.example.org/in#a",
        "https://app.example.org/IN",
        "https://app.example.org/%69n",
        "https://APP.example.org/in",
        "https://app.example.org:443/in",
        "https://app.example.org:8443/in",
        "https://app.example.org.evil.example/in",
        "https://evil.example/in?https://app.example.org/in",
        "https://app.example.org@evil.example/in",
        "https://evil.example\\@app.example.org/in",
        "https://sub.app.example.org/in",
        "http://app.example.org/in",
        "//app.example.org/in",
        "/in",
        " https://app.example.org/in",
        "https://app.example.org/in\n",
        "javascript:alert(1)",
        "http://127.0.0.1:51004/other",
        "http://127.0.0.1:51004/in?a=1",
        "http://127.0.0.1:51004@evil.example/in",
        "http://127.0.0.1.evil.example/in",
        "http://127.0.0.1:99999/in",
        "http://127.0.0.1:x/in",
        "http://127.0.0.2/in",
        "http://localhost:51004/in",
        "http://0.0.0.0/in",
        "http://2130706433/in",
        "http://[::1]/in",
        "http://[::1/in",
        "https://127.0.0.1:51004/in",
        "http://",
    ],
)
def test_nothing_but_the_registered_text_is_a_match(given: str) -> None:
    assert not rules.matches_redirect(["https://app.example.org/in", "http://127.0.0.1/in"], given)


@pytest.mark.parametrize(
    "uri",
    [
        "com.example.app:/in",
        "http://localhost/in",
        "http://app.example.org/in",
        "javascript:alert(1)",
        "https://user@app.example.org/in",
        "https://app.example.org/in#part",
        "https:///in",
        "https://ä.example.org/in",
    ],
)
def test_a_place_that_any_app_may_claim_is_refused_though_it_is_registered(uri: str) -> None:
    assert not rules.matches_redirect([uri], uri)


def test_the_answer_keeps_the_query_of_the_redirect_uri() -> None:
    bare = rules.redirect_back("https://a.example/in", code="c d", state=None, iss="https://i.e")
    full = rules.redirect_back("https://a.example/in?x=1&y=%20", error="access_denied", state="&=")

    assert bare == "https://a.example/in?code=c+d&iss=https%3A%2F%2Fi.e"
    assert full == "https://a.example/in?x=1&y=%20&error=access_denied&state=%26%3D"
