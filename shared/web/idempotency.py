"""One effect per intent: a repeated POST with one key is answered from the first one's row.

Header `Idempotency-Key` after draft-ietf-httpapi-idempotency-key-header-08. The row is written in
the transaction of the effect, so a failure that rolled back stores nothing and may be retried.
Unlike the draft, a key reused for something else is 409, because this API never answers 422.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Response

from shared.errors import ConflictError, InvalidError, Violation

HEADER = "Idempotency-Key"
KEPT_HEADERS = ("ETag", "Location", "Content-Type", "Content-Language")
_BOUNDARY = re.compile(r'^multipart/.*boundary="?([^";]{1,70})', re.IGNORECASE)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Intent:
    """What a client means to do once: its key, and a fingerprint of the request."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Remembered:
    """The answer that was given the first time."""

    fingerprint: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes


def intent_of(
    key: str | None,
    *,
    is_required: bool,
    method: str,
    path: str,
    query: str,
    media_type: str,
    body: bytes,
) -> Intent | None:
    """Return the intent of a request, or None where no key is given nor needed."""
    if key is None and not is_required:
        return None
    if key is None:
        raise _refused("missing", "API keys send an Idempotency-Key with every POST.")
    if not _KEY.fullmatch(key):
        raise _refused("malformed", "An Idempotency-Key has 1 to 255 printable characters.")
    parts = (method, path, query, _canonical(body, media_type))
    return Intent(key, hashlib.sha256("\x00".join(parts).encode()).digest())


def replay(remembered: Remembered, intent: Intent) -> Response:
    """Answer as the first time, marked as such; another request under the key is refused."""
    if remembered.fingerprint != intent.fingerprint:
        raise ConflictError(
            "This Idempotency-Key was used for another request.", code="idempotency_key_reused"
        )
    headers = {**remembered.headers, "Idempotency-Replayed": "true"}
    return Response(remembered.body, status_code=remembered.status, headers=headers)


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
    try:
        parsed: Any = json.loads(body)
    except ValueError:
        return hashlib.sha256(body).hexdigest()
    return json.dumps(parsed, sort_keys=True, separators=(",", ":"))
