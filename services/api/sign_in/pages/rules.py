"""What a page may do in a browser, which language it speaks, and what people type into it."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from services.api.access import codes
from services.api.access.rules import parse_client_name
from services.api.issuer.rules import FORM, MAX_FIELDS, TokenRefusal, single

LONGEST_TYPED = 254
ONE_MAIL_WITHIN = timedelta(seconds=10)
MOST_LANGUAGES = 10
_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_CODE = re.compile(rf"[0-9]{{{codes.DIGITS}}}")
_BETWEEN = frozenset("-\u2010\u2011\u2012\u2013.")


class Problem(StrEnum):
    """Why there is nothing to go on with; each has a page of its own."""

    UNKNOWN_APP = "unknown_app"
    OVER = "over"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Asked:
    """An authorization request before it is judged: enough of it to know whom to answer."""

    organization_id: UUID
    client_id: UUID
    redirect_uri: str
    state: str | None
    fields: Mapping[str, str]
    refusal: TokenRefusal | None


def asked(pairs: Sequence[tuple[str, str]]) -> Asked | None:
    """Read whom a request is from and where it wants its answer; None if it does not say."""
    refusal = None
    try:
        fields = single(pairs)
    except TokenRefusal as error:
        refusal = error
        fields = dict(_named_once(pairs))
    try:
        organization_id, client_id = parse_client_name(fields.get("client_id", ""))
    except ValueError:
        return None
    redirect_uri = fields.get("redirect_uri", "")
    return Asked(organization_id, client_id, redirect_uri, fields.get("state"), fields, refusal)


def _named_once(pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    names = [name for name, _value in pairs]
    return ((name, value) for name, value in pairs if value and names.count(name) == 1)


def parse_form(media_type: str, body: bytes) -> Mapping[str, str]:
    """Return the fields of a form; what cannot be read has none, and so no token either."""
    if media_type.partition(";")[0].strip().lower() != FORM:
        return {}
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
        return single(pairs)
    except (ValueError, TokenRefusal):
        return {}


def digits(typed: str) -> str | None:
    """Return the code that somebody typed: spaces between digits and digits of any script do."""
    written = (one for one in typed[:LONGEST_TYPED] if not one.isspace() and one not in _BETWEEN)
    code = "".join(_digit(one) for one in written)
    return code if _CODE.fullmatch(code) else None


def _digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)


def languages(ui_locales: str | None, accept_language: str | None) -> tuple[str, ...]:
    """Return what a reader wants to read, best first: what the app says, then their browser."""
    named = (ui_locales or "").split()[:MOST_LANGUAGES]
    return tuple(_tags([*named, *_accepted(accept_language or "")]))


def _accepted(header: str) -> Iterable[str]:
    parts = [part.partition(";") for part in header.split(",")[:MOST_LANGUAGES]]
    weighed = [(tag.strip(), _weight(parameters)) for tag, _, parameters in parts]
    ordered = sorted(weighed, key=lambda one: one[1], reverse=True)
    return [tag for tag, weight in ordered if weight > 0]


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _tags(named: Iterable[str]) -> Iterator[str]:
    for tag in named:
        if _TAG.fullmatch(tag):
            language, *rest = tag.split("-")
            yield "-".join([language.lower(), *(part.upper() for part in rest)])


def form_targets(redirect_uri: str, *, issuer: str, has_providers: bool) -> tuple[str, ...]:
    """Return where the forms of a page may lead, as sources of a content security policy.

    Browsers hold every redirect behind a form against it, also those of the app's own and of an
    identity provider, whose hosts nobody here knows: so schemes are named.
    """
    schemes = {urlsplit(redirect_uri).scheme}
    if has_providers:
        schemes.add(urlsplit(issuer).scheme)
    return ("'self'", *(f"{scheme}:" for scheme in sorted(schemes)))


def policy(*, style_digest: str, targets: Iterable[str] = ("'none'",)) -> str:
    """Return the content security policy of a page: one style, forms, and nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src 'sha256-{style_digest}'",
            f"form-action {' '.join(targets)}",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ]
    )
