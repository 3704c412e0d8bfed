"""A message for one reader: in their language, with times in their own zone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from babel import Locale
from babel.core import UnknownLocaleError
from babel.dates import format_date, format_time, get_timezone_gmt
from babel.lists import format_list

from services.notifications.templates import catalogue
from services.notifications.templates.catalogue import Language
from services.notifications.templates.names import shorten

LONGEST_TITLE = 200


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads a message, how they are called, and where they are."""

    name: str
    locale: str
    timezone: str
    organization: str
    organization_locale: str


@dataclass(frozen=True, slots=True)
class Slot:
    """From when until when something takes place."""

    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class SignIn:
    """A code to sign in with, and how long it works."""

    code: str = field(repr=False)
    works_for: timedelta


@dataclass(frozen=True, slots=True)
class Subject:
    """What a message is about, in names the reader may know; None is said neutrally."""

    program: str | None
    others: Sequence[str] = ()
    slot: Slot | None = None
    link: str | None = None
    sign_in: SignIn | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message in words: one title, one body, and the whole mail as text and HTML."""

    kind: str
    locale: str
    title: str
    body: str
    text: str
    html: str


def render(kind: str, *, reader: Reader, subject: Subject) -> Rendered:
    """Put one kind of message into words for one reader."""
    language = catalogue.choose(reader.locale, reader.organization_locale)
    words = language.kinds[kind]
    values = _values(language, reader, subject)
    title = shorten(" ".join(words.title.render(values).split()), LONGEST_TITLE)
    body = words.body.render(values)
    action = words.action.render(values)
    return Rendered(
        kind=kind,
        locale=language.locale,
        title=title,
        body=body,
        text=_text(language, reader, subject, body, action),
        html=catalogue.frame().render(
            lang=language.locale,
            title=title,
            greeting=language.phrase("greeting", name=reader.name),
            paragraphs=words.body_html.render(values).split("\n\n"),
            action=action,
            link=subject.link,
            footer=language.phrase("footer", organization=reader.organization),
        ),
    )


def summary(*, reader: Reader, program: str | None) -> str:
    """Return what a meeting is called in calendars, which other people may see."""
    language = catalogue.choose(reader.locale, reader.organization_locale)
    if program is None:
        return language.phrase("neutral_meeting")
    return language.phrase("meeting_of", program=program)


def _values(language: Language, reader: Reader, subject: Subject) -> dict[str, str]:
    values = {
        "name": reader.name,
        "organization": reader.organization,
        "program": subject.program or language.phrase("neutral_program"),
        "others": format_list(list(subject.others), locale=_formats(reader, language))
        if subject.others
        else language.phrase("others"),
    }
    if subject.slot is not None:
        # Left out where there is none, so that a text that needs it fails instead of lying.
        values["when"] = when(subject.slot, reader.timezone, _formats(reader, language))
    if subject.sign_in is not None:
        values["code"] = subject.sign_in.code
        values["minutes"] = str(subject.sign_in.works_for // timedelta(minutes=1))
    return values


def _formats(reader: Reader, language: Language) -> Locale:
    """Return how the reader writes dates: their region's way, if in the language of the text."""
    try:
        wanted = Locale.parse(reader.locale, sep="-")
    except (UnknownLocaleError, ValueError):
        return Locale.parse(language.locale, sep="-")
    is_same = wanted.language == language.locale.partition("-")[0]
    return wanted if is_same else Locale.parse(language.locale, sep="-")


def when(slot: Slot, timezone: str, locale: Locale) -> str:
    """Return a slot in words, in the given zone, which is named with its offset."""
    zone = ZoneInfo(timezone)
    start, end = slot.starts_at.astimezone(zone), slot.ends_at.astimezone(zone)
    day = format_date(start, "full", locale=locale)
    first = format_time(start, "short", tzinfo=zone, locale=locale)
    last = format_time(end, "short", tzinfo=zone, locale=locale)
    # Offsets, no names: Ireland counts its winter as the saved time, and names would be exchanged.
    offsets = dict.fromkeys(get_timezone_gmt(one, "long", locale=locale) for one in (start, end))
    if end.date() != start.date():
        last = f"{format_date(end, 'full', locale=locale)}, {last}"
    return f"{day}, {first} \u2013 {last} ({' \u2013 '.join(offsets)}, {timezone})"


def _text(language: Language, reader: Reader, subject: Subject, body: str, action: str) -> str:
    parts = [language.phrase("greeting", name=reader.name), body]
    if subject.link:
        parts.append(f"{action}:\n{subject.link}")
    parts.append("-- \n" + language.phrase("footer", organization=reader.organization))
    return "\n\n".join(parts) + "\n"
