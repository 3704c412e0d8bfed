"""Codes and names of challenges: unguessable, steady, and each of one organization."""

from datetime import UTC, datetime

import pytest

from services.api.access import codes
from services.api.sign_in.email_codes.rules import Challenge, parse_challenge
from shared import ids

PEPPER = codes.pepper("the server's own secret")
HERE, THERE = ids.new_id(), ids.new_id()


def test_a_challenge_is_named_with_its_organization() -> None:
    challenge = Challenge(HERE, ids.new_id(), datetime(2026, 11, 25, tzinfo=UTC))

    assert str(challenge).startswith("emc_")
    assert parse_challenge(str(challenge)) == (HERE, challenge.id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "emc_",
        f"emc_{ids.encode(HERE)}",
        f"emc_{ids.encode(HERE)}_",
        f"emc_{ids.encode(HERE)}_{ids.encode(HERE)}_",
        f"per_{ids.encode(HERE)}_{ids.encode(HERE)}",
        f"emc_{ids.encode(HERE)}_8{'0' * 25}",
        f"emc_{ids.encode(HERE)}_{'u' * 26}",
        f"emc_{ids.encode(HERE).upper()}_{ids.encode(HERE)}",
        f"emc{ids.encode(HERE)}{ids.encode(HERE)}",
    ],
    ids=[
        "nothing",
        "prefix",
        "half",
        "open",
        "three",
        "person",
        "large",
        "letters",
        "upper",
        "joined",
    ],
)
def test_what_names_no_challenge_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever part is wrong
        parse_challenge(text)


def test_a_code_is_eight_digits_and_always_the_same() -> None:
    challenge_id = ids.new_id()
    code = codes.code_of(PEPPER, organization_id=HERE, challenge_id=challenge_id)

    assert len(code) == 8
    assert code.isdecimal()
    assert code == codes.code_of(PEPPER, organization_id=HERE, challenge_id=challenge_id)
    assert codes.is_code(PEPPER, code, organization_id=HERE, challenge_id=challenge_id)


def test_another_challenge_organization_or_server_has_another_code() -> None:
    challenge_id = ids.new_id()
    found = {
        codes.code_of(PEPPER, organization_id=HERE, challenge_id=challenge_id),
        codes.code_of(PEPPER, organization_id=THERE, challenge_id=challenge_id),
        codes.code_of(PEPPER, organization_id=HERE, challenge_id=ids.new_id()),
        codes.code_of(codes.pepper("another"), organization_id=HERE, challenge_id=challenge_id),
    }

    assert len(found) == 4


def test_codes_begin_with_any_digit() -> None:
    made = [
        codes.code_of(PEPPER, organization_id=HERE, challenge_id=ids.new_id()) for _ in range(500)
    ]

    assert {code[0] for code in made} == set("0123456789")
    assert len(set(made)) > 490


@pytest.mark.parametrize("given", ["", "1", "123456789", "abcdefgh", "１２３４５６７８"])  # noqa: RUF001 - other digits
def test_what_is_no_code_never_fits(given: str) -> None:
    assert not codes.is_code(PEPPER, given, organization_id=HERE, challenge_id=ids.new_id())


@pytest.mark.parametrize(
    "spelt",
    ["ada@example.org", " Ada@Example.ORG ", "ＡＤＡ@example.org"],  # noqa: RUF001 - as above
)
def test_an_address_is_counted_however_it_is_spelt(spelt: str) -> None:
    known = codes.address_digest(PEPPER, organization_id=HERE, address="ada@example.org")

    assert codes.address_digest(PEPPER, organization_id=HERE, address=spelt) == known


def test_addresses_are_counted_apart_and_by_organization() -> None:
    digests = {
        codes.address_digest(secret, organization_id=organization_id, address=address)
        for secret in (PEPPER, codes.pepper("another"))
        for organization_id in (HERE, THERE)
        for address in ("ada@example.org", "bea@example.org")
    }

    assert len(digests) == 8
