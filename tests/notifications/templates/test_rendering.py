"""Words: every kind in every language, in the reader's own time, with nothing smuggled in."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from babel import Locale
from jinja2 import UndefinedError

from services.notifications.intake import rules
from services.notifications.templates import catalogue, names, rendering
from services.notifications.templates.rendering import Reader, SignIn, Slot, Subject
from shared import words

START = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
SLOT = Slot(START, START + timedelta(minutes=45))


def reader(locale: str = "en", timezone: str = "Europe/Berlin") -> Reader:
    """Return somebody who reads."""
    return Reader("Ada", locale, timezone, "Example Works", "en")


def subject(**values: object) -> Subject:
    """Return what a message is about, with everything any kind may name."""
    given: dict[str, object] = {
        "program": "Rise & Shine",
        "others": ["Ben", "Cleo"],
        "slot": SLOT,
        "link": "https://app.example.org/meetings/mtg_1",
        "sign_in": SignIn("27182818", timedelta(minutes=10)),
    }
    return Subject(**(given | values))  # type: ignore[arg-type]  # names of its fields


@pytest.mark.parametrize("locale", words.available())
@pytest.mark.parametrize("kind", rules.kinds())
def test_every_kind_can_be_said_in_every_language(kind: str, locale: str) -> None:
    rendered = rendering.render(kind, reader=reader(locale), subject=subject())

    assert rendered.locale == locale
    for text in (rendered.title, rendered.body, rendered.text, rendered.html):
        assert text.strip()
        assert "{{" not in text
    assert "\n" not in rendered.title
    assert f'<html lang="{locale}"' in rendered.html
    assert "https://app.example.org/meetings/mtg_1" in rendered.text


@pytest.mark.parametrize("locale", words.available())
def test_no_language_has_words_that_nobody_uses(locale: str) -> None:
    assert sorted(catalogue.language(locale).kinds) == rules.kinds()


def test_all_languages_use_the_same_names() -> None:
    def used(locale: str) -> dict[str, set[str]]:
        source = (words.FOLDER / f"{locale}.toml").read_text(encoding="utf-8")
        tables = re.split(r"^\[kinds\.", source, flags=re.MULTILINE)[1:]
        return {
            table.partition("]")[0]: {"when", "code", "minutes"}
            & set(re.findall(r"{{ (\w+) }}", table))
            for table in tables
        }

    first, *others = [used(locale) for locale in words.available()]
    assert all(one == first for one in others)


@pytest.mark.parametrize(
    ("wanted", "organization", "chosen"),
    [
        ("de", "en", "de"),
        ("de-AT", "en", "de"),
        ("fr-FR", "de", "de"),
        ("fr-FR", "pt-BR", "en"),
    ],
)
def test_a_language_that_is_not_shipped_falls_back(
    wanted: str, organization: str, chosen: str
) -> None:
    assert catalogue.choose(wanted, organization).locale == chosen


@pytest.mark.parametrize(
    ("timezone", "locale", "shown"),
    [
        ("Europe/Berlin", "de", "Sonntag, 29. März 2026, 00:30 \u2013 01:15"),
        ("America/New_York", "en-US", "Saturday, March 28, 2026, 7:30\u202fPM \u2013 8:15\u202fPM"),
        ("Asia/Kolkata", "en-GB", "Sunday, 29 March 2026, 05:00 \u2013 05:45"),
    ],
)
def test_times_are_the_readers_own_and_name_their_zone(
    timezone: str, locale: str, shown: str
) -> None:
    rendered = rendering.render(
        "meeting.scheduled", reader=reader(locale, timezone), subject=subject()
    )

    assert shown in rendered.body
    assert timezone in rendered.body


@pytest.mark.parametrize("locale", ["en", "de"])
@pytest.mark.parametrize(
    ("timezone", "month", "offset"),
    [
        ("Europe/Dublin", 12, "GMT+00:00"),
        ("Europe/Dublin", 7, "GMT+01:00"),
        ("Europe/Berlin", 12, "GMT+01:00"),
        ("Europe/Berlin", 7, "GMT+02:00"),
        ("Asia/Kolkata", 12, "GMT+05:30"),
        ("Asia/Kolkata", 7, "GMT+05:30"),
        ("UTC", 7, "GMT+00:00"),
    ],
)
def test_a_zone_is_named_by_its_offset_of_that_day(
    timezone: str, month: int, offset: str, locale: str
) -> None:
    start = datetime(2026, month, 1, 12, tzinfo=UTC)
    slot = Slot(start, start + timedelta(minutes=45))

    assert rendering.when(slot, timezone, Locale(locale)).endswith(f"({offset}, {timezone})")


def test_a_slot_over_the_change_of_the_clocks_has_both_offsets() -> None:
    start = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    slot = Slot(start, start + timedelta(hours=1))

    shown = rendering.when(slot, "Europe/Berlin", Locale("de"))

    assert shown.endswith("01:30 \u2013 03:30 (GMT+01:00 \u2013 GMT+02:00, Europe/Berlin)")


def test_a_text_that_needs_a_time_fails_without_one() -> None:
    with pytest.raises(UndefinedError):
        rendering.render("meeting.scheduled", reader=reader(), subject=subject(slot=None))


def test_html_shows_names_as_they_are() -> None:
    rendered = rendering.render("mentorship.created", reader=reader(), subject=subject())

    assert "Rise &amp; Shine" in rendered.html
    assert "Rise & Shine" in rendered.text


def test_without_a_front_end_there_is_no_link() -> None:
    rendered = rendering.render("participant.approved", reader=reader(), subject=subject(link=None))

    assert "href" not in rendered.html
    assert "http" not in rendered.text


def test_a_program_that_may_not_be_named_is_mentoring() -> None:
    rendered = rendering.render(
        "participant.approved", reader=reader(), subject=subject(program=None)
    )

    assert rendered.title == "You take part in Mentoring"
    assert rendering.summary(reader=reader("de"), program=None) == "Mentoring-Treffen"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ada  Example", "Ada Example"),
        ("Ada\r\nBcc: all@example.org", "Ada Bcc: all@example.org"),
        ("Ada https://evil.example/x", "Ada"),
        ("Ada www.evil.example", "Ada"),
        ("Ada evil.example/login", "Ada"),
        ("Ada\u202egnp", "Ada gnp"),
        ('<b>"Ada"</b>', "b Ada /b"),
        ("\u0000", "-"),
        ("Jean-Luc O'Neill", "Jean-Luc O'Neill"),
    ],
)
def test_a_name_is_shown_without_what_could_deceive(name: str, shown: str) -> None:
    assert names.clean(name) == shown


def test_a_long_text_is_not_cut_inside_a_letter() -> None:
    assert names.shorten("e\u0301" * 10, 4) in {"e\u0301e…", "e\u0301…", "e…"}


@pytest.mark.parametrize("address", ["a@b.org\r\nRCPT", "a b@c.org", "a@b.org;x", None])
def test_what_would_break_out_of_a_header_is_no_address(address: str | None) -> None:
    assert names.address(address) is None
