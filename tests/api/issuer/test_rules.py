"""Token requests, read as RFC 6749 wants them."""

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from services.api.access.rules import Scope, client_name
from services.api.issuer import rules
from services.api.issuer.rules import FORM, GrantType, TokenRefusal, Use
from shared import ids

# The same in every process: they end up in the names of tests.
ORGANIZATION, CLIENT = ids.derived_id("organization"), ids.derived_id("client")
NAME = client_name(ORGANIZATION, CLIENT)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ASSERTION_TYPE = quote(rules.ASSERTION_TYPE).encode()
POSTED = f"grant_type=client_credentials&client_id={NAME}&client_secret=s".encode()


def basic(name: str, secret: str) -> str:
    """Return the header of `client_secret_basic`."""
    text = f"{quote(name, safe='')}:{quote(secret, safe='')}"
    return "Basic " + base64.b64encode(text.encode()).decode()


def error_of(body: bytes, *, authorization: str | None = None, media_type: str = FORM) -> str:
    """Return the protocol's name of what is wrong."""
    with pytest.raises(TokenRefusal) as caught:
        rules.grant_type(
            rules.parse_form(media_type=media_type, body=body, authorization=authorization).fields
        )
    return caught.value.error


def test_a_client_may_show_its_secret_in_the_form() -> None:
    request = rules.parse_form(
        media_type=f"{FORM}; charset=utf-8", body=POSTED + b"&scope=people:read", authorization=None
    )

    assert (request.organization_id, request.client_id) == (ORGANIZATION, CLIENT)
    assert (request.secret, request.fields["scope"]) == ("s", "people:read")
    assert rules.grant_type(request.fields) is GrantType.CLIENT_CREDENTIALS


def test_a_client_may_show_its_secret_in_the_header() -> None:
    request = rules.parse_form(
        media_type=FORM,
        body=b"grant_type=client_credentials&scope=",
        authorization=basic(NAME, "a:b+c%d"),
    )

    assert (request.client_id, request.secret) == (CLIENT, "a:b+c%d")
    assert request.fields == {"grant_type": "client_credentials"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "invalid_client"),
        (POSTED.replace(b"grant_type=client_credentials&", b""), "invalid_request"),
        (POSTED.replace(b"client_credentials", b"password"), "unsupported_grant_type"),
        (POSTED.replace(b"client_credentials", b"implicit"), "unsupported_grant_type"),
        (POSTED + b"&client_assertion=a.b.c", "invalid_request"),
        (POSTED + b"&client_assertion_type=jwt", "invalid_request"),
        (
            POSTED + b"&client_assertion=a.b.c&client_assertion_type=" + ASSERTION_TYPE,
            "invalid_request",
        ),
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


def test_an_app_names_itself_and_shows_nothing() -> None:
    request = rules.parse_form(
        media_type=FORM, body=f"client_id={NAME}&client_secret=".encode(), authorization=None
    )

    assert (request.client_id, request.secret, request.assertion) == (CLIENT, None, None)
    assert request.client_name == NAME


@pytest.mark.parametrize("grant", list(GrantType))
def test_people_sign_in_at_apps_and_machines_act_for_themselves(grant: GrantType) -> None:
    is_for_apps = grant is not GrantType.CLIENT_CREDENTIALS

    rules.require_grant(grant, is_app=is_for_apps)
    with pytest.raises(TokenRefusal) as caught:
        rules.require_grant(grant, is_app=not is_for_apps)
    assert caught.value.error == "unauthorized_client"


@pytest.mark.parametrize(
    ("used_ago", "is_dead", "has_unused_successor", "use"),
    [
        (None, False, False, Use.NEXT),
        (None, True, False, Use.REUSED),
        (0, False, True, Use.AGAIN),
        (30, False, True, Use.AGAIN),
        (30.001, False, True, Use.REUSED),
        (1, False, False, Use.REUSED),
        (1, True, True, Use.REUSED),
        (1, True, False, Use.REUSED),
    ],
)
def test_a_token_works_once_and_again_for_a_lost_reply(
    *, used_ago: float | None, is_dead: bool, has_unused_successor: bool, use: Use
) -> None:
    used_at = None if used_ago is None else NOW - timedelta(seconds=used_ago)

    judged = rules.judge(
        used_at=used_at,
        dead_at=NOW if is_dead else None,
        has_unused_successor=has_unused_successor,
        now=NOW,
    )

    assert judged is use


def test_no_access_token_is_promised_to_be_revoked() -> None:
    rules.require_revocable("rt_a_b_c")
    with pytest.raises(TokenRefusal) as caught:
        rules.require_revocable("eyJh.eyJp.c2ln")
    assert caught.value.error == "unsupported_token_type"
