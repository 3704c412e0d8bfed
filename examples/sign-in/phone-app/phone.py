"""What a phone app does to sign somebody in and to stay signed in, as one small program.

    export API_URL=https://mentoring.example.org/v1 CLIENT_ID=... ORGANIZATION=acme
    python phone.py sign-in ada@example.org     # asks for the code that comes by mail
    python phone.py home                        # what should I do next?
    python phone.py sign-out

A real app keeps what stands in KEPT in the system's key store (Keychain, Keystore). Where the
organization has an identity provider, the app opens `/oauth/authorize` in the system's browser
instead of asking for an address; from the authorization code on, everything is the same.
Needs `httpx`, nothing else.
"""

import base64
import hashlib
import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx

API = os.environ["API_URL"].rstrip("/")
ROOT = urljoin(API, "/")
CLIENT_ID = os.environ["CLIENT_ID"]
KEPT = Path(os.environ.get("KEPT", "phone.json"))
TRIES = 3

# A lost answer may be asked for again for 30 seconds: whoever waits that long for it is too late.
http = httpx.Client(timeout=8, trust_env=False)


def sign_in(address: str) -> None:
    """Ask for a code by mail, trade it for tokens. No password, and no secret in the app."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = told(
        http.post(
            f"{API}/auth/email-codes",
            json={
                "organization": os.environ["ORGANIZATION"],
                "client_id": CLIENT_ID,
                "email": address,
                "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            },
        )
    )
    code = input("The code from the mail: ").replace(" ", "")
    door = f"{API}/auth/email-codes/{challenge['challenge_id']}/verify"
    verified = told(http.post(door, json={"code": code}))
    keep(
        token(
            grant_type="authorization_code",
            code=verified["code"],
            code_verifier=verifier,
        )
    )


def home() -> None:
    """Show what the person should do next."""
    answer = http.get(f"{API}/me/home", headers={"Authorization": f"Bearer {access_token()}"})
    print(json.dumps(told(answer), indent=2))


def sign_out() -> None:
    """End this phone's sign-in on the server too, then forget it here."""
    told(
        http.post(
            urljoin(ROOT, "oauth/revoke"),
            data={"client_id": CLIENT_ID, "token": kept()["refresh_token"]},
        )
    )
    KEPT.unlink()


def access_token() -> str:
    """Return a token that is good for another minute; fetch one if need be."""
    tokens = kept()
    if tokens["good_until"] < time.time() + 60:
        tokens = refreshed(tokens["refresh_token"])
        keep(tokens)
    return str(tokens["access_token"])


def refreshed(refresh_token: str) -> dict[str, Any]:
    """Trade the refresh token for the next pair.

    Each refresh token works once. When an answer is lost on the way, the same token may be shown
    again within 30 seconds, so trying again at once is right; keeping the old one for later is not.
    """
    for attempt in range(TRIES):
        try:
            return token(grant_type="refresh_token", refresh_token=refresh_token)
        except httpx.TransportError:
            time.sleep(attempt)
    sys.exit("no connection; still signed in, try again")


def token(**form: str) -> dict[str, Any]:
    """Ask the token endpoint; a refusal means that this phone is signed out."""
    answer = http.post(urljoin(ROOT, "oauth/token"), data={"client_id": CLIENT_ID, **form})
    if answer.status_code == httpx.codes.BAD_REQUEST:
        KEPT.unlink(missing_ok=True)
        sys.exit(f"signed out: {answer.json()['error']}")
    return told(answer)


def told(answer: httpx.Response) -> dict[str, Any]:
    """Return what was answered, or say what is wrong in the words of the service."""
    content: dict[str, Any] = answer.json() if answer.content else {}
    if not answer.is_success:
        sys.exit(str(content.get("detail") or content.get("error_description")))
    return content


def keep(tokens: dict[str, Any]) -> None:
    """Store both tokens before either is used: a crash here must not sign anybody out."""
    tokens = {**tokens, "good_until": time.time() + tokens.get("expires_in", 0)}
    waiting = KEPT.with_suffix(".new")
    waiting.touch(mode=0o600)
    waiting.write_text(json.dumps(tokens))
    waiting.replace(KEPT)


def kept() -> dict[str, Any]:
    """Return the tokens of whoever is signed in."""
    if not KEPT.exists():
        sys.exit("nobody is signed in here")
    tokens: dict[str, Any] = json.loads(KEPT.read_text())
    return tokens


def main() -> None:
    """Do what the command line says."""
    match sys.argv[1:]:
        case ["sign-in", address]:
            sign_in(address)
        case ["home"]:
            home()
        case ["sign-out"]:
            sign_out()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
