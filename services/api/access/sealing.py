"""Secrets that must be read again, encrypted at rest: JWE (RFC 7516), `dir` with A256GCM."""

import hmac

from joserfc import jwe
from joserfc.jwk import OctKey


def seal(plain: bytes, secret: str) -> str:
    """Encrypt under `MENTORING_KEY_ENCRYPTION_KEY`."""
    wrapping = OctKey.import_key({"kty": "oct", "k": secret})
    return jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM"}, plain, wrapping)


def unseal(sealed: str, secret: str) -> bytes:
    """Undo `seal`; a wrong secret is a `JoseError`."""
    wrapping = OctKey.import_key({"kty": "oct", "k": secret})
    return jwe.decrypt_compact(sealed, wrapping).plaintext or b""


def seal_of_browsers(secret: str) -> bytes:
    """Return the secret that seals what browsers hold of sign-ins, and nothing else."""
    return hmac.digest(secret.encode(), b"mentoring: sign-ins that browsers hold", "sha256")
