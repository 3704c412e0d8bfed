"""Private reasons stay with their author, whoever asks the database and however."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared import ids
from shared.persistence.engine import create_engine
from shared.persistence.sessions import create_sessions, transaction
from shared.persistence.tenancy import Tenant
from tests.support.apps import World
from tests.support.database import Databases
from tests.support.mentorships import pair_up
from tests.support.programs import post


async def test_the_database_shows_a_private_reason_to_its_author_alone(
    world: World, databases: Databases
) -> None:
    pair = await pair_up(world)
    body = {"reason": "no_fit", "private_reason": "We did not click."}
    await post(pair.mentee.client, f"{pair.path}/end-early", body)
    sessions = world.app.state.resources.sessions
    organization = world.id

    async def read(person: str | None) -> list[str]:
        person_id = ids.parse_id("person", person) if person else None
        async with transaction(sessions, Tenant(organization, person_id)) as session:
            rows = await session.execute(text("SELECT reason FROM mentorship_private_reason"))
            return list(rows.scalars())

    assert await read(pair.mentee.person["id"]) == ["We did not click."]
    assert await read(pair.mentor.person["id"]) == []
    assert await read(None) == []
    engine = create_engine(databases.url("app_jobs", "api"), size=1, service="test")
    with pytest.raises(DBAPIError, match="permission denied"):
        async with transaction(create_sessions(engine), Tenant(organization)) as session:
            await session.execute(text("SELECT reason FROM mentorship_private_reason"))
    await engine.dispose()
