"""Signing keys of the built-in issuer: made, encrypted at rest, read, and used in turn.

Whoever verifies tokens may have fetched the key set a cache lifetime ago. So a key is published
two of them before it signs, and stays published as long as a token it signed may live.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from joserfc.jwk import ECKey

from services.api.access import sealing
from shared import ids
from shared.settings import Mode

ALGORITHM = "ES256"
CACHE_SECONDS = 600
"""How long others may keep the key set."""
REFRESH_SECONDS = 60
"""How often each process of the api looks for new keys."""
SIGNING_PERIOD = timedelta(days=90)
THESE_KEYS = (
    "SELECT id, encrypted_jwk, signs_from FROM signing_key WHERE mode = $1 ORDER BY generation"
)
# Of several processes that start at once, one stores its key and all use that one.
FIRST_KEY = (
    "INSERT INTO signing_key (id, mode, generation, public_jwk, encrypted_jwk, created_at,"
    " signs_from) VALUES ($1, $2, 1, $3, $4, $5, $5) ON CONFLICT DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """One signing key, with its private half."""

    id: UUID
    key: ECKey
    signs_from: datetime

    @property
    def kid(self) -> str:
        """Return the name under which the key is published."""
        return ids.encode(self.id)

    def public_jwk(self) -> dict[str, Any]:
        """Return the public half as a JWK."""
        return {**self.key.as_dict(private=False), "kid": self.kid, "alg": ALGORITHM, "use": "sig"}


def generate(key_id: UUID, *, signs_from: datetime) -> IssuerKey:
    """Make a fresh P-256 key."""
    return IssuerKey(key_id, ECKey.generate_key("P-256", private=True), signs_from)


def public_text(key: IssuerKey) -> str:
    """Return the public half as JSON, as it is stored beside the encrypted one."""
    return json.dumps(key.public_jwk(), sort_keys=True)


def encrypt(key: IssuerKey, secret: str) -> str:
    """Encrypt the private half for storage."""
    return sealing.seal(json.dumps(key.key.as_dict(private=True)).encode(), secret)


def decrypt(encrypted: str, secret: str) -> ECKey:
    """Undo `encrypt`; a wrong secret is a `JoseError`."""
    return ECKey.import_key(json.loads(sealing.unseal(encrypted, secret) or b"{}"))


def first_use(made_at: datetime) -> datetime:
    """Return from when a new key signs: two cache lifetimes after every process shows it."""
    return made_at + timedelta(seconds=2 * CACHE_SECONDS) + _notice()


def last_use(successor_signs_from: datetime, *, longest_life: timedelta) -> datetime:
    """Return until when a token may count that was signed before the successor took over."""
    return successor_signs_from + longest_life + _notice()


def _notice() -> timedelta:
    # Once for the ordinary look, once more for one that failed.
    return timedelta(seconds=2 * REFRESH_SECONDS)


async def load(
    connection: asyncpg.Connection,
    *,
    mode: Mode,
    secret: str,
    now: datetime,
    known: Iterable[IssuerKey] = (),
) -> list[IssuerKey]:
    """Return the keys of this mode; where there is none, make the first one."""
    rows = await connection.fetch(THESE_KEYS, mode)
    if not rows:
        await _store_first(connection, mode=mode, secret=secret, now=now)
        rows = await connection.fetch(THESE_KEYS, mode)
    opened = {key.id: key.key for key in known}
    return [
        IssuerKey(
            row["id"],
            opened.get(row["id"]) or decrypt(row["encrypted_jwk"], secret),
            row["signs_from"],
        )
        for row in rows
    ]


async def _store_first(
    connection: asyncpg.Connection, *, mode: Mode, secret: str, now: datetime
) -> None:
    key = generate(ids.new_id(), signs_from=now)
    await connection.execute(
        FIRST_KEY, *(key.id, mode, public_text(key), encrypt(key, secret), now)
    )
