"""Whose request this is, as far as it is known before anybody has read the credential.

The door authenticates deep inside the application. Out here a digest of the credential stands for
its holder; once the door has opened for it, the digest is known to belong to a principal and an
organization, so that all tokens of one holder share one quota. A forged token never gets that far
and spends nobody's quota but its own.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any, NamedTuple

from starlette.types import Scope

REMEMBERED = 20_000
DIGEST = "credential_digest"


class Caller(NamedTuple):
    """Who spends: a principal (or the digest that stands for one), and their organization."""

    principal: str
    organization: str | None = None


@dataclass(frozen=True, slots=True)
class Callers:
    """Remembers which credential belongs to whom, the most recent ones only."""

    _known: OrderedDict[bytes, Caller]

    @classmethod
    def none_yet(cls) -> "Callers":
        """Return an empty memory."""
        return cls(OrderedDict())

    def of(self, scope: Scope) -> Caller:
        """Return who asks, or a stand-in while that is not known."""
        digest = _digest(scope)
        if digest is None:
            client = scope.get("client")
            return Caller(f"address:{client[0]}" if client else "address:")
        return self._known.get(digest) or Caller(f"credential:{digest.hex()}")

    def learn(self, scope: Scope) -> None:
        """Remember the holder for whom the door has just opened."""
        actor = scope["state"].get("actor")
        digest = _digest(scope)
        if actor is None or digest is None:
            return
        self._known[digest] = _caller(actor)
        self._known.move_to_end(digest)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def network_of(address: str) -> str:
    """Return under what a stranger is counted: who has one IPv6 address has a whole /64 of them."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))


def _caller(actor: Any) -> Caller:
    return Caller(actor.principal, str(actor.organization_id))


def _digest(scope: Scope) -> bytes | None:
    # Several layers ask; the scope remembers.
    if DIGEST not in scope:
        scope[DIGEST] = _digest_of(scope["headers"])
    digest: bytes | None = scope[DIGEST]
    return digest


def _digest_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    for name, value in headers:
        if name == b"authorization":
            return hashlib.blake2b(value, digest_size=16).digest()
    return None
