"""Is the process alive, and may it be sent work: two questions with two answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from fastapi import APIRouter, Response
from pydantic_core import to_json

from shared.clock import Clock

CHECK_SECONDS = 1.0
CACHED_SECONDS = 1.0

type Check = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Health:
    """Named checks of what this process needs; peers never count."""

    checks: Mapping[str, Check]
    clock: Clock
    is_draining: bool = False
    _asked_at: float = field(default=0.0, init=False)
    _failing: frozenset[str] = field(default=frozenset(), init=False)

    async def failing(self) -> frozenset[str]:
        """Return the names of failing checks, asked again after a second."""
        now = self.clock().timestamp()
        if now - self._asked_at >= CACHED_SECONDS:
            self._failing = frozenset(
                [name for name, check in self.checks.items() if not await _passes(check)]
            )
            self._asked_at = now
        return self._failing


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception:  # noqa: BLE001 - whatever the reason, it is not ready
        return False
    return True


def health_router(health: Health) -> APIRouter:
    """Return `/livez` and `/readyz`, which stand outside the public API."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    @router.get("/readyz")
    async def readyz() -> Response:
        failing = await health.failing()
        is_ready = not failing and not health.is_draining
        content = {
            "status": "ready" if is_ready else "draining" if health.is_draining else "not_ready",
            "checks": {name: "failing" if name in failing else "ok" for name in health.checks},
        }
        return Response(
            to_json(content), status_code=200 if is_ready else 503, media_type="application/json"
        )

    return router
