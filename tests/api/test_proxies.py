"""Whose word counts for the address of whoever calls: a real server, as an operator starts it."""

import httpx
import pytest

from tests.support.apps import api_settings
from tests.support.database import Databases
from tests.support.processes import API, environment, running

LIMIT = 2
DOOR = "/v1/auth/email-codes"
FIRST, SECOND = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "198.51.100.1"}


@pytest.mark.parametrize(
    ("trusted", "is_believed"),
    [
        ("127.0.0.1", True),
        ("10.0.0.0/8, 127.0.0.0/8", True),
        ("127.0.0.9", False),
        ("172.16.0.0/12,192.168.0.0/16", False),
        ("", False),
        (None, True),
    ],
)
async def test_strangers_behind_a_proxy_are_told_apart_if_it_is_trusted(
    databases: Databases, trusted: str | None, *, is_believed: bool
) -> None:
    told = environment(api_settings(databases)) | {"MENTORING_SIGN_IN_RATE_LIMIT": str(LIMIT)}
    if trusted is not None:
        told["MENTORING_TRUSTED_PROXIES"] = trusted
    async with (
        running(API, told) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as proxy,
    ):
        for _ in range(LIMIT):
            assert (await proxy.post(DOOR, json={}, headers=FIRST)).status_code == 400
        assert (await proxy.post(DOOR, json={}, headers=FIRST)).status_code == 429

        other = await proxy.post(DOOR, json={}, headers=SECOND)

    assert other.status_code == (400 if is_believed else 429), other.text


async def test_what_somebody_claims_before_the_proxy_counts_for_nothing(
    databases: Databases,
) -> None:
    told = environment(api_settings(databases)) | {"MENTORING_SIGN_IN_RATE_LIMIT": str(LIMIT)}
    async with (
        running(API, told) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as proxy,
    ):
        statuses = [
            (
                await proxy.post(
                    DOOR, json={}, headers={"X-Forwarded-For": f"192.0.2.{claimed}, 203.0.113.1"}
                )
            ).status_code
            for claimed in range(LIMIT + 1)
        ]

    assert statuses == [*[400] * LIMIT, 429]
