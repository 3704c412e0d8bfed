"""The api's background work as a program: every loop, and who reacts to what, in visible tables."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from services.api.access import jobs as access
from services.api.access.jobs import KeyDesk, NextKey
from services.api.events import jobs as events
from services.api.events.jobs import Consumers
from services.api.events.rules import CONSUMED
from services.api.feed import jobs as feed
from services.api.integrations.imports import jobs as imports
from services.api.issuer import jobs as issuer
from services.api.match_runs import jobs as match_runs
from services.api.meetings import jobs as meetings
from services.api.members import jobs as members
from services.api.mentorships import jobs as mentorships
from services.api.participants import jobs as participants
from services.api.programs import jobs as programs
from services.api.proposals import jobs as proposals
from services.api.resources import WorkerResources, open_worker_resources
from services.api.sandbox import jobs as sandbox
from services.api.settings import ApiSettings
from services.api.sign_in.email_codes import jobs as email_codes
from services.api.sign_in.requests import jobs as sign_ins
from services.api.timers import jobs as timers
from services.api.timers.jobs import OnTimer
from shared import logs
from shared.http import ServiceClient
from shared.workers.loop import Job
from shared.workers.process import stop_on_signals, work

RELAYS = 2
TIDYING_SECONDS = 3600.0
KEY_SECONDS = 600.0
TIMER_SECONDS = 0.2

TIMERS: Mapping[str, OnTimer] = MappingProxyType(
    {
        "program": programs.on_timer,
        "participant": participants.on_timer,
        "proposal": proposals.on_timer,
        "mentorship": mentorships.on_timer,
        "meeting": meetings.on_timer,
    }
)
"""Who is told when a timer fires, by the part of its kind before the dot."""

CONSUMERS: Consumers = MappingProxyType(
    {
        "person.deactivated": (participants.on_person_left,),
        "person.manager_changed": (mentorships.on_manager_changed,),
        "participant.withdrawn": (
            proposals.on_participant_left,
            members.on_participant_withdrawn,
        ),
        "participant.removed": (
            proposals.on_participant_left,
            members.on_participant_removed,
        ),
        "program.winding_down": (
            match_runs.on_program_closed,
            proposals.on_program_closed,
            mentorships.on_program_winding_down,
        ),
        "program.completed": (
            match_runs.on_program_closed,
            proposals.on_program_closed,
            mentorships.on_program_completed,
            participants.on_program_ended,
        ),
        "program.cancelled": (
            match_runs.on_program_closed,
            proposals.on_program_closed,
            mentorships.on_program_cancelled,
            participants.on_program_ended,
        ),
        "mentorship.paused": (meetings.on_mentorship_stopped,),
        "mentorship.closing_started": (proposals.on_mentorship_ended,),
        "mentorship.completed": (proposals.on_mentorship_ended, meetings.on_mentorship_stopped),
        "mentorship.ended_early": (
            proposals.on_mentorship_ended,
            meetings.on_mentorship_stopped,
        ),
        "mentorship.cancelled": (proposals.on_mentorship_ended, meetings.on_mentorship_stopped),
        "member.joined": (meetings.on_member_joined,),
        "member.left": (meetings.on_member_gone,),
        "member.removed": (meetings.on_member_gone,),
    }
)
"""Who reacts to which type of event, in this order and in one transaction with the mark."""

if CONSUMERS.keys() != CONSUMED:
    raise RuntimeError("events.rules.CONSUMED and the worker's table name different types")


def main() -> None:
    """Work until told to stop."""
    settings = ApiSettings()
    logs.configure(service="api-worker", level=settings.log_level)
    asyncio.run(_run(settings))


async def _run(settings: ApiSettings) -> None:
    stop = stop_on_signals()
    async with open_worker_resources(settings) as resources:
        await work(jobs(resources), stop)


def rotate_keys() -> str:
    """Make the issuer's next signing key now, and say from when it signs."""
    settings = ApiSettings()
    logs.configure(service="api-worker", level=settings.log_level)
    key = asyncio.run(_next_key(settings))
    if key is None:
        return "There is no signing key yet: the api makes its first one when it starts."
    made = "The next key is made" if key.is_new else "The newest key was made before"
    return f"{made}; it signs from {key.signs_from:%Y-%m-%dT%H:%M:%SZ} on."


async def _next_key(settings: ApiSettings) -> NextKey | None:
    async with open_worker_resources(settings) as resources:
        return await access.make_next_key(_key_desk(resources), is_wanted=True)


def _key_desk(resources: WorkerResources) -> KeyDesk:
    settings = resources.settings
    secret = settings.key_encryption_key.get_secret_value()
    return KeyDesk(resources.database, settings.mode, secret)


def jobs(resources: WorkerResources) -> list[Job]:
    """Return every loop of this worker; those that need a peer only where one is configured."""
    database = resources.database

    async def fire() -> int:
        return await timers.fire_due(database, TIMERS)

    async def consume() -> int:
        return await events.consume(database, CONSUMERS)

    async def tidy() -> int:
        await feed.forget_old(database)
        await access.forget_intents(database)
        await issuer.forget_dead(database)
        await email_codes.forget_old(database)
        await sign_ins.forget_sign_ins(database)
        await participants.forget_vectors(database)
        return 0

    async def turn_keys() -> int:
        return await access.turn_keys(_key_desk(resources))

    async def bring_in() -> int:
        return await imports.turn(database)

    async def move() -> int:
        return await sandbox.turn(desk)

    desk = sandbox.Desk(database, TIMERS, CONSUMERS, resources.notifications, resources.pepper)
    return [
        Job("timers", fire, idle_seconds=TIMER_SECONDS),
        Job("consumers", consume),
        Job("imports", bring_in, idle_seconds=TIMER_SECONDS),
        Job("sandboxes", move, idle_seconds=TIMER_SECONDS),
        Job("tidying", tidy, idle_seconds=TIDYING_SECONDS),
        Job("signing_keys", turn_keys, idle_seconds=KEY_SECONDS),
        *(_relays(resources, resources.notifications) if resources.notifications else ()),
        *(_runs(resources, resources.matching) if resources.matching else ()),
    ]


def _relays(resources: WorkerResources, peer: ServiceClient) -> list[Job]:
    relay = feed.Relay(resources.database, peer, resources.pepper)

    async def send() -> int:
        return await feed.relay(relay)

    return [Job("relay", send) for _ in range(RELAYS)]


def _runs(resources: WorkerResources, peer: ServiceClient) -> list[Job]:
    secret = resources.settings.key_encryption_key.get_secret_value().encode()
    desk = match_runs.Desk(resources.database, peer, secret)

    async def run() -> int:
        return await match_runs.turn(desk)

    return [Job("match_runs", run, idle_seconds=TIMER_SECONDS)]
