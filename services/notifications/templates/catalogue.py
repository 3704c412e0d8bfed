"""The kinds of message of each language, ready to be filled in."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from shared import words

FRAME = Path(__file__).parent / "frame.html"


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


@cache
def language(locale: str) -> Language:
    """Return one language, read the first time it is needed."""
    content = words.of(locale)
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
        # What leads nowhere has no words for it.
        action=plain.from_string(texts.get("action", "")),
    )


def choose(*wanted: str | None) -> Language:
    """Return the language for a reader, of those that are shipped."""
    return language(words.choose(*wanted))
