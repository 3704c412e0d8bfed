"""People files as they are sent, and a worker that brings them in."""

from typing import Any

import httpx

from services.api.integrations.imports import jobs
from shared import ids
from shared.persistence import leases
from shared.persistence.leases import Claim, JobDatabase, Search
from tests.support.apps import World
from tests.support.programs import post

COLUMNS = ("id", "first", "last", "mail", "title", "status", "left", "boss")


def mapping(**changes: Any) -> dict[str, Any]:
    """Return a mapping of the files that `csv` makes."""
    fields = {
        "employee_number": {"columns": ["id"]},
        "given_name": {"columns": ["first"]},
        "family_name": {"columns": ["last"]},
        "email": {"columns": ["mail"]},
        "title": {"columns": ["title"], "steps": [{"do": "trim"}], "empty": "clear"},
        "status": {"columns": ["status"], "steps": [{"do": "default", "value": "active"}]},
        "ended_on": {"columns": ["left"]},
    }
    return {
        "key": {"column": "id"},
        "fields": fields,
        "manager": {"column": "boss", "by": "id"},
        **changes,
    }


def csv(*rows: dict[str, str]) -> bytes:
    """Return a file of people; what a row leaves out has a plain value."""
    lines = [",".join(COLUMNS)]
    for row in rows:
        plain = {
            "first": f"Given{row['id']}",
            "last": f"Family{row['id']}",
            "mail": f"p{row['id']}@example.org",
            "title": "Engineer",
        }
        lines.append(",".join({**plain, **row}.get(column, "") for column in COLUMNS))
    return ("\n".join(lines) + "\n").encode()


class Importing:
    """One organization's connection and mapping, and a worker beside it."""

    def __init__(self, world: World, database: JobDatabase, ids: tuple[str, str]) -> None:
        """Keep what every import of this organization needs."""
        self.world, self.database = world, database
        self.connection_id, self.mapping_id = ids

    @property
    def client(self) -> httpx.AsyncClient:
        """Return the org admin's client."""
        return self.world.org_admin

    async def send(self, content: bytes, **fields: str) -> httpx.Response:
        """Send a file."""
        return await self.client.post(
            "/v1/imports",
            data={"connection_id": self.connection_id, "mapping_id": self.mapping_id, **fields},
            files={"file": ("people.csv", content, "text/csv")},
        )

    async def bring(self, content: bytes, **fields: str) -> dict[str, Any]:
        """Send a file, let the worker work, and return the run."""
        answer = await self.send(content, **fields)
        assert answer.status_code == 202, answer.text
        await self.work()
        return await self.run(answer.json()["sync_run_id"])

    async def work(self) -> None:
        """Take turns until there is nothing left to do."""
        while await jobs.turn(self.database):
            pass

    async def claim(self, run_id: str) -> Claim:
        """Take a run as a worker does, without working on it."""
        table = jobs.QUEUE.table.c
        search = Search(jobs.QUEUE, table.id == ids.parse_id("sync_run", run_id), limit=1)
        (claimed,) = await leases.claim(self.database.claims, search, now=self.database.clock())
        return claimed

    async def run(self, run_id: str) -> dict[str, Any]:
        """Return a run as it is now."""
        answer = await self.client.get(f"/v1/sync-runs/{run_id}")
        assert answer.status_code == 200, answer.text
        run: dict[str, Any] = answer.json()
        return run

    async def rows(self, run_id: str, **filters: str) -> list[dict[str, Any]]:
        """Return all rows of a run."""
        return await self.every(f"/v1/sync-runs/{run_id}/rows", **filters)

    async def people(self) -> dict[str, dict[str, Any]]:
        """Return everybody who has an employee number, by it."""
        found = await self.every("/v1/people")
        return {one["employee_number"]: one for one in found if one["employee_number"]}

    async def every(self, path: str, **filters: str) -> list[dict[str, Any]]:
        """Return all pages of a list."""
        items: list[dict[str, Any]] = []
        parameters = {"limit": "200", **filters}
        while True:
            page = (await self.client.get(path, params=parameters)).json()
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            parameters["cursor"] = page["next_cursor"]


async def importing(
    world: World,
    database: JobDatabase,
    document: dict[str, Any] | None = None,
    **connection: Any,
) -> Importing:
    """Set up a connection and a mapping."""
    made = await post(world.org_admin, "/v1/connections", {"label": "HR", **connection})
    mapped = await post(
        world.org_admin, "/v1/mappings", {"name": "HR", "document": document or mapping()}
    )
    return Importing(world, database, (made["id"], mapped["id"]))
