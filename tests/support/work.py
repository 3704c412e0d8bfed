"""Background work as tests drive it: turn by turn, on a clock that moves when told to."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from services.api.events import operations as events
from services.api.organizations.tables import Organization
from services.api.resources import WorkerResources
from shared.clock import system_clock
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World


class WorkerDiedError(BaseException):
    """The worker is gone at this line: nothing after it runs, nothing is cleaned up."""


@dataclass(slots=True)
class MovableClock:
    """The real time and a bit more, so that leases run out without anybody waiting."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        """Return what time it is."""
        return system_clock() + self.ahead

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.ahead += timedelta(seconds=seconds)


@dataclass(slots=True)
class Bench:
    """One organization, and a worker that serves it."""

    world: World
    resources: WorkerResources
    clock: MovableClock

    @property
    def organization_id(self) -> UUID:
        """Return the organization's id as the inside knows it."""
        return self.world.id

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        """Return what the organization's own rows say."""
        tenant = Tenant(self.organization_id)
        async with transaction(self.resources.database.sessions, tenant) as session:
            return list((await session.execute(text(statement), values)).all())

    async def record(self, kind: str = "organization.changed", *, count: int = 1) -> list[UUID]:
        """Record facts about the organization, each in a transaction of its own."""
        made = []
        tenant = Tenant(self.organization_id)
        for _ in range(count):
            async with transaction(self.resources.database.sessions, tenant) as session:
                subject = await session.get_one(Organization, self.organization_id)
                made.append(events.record(session, kind, subject, now=system_clock()))
        return made


def bench(worker: WorkerResources, world: World) -> Bench:
    """Let a worker serve an organization, on a clock of its own."""
    clock = MovableClock()
    database = replace(worker.database, clock=clock)
    return Bench(world, replace(worker, database=database), clock)


def soon(seconds: float = 0) -> datetime:
    """Return an instant so far from now."""
    return datetime.now(UTC) + timedelta(seconds=seconds)
