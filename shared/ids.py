"""Identifiers: UUIDv7 inside, TypeID at the edge.

A TypeID is `prefix_` and 26 characters of Crockford base32 over the 128 bits of the UUID
(https://github.com/jetify-com/typeid, specification 0.3.0). UUIDv7 is RFC 9562, section 5.7.
"""

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from uuid import UUID

from uuid_utils.compat import uuid7

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
SUFFIX_PATTERN = "[0-7][0-9a-hjkmnp-tv-z]{25}"

_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_SHIFTS = range(125, -1, -5)

PREFIXES: Mapping[str, str] = MappingProxyType(
    {
        "organization": "org",
        "person": "per",
        "role_assignment": "rol",
        "attribute": "atr",
        "program": "prg",
        "track": "trk",
        "form": "frm",
        "match_policy": "pol",
        "agreement_template": "agt",
        "participant": "par",
        "mentorship": "msh",
        "member": "mbr",
        "match_run": "run",
        "proposal": "prp",
        "meeting": "mtg",
        "event": "evt",
        "api_key": "key",
        "oauth_client": "ocl",
        "refresh_token": "rfm",
        "connection": "con",
        "identity_link": "idl",
        "mapping": "map",
        "import": "imp",
        "sync_run": "syn",
        "inbox_item": "inb",
        "delivery": "dlv",
        "captured_message": "cap",
        "email_code": "emc",
    }
)


def new_id() -> UUID:
    """Return a fresh UUIDv7: unique, and later ids sort after earlier ones."""
    return uuid7()


def derived_id(*parts: str) -> UUID:
    """Return the same UUID for the same parts, always (version 5 over the joined parts)."""
    return uuid.uuid5(uuid.NAMESPACE_URL, "\x1f".join(parts))


def encode(value: UUID) -> str:
    """Return the 26 base32 characters of a UUID."""
    number = value.int
    return "".join([ALPHABET[(number >> shift) & 31] for shift in _SHIFTS])


def decode(text: str) -> UUID:
    """Return the UUID of 26 base32 characters; anything else is a `ValueError`."""
    if len(text) != len(_SHIFTS) or text[0] > "7":
        raise ValueError("not 26 base32 characters of a UUID")
    number = 0
    try:
        for character in text:
            number = number << 5 | _VALUES[character]
    except KeyError:
        raise ValueError("not 26 base32 characters of a UUID") from None
    return UUID(int=number)


def format_id(kind: str, value: UUID) -> str:
    """Return the public form of an id, such as `msh_01kajv7v1cefh8ws6q1fyv4m2z`."""
    return f"{PREFIXES[kind]}_{encode(value)}"


def format_optional(kind: str, value: UUID | None) -> str | None:
    """Return the public form of an id that may be absent."""
    return None if value is None else format_id(kind, value)


def parse_id(kind: str, text: str) -> UUID:
    """Return the UUID behind a public id; a wrong prefix or malformed text is a `ValueError`."""
    prefix, separator, suffix = text.rpartition("_")
    if not separator or prefix != PREFIXES[kind]:
        raise ValueError(f"not an id with the prefix {PREFIXES[kind]}_")
    return decode(suffix)
