"""Sign-ins that nobody can go on with are forgotten, with the addresses typed on the way."""

from datetime import timedelta

from services.api.resources import WorkerResources
from services.api.sign_in.requests import jobs
from services.api.sign_in.requests.rules import KEPT
from tests.support.apps import World
from tests.support.email_codes import add_app
from tests.support.pages import Browser, authorize
from tests.support.work import bench

HELD = "SELECT id FROM sign_in"


async def test_a_sign_in_is_forgotten_an_hour_after_it_began(
    world: World, worker: WorkerResources
) -> None:
    browser = Browser(world.app)
    first = await browser.open(authorize(await add_app(world)))
    await browser.submit(first, "/oauth/sign-in/email", email="somebody@example.org")

    at_work = bench(worker, world)
    await jobs.forget_sign_ins(at_work.resources.database)
    kept = await at_work.rows(HELD)
    at_work.clock.pass_time((KEPT + timedelta(minutes=1)).total_seconds())
    await jobs.forget_sign_ins(at_work.resources.database)
    left = await at_work.rows(HELD)

    assert (len(kept), left) == (1, [])
