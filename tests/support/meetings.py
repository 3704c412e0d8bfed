"""Meetings as members arrange them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.support.mentorships import Pair
from tests.support.programs import post

NOW = datetime.now(UTC).replace(microsecond=0)


def hour(after: float) -> str:
    """Return an instant some hours from now, as answers show it."""
    return (NOW + timedelta(hours=after)).isoformat().replace("+00:00", "Z")


async def arrange(
    pair: Pair, client: httpx.AsyncClient | None = None, **values: Any
) -> dict[str, Any]:
    """Arrange a meeting, two days ahead unless said otherwise."""
    body = values or {"starts_at": hour(48)}
    return await post(client or pair.mentee.client, f"{pair.path}/meetings", body)
