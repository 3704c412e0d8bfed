"""The one cookie, and what ties forms and answers to the browser that began a sign-in."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from urllib.parse import urlencode
from uuid import UUID

from services.api.access.rules import CredentialKind, CredentialText, parse_credential
from shared import ids

LIFETIME = timedelta(minutes=10)
KEPT = timedelta(hours=1)
# Whoever clicks twice, or again because the app is slow, sends the same form twice.
REPEATED_WITHIN = timedelta(seconds=30)
# Browsers keep a cookie of this name for our host alone: nobody on a sibling host can plant one.
COOKIE = "__Host-mentoring-sign-in"
# One for each tab that somebody signs in from; the oldest makes room.
MOST_AT_ONCE = 4
FIRST_PAGE = "/oauth/sign-in"
CODE_PAGE = "/oauth/sign-in/code"
SIGN_IN_PARAMETER = "sign_in"
SEALED_PARAMETER = "sealed"
_PURPOSE = b"mentoring sign-in form"


class Notice(StrEnum):
    """What the first page says when somebody is led back to it."""

    BUSY = "busy"
    CODES_OFF = "codes_off"
    CODE_EXPIRED = "code_expired"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    PROVIDER_REFUSED = "provider_refused"
    PROVIDER_FAILED = "provider_failed"
    NOT_PROVISIONED = "not_provisioned"


def entries(cookie: str | None) -> Iterator[CredentialText]:
    """Yield the sign-ins that a browser says it began, newest first; what is malformed is none."""
    for part in (cookie or "").split(".")[:MOST_AT_ONCE]:
        try:
            yield parse_credential(part, CredentialKind.SIGN_IN)
        except ValueError:
            continue


def entry_of(cookie: str | None, sign_in_id: UUID | None = None) -> CredentialText | None:
    """Return the browser's half of one sign-in, or of its newest."""
    return next((one for one in entries(cookie) if sign_in_id in (None, one.id)), None)


def with_entry(cookie: str | None, entry: CredentialText) -> str:
    """Return the cookie of a browser that began another sign-in."""
    return _joined([entry, *entries(cookie)])


def without_entry(cookie: str | None, sign_in_id: UUID) -> str:
    """Return the cookie of a browser whose sign-in is over; empty, it is to be deleted."""
    return _joined(one for one in entries(cookie) if one.id != sign_in_id)


def _joined(held: Iterable[CredentialText]) -> str:
    return ".".join([str(one) for one in held][:MOST_AT_ONCE])


@dataclass(frozen=True, slots=True)
class Held:
    """What a browser holds of a sign-in: its half, and all of it, sealed, until it is kept here."""

    entry: CredentialText
    sealed: str = ""


def form_token(held: Held) -> str:
    """Return what goes with every form of a sign-in and only its own browser can have made."""
    digest = hmac.digest(held.entry.secret.encode(), _PURPOSE, hashlib.sha256)
    token = f"{ids.encode(held.entry.id)}.{digest.hex()}"
    return f"{token}.{held.sealed}" if held.sealed else token


def held_by_form(cookie: str | None, token: str) -> Held | None:
    """Return what the browser holds of the sign-in of a form; of a foreign form it holds none."""
    name, _, rest = token.partition(".")
    sign_in_id = sign_in_named(name)
    entry = None if sign_in_id is None else entry_of(cookie, sign_in_id)
    if entry is None:
        return None
    held = Held(entry, rest.partition(".")[2])
    return held if hmac.compare_digest(_bytes(form_token(held)), _bytes(token)) else None


def sign_in_named(text: str) -> UUID | None:
    """Return the id that an address or a form names."""
    try:
        return ids.decode(text)
    except ValueError:
        return None


def sealed(plain: bytes, key: bytes) -> str:
    """Return a text that may be read and not changed."""
    seal = hmac.digest(key, plain, hashlib.sha256)
    return f"{base64.urlsafe_b64encode(plain).decode()}.{seal.hex()}"


def unsealed(text: str, key: bytes) -> bytes | None:
    """Return what was sealed; None where the text is not exactly as it was made."""
    written, _, _ = text.partition(".")
    try:
        plain = base64.b64decode(written, b"-_", validate=True)
    except ValueError:
        return None
    return plain if hmac.compare_digest(sealed(plain, key).encode(), _bytes(text)) else None


def _bytes(text: str) -> bytes:
    # What came as an address or a form may hold half a character.
    return text.encode(errors="surrogatepass")


def page(path: str, held: Held, notice: Notice | None = None) -> str:
    """Return the address of a page of one sign-in, and of what it says first."""
    query = {SIGN_IN_PARAMETER: ids.encode(held.entry.id)}
    if held.sealed:
        query[SEALED_PARAMETER] = held.sealed
    if notice is not None:
        query["notice"] = notice.value
    return f"{path}?{urlencode(query)}"
