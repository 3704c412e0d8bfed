"""Pages as HTML: templates filled with words in the reader's language; everything is escaped."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from services.api.sign_in.pages.rules import LONGEST_TYPED, Problem
from services.api.sign_in.requests.rules import Notice
from shared import words

TEMPLATES = Path(__file__).parent / "templates"
NAMED = Markup("<bdi>{}</bdi>")


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider that a person may choose, and where the choice is sent."""

    label: str
    action: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What every page of one sign-in shows: whose it is, for which app, in which language."""

    locale: str
    organization: str
    app: str
    form_token: str
    first_page: str
    providers: Sequence[Provider] = ()
    takes_email_codes: bool = True


def first_page(
    scene: Scene, *, notice: Notice | None = None, address: str = "", is_wrong: bool = False
) -> str:
    """Return the page that asks who somebody is; `is_wrong` says the address typed is none."""
    pages = words.of(scene.locale)["pages"]
    return _page(
        "first.html",
        scene.locale,
        title=pages["first"]["title"],
        is_wrong=is_wrong,
        notice=pages["notices"][notice] if notice else None,
        error=pages["first"]["invalid"] if is_wrong else None,
        address=address[:LONGEST_TYPED],
        **_shown(scene),
    )


def code_page(scene: Scene, *, address: str, mistake: str | None = None) -> str:
    """Return the page that asks for the code; `mistake` names what was wrong with the last one."""
    pages = words.of(scene.locale)["pages"]
    return _page(
        "code.html",
        scene.locale,
        title=pages["code"]["title"],
        is_wrong=mistake is not None,
        error=pages["code"][mistake] if mistake else None,
        address=address,
        **_shown(scene),
    )


def problem_page(locale: str, problem: Problem) -> str:
    """Return the page that says why nobody can go on here, and what to do."""
    text = words.of(locale)["pages"]["problems"][problem]
    return _page(
        "problem.html",
        locale,
        title=text["title"],
        is_wrong=True,
        body=text["body"],
        organization=None,
    )


def _shown(scene: Scene) -> Mapping[str, Any]:
    return {
        "organization": scene.organization,
        "app": scene.app,
        "form_token": scene.form_token,
        "first_page": scene.first_page,
        "providers": scene.providers,
        "takes_email_codes": scene.takes_email_codes,
    }


def _page(template: str, locale: str, **values: Any) -> str:
    pages = words.of(locale)["pages"]
    return (
        _environment()
        .get_template(template)
        .render(lang=locale, words=pages, style=Markup(style()), **values)  # noqa: S704 - our own file
    )


def _say(text: str, **names: str) -> Markup:
    """Put names into words; each may be written the other way round than the words are."""
    return escape(text).format(**{key: NAMED.format(name) for key, name in names.items()})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["say"] = _say
    return environment


@cache
def style() -> str:
    """Return the one stylesheet."""
    return (TEMPLATES / "style.css").read_text(encoding="utf-8").strip()


@cache
def style_digest() -> str:
    """Return the SHA-256 by which a content security policy names the stylesheet."""
    return base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
