"""What the door remembered is forgotten when nobody can be waiting for it any more."""

import secrets

import pytest

from services.api.access import jobs
from services.api.resources import WorkerResources
from shared import ids
from tests.support.apps import World
from tests.support.work import Bench, bench

NEW = {"given_name": "Ida", "family_name": "Own"}


@pytest.fixture
def at_work(worker: WorkerResources, world: World) -> Bench:
    """Open a worker for this organization."""
    return bench(worker, world)


async def ask(world: World, body: dict[str, str], key: str) -> str | None:
    """Ask for a person and tell whether the answer was remembered, or the code of a refusal."""
    answer = await world.org_admin.post("/v1/people", json=body, headers={"Idempotency-Key": key})
    replayed: str | None = answer.headers.get("Idempotency-Replayed")
    return replayed if answer.is_success else str(answer.json()["code"])


async def test_an_answer_is_kept_for_two_days_under_a_key_and_a_week_under_an_id(
    at_work: Bench, world: World
) -> None:
    keyed = {**NEW, "email": f"{secrets.token_hex(4)}@example.org"}
    named = {**NEW, "email": f"{secrets.token_hex(4)}@example.org"}
    named["id"] = ids.format_id("person", ids.new_id())
    for body in (keyed, named):
        assert await ask(world, body, body["email"]) is None

    heard = []
    for seconds in (jobs.KEPT.total_seconds() - 60, 120, jobs.KEPT_BY_ID.total_seconds()):
        at_work.clock.pass_time(seconds)
        await jobs.forget_intents(at_work.resources.database)
        heard.append([await ask(world, body, body["email"]) for body in (keyed, named)])

    assert heard == [
        ["true", "true"],
        ["duplicate_email", "true"],
        ["duplicate_email", "already_exists"],
    ]
