"""One file of words per language; a language that lacks a kind does not start."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

FOLDER = Path(__file__).parent / "locales"
FRAME = Path(__file__).parent / "frame.html"
DEFAULT = "en"


@dataclass(frozen=True, slots=True)
class Words:
    """One kind of message in one language, as text and as HTML."""

    title: Template
    body: Template
    body_html: Template
    action: Template


@dataclass(frozen=True, slots=True)
class Language:
    """All words of one language."""

    locale: str
    phrases: Mapping[str, str]
    kinds: Mapping[str, Words]

    def phrase(self, key: str, **values: str) -> str:
        """Return a phrase that belongs to no kind of message."""
        return self.phrases[key].format(**values)


def _environment(*, is_html: bool) -> Environment:
    return Environment(
        undefined=StrictUndefined,
        autoescape=is_html,  # noqa: S701 - text is no markup; every HTML template escapes
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


def available() -> list[str]:
    """Return every language that is shipped."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


@cache
def language(locale: str) -> Language:
    """Return one language, read the first time it is needed."""
    content = tomllib.loads((FOLDER / f"{locale}.toml").read_text(encoding="utf-8"))
    return Language(
        locale=locale,
        phrases=content["phrases"],
        kinds={name: _words(texts) for name, texts in content["kinds"].items()},
    )


@cache
def frame() -> Template:
    """Return the HTML around every message."""
    return _environment(is_html=True).from_string(FRAME.read_text(encoding="utf-8"))


def _words(texts: Mapping[str, str]) -> Words:
    plain, markup = _environment(is_html=False), _environment(is_html=True)
    return Words(
        title=plain.from_string(texts["title"]),
        body=plain.from_string(texts["body"].strip()),
        body_html=markup.from_string(texts["body"].strip()),
        action=plain.from_string(texts["action"]),
    )


def choose(*wanted: str | None) -> Language:
    """Return the first language that is shipped: exact locale, then its language, then English."""
    shipped = set(available())
    for locale in _fallbacks(*wanted):
        if locale in shipped:
            return language(locale)
    return language(DEFAULT)


def _fallbacks(*wanted: str | None) -> Iterator[str]:
    for locale in wanted:
        if locale:
            yield locale
            yield locale.partition("-")[0]
