"""Words for people, one file per language: `kinds` for mails and inbox, `pages` for pages.

What a value means (plain text, a template) is the business of whoever shows it; here is only which
languages there are, which of them somebody reads, and what stands in its file.
"""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
DEFAULT = "en"


@cache
def available() -> tuple[str, ...]:
    """Return every language that is shipped."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.toml")))


@cache
def of(locale: str) -> Mapping[str, Any]:
    """Return all words of one language that is shipped, read the first time they are needed."""
    return tomllib.loads((FOLDER / f"{locale}.toml").read_text(encoding="utf-8"))


def choose(*wanted: str | None) -> str:
    """Return the first language that is shipped: exact locale, then its language, then English."""
    shipped = available()
    return next((locale for locale in _fallbacks(*wanted) if locale in shipped), DEFAULT)


def _fallbacks(*wanted: str | None) -> Iterator[str]:
    for locale in wanted:
        if locale:
            yield locale
            yield locale.partition("-")[0]
