"""Keyset pages: a cursor says after which row to go on, for one list with one set of filters."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from shared.errors import InvalidError, Violation

SIGNATURE_BYTES = 12
MAX_CURSOR = 512


class Page(BaseModel):
    """Query of any list; each list adds its filters and refuses every other parameter."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    limit: Annotated[
        int,
        Field(
            ge=1,
            le=200,
            description="How many items at most.",
            examples=[50],
            json_schema_extra={"format": "int32"},
        ),
    ] = 50
    cursor: Annotated[
        str | SkipJsonSchema[None],
        StringConstraints(max_length=MAX_CURSOR, pattern=r"^[A-Za-z0-9_-]+$"),
        Field(
            description="`next_cursor` of the page before; opaque, good for the same filters only.",
            examples=["WyJBZGEiLCIwMWthanY3djFjZWZoOHdzNnExZnl2NG0yeiJd"],
        ),
    ] = None

    def shape(self) -> dict[str, Any]:
        """Return everything a cursor is bound to: the filters and the order, not the place."""
        return self.model_dump(mode="json", exclude={"limit", "cursor"})


class Cursors:
    """Makes and reads the cursors of one list, signed for one organization."""

    def __init__(self, *, secret: bytes, operation: str, organization: str, page: Page) -> None:
        """Bind the cursors to who asks for what."""
        bound = json.dumps([operation, organization, page.shape()], sort_keys=True)
        self._key = hmac.digest(secret, bound.encode(), hashlib.sha256)
        self._page = page

    def after(self) -> list[Any] | None:
        """Return the values of the row to go on after, or None for the first page."""
        if self._page.cursor is None:
            return None
        try:
            raw = urlsafe_b64decode(self._page.cursor + "=" * (-len(self._page.cursor) % 4))
            signature, place = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
            if not hmac.compare_digest(signature, self._sign(place)):
                raise _invalid()
            values: list[Any] = json.loads(place)
        except ValueError:
            raise _invalid() from None
        return values

    def cut[Row](
        self, rows: Sequence[Row], place_of: Callable[[Row], Sequence[Any]]
    ) -> tuple[Sequence[Row], str | None]:
        """Split what was read, one row more than asked for, into the page and the next cursor."""
        if len(rows) <= self._page.limit:
            return rows, None
        shown = rows[: self._page.limit]
        return shown, self.at(place_of(shown[-1]))

    def at(self, values: Sequence[Any]) -> str:
        """Return the cursor that goes on after these values."""
        place = json.dumps(values, separators=(",", ":"), default=str).encode()
        return urlsafe_b64encode(self._sign(place) + place).decode().rstrip("=")

    def _sign(self, place: bytes) -> bytes:
        return hmac.digest(self._key, place, hashlib.sha256)[:SIGNATURE_BYTES]


def _invalid() -> InvalidError:
    return InvalidError(
        "This cursor does not belong to this list with these filters.",
        code="invalid_cursor",
        errors=[Violation("query.cursor", "invalid_cursor", "Start again without a cursor.")],
    )
