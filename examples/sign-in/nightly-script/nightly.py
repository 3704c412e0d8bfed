"""A script that runs every night: signs in as a machine and reads the directory to its end.

    API_URL=https://mentoring.example.org/v1 CLIENT_ID=... CLIENT_SECRET=... python nightly.py

Prints one JSON line per person. Needs `httpx`, nothing else.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import httpx

API = os.environ["API_URL"].rstrip("/")
ROOT = urljoin(API, "/")
TRIES = 5


class Machine(httpx.Auth):
    """Signs requests with a short token, and fetches the next one before that one ends."""

    def __init__(self, client_id: str, client_secret: str) -> None:
        self._basic = httpx.BasicAuth(client_id, client_secret)
        self._token = ""
        self._good_until = 0.0

    def auth_flow(self, request: httpx.Request) -> Any:
        if time.monotonic() > self._good_until:
            asking = httpx.Request(
                "POST", urljoin(ROOT, "oauth/token"), data={"grant_type": "client_credentials"}
            )
            answer = yield next(self._basic.auth_flow(asking))
            answer.read()
            if not answer.is_success:
                sys.exit(f"signing in was refused: {answer.text}")
            told = answer.json()
            self._token = told["access_token"]
            self._good_until = time.monotonic() + told["expires_in"] - 60
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def get(http: httpx.Client, path: str) -> dict[str, Any]:
    """Read one page; when the service asks for patience, wait as long as it says."""
    for _ in range(TRIES):
        answer = http.get(path)
        if answer.status_code not in {429, 503}:
            break
        time.sleep(float(answer.headers.get("Retry-After", "1")))
    if not answer.is_success:
        # A problem document (RFC 9457): `code` is for programs, `detail` for people.
        sys.exit(f"{answer.json()['code']}: {answer.json()['detail']}")
    page: dict[str, Any] = answer.json()
    return page


def people(http: httpx.Client) -> Iterator[dict[str, Any]]:
    """Return everybody, page by page."""
    page = get(http, f"{API}/people?limit=200")
    yield from page["items"]
    while cursor := page["next_cursor"]:
        page = get(http, f"{API}/people?limit=200&cursor={cursor}")
        yield from page["items"]


def main() -> None:
    """Print the directory."""
    machine = Machine(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"])
    with httpx.Client(auth=machine, timeout=30, trust_env=False) as http:
        for person in people(http):
            print(json.dumps({"id": person["id"], "version": person["version"]}))


if __name__ == "__main__":
    main()
