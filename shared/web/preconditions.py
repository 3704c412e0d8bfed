"""Versions as entity tags (RFC 9110, section 13): a change names the one it saw."""

from shared.errors import PreconditionError


def tags_of(header: str | None) -> frozenset[str]:
    """Return the tags a header names; a weak mark, put on by compressing proxies, is ignored."""
    if header is None:
        return frozenset()
    return frozenset(part.strip().removeprefix("W/").strip('"') for part in header.split(","))


def require_match(if_match: str | None, *, version: int) -> None:
    """Refuse a change whose author names no version, or another one than the current."""
    if if_match is None:
        raise PreconditionError(
            "Say which version you change: send its ETag as If-Match.", code="precondition_required"
        )
    accept_match(if_match, version=version)


def require_match_or_new(
    if_match: str | None, if_none_match: str | None, *, version: int | None
) -> None:
    """Refuse to put what may not be there yet, without a version, unless its author says so."""
    if version is None and if_none_match is not None:
        return
    if if_match is None:
        raise PreconditionError(
            "Say what you saw: send the ETag you read as If-Match, or `If-None-Match: *` if there"
            " was nothing yet.",
            code="precondition_required",
        )
    accept_match(if_match, version=version or 0)


def accept_match(if_match: str | None, *, version: int) -> None:
    """Refuse a stale version where naming one is optional."""
    named = tags_of(if_match)
    if named and named.isdisjoint({"*", str(version)}):
        raise PreconditionError(headers={"ETag": f'"{version}"'})


def is_unchanged(if_none_match: str | None, etag: str | None) -> bool:
    """Tell whether the reader already holds this version."""
    return etag is not None and not tags_of(if_none_match).isdisjoint({"*", etag.strip('"')})
