"""The worker of notifications: every background loop in one visible list."""

import asyncio

from services.notifications.deliveries import jobs as deliveries
from services.notifications.resources import Resources, open_resources
from services.notifications.settings import NotificationsSettings
from shared import logs
from shared.persistence import catalogue
from shared.workers import process
from shared.workers.loop import Job

BURY_SECONDS = 30.0


def jobs(resources: Resources, stop: asyncio.Event) -> list[Job]:
    """Return every background loop."""

    async def deliver() -> int:
        return await deliveries.deliver(resources, stop)

    async def bury() -> int:
        return await deliveries.bury(resources)

    return [
        Job("deliver", deliver),
        Job("bury", bury, idle_seconds=BURY_SECONDS),
    ]


async def run(settings: NotificationsSettings) -> None:
    """Work until told to stop."""
    stop = process.stop_on_signals()
    async with open_resources(settings) as resources:
        for engine in (resources.engine, resources.claiming):
            await catalogue.refuse_unsafe_engine(engine)
        await process.work(jobs(resources, stop), stop)


def main() -> None:
    """Run the worker as a process."""
    settings = NotificationsSettings()
    logs.configure(service="notifications-worker", level=settings.log_level)
    asyncio.run(run(settings))
