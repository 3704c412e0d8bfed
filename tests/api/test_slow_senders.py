"""Two hundred sockets that never finish what they began to send, before a real server."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from tests.support.apps import World, api_settings
from tests.support.database import Databases
from tests.support.processes import API, Server, environment, running

SLOW = 200
HONEST = 20
BEGUN = (
    "POST {path} HTTP/1.1\r\nHost: api.test\r\nContent-Length: {announced}\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\n{credential}\r\na"
)
# Above what a server reads ahead, and more than bodies of other doors may have.
FILE = b"x" * 3 * 1024 * 1024


@pytest.fixture(scope="module")
async def server(databases: Databases) -> AsyncIterator[Server]:
    """Start the api once; whoever was slow before has hung up."""
    async with running(API, environment(api_settings(databases))) as started:
        yield started


@asynccontextmanager
async def half_sent(server: Server, path: str, announced: int, token: str) -> AsyncIterator[None]:
    """Hold sockets open that announce a body and send its first byte."""
    url = httpx.URL(server.url)
    credential = f"Authorization: Bearer {token}\r\n" if token else ""
    begun = BEGUN.format(path=path, announced=announced, credential=credential).encode()
    async with AsyncExitStack() as stack:
        for _ in range(SLOW):
            _reader, writer = await asyncio.open_connection(url.host, url.port)
            stack.callback(writer.close)
            writer.write(begun)
            await writer.drain()
        # Sockets are taken in order, so whoever comes now comes after all of them.
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as last:
            assert (await last.get("/livez")).is_success
        yield


@pytest.mark.parametrize(
    ("path", "announced", "is_known"),
    [
        ("/oauth/token", 10, False),
        # With somebody's own credential, which the api believes.
        ("/v1/imports", 10_000_000, True),
    ],
)
async def test_slow_senders_take_nothing_from_anybody(
    server: Server, world: World, path: str, announced: int, *, is_known: bool
) -> None:
    headers = {"Authorization": world.org_admin.headers["Authorization"]}
    token = headers["Authorization"].removeprefix("Bearer ") if is_known else ""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as http:
        # From here on the token is believed.
        assert (await http.get("/v1/me", headers=headers)).status_code == 200
        async with half_sent(server, path, announced, token):
            seen = Counter[tuple[str, int]]()
            for number in range(HONEST):
                read = await http.get("/v1/people", headers=headers)
                seen["read", read.status_code] += 1
                body = {
                    "email": f"p{number}@example.org",
                    "given_name": "Given",
                    "family_name": "Family",
                }
                made = await http.post("/v1/people", json=body, headers=headers)
                seen["made", made.status_code] += 1
                form = {"grant_type": "refresh_token", "client_id": "nobody"}
                refused = await http.post("/oauth/token", data=form)
                seen["asked for a token", refused.status_code] += 1
            large = await http.post("/v1/imports", files={"file": FILE}, headers=headers)

    assert seen == {
        ("read", 200): HONEST,
        ("made", 201): HONEST,
        ("asked for a token", 401): HONEST,
    }
    # Read to its end, and then found to lack the rest of what makes an import.
    assert (large.status_code, large.json()["code"]) == (400, "invalid_request")
