"""Token requests, read as RFC 6749 wants them."""

import base64
from urllib.parse import quote

import pytest

from services.api.access.rules import Scope, client_name
from services.api.issuer import rules
from services.api.issuer.rules import FORM, TokenRefusal
from shared import ids

# The same in every process: they end up in the names of tests.
ORGANIZATION, CLIENT = ids.derived_id("organization"), ids.derived_id("client")
NAME = client_name(ORGANIZATION, CLIENT)
POSTED = f"grant_type=client_credentials&client_id={NAME}&client_secret=s".encode()


def basic(name: str, secret: str) -> str:
    """Return the header of `client_secret_basic`."""
    text = f"{quote(name, safe='')}:{quote(secret, safe='')}"
    return "Basic " + base64.b64encode(text.encode()).decode()


def error_of(body: bytes, *, authorization: str | None = None, media_type: str = FORM) -> str:
    """Return the protocol's name of what is wrong."""
    with pytest.raises(TokenRefusal) as caught:
        rules.parse_request(media_type=media_type, body=body, authorization=authorization)
    return caught.value.error


def test_a_client_may_show_its_secret_in_the_form() -> None:
    request = rules.parse_request(
        media_type=f"{FORM}; charset=utf-8", body=POSTED + b"&scope=people:read", authorization=None
    )

    assert (request.organization_id, request.client_id) == (ORGANIZATION, CLIENT)
    assert (request.secret, request.scope) == ("s", "people:read")


def test_a_client_may_show_its_secret_in_the_header() -> None:
    request = rules.parse_request(
        media_type=FORM,
        body=b"grant_type=client_credentials&scope=",
        authorization=basic(NAME, "a:b+c%d"),
    )

    assert (request.client_id, request.secret, request.scope) == (CLIENT, "a:b+c%d", None)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "invalid_request"),
        (POSTED.replace(b"grant_type=client_credentials&", b""), "invalid_request"),
        (POSTED.replace(b"client_credentials", b"password"), "unsupported_grant_type"),
        (POSTED.replace(b"client_credentials", b"authorization_code"), "unsupported_grant_type"),
        (POSTED + b"&client_secret=t", "invalid_request"),
        (POSTED + b"&grant_type=", "invalid_request"),
        (POSTED + b"&scope=%ff", "invalid_request"),
        (POSTED + b"\xff", "invalid_request"),
        (POSTED + b"&a=1" * 40, "invalid_request"),
        (b"grant_type=client_credentials", "invalid_client"),
        (b"grant_type=client_credentials&client_id=admin&client_secret=s", "invalid_client"),
        (POSTED.replace(b"-", b"_"), "invalid_client"),
    ],
)
def test_a_wrong_form_is_named_as_the_protocol_names_it(body: bytes, error: str) -> None:
    assert error_of(body) == error


@pytest.mark.parametrize(
    ("authorization", "error"),
    [
        ("Bearer abc", "invalid_client"),
        ("Basic", "invalid_client"),
        ("Basic !!!", "invalid_client"),
        ("Basic /w==", "invalid_client"),
        (basic("admin", "s"), "invalid_client"),
    ],
)
def test_a_wrong_header_is_an_unknown_client(authorization: str, error: str) -> None:
    assert error_of(b"grant_type=client_credentials", authorization=authorization) == error


def test_a_secret_is_shown_in_one_place() -> None:
    assert error_of(POSTED, authorization=basic(NAME, "s")) == "invalid_request"
    assert (
        error_of(b"grant_type=client_credentials&client_id=other", authorization=basic(NAME, "s"))
        == "invalid_request"
    )


def test_json_is_no_form() -> None:
    assert error_of(POSTED, media_type="application/json") == "invalid_request"


def test_a_token_has_every_scope_of_the_client_unless_it_asks_for_less() -> None:
    granted = ["people:read", "people:write"]

    assert rules.narrowed(None, granted) == {Scope.PEOPLE_READ, Scope.PEOPLE_WRITE}
    assert rules.narrowed("people:read", granted) == {Scope.PEOPLE_READ}


@pytest.mark.parametrize("wanted", ["admin", "people:read admin", "people:read  people:write", "?"])
def test_a_token_has_no_more_than_the_client(wanted: str) -> None:
    with pytest.raises(TokenRefusal) as caught:
        rules.narrowed(wanted, ["people:read", "people:write"])

    assert caught.value.error == "invalid_scope"


def test_no_machine_reads_what_pairs_confide() -> None:
    assert rules.narrowed(None, ["content:self", "people:read"]) == {Scope.PEOPLE_READ}
