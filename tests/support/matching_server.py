"""The real matching service on a real socket, as the api calls it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI
from joserfc.jwk import ECKey

from services.matching.main import create_app
from services.matching.pool import Pool
from services.matching.settings import MatchingSettings
from shared.clock import system_clock
from shared.http import ServiceClient
from shared.security import ServiceSigner


@dataclass(frozen=True, slots=True)
class Matching:
    """Where matching listens, and the key of the one service it believes."""

    url: str
    api_key: str
    app: FastAPI

    @property
    def busy(self) -> list[int]:
        """Return the processes that work on something now."""
        # There once it has begun to serve.
        pool: Pool = self.app.state.pool
        resting = {worker.pid for worker in pool._idle}
        return [pid for pid in pool.pids if pid not in resting]

    def client(self, *, url: str | None = None) -> ServiceClient:
        """Return a caller of it, or of nobody at another address."""
        return ServiceClient(
            audience="service:matching",
            base_url=url or self.url,
            signer=ServiceSigner(service="service:api", key=self.api_key, clock=system_clock),
            unavailable_code="matching_unavailable",
        )

    def client_of_nobody(self) -> ServiceClient:
        """Return a caller that finds nobody: its port was free a moment ago."""
        with _bound() as unused:
            return self.client(url=_address(unused))


@asynccontextmanager
async def running_matching() -> AsyncIterator[Matching]:
    """Serve matching from this process until the block ends."""
    key = ECKey.generate_key("P-256", {"kid": "service:api"}, private=True)
    app = create_app(
        MatchingSettings.model_validate(
            {
                "env": "development",
                "log_level": "critical",
                "matching_workers": 1,
                "matching_heartbeat_seconds": 0.2,
                "service_public_keys": json.dumps({"keys": [key.as_dict(private=False)]}),
            }
        )
    )
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None, access_log=False))
    with _bound() as listening:
        # Callers may connect before the server has begun; the socket lets them wait.
        listening.listen()
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            key_text = json.dumps(key.as_dict(private=True))
            yield Matching(_address(listening), key_text, app)
        finally:
            server.should_exit = True
            await serving


def _bound() -> socket.socket:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return made


def _address(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"
