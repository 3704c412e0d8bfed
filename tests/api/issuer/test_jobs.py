"""What is over is deleted; what can still end something stays."""

from collections.abc import Mapping

import pytest

from services.api.feed.jobs import Relay, relay
from services.api.issuer import jobs
from services.api.resources import WorkerResources
from services.notifications.deliveries import jobs as deliveries
from shared.clock import system_clock
from tests.support.apps import World
from tests.support.database import Databases
from tests.support.issuer import add_app, add_signer, stored
from tests.support.notifications import (
    client_of,
    notifications_settings,
    running_notifications,
    running_postbox,
)
from tests.support.work import Bench, MovableClock, bench

DAY = 24 * 3600.0
TABLES = ("client_assertion", "authorization_code", "refresh_token", "refresh_family")


@pytest.fixture
def at_work(worker: WorkerResources, world: World) -> Bench:
    """Open a worker for this organization."""
    return bench(worker, world)


async def left(at_work: Bench) -> Mapping[str, int]:
    """Let the job run, and return how many rows each table holds then."""
    await jobs.forget_dead(at_work.resources.database)
    found = {}
    for table in TABLES:
        (row,) = await stored(at_work.world, f"SELECT count(*) AS n FROM {table}")  # noqa: S608
        found[table] = row["n"]
    return {table: count for table, count in found.items() if count}


async def test_spent_assertions_and_unused_codes_go_once_they_are_over(
    world: World, at_work: Bench
) -> None:
    app, machine = await add_app(world), await add_signer(world)
    await app.code(world.org_admin_id)
    assert (await machine.ask(machine.sign())).status_code == 200
    assert await left(at_work) == {"client_assertion": 1, "authorization_code": 1}

    at_work.clock.pass_time(61)
    assert await left(at_work) == {"client_assertion": 1}
    at_work.clock.pass_time(360)
    assert await left(at_work) == {}


async def test_a_sign_in_in_use_keeps_its_code_and_the_tokens_of_a_month(
    world: World, at_work: Bench, clock: MovableClock
) -> None:
    app = await add_app(world)
    token = (await app.sign_in(world.org_admin_id))["refresh_token"]
    for _ in range(2):
        for each in (clock, at_work.clock):
            each.pass_time(20 * DAY)
        token = (await app.refresh(token)).json()["refresh_token"]

    assert await left(at_work) == {"authorization_code": 1, "refresh_token": 2, "refresh_family": 1}
    assert (await app.refresh(token)).status_code == 200


async def test_an_ended_sign_in_goes_with_everything_of_it_after_a_week(
    world: World, at_work: Bench
) -> None:
    app = await add_app(world)
    await app.revoke((await app.sign_in(world.org_admin_id))["refresh_token"])
    at_work.clock.pass_time(6 * DAY)
    assert (await left(at_work))["refresh_family"] == 1

    at_work.clock.pass_time(DAY)
    assert await left(at_work) == {}


@pytest.mark.parametrize(("days", "is_left"), [(36.9, True), (37.0, False)])
async def test_a_forgotten_sign_in_goes_a_week_after_its_month(
    world: World, at_work: Bench, *, days: float, is_left: bool
) -> None:
    await (await add_app(world)).sign_in(world.org_admin_id)
    at_work.clock.pass_time(days * DAY)

    assert ("refresh_family" in await left(at_work)) is is_left


async def test_the_person_whose_sign_in_was_used_by_two_gets_a_mail(
    databases: Databases, world: World, at_work: Bench
) -> None:
    person = await world.add_person()
    app = await add_app(world)
    token = (await app.sign_in(person["id"]))["refresh_token"]
    second = (await app.refresh(token)).json()["refresh_token"]
    for one in (second, token):
        await app.refresh(one)

    async with (
        running_postbox() as postbox,
        running_notifications(notifications_settings(databases, smtp_port=postbox.port)) as sender,
    ):
        peer = client_of(sender)
        resources = at_work.resources
        work = Relay(resources.database, peer, resources.pepper)
        while await relay(work, organization_id=at_work.organization_id):
            pass
        await deliveries.run_until(
            sender.state.resources, organization_id=at_work.organization_id, until=system_clock()
        )
        await peer.close()

    (mail,) = postbox.mails
    assert person["email"] in mail["To"]
    assert mail["Subject"] == "You were signed out of an app"
