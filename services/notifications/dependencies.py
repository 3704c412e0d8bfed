"""The door for siblings: who calls, for whom, in which transaction."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.resources import Resources
from shared.errors import ForbiddenError
from shared.persistence.reads import ReadTransaction, read_transaction
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.security import ServiceCaller
from shared.web.services import ServiceDoor


def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


async def _caller(request: Request) -> ServiceCaller:
    door: ServiceDoor = request.app.state.door
    return await door(request)


ResourcesDep = Annotated[Resources, Depends(_resources)]
CallerDep = Annotated[ServiceCaller, Depends(_caller)]


def _person(caller: CallerDep) -> UUID:
    """Return the person the caller speaks for: what belongs to somebody is served to them only."""
    try:
        return UUID(caller.subject)
    except ValueError:
        raise ForbiddenError from None


def _system(caller: CallerDep) -> ServiceCaller:
    """Let background work and sandboxes in, and nobody who speaks for a person."""
    if not caller.subject.startswith("system:"):
        raise ForbiddenError
    return caller


async def _session(caller: CallerDep, resources: ResourcesDep) -> AsyncIterator[AsyncSession]:
    async with transaction(resources.sessions, Tenant(caller.organization_id)) as session:
        yield session


async def _reader(caller: CallerDep, resources: ResourcesDep) -> AsyncIterator[ReadTransaction]:
    async with read_transaction(resources.reads, Tenant(caller.organization_id)) as reader:
        yield reader


async def _now(caller: CallerDep, resources: ResourcesDep) -> datetime:
    del caller
    return resources.clock()


PersonDep = Annotated[UUID, Depends(_person)]
SystemDep = Annotated[ServiceCaller, Depends(_system)]
# Closed before the answer leaves: by default it would be committed after "done" was said.
SessionDep = Annotated[AsyncSession, Depends(_session, scope="function")]
ReaderDep = Annotated[ReadTransaction, Depends(_reader, scope="function")]
NowDep = Annotated[datetime, Depends(_now)]
