"""Whose request this is, as far as it is known before anybody has read the credential.

The door authenticates deep inside the application. Out here somebody is a stranger and counts by
their network, whatever they show, until the door has opened for it; from then on a digest of the
credential stands for its holder, and all tokens of one holder share one quota.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any, NamedTuple

from starlette.types import Scope

REMEMBERED = 20_000
DIGEST = "credential_digest"


class Caller(NamedTuple):
    """Who spends: a principal and their organization, or the network of a stranger."""

    principal: str
    organization: str | None = None

    @property
    def is_stranger(self) -> bool:
        """Tell whether nobody knows them yet."""
        return self.organization is None


@dataclass(frozen=True, slots=True)
class Callers:
    """Remembers which credential belongs to whom, the most recent ones only."""

    _known: OrderedDict[bytes, Caller]

    @classmethod
    def none_yet(cls) -> "Callers":
        """Return an empty memory."""
        return cls(OrderedDict())

    def of(self, scope: Scope) -> Caller:
        """Return who asks, or a stranger of that network while that is not known."""
        digest = _digest(scope)
        known = self._known.get(digest) if digest else None
        return known or Caller(f"network:{network_of(scope)}")

    def learn(self, scope: Scope, status: int) -> Caller | None:
        """Remember for whom the door has just opened and return them, if it did.

        What it refuses to believe is forgotten, such as a token that has expired: from then on its
        requests are a stranger's again.
        """
        digest = _digest(scope)
        if digest is None:
            return None
        actor = scope["state"].get("actor")
        if actor is None:
            if status == HTTPStatus.UNAUTHORIZED:
                self._known.pop(digest, None)
            return None
        self._known[digest] = holder = _caller(actor)
        self._known.move_to_end(digest)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return holder


def network_of(scope: Scope) -> str:
    """Return under what a stranger is counted: who has one IPv6 address may have a whole /56.

    That is what a home gets (RFC 6177); where phones get a /64 each, 256 of them are one network.

    Where a request comes from is what the server says, and the proxies it trusts.
    """
    client = scope.get("client")
    try:
        parsed = ip_address(client[0] if client else "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed, 56), strict=False))


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
