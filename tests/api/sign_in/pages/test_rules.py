"""What a page allows a browser, which language it takes, and what counts as a code."""

import pytest

from services.api.access.rules import client_name
from services.api.issuer.rules import FORM
from services.api.sign_in.pages import rules
from shared import ids

ORGANIZATION, CLIENT = ids.derived_id("organization"), ids.derived_id("client")


@pytest.mark.parametrize(
    "typed",
    [
        "12345678",
        " 1234 5678 ",
        "1234-5678",
        "1234\u20135678",
        "1 2 3 4 5 6 7 8",
        "1234\u00a05678\t\n",
        "１２３４５６７８",  # noqa: RUF001 - as a Japanese keyboard writes them
        "١٢٣٤٥٦٧٨",
    ],
)
def test_a_code_is_read_however_it_is_typed(typed: str) -> None:
    assert rules.digits(typed) == "12345678"


@pytest.mark.parametrize(
    "typed", ["", "1234567", "123456789", "1234567a", "²2345678", "12345678\x00", "-" * 300]
)
def test_what_has_no_eight_digits_is_no_code(typed: str) -> None:
    assert rules.digits(typed) is None


@pytest.mark.parametrize(
    ("ui_locales", "accept", "expected"),
    [
        (None, None, ()),
        (None, "de-at, en;q=0.5", ("de-AT", "en")),
        (None, "en;q=0.5, de", ("de", "en")),
        (None, "fr;q=0, de;q=x, *, en;q=0.1", ("en",)),
        ("FR de", "en", ("fr", "de", "en")),
        ("<script> ../../etc/passwd en", None, ("en",)),
        ("x" * 5000, "y" * 5000, ()),
        (" ".join(["de"] * 50), None, ("de",) * 10),
    ],
)
def test_the_app_says_the_language_before_the_browser_does(
    ui_locales: str | None, accept: str | None, expected: tuple[str, ...]
) -> None:
    assert rules.languages(ui_locales, accept) == expected


@pytest.mark.parametrize(
    ("redirect_uri", "issuer", "has_providers", "expected"),
    [
        ("https://app.example.org/in", "https://m.example.org", False, ("'self'", "https:")),
        ("http://127.0.0.1:51004/in", "https://m.example.org", False, ("'self'", "http:")),
        ("http://[::1]/in", "https://m.example.org", True, ("'self'", "http:", "https:")),
        (
            "https://app.example.org/in",
            "http://127.0.0.1:8000",
            True,
            ("'self'", "http:", "https:"),
        ),
    ],
)
def test_forms_lead_to_us_and_behind_us_only_where_redirects_may(
    redirect_uri: str, issuer: str, expected: tuple[str, ...], *, has_providers: bool
) -> None:
    found = rules.form_targets(redirect_uri, issuer=issuer, has_providers=has_providers)

    assert found == expected


def test_a_page_may_show_its_style_and_send_its_forms_and_nothing_else() -> None:
    assert rules.policy(style_digest="abc=").split("; ") == [
        "default-src 'none'",
        "style-src 'sha256-abc='",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]


def test_whom_to_answer_is_known_though_something_else_comes_twice() -> None:
    name = client_name(ORGANIZATION, CLIENT)
    pairs = [("client_id", name), ("redirect_uri", "https://a.example/"), ("state", "s")]
    asked = rules.asked([*pairs, ("scope", "a"), ("scope", "b")])

    assert asked is not None
    assert (asked.organization_id, asked.client_id) == (ORGANIZATION, CLIENT)
    assert (asked.redirect_uri, asked.state) == ("https://a.example/", "s")
    assert asked.refusal is not None
    assert asked.refusal.error == "invalid_request"


def test_a_place_that_is_named_twice_is_no_place() -> None:
    name = client_name(ORGANIZATION, CLIENT)
    places = [("redirect_uri", "https://a.example/"), ("redirect_uri", "https://b.example/")]
    asked = rules.asked([("client_id", name), *places])

    assert asked is not None
    assert asked.redirect_uri == ""
    assert rules.asked([("client_id", name), ("client_id", name)]) is None
    assert rules.asked([]) is None


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("", b"a=1"),
        ("application/json", b'{"a": "1"}'),
        ("multipart/form-data; boundary=a", b"--a"),
        (FORM, b"\xff=1"),
        (FORM, b"a=%ff"),
        (FORM, b"a=1&a=2"),
        (FORM, b"&".join(b"%d=1" % one for one in range(50))),
    ],
)
def test_a_form_that_cannot_be_read_has_no_fields(media_type: str, body: bytes) -> None:
    assert rules.parse_form(media_type, body) == {}


def test_a_form_is_read() -> None:
    form = rules.parse_form(
        "application/x-www-form-urlencoded; charset=UTF-8", b"a=1+2&b=&c=%C3%BC"
    )

    assert form == {"a": "1 2", "c": "ü"}
