"""The door for sibling services, on a small application."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from joserfc.jwk import ECKey

from shared.clock import system_clock
from shared.ids import new_id
from shared.security import ServiceCaller, ServiceSigner, ServiceVerifier
from shared.web.problems import install_problem_handlers
from shared.web.services import PRUNE_ABOVE, Replays, ServiceDoor

KEY = ECKey.generate_key("P-256", {"kid": "service:api"}, private=True)
ORGANIZATION = new_id()
BODY = b'{"a":1}'


def sign(*, audience: str = "service:echo", body: bytes = BODY, key: ECKey = KEY) -> str:
    """Return a token for `POST /v1/echo`."""
    signer = ServiceSigner(
        service="service:api", key=json.dumps(key.as_dict(private=True)), clock=system_clock
    )
    return signer.sign(
        audience=audience,
        organization_id=ORGANIZATION,
        subject="system:test",
        method="POST",
        path="/v1/echo",
        body=body,
    )


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that echoes the body to siblings."""
    public_keys = json.dumps({"keys": [KEY.as_dict(private=False)]})
    verifier = ServiceVerifier(service="service:echo", public_keys=public_keys, clock=system_clock)
    door = ServiceDoor(verifier, clock=system_clock, max_bytes=64)
    app = FastAPI()
    install_problem_handlers(app)

    @app.post("/v1/echo")
    async def echo(
        request: Request, caller: Annotated[ServiceCaller, Depends(door)]
    ) -> dict[str, str]:
        body = await request.body()
        return {"organization": str(caller.organization_id), "body": body.decode()}

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://echo.test") as client:
        yield client


async def post(http: httpx.AsyncClient, token: str | None, body: bytes = BODY) -> httpx.Response:
    """Send a body to the door."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await http.post("/v1/echo", content=body, headers=headers)


async def test_a_signed_request_comes_in_with_its_body(http: httpx.AsyncClient) -> None:
    answer = await post(http, sign())

    assert answer.status_code == 200
    assert answer.json() == {"organization": str(ORGANIZATION), "body": BODY.decode()}


async def test_a_token_opens_once(http: httpx.AsyncClient) -> None:
    token = sign()
    await post(http, token)

    answer = await post(http, token)

    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


@pytest.mark.parametrize(
    "token",
    [
        None,
        "eyJhbGciOiJub25lIn0.e30.",
        sign(audience="service:other"),
        sign(body=b"{}"),
        sign(key=ECKey.generate_key("P-256", {"kid": "service:api"}, private=True)),
    ],
    ids=["missing", "unsigned", "for somebody else", "for another body", "forged"],
)
async def test_anything_doubtful_is_refused(http: httpx.AsyncClient, token: str | None) -> None:
    answer = await post(http, token)

    assert answer.status_code == 401
    shown = "Bearer" if token is None else 'Bearer error="invalid_token"'
    assert answer.headers["WWW-Authenticate"] == shown


async def test_a_large_body_is_refused_unread(http: httpx.AsyncClient) -> None:
    body = b"x" * 65

    answer = await post(http, sign(body=body), body)

    assert (answer.status_code, answer.json()["code"]) == (413, "content_too_large")


async def test_a_large_body_of_unknown_length_is_refused(http: httpx.AsyncClient) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 30

    answer = await http.post("/v1/echo", content=parts())

    assert answer.status_code == 413


def test_expired_tokens_are_forgotten() -> None:
    replays = Replays(lambda: datetime(2026, 11, 24, tzinfo=UTC))
    for _ in range(PRUNE_ABOVE + 1):
        replays.refuse_known(
            ServiceCaller("service:api", UUID(int=1), "system:test", str(new_id()), 0)
        )

    assert len(replays._expiry) == 1
