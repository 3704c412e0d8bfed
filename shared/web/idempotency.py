"""One effect per intent: a repeated POST with one key is answered from the first one's row.

Header `Idempotency-Key` after draft-ietf-httpapi-idempotency-key-header-08. The row is written in
the transaction of the effect, so a failure that rolled back stores nothing and may be retried.
Unlike the draft, a key reused for something else is 409, because this API never answers 422.
An id that the client chose for what it makes names an intent too, with or without a key.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Response

from shared import ids
from shared.errors import ConflictError, InvalidError, Violation
from shared.web import codes

HEADER = "Idempotency-Key"
OWN_ID = "id "
"""What the key of an intent begins with that is named by an id; no header's key has a space."""
KEPT_HEADERS = ("ETag", "Location", "Content-Type", "Content-Language")
_BOUNDARY = re.compile(r'^multipart/.*boundary="?([^";]{1,70})', re.IGNORECASE)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_ID = re.compile(rf"[a-z]{{3}}_{ids.SUFFIX_PATTERN}")


@dataclass(frozen=True, slots=True)
class Intent:
    """What a client means to do once: its key, and a fingerprint of the request."""

    key: str
    fingerprint: bytes

    @property
    def is_by_id(self) -> bool:
        """Tell whether it is named by the id of what it makes."""
        return self.key.startswith(OWN_ID)


@dataclass(frozen=True, slots=True)
class Remembered:
    """The answer that was given the first time."""

    fingerprint: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes


def intents_of(
    keys: Sequence[str],
    *,
    is_required: bool,
    takes_id: bool,
    method: str,
    path: str,
    query: str,
    media_type: str,
    body: bytes,
) -> list[Intent]:
    """Return what names the intent of a request: an id of the client's own, its key, or nothing.

    The id comes first: equal requests wait for each other there, and find the answer after it.
    """
    own_id = _own_id(body) if takes_id else None
    names = [] if own_id is None else [OWN_ID + own_id]
    names += _given_key(keys, is_required=is_required)
    if not names:
        return []
    parts = (method, path, query, _canonical(body, media_type))
    fingerprint = hashlib.sha256("\x00".join(parts).encode()).digest()
    return [Intent(name, fingerprint) for name in names]


def _given_key(keys: Sequence[str], *, is_required: bool) -> Sequence[str]:
    if is_required and not keys:
        raise _refused("missing", "API keys send an Idempotency-Key with every POST.")
    if len(keys) > 1:
        raise _refused("not_repeatable", codes.VIOLATIONS["not_repeatable"][0])
    if keys and not _KEY.fullmatch(keys[0]):
        raise _refused("malformed", "An Idempotency-Key has 1 to 255 printable characters.")
    return keys


def replay(remembered: Remembered, intent: Intent) -> Response:
    """Answer as the first time, marked as such; another request under the name is refused."""
    if remembered.fingerprint != intent.fingerprint:
        raise _taken() if intent.is_by_id else _reused()
    headers = {**remembered.headers, "Idempotency-Replayed": "true"}
    return Response(remembered.body, status_code=remembered.status, headers=headers)


def _reused() -> ConflictError:
    return ConflictError(
        "This Idempotency-Key was used for another request.", code="idempotency_key_reused"
    )


def _taken() -> ConflictError:
    return ConflictError("This id was used with other content.", code="already_exists")


def in_progress() -> ConflictError:
    """Refuse while the first request with this key is still running."""
    return ConflictError(
        "The first request with this Idempotency-Key is still running.",
        code="idempotency_key_in_progress",
        headers={"Retry-After": "1"},
    )


def kept_headers(response: Response) -> dict[str, str]:
    """Return the headers that belong to the answer and not to the moment."""
    return {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}


def _refused(code: str, detail: str) -> InvalidError:
    return InvalidError(errors=[Violation(f"header.{HEADER}", code, detail)])


def _canonical(body: bytes, media_type: str) -> str:
    """Return the body such that spacing, the order of fields and part boundaries do not matter."""
    if found := _BOUNDARY.search(media_type):
        # A client that sends a form again makes a new boundary for it.
        return hashlib.sha256(body.replace(found[1].encode(), b"")).hexdigest()
    parsed = _parsed(body)
    if parsed is None:
        return hashlib.sha256(body).hexdigest()
    return json.dumps(parsed, sort_keys=True, separators=(",", ":"))


def _own_id(body: bytes) -> str | None:
    """Return the id that the body gives to what it makes, if it is one at all."""
    parsed = _parsed(body)
    own_id = parsed.get("id") if isinstance(parsed, dict) else None
    return own_id if isinstance(own_id, str) and _ID.fullmatch(own_id) else None


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        # No JSON, or announced as something else and nested without end; the route refuses it.
        return None
