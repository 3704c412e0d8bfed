"""Facts from api, and the levers of sandboxes."""

import structlog
from fastapi import APIRouter, Response

from services.notifications.channels.invitations import Mailbox
from services.notifications.deliveries import jobs as deliveries
from services.notifications.deliveries import operations as clocks
from services.notifications.deliveries import queries
from services.notifications.dependencies import NowDep, ResourcesDep, SessionDep, SystemDep
from services.notifications.intake import operations
from services.notifications.intake.operations import SANDBOX, Sender
from services.notifications.resources import Resources
from shared.errors import ConflictError
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from shared.schemas.events import IntakeResult
from shared.schemas.notifications import ClockMove, ClockState, RawBatch
from shared.security import ServiceCaller
from shared.web import responses

router = APIRouter(prefix="/internal", tags=["intake"])

logger = structlog.get_logger()


@router.post("/events", response_model=IntakeResult)
async def take_events(
    body: RawBatch, caller: SystemDep, session: SessionDep, resources: ResourcesDep, now: NowDep
) -> Response:
    """Apply a batch of facts, each once; the answer leaves after everything was committed."""
    settings = resources.settings
    result = await operations.take(
        session,
        organization_id=caller.organization_id,
        raw=body.events,
        sender=Sender(Mailbox(settings.mail_from_name, settings.mail_from), settings.app_url),
        now=now,
    )
    if result.rejected:
        logger.error("events_set_aside", count=len(result.rejected))
    return responses.one(result)


@router.post("/clock", response_model=ClockState)
async def move_clock(body: ClockMove, caller: SystemDep, resources: ResourcesDep) -> Response:
    """Do what a sandbox has due up to an instant of its clock, then set the clock."""
    await _refuse_production(resources, caller)
    worked = await deliveries.run_until(
        resources, organization_id=caller.organization_id, until=body.run_until
    )
    async with transaction(resources.sessions, Tenant(caller.organization_id)) as session:
        await clocks.move_clock(
            session,
            organization_id=caller.organization_id,
            offset_seconds=body.offset_seconds,
        )
        next_due_at = await queries.next_due_at(session, organization_id=caller.organization_id)
    return responses.one(ClockState(worked=worked, next_due_at=next_due_at))


@router.post("/reset", status_code=204)
async def reset(caller: SystemDep, session: SessionDep) -> Response:
    """Forget a sandbox organization."""
    await operations.reset(session, organization_id=caller.organization_id)
    return responses.no_content()


async def _refuse_production(resources: Resources, caller: ServiceCaller) -> None:
    async with transaction(resources.sessions, Tenant(caller.organization_id)) as session:
        organization = await queries.organization(session, organization_id=caller.organization_id)
    if organization is not None and organization.kind != SANDBOX:
        raise ConflictError("Only a sandbox has a clock that moves.", code="not_a_sandbox")
