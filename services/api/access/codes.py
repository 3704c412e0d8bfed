"""The code in a sign-in mail: worked out from the server's secret when it is needed, kept nowhere.

A stolen database holds challenges and digests of addresses; without the secret, which lies in the
server's settings, neither tells a code or an address.
"""

import hmac
import unicodedata
from datetime import timedelta
from uuid import UUID

DIGITS = 8
LIFETIME = timedelta(minutes=10)
MAX_ATTEMPTS = 5
REQUESTED = "sign_in.code_requested"


def pepper(key_encryption_key: str) -> bytes:
    """Return the secret that codes and digests of addresses are made with."""
    return hmac.digest(key_encryption_key.encode(), b"mentoring: codes in sign-in mails", "sha256")


def code_of(secret: bytes, *, organization_id: UUID, challenge_id: UUID) -> str:
    """Return the code of one challenge: always the same, so that a repeated mail says the same."""
    named = b"code" + organization_id.bytes + challenge_id.bytes
    number = int.from_bytes(hmac.digest(secret, named, "sha256"))
    # Of 256 bits, so no code is likelier than another by anything that could be measured.
    return f"{number % 10**DIGITS:0{DIGITS}}"


def is_code(secret: bytes, given: str, *, organization_id: UUID, challenge_id: UUID) -> bool:
    """Compare in constant time."""
    right = code_of(secret, organization_id=organization_id, challenge_id=challenge_id)
    return hmac.compare_digest(right.encode(), given.encode())


def address_digest(secret: bytes, *, organization_id: UUID, address: str) -> bytes:
    """Return under what an address is counted, however it is spelt."""
    spelt = unicodedata.normalize("NFKC", address.strip()).casefold()
    return hmac.digest(secret, b"address" + organization_id.bytes + spelt.encode(), "sha256")
