"""The api with a stopwatch at its door: how much CPU goes into verifying access tokens.

`python -m tests.bench.timed` serves it as `mentoring serve api` does, with one door more.
"""

import time
from dataclasses import dataclass

from fastapi import FastAPI

from services import cli
from services.api import main
from services.api.access.tokens import Claims
from services.api.resources import Resources

SPENT = "/bench/verification"


@dataclass(slots=True)
class Stopwatch:
    """CPU nanoseconds so far."""

    spent: int = 0


def install(watch: Stopwatch) -> None:
    """Time every verification, and tell the sum to whoever asks."""
    verify, create = Resources.verify, main.create_app

    async def timed(resources: Resources, token: str) -> Claims:
        before = time.thread_time_ns()
        try:
            return await verify(resources, token)
        finally:
            watch.spent += time.thread_time_ns() - before

    async def told() -> int:
        return watch.spent

    def create_app() -> FastAPI:
        app = create()
        app.add_api_route(SPENT, told)
        return app

    Resources.verify = timed  # type: ignore[method-assign, assignment]
    main.create_app = create_app  # type: ignore[assignment]


if __name__ == "__main__":
    install(Stopwatch())
    cli.app(["serve", "api"])
