"""The cookie of several tabs, and forms that only their own browser can have sent."""

import pytest

from services.api.access import rules as access
from services.api.access.rules import CredentialKind, CredentialText
from services.api.sign_in.requests import rules
from services.api.sign_in.requests.rules import MOST_AT_ONCE, Held, Notice
from shared import ids

ORGANIZATION = ids.derived_id("organization")


def entry() -> CredentialText:
    """Return the browser's half of a new sign-in."""
    return access.new_credential(CredentialKind.SIGN_IN, ORGANIZATION, ids.new_id())


def test_a_cookie_holds_the_sign_ins_of_several_tabs_newest_first() -> None:
    first, second = entry(), entry()
    cookie = rules.with_entry(rules.with_entry(None, first), second)

    assert list(rules.entries(cookie)) == [second, first]
    assert rules.entry_of(cookie) == second
    assert rules.entry_of(cookie, first.id) == first
    assert rules.entry_of(cookie, ids.new_id()) is None


def test_the_oldest_sign_in_makes_room() -> None:
    held = [entry() for _ in range(MOST_AT_ONCE + 1)]
    cookie = None
    for one in held:
        cookie = rules.with_entry(cookie, one)

    assert list(rules.entries(cookie)) == held[:0:-1]


def test_a_sign_in_that_is_over_leaves_the_cookie() -> None:
    first, second = entry(), entry()
    cookie = rules.with_entry(rules.with_entry(None, first), second)

    left = rules.without_entry(cookie, second.id)

    assert list(rules.entries(left)) == [first]
    assert rules.without_entry(left, first.id) == ""


@pytest.mark.parametrize(
    "cookie",
    [None, "", ".", "....", "si_a_b_c", "mk_" + "0" * 26 + "_" + "0" * 26 + "_a", "ü", "\x00" * 9],
)
def test_a_malformed_cookie_holds_nothing(cookie: str | None) -> None:
    assert list(rules.entries(cookie)) == []
    assert rules.entry_of(cookie) is None
    assert rules.held_by_form(cookie, "0" * 26 + ".a") is None


def test_a_form_is_taken_from_the_browser_that_was_shown_it() -> None:
    mine, other_tab = entry(), entry()
    cookie = rules.with_entry(rules.with_entry(None, mine), other_tab)

    for held in (Held(mine), Held(other_tab), Held(mine, "a.b..c.d")):
        assert rules.held_by_form(cookie, rules.form_token(held)) == held


def test_a_form_of_another_browser_is_refused() -> None:
    mine, theirs = entry(), entry()
    cookie = rules.with_entry(None, mine)
    _, _, rest = rules.form_token(Held(theirs, "sealed")).partition(".")

    assert rules.held_by_form(cookie, rules.form_token(Held(theirs))) is None
    assert rules.held_by_form(cookie, f"{ids.encode(mine.id)}.{rest}") is None


@pytest.mark.parametrize("token", ["", ".", "0" * 26, "ü", "a.b.c", "\x00"])
def test_a_malformed_form_token_is_refused(token: str) -> None:
    assert rules.held_by_form(rules.with_entry(None, entry()), token) is None


def test_a_form_token_does_not_tell_the_secret_of_the_cookie() -> None:
    mine = entry()

    assert mine.secret not in rules.form_token(Held(mine))


def test_a_page_names_its_sign_in_and_what_it_says() -> None:
    mine = entry()
    named = f"/oauth/sign-in?sign_in={ids.encode(mine.id)}"

    assert rules.page(rules.FIRST_PAGE, Held(mine)) == named
    assert rules.page(rules.FIRST_PAGE, Held(mine), Notice.BUSY) == f"{named}&notice=busy"
    assert rules.page(rules.FIRST_PAGE, Held(mine, "a.b")) == f"{named}&sealed=a.b"
    assert rules.sign_in_named(ids.encode(mine.id)) == mine.id
    assert rules.sign_in_named("nobody") is None
