"""Answers whose shape is already decided: serialised once, by Pydantic's core.

Presenters build plain typed dictionaries, so nothing validates an answer a second time; a test
holds every answer against the document instead.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import Response
from pydantic_core import to_json

JSON = "application/json"


class SecretResponse(Response):
    """An answer with something shown once; `repeated` is what a repeated request is answered."""

    repeated: bytes = b""


def one(content: object, *, version: int | None = None, status: int = 200) -> Response:
    """Answer with one resource, its version as a strong ETag."""
    response = Response(to_json(content), status_code=status, media_type=JSON)
    if version is not None:
        response.headers["ETag"] = f'"{version}"'
    return response


def created(content: object, *, version: int | None = None, location: str) -> Response:
    """Answer with what was made, and where it is."""
    response = one(content, version=version, status=201)
    response.headers["Location"] = location
    return response


def accepted(content: object, *, version: int | None = None, location: str) -> Response:
    """Answer that the work goes on, and where to follow it."""
    response = one(content, version=version, status=202)
    response.headers["Location"] = location
    return response


def secret(
    content: Mapping[str, Any], *, field: str, version: int, location: str | None = None
) -> SecretResponse:
    """Answer with a field shown once: stored by no cache, never compressed, null when repeated.

    `location` says where the thing is that was made; without one, something known changed.
    """
    status = 200 if location is None else 201
    response = SecretResponse(to_json(content), status_code=status, media_type=JSON)
    response.headers["ETag"] = f'"{version}"'
    if location is not None:
        response.headers["Location"] = location
    response.headers["Cache-Control"] = "no-store"
    response.repeated = to_json({**content, field: None})
    return response


def no_content() -> Response:
    """Answer that it is done and there is nothing to show."""
    return Response(status_code=204)


def page(items: list[Any], next_cursor: str | None, *, link: str | None = None) -> Response:
    """Answer with one page of a list."""
    response = Response(to_json({"items": items, "next_cursor": next_cursor}), media_type=JSON)
    if link is not None:
        response.headers["Link"] = f'<{link}>; rel="next"'
    return response
